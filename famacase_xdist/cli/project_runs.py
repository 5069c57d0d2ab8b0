"""What ``famacase-xdist run`` does: create, show and complete one run for jobs that share no disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from famacase_xdist.client.api import Api, RunRequest
from famacase_xdist.client.retry import retrying
from famacase_xdist.client.server import Server, connect
from famacase_xdist.client.transport import TokenAuth
from famacase_xdist.errors import NoAnswer, Refused, SettingsError
from famacase_xdist.runs.run import run_request
from famacase_xdist.settings.run_reference import RunId, parse_run, reference_of, run_id_of
from famacase_xdist.settings.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Created:
    """A new run.

    Attributes:
        reference: The value of FAMACASE_TESTOPS_RUN_ID that joins the run.
    """

    id: RunId
    url: str
    reference: str

    def formatted(self, form: str) -> str:
        """Return the reference (``plain``), a line that sets the variable (``env``), or all of it (``json``)."""
        if form == "env":
            return f"FAMACASE_TESTOPS_RUN_ID={shlex.quote(self.reference)}"
        return self.reference if form == "plain" else json.dumps(dataclasses.asdict(self))


def run_id(text: str) -> RunId:
    """Return the id of the run that a text names: a reference, or any other id as it is.

    Raises:
        ValueError: The text names no run; the message says what is allowed.
    """
    try:
        reference = parse_run(text)
    except ValueError:
        reference = ""
    if not reference:
        raise ValueError(f"{text!r} names no run: a number, or id: and any other id")
    found = run_id_of(reference)
    return RunId(reference) if found is None else found


def request(
    settings: Settings, *, title: str, description: str, tags: tuple[str, ...], plan: int | None, environment: str
) -> RunRequest:
    """Return the request that creates a run. An argument wins over the settings, unless it is empty or None."""
    settings = dataclasses.replace(
        settings,
        testops_run_title=title.strip() or settings.testops_run_title,
        testops_run_description=description.strip() or settings.testops_run_description,
        testops_run_tags=tuple(tag.strip() for tag in tags if tag.strip()) or settings.testops_run_tags,
        environment=environment.strip() or settings.environment,
    )
    planned = run_request(settings)
    return planned if plan is None else dataclasses.replace(planned, plan=plan)


@contextmanager
def connected(settings: Settings) -> Iterator[ProjectRuns]:
    """Yield the runs of the project that the settings name.

    Raises:
        SettingsError: The server's address, the token or the project is missing.
    """
    settings.check_reachable("famacase-xdist run")
    with contextlib.closing(connect(Server.of(settings), settings.project, settings.timeout)) as api:
        yield ProjectRuns(api, settings.retry_attempts, settings.token)


class ProjectRuns:
    """The runs of a project. Each method raises `errors.FamacaseError` when its last try has failed."""

    def __init__(self, api: Api, attempts: int, token: str) -> None:
        self._api = api
        self._attempts = attempts
        self._masked = TokenAuth(token).masked

    def create(self, request: RunRequest) -> Created:
        """Create a run. The idempotency key of the request prevents a second run when an answer was lost."""
        self._ask(self._api.check_project)
        slug = request.environment
        if slug is not None and self._ask(lambda: self._api.environment_id(slug)) is None:
            raise SettingsError(f"there is no environment {slug} in project {self._api.project}")
        made = self._ask(lambda: self._api.create_run(request))
        url, reference = self._api.run_url(made), reference_of(made)
        if not _is_joinable(reference):
            raise NoAnswer(f"a run was created, but no job can join it by its id {made!r}: {url}", cause="answer")
        return Created(made, url, reference)

    def show(self, run_id: RunId, form: str) -> str:
        """Return what the server says about a run, as ``plain`` text or as ``json``."""
        said = self._known(run_id, self._api.run)
        if form == "json":
            return self._masked(json.dumps(said))
        return self._masked("\n".join(_described({"id": run_id, "url": self._api.run_url(run_id), **said})))

    def complete(self, run_id: RunId) -> str:
        """Complete a run, which may be complete already, and return its address."""
        self._known(run_id, self._api.complete_run)
        return self._api.run_url(run_id)

    def _known(self, run_id: RunId, call: Callable[[RunId], T]) -> T:
        self._ask(self._api.check_project)
        text = f"there is no run {reference_of(run_id)} in project {self._api.project}"
        return self._ask(lambda: call(run_id), absent=text)

    def _ask(self, call: Callable[[], T], *, absent: str = "") -> T:
        """Make a call. If the server answers 404, the error says `absent`."""
        try:
            return retrying(self._attempts)(call)
        except Refused as error:
            if error.status == 404 and absent:
                raise Refused(absent, status=404) from None
            raise


def _is_joinable(reference: str) -> bool:
    # Scripts append the reference to files such as $GITHUB_ENV. A line break in it would set other variables.
    try:
        return parse_run(reference) == reference
    except ValueError:
        return False


def _described(run: Mapping[str, object]) -> Iterator[str]:
    named = {"id": "id", "title": "title", "status": "status", "url": "link"}
    for name, label in named.items():
        if isinstance(run.get(name), (str, int)):
            yield f"{label}: {_line(run[name])}"
    counts = run.get("counts")
    if isinstance(counts, Mapping):
        told = [f"{count} {_line(status)}" for status, count in counts.items() if isinstance(count, int) and count]
        yield f"results: {', '.join(told) or 'none'}"


def _line(value: object) -> str:
    """Return a value on one line, without characters that a terminal takes for a command."""
    return "".join(character if character.isprintable() else " " for character in str(value))
