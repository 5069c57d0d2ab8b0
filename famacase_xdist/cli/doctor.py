"""The command ``famacase-xdist doctor``, which checks whether reporting would work in this directory."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from famacase_xdist import conflicts
from famacase_xdist.client.api import Api
from famacase_xdist.client.server import Server, connect
from famacase_xdist.delivery import resend
from famacase_xdist.errors import FamacaseError, NoAnswer, Refused, SettingsError, SharingError
from famacase_xdist.settings.run_reference import RunId, run_id_of
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.shown import effective, idle_line, misspelled, resend_command
from famacase_xdist.settings.sources import Directory, Sources
from famacase_xdist.state import file_system
from famacase_xdist.state.directory import StateDirectory

from .diagnosis import OK, PROBLEM, WARNING, Diagnosis

PACKAGES = (
    *("famacase-xdist", "pytest", "pytest-xdist", "execnet"),
    *("qase-pytest", "qase-python-commons", "requests", "filelock"),
)


@click.command()
@click.option("--format", "form", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
def doctor(form: str) -> None:
    """Say whether reporting would work in this directory, and what prevents it.

    Reads what pytest would read here, without its command line. Exits with 1 if reporting would not work.
    """
    diagnosis = examine()
    click.echo(diagnosis.formatted(form))
    raise SystemExit(0 if diagnosis.is_ok else 1)


def examine(environ: Mapping[str, str] = os.environ) -> Diagnosis:
    """Return what is found about reporting from this directory; never raise.

    The server gets each request only once, and all of them together wait for at most ``TIMEOUT`` seconds.
    """
    diagnosis = Diagnosis()
    _guarded(diagnosis, lambda: _versions(diagnosis))
    _guarded(diagnosis, lambda: _conflicts(diagnosis))
    _guarded(diagnosis, lambda: _settings_and_what_they_name(diagnosis, environ))
    return diagnosis


def _guarded(diagnosis: Diagnosis, check: Callable[[], None]) -> None:
    """Make a check. A mistake of ours in it is a finding, so that the other checks are made and printed."""
    try:
        check()
    except Exception as error:
        diagnosis.add(PROBLEM, "doctor", f"internal error: {error!r}")


def _versions(diagnosis: Diagnosis) -> None:
    for name in PACKAGES:
        try:
            diagnosis.versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            diagnosis.versions[name] = "not installed"
    diagnosis.versions |= {"python": platform.python_version(), "platform": platform.platform()}
    diagnosis.add(OK, "versions", ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items()))


def _conflicts(diagnosis: Diagnosis) -> None:
    if names := conflicts.installed():
        diagnosis.add(WARNING, "plugins", conflicts.advice(names))
    else:
        diagnosis.add(OK, "plugins", "no other one would report the same tests")


def _settings_and_what_they_name(diagnosis: Diagnosis, environ: Mapping[str, str]) -> None:
    for line in misspelled(environ):
        diagnosis.add(WARNING, "settings", line)
    try:
        sources = _sources(diagnosis, environ)
        mode, settings = sources.mode(), sources.settings()
    except SettingsError as error:
        for line in str(error).splitlines():
            diagnosis.add(PROBLEM, "settings", line)
        return
    diagnosis.secret = settings.token if len(settings.token) > 3 else ""
    diagnosis.settings = effective(settings)
    for name, (value, source) in diagnosis.settings.items():
        diagnosis.add(OK, "setting", f"{name.upper()} = {value} (from {source})")
    if line := idle_line(settings):
        diagnosis.add(WARNING, "settings", line)
    _mode(diagnosis, mode)
    for check in (_server, _run, _state, _leftovers):
        _guarded(diagnosis, partial(check, diagnosis, settings))


def _mode(diagnosis: Diagnosis, mode: str) -> None:
    if mode == "off":
        diagnosis.add(PROBLEM, "mode", "nothing is reported: FAMACASE_MODE=testops turns reporting on")
    elif mode == "embedded" and importlib.util.find_spec("uvicorn") is None:
        diagnosis.add(PROBLEM, "mode", "embedded needs the extra: pip install 'famacase-xdist[server]'")
    else:
        diagnosis.add(OK, "mode", mode)


class _Caught:
    """A plugin that keeps pytest's configuration and ends pytest before it does anything else."""

    config: pytest.Config | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        self.config = config
        return 0


def _sources(diagnosis: Diagnosis, environ: Mapping[str, str]) -> Sources:
    """Return the sources that pytest would read here, without its command line and the conftest files."""
    caught = _Caught()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            # Warnings are ignored, because pytest warns that our modules were loaded before it could rewrite them.
            pytest.main(["--noconftest", "-W", "ignore"], plugins=[caught])
        except (Exception, SystemExit) as error:
            said.write(f"\n{error!r}")
    config = caught.config
    if config is None:
        words = said.getvalue().strip().splitlines() or ["it does not start"]
        diagnosis.add(WARNING, "pytest", f"its ini file was not read: {words[-1]}")
    elif not config.pluginmanager.hasplugin("famacase_xdist.plugin"):
        diagnosis.add(PROBLEM, "pytest", "it does not load famacase-xdist here (plugin autoload is off, or -p no:)")
    elif hasattr(config.option, "famacase_mode"):
        return Sources(config, config.option, environ)
    return Sources(Directory(Path.cwd()), SimpleNamespace(), environ)


def _server(diagnosis: Diagnosis, settings: Settings) -> None:
    if settings.mode in ("embedded", "report"):
        words = "starts its own" if settings.mode == "embedded" else "writes files and needs none"
        diagnosis.add(OK, "server", f"mode {settings.mode} {words}")
        return
    try:
        if settings.mode == "testops_multi":
            settings.check_complete()
        else:
            settings.check_reachable("reporting")
    except SettingsError as error:
        diagnosis.add(PROBLEM, "server", error)
        return
    asked = settings.of_each_project().values() if settings.mode == "testops_multi" else [settings]
    # With a diagnosis of its own, so that what the thread finds after its time is not added behind the verdict.
    heard = Diagnosis()
    # In a thread, because no timeout ends the look-up of a name, or an answer that comes a few bytes at a time.
    thread = threading.Thread(
        target=_guarded, args=(heard, lambda: _ask_all(heard, asked)), name="famacase-doctor", daemon=True
    )
    thread.start()
    thread.join(settings.timeout)
    in_time = list(heard.findings)
    is_late = thread.is_alive()
    diagnosis.findings += in_time if is_late else heard.findings
    if is_late:
        diagnosis.add(PROBLEM, "server", f"{settings.host} did not answer all requests within {settings.timeout:g} s")


def _ask_all(diagnosis: Diagnosis, asked: Iterable[Settings]) -> None:
    for settings in asked:
        _ask(diagnosis, settings)


def _ask(diagnosis: Diagnosis, settings: Settings) -> None:
    with contextlib.closing(connect(Server.of(settings), settings.project, settings.timeout)) as api:
        if _is_open(diagnosis, api):
            _named(diagnosis, "plan", lambda: _plan(api, settings.testops_plan_id))
            _named(diagnosis, "environment", lambda: _environment(api, settings.environment))
            _named(diagnosis, "run", lambda: _joined(api, run_id_of(settings.testops_run_id or "")))


def _is_open(diagnosis: Diagnosis, api: Api) -> bool:
    """Return whether the server can be reached, takes the token and has the project."""
    since = time.monotonic()
    refusal: Refused | None = None
    try:
        api.check_project()
    except NoAnswer as error:
        diagnosis.add(PROBLEM, "token" if error.cause == "token" else "server", f"{api.host}: {error}")
        return False
    except Refused as error:
        refusal = error
    if refusal is None or refusal.status in (401, 403, 404):
        diagnosis.add(OK, "server", f"{api.host} answered in {1000 * (time.monotonic() - since):.0f} ms")
    if refusal is None:
        diagnosis.add(OK, "token", "it is accepted")
        diagnosis.add(OK, "project", f"{api.project} is there")
        return True
    check = {401: "token", 403: "token", 404: "project"}.get(refusal.status, "server")
    diagnosis.add(PROBLEM, check, refusal)
    return False


def _named(diagnosis: Diagnosis, check: str, ask: Callable[[], tuple[str, str]]) -> None:
    """Add the finding about something that a setting names, unless its text is empty."""
    try:
        level, text = ask()
    except FamacaseError as error:
        level, text = PROBLEM, str(error)
    if text:
        diagnosis.add(level, check, text)


def _plan(api: Api, plan_id: int | None) -> tuple[str, str]:
    if plan_id is None:
        return OK, ""
    try:
        count = len(api.plan_cases(plan_id))
    except Refused as error:
        if error.status != 404:
            raise
        return PROBLEM, f"there is no test plan {plan_id} in project {api.project}"
    return (OK, f"test plan {plan_id} has {count} cases") if count else (PROBLEM, f"test plan {plan_id} has no cases")


def _environment(api: Api, slug: str | None) -> tuple[str, str]:
    if slug is None:
        return OK, ""
    if api.environment_id(slug) is None:
        return WARNING, f"there is no environment {slug} in project {api.project}: runs are made without one"
    return OK, f"{slug} is there"


def _joined(api: Api, run_id: RunId | None) -> tuple[str, str]:
    if run_id is None:
        return OK, ""
    try:
        api.check_run(run_id)
    except Refused as error:
        if error.status != 404:
            raise
        return PROBLEM, f"there is no run {run_id} in project {api.project}"
    return OK, f"run {run_id} is there"


def _run(diagnosis: Diagnosis, settings: Settings) -> None:
    shard = "shard {} of {}".format(*settings.shard) if settings.shard else ""
    reference = settings.testops_run_id
    if reference is None and shard:
        diagnosis.add(WARNING, "run", f"{shard} makes a run of its own: FAMACASE_TESTOPS_RUN_ID names none to share")
    elif reference is None:
        diagnosis.add(OK, "run", "each session makes its own")
    else:
        kind = "run key" if run_id_of(reference) is None else "run"
        diagnosis.add(OK, "run", ", ".join(filter(None, [f"{kind} {reference}", shard])))


def _state(diagnosis: Diagnosis, settings: Settings) -> None:
    state = StateDirectory.of(settings)
    directory = state.path
    if (reason := _unwritable(directory)) is not None:
        is_shared = settings.testops_run_id is not None and run_id_of(settings.testops_run_id) is None
        text = f"{directory}: {reason}; undelivered results would be lost, and a run key cannot be shared"
        diagnosis.add(PROBLEM if is_shared else WARNING, "state", text)
        return
    kind, name = file_system.fitting_kind(directory)
    try:
        if state.lock_kind.exists():
            kind = file_system.lock_kind(state)
    except (SharingError, OSError) as error:
        diagnosis.add(PROBLEM, "state", error)
        return
    on = f" on {name}" if name else ""
    diagnosis.add(OK, "state", f"{directory} can be written; a run key's lock is {kind}{on}")


def _unwritable(directory: Path) -> str | None:
    """Return why a directory cannot be written, or cannot be made if it is not there; None if it can.

    Nothing is left behind.
    """
    try:
        if directory.exists():
            with tempfile.TemporaryFile(dir=directory):
                return None
    except OSError as error:
        return error.strerror or str(error)
    parent = next(each for each in directory.absolute().parents if each.exists())
    return None if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK) else f"{parent} cannot be written"


def _leftovers(diagnosis: Diagnosis, settings: Settings) -> None:
    try:
        found = [each for each in resend.leftovers(settings) if each.results or each.problem]
    except FamacaseError as error:
        diagnosis.add(WARNING, "outbox", f"what earlier sessions left cannot be read: {error}")
        return
    for each in found:
        what = f"left alone: {each.problem}" if each.problem else f"{each.results} results were not delivered"
        diagnosis.add(WARNING, "outbox", f"{each.name}: {what}; to send them: {resend_command(settings)}")
    if not found:
        diagnosis.add(OK, "outbox", "nothing is left of earlier sessions")
