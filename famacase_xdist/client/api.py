"""The calls of `docs/reporter-api.md`, one method each; no retries, no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType
from urllib.parse import quote, urlencode

from famacase_xdist.errors import NoAnswer, Refused
from famacase_xdist.results.text import to_json
from famacase_xdist.settings.parsers import REPORTER_PATH
from famacase_xdist.settings.run_reference import RunId

from .transport import File, Transport

#: The server's id of an environment: a JSON value that means something only to the server.
EnvironmentId = NewType("EnvironmentId", object)

#: Limits of the server.
MOST_RESULTS = 200
MOST_FILES = 20
MOST_FILE_BYTES = 32 * 1024 * 1024
MOST_REQUEST_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request for a new run.

    Attributes:
        title, description: Texts for people.
        key: The Idempotency-Key.
        tags: The run's tags.
        environment: The slug of its environment; None if it has none.
        plan: The id of its test plan; None if it has none.
    """

    title: str
    description: str
    key: str
    tags: tuple[str, ...] = ()
    environment: str | None = None
    plan: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> RunRequest:
        """Return the request that `dataclasses.asdict` turned into these values; JSON may have made a list of its tags.

        Raises:
            TypeError, KeyError: The values are those of something else.
        """
        tags = values["tags"]
        if not isinstance(tags, list | tuple):
            raise TypeError(f"tags are no list: {tags!r}")
        make: Callable[..., RunRequest] = cls
        return make(**{**values, "tags": tuple(tags)})


class Api:
    """The server's calls for one project.

    Every method that sends a request raises a `DeliveryError` if it fails: `NoAnswer` or `Refused`.

    Args:
        transport: Sends the requests; `close` closes it.
        host: The server's address, without the API's path.
        project: The project's code.
        timeout: Seconds to connect, and seconds between two pieces of an answer.
    """

    def __init__(self, transport: Transport, host: str, project: str, *, timeout: float) -> None:
        self.host = host
        self.project = project
        self._transport = transport
        self._base = f"{host}{REPORTER_PATH}/projects/{quote(project, safe='')}"
        self._timeout = timeout

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def run_url(self, run_id: RunId) -> str:
        """Return the address of a run's page."""
        return f"{self.host}/runs/{quote(str(run_id), safe='')}"

    def check_project(self) -> None:
        """Check that the server has the project, and that the token is valid for it."""
        try:
            self._call("GET", "")
        except Refused as error:
            if error.status != 404:
                raise
            raise Refused(f"there is no project {self.project} at {self.host}", status=404) from None

    def environment_id(self, slug: str) -> EnvironmentId | None:
        """Return the id of an environment; None if the server does not know the slug."""
        found = _list(self._call("GET", f"/environments?{urlencode({'slug': slug})}") or [])
        return EnvironmentId(_member(found[0], "id")) if found else None

    def plan_cases(self, plan_id: int) -> list[int]:
        """Return the case ids of a test plan."""
        cases = _list(_member(self._call("GET", f"/plans/{plan_id}/cases"), "case_ids"))
        # Not isinstance: true and false are ints too.
        ids = [each for each in cases if type(each) is int]
        if len(ids) < len(cases):
            raise NoAnswer("the plan's case ids are not numbers; is the address right?", cause="answer")
        return ids

    def create_run(self, request: RunRequest) -> RunId:
        """Create a run, and return its id. An environment that the server does not know is left out."""
        body: dict[str, object] = {"title": request.title, "description": request.description, "is_autotest": True}
        if request.tags:
            body["tags"] = list(request.tags)
        if request.plan is not None:
            body["plan_id"] = request.plan
        if request.environment is not None:
            environment_id = self.environment_id(request.environment)
            if environment_id is not None:
                body["environment_id"] = environment_id
        answer = self._call("POST", "/runs", body=to_json(body), headers={"Idempotency-Key": request.key})
        return RunId(_member(answer, "id"))

    def check_run(self, run_id: RunId) -> None:
        """Check that the server has a run."""
        self._call("GET", self._run(run_id))

    def run(self, run_id: RunId) -> dict[str, object]:
        """Return the server's facts about a run; empty if the server says only that it has the run."""
        answer = self._call("GET", self._run(run_id))
        return dict(answer) if isinstance(answer, Mapping) else {}

    def send_results(self, run_id: RunId, results: Sequence[bytes]) -> None:
        """Send at most `MOST_RESULTS` results, each of them as JSON."""
        body = b'{"results":[' + b",".join(results) + b"]}"
        self._call("POST", f"{self._run(run_id)}/results", body=body)

    def upload(self, files: Sequence[File]) -> list[object]:
        """Upload at most `MOST_FILES` attachments, and return their ids in the same order."""
        answer = self._call("POST", "/attachments", files=files)
        ids = [_member(each, "id") for each in _list(_member(answer, "attachments"))]
        if len(ids) != len(files):
            raise NoAnswer(f"{len(files)} files were sent, the answer names {len(ids)}", cause="answer")
        return ids

    def complete_run(self, run_id: RunId) -> None:
        """Mark a run as complete."""
        self._call("POST", f"{self._run(run_id)}/complete")

    def publish_run(self, run_id: RunId) -> str:
        """Make a run's page public, and return its link."""
        answer = self._call("POST", f"{self._run(run_id)}/public", body=to_json({"status": True}))
        return str(_member(answer, "url"))

    def _run(self, run_id: RunId) -> str:
        return f"/runs/{quote(str(run_id), safe='')}"

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        files: Sequence[File] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        url = self._base + path
        return self._transport.send(method, url, body=body, files=files, headers=headers, timeout=self._timeout)


def _member(answer: object, name: str) -> object:
    value = answer.get(name) if isinstance(answer, Mapping) else None
    if value is None:
        raise NoAnswer(f"the answer has no {name!r}; is the address right?", cause="answer")
    return value


def _list(answer: object) -> list[object]:
    if not isinstance(answer, list):
        raise NoAnswer("the answer is not a list; is the address right?", cause="answer")
    return answer
