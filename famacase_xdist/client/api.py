"""The calls of reporter-api.md, one method each; no retries, no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from famacase_xdist.errors import NoAnswer, Refused
from famacase_xdist.results.text import to_json
from famacase_xdist.settings.parsers import REPORTER_PATH
from famacase_xdist.settings.run_reference import RunId

from .transport import File, Transport

#: Limits of the server.
MOST_RESULTS = 200
MOST_FILES = 20
MOST_FILE_BYTES = 32 * 1024 * 1024
MOST_REQUEST_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a new run is made from; `key` is its Idempotency-Key."""

    title: str
    description: str
    key: str
    tags: tuple[str, ...] = ()
    environment: str | None = None
    plan: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunRequest:
        """Rebuild what `dataclasses.asdict` gave and JSON carried, which has no tuples.

        Raises:
            TypeError, KeyError: It is something else.
        """
        return cls(**{**values, "tags": tuple(values["tags"])})


class Api:
    """The server's calls for one project.

    Every method raises `errors.DeliveryError`: `NoAnswer` or `Refused`.
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
        """Give the address of a run's page."""
        return f"{self.host}/runs/{quote(str(run_id), safe='')}"

    def check_project(self) -> None:
        """Make sure that the project is there and the token opens it."""
        try:
            self._call("GET", "")
        except Refused as error:
            if error.status != 404:
                raise
            raise Refused(f"there is no project {self.project} at {self.host}", status=404) from None

    def environment_id(self, slug: str) -> int | None:
        """Give the id of an environment, or None where the slug is unknown."""
        found = _list(self._call("GET", f"/environments?{urlencode({'slug': slug})}") or [])
        return _member(found[0], "id") if found else None

    def plan_cases(self, plan_id: int) -> list[int]:
        """Give the case ids of a test plan."""
        cases = _list(_member(self._call("GET", f"/plans/{plan_id}/cases"), "case_ids"))
        if not all(type(each) is int for each in cases):
            raise NoAnswer("the plan's case ids are no numbers; is the address right?", cause="answer")
        return cases

    def create_run(self, request: RunRequest) -> RunId:
        """Create a run and give its id."""
        body: dict[str, Any] = {"title": request.title, "description": request.description, "is_autotest": True}
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
        """Make sure that a run is there."""
        self._call("GET", self._run(run_id))

    def run(self, run_id: RunId) -> dict[str, Any]:
        """Give what the server says of a run, which may be nothing but that it is there."""
        answer = self._call("GET", self._run(run_id))
        return dict(answer) if isinstance(answer, Mapping) else {}

    def send_results(self, run_id: RunId, results: Sequence[bytes]) -> None:
        """Send results, each the JSON of one; at most `MOST_RESULTS`."""
        body = b'{"results":[' + b",".join(results) + b"]}"
        self._call("POST", f"{self._run(run_id)}/results", body=body)

    def upload(self, files: Sequence[File]) -> list[object]:
        """Upload attachments, at most `MOST_FILES`, and give their ids in the same order."""
        answer = self._call("POST", "/attachments", files=files)
        ids = [_member(each, "id") for each in _list(_member(answer, "attachments"))]
        if len(ids) != len(files):
            raise NoAnswer(f"{len(files)} files were sent, the answer names {len(ids)}", cause="answer")
        return ids

    def complete_run(self, run_id: RunId) -> None:
        """Mark a run as complete."""
        self._call("POST", f"{self._run(run_id)}/complete")

    def publish_run(self, run_id: RunId) -> str:
        """Make a run's page public and give its link."""
        answer = self._call("POST", f"{self._run(run_id)}/public", body=to_json({"status": True}))
        return str(_member(answer, "url"))

    def _run(self, run_id: RunId) -> str:
        return f"/runs/{quote(str(run_id), safe='')}"

    def _call(self, method: str, path: str, **content: Any) -> Any:
        return self._transport.send(method, self._base + path, timeout=self._timeout, **content)


def _member(answer: object, name: str) -> Any:
    value = answer.get(name) if isinstance(answer, Mapping) else None
    if value is None:
        raise NoAnswer(f"the answer has no {name!r}; is the address right?", cause="answer")
    return value


def _list(answer: object) -> list[Any]:
    if not isinstance(answer, list):
        raise NoAnswer("the answer is no list; is the address right?", cause="answer")
    return answer
