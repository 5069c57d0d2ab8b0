"""pytest's entry point, which decides whether we are active, and in which role.

It imports no other module of ours until a setting names us.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from argparse import Namespace

    from .recording.user_fixtures import Famacase, FamacaseRun

#: One of our settings in the text of an ini file; the package's own name is not one.
_IN_FILE = re.compile(rb"famacase_(?!xdist|pytest\b)[a-z]|--famacase-")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add our options if a setting or --help asks for them, and keep upstream out if we are known to be active."""
    config = pluginmanager.get_plugin("pytestconfig")
    if config is None or not _is_named(config):
        return
    from .settings import options

    options.add_options(parser)
    if hasattr(config, "known_args_namespace"):
        args = [*config.getini("addopts"), *config.invocation_params.args]
        _decide(config, parser.parse_known_args(args))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Keep upstream out again: ``-p qase_pytest``, or a conftest, loads it after our options were added."""
    if _is_named(early_config):
        _decide(early_config, early_config.known_args_namespace)
    result = yield
    if _is_named(early_config):
        _decide(early_config, early_config.known_args_namespace)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set up the role of this process."""
    if hasattr(config, "workerinput"):
        _configure_worker(config)
    elif _is_named(config):
        _configure_controller(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Return a line for each variable that may be a misspelled one of ours, also if nothing turns us on."""
    if not any(name.startswith("FAMACASE_") for name in os.environ):
        return []
    from .settings import shown

    return [f"famacase: {line}" for line in shown.misspelled(os.environ)]


@pytest.fixture(scope="session")
def famacase(pytestconfig: pytest.Config) -> Famacase:
    """Add to the running test's result: attach(*files), step(title, expected=None), param(name, value)."""
    from .recording.user_fixtures import Famacase

    return Famacase(pytestconfig)


@pytest.fixture(scope="session")
def famacase_run(pytestconfig: pytest.Config) -> FamacaseRun:
    """The run that the session reports to: id, url; each is None where there is no run."""
    from .recording.user_fixtures import FamacaseRun

    return FamacaseRun(pytestconfig)


def _configure_worker(config: pytest.Config) -> None:
    if "famacase" in config.workerinput:  # type: ignore[attr-defined]
        from . import loading

        with loading.quick(config):
            from . import conflicts
            from .recording import marks, worker
        conflicts.evict(config)
        marks.add(config)
        worker.configure(config)


def _configure_controller(config: pytest.Config) -> None:
    from . import loading

    with loading.quick(config):
        from .errors import SettingsError
        from .settings import sources
    try:
        found = sources.Sources(config, config.option)
        if found.mode() == "off":
            return
        settings = found.settings()
        settings.check_complete()
    except SettingsError as error:
        raise pytest.UsageError(f"famacase: {error}") from None
    with loading.quick(config):
        from . import conflicts
        from .controller import hooks
        from .recording import marks
    conflicts.evict(config)
    marks.add(config)
    if not config.option.collectonly:
        hooks.configure(config, settings)


def _decide(config: pytest.Config, options: Namespace) -> None:
    """Keep upstream out if we are active. `pytest_configure` will report a wrong setting."""
    from . import conflicts
    from .errors import SettingsError
    from .settings import sources

    try:
        is_active = sources.Sources(config, options).mode() != "off"
    except SettingsError:
        is_active = True
    if is_active:
        conflicts.evict(config)


def _is_named(config: pytest.Config) -> bool:
    """Return whether any source may have a setting of ours: arguments, environment, ini file, our own file."""
    args = [*map(str, config.invocation_params.args), os.environ.get("PYTEST_ADDOPTS", "")]
    # The name of the package, which makes pytest load the plugin first, turns nothing on.
    args = [arg.replace("famacase_xdist", "") for arg in args]
    if any("famacase" in arg or arg in ("-h", "--help") or arg.startswith("@") for arg in args):
        return True
    if any(name.startswith("FAMACASE_") for name in os.environ):
        return True
    try:
        folders = {Path(config.invocation_params.dir), config.rootpath}
        ini = config.inipath
    except AttributeError:
        # The plugin was passed to pytest.main() as an object, and pytest has not searched for the ini file yet.
        return True
    if any((folder / "famacase.config.json").is_file() for folder in folders):
        return True
    return ini is not None and _IN_FILE.search(ini.read_bytes()) is not None
