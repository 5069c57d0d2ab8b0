"""Several projects: which outbox a frame goes to, whatever order the news come in."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.results import attachment, begun, described, result

from famacase_xdist.client.server import Server
from famacase_xdist.delivery.destination import Outcome
from famacase_xdist.delivery.project import ProjectDestination
from famacase_xdist.delivery.projects import ProjectsDestination
from famacase_xdist.errors import OutboxError
from famacase_xdist.results import synthetic
from famacase_xdist.results.body import reference
from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead
from famacase_xdist.settings.projects import Projects
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.state.outbox import Outbox

NODEID = "t.py::test_a"
IGNORED = Frame(IgnoredHead(NODEID))
BEGAN = begun(NODEID)


@pytest.fixture
def nobody() -> Iterator[Server]:
    """A server that refuses connections, so that all stays in the outboxes."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield Server(f"http://127.0.0.1:{reserved.getsockname()[1]}", "rep_token")


class Session:
    """A session of the projects ONE, the default, and TWO."""

    def __init__(self, server: Server, state: Path) -> None:
        projects = Projects("ONE", ({"testops_project": "ONE"}, {"testops_project": "TWO"}))
        self._settings = Settings(
            mode="testops_multi", testops_multi=projects, state_dir=state, retry_attempts=1, timeout=1.0
        )
        self.deliveries = ProjectsDestination(self._settings, server)
        self.deliveries.start(print)

    def end(self, *frames: AnyFrame) -> Outcome:
        self.deliveries.keep(frames)
        return self.deliveries.finish(0.0, is_finished=True)

    def outboxes(self) -> dict[str, Outbox]:
        """Open the outboxes by project."""
        opened = [Outbox(files) for files in StateDirectory.of(self._settings).all_outboxes()]
        return {outbox.session()["project"]: outbox for outbox in opened}

    def results(self) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for code, outbox in self.outboxes().items():
            with contextlib.closing(outbox):
                found[code] = [json.loads(queued.body) for queued in outbox.take(99, 10**9)]
        return found

    def running(self) -> dict[str, list[tuple[str, bytes]]]:
        found = {}
        for code, outbox in self.outboxes().items():
            with contextlib.closing(outbox):
                found[code] = outbox.running()
        return found


@pytest.fixture
def session(nobody: Server, tmp_path: Path) -> Session:
    return Session(nobody, tmp_path)


def test_a_result_without_projects_goes_to_the_default_one_as_it_is(session: Session) -> None:
    frame = result(testops_ids=[9])
    session.end(frame)

    assert session.results() == {"ONE": [json.loads(frame.body)], "TWO": []}


def test_a_result_of_two_projects_has_an_id_and_case_ids_in_each(session: Session) -> None:
    frame = result(projects={"ONE": [1, 2], "TWO": [3]})
    outcome = session.end(frame, frame)

    found = session.results()
    assert {code: [each["testops_ids"] for each in results] for code, results in found.items()} == {
        "ONE": [[1, 2]],
        "TWO": [[3]],
    }
    assert len({frame.head.id, *(each["id"] for results in found.values() for each in results)}) == 3
    assert outcome.undelivered == 2


def test_references_to_attachments_are_the_copys_own(session: Session) -> None:
    digest, _ = attachment(b"abc")
    session.end(result(projects={"TWO": [3]}, attached={"a.txt": digest}))

    (copy,) = session.results()["TWO"]
    assert copy["attachments"] == [{"id": reference(copy["id"], digest), "file_name": "a.txt"}]


def test_a_project_that_nobody_has_set_up_is_named_and_the_result_is_not_lost(session: Session) -> None:
    outcome = session.end(result(projects={"GONE": [5]}), result(projects={"GONE": [5], "TWO": [6]}))

    found = session.results()
    assert [each["testops_ids"] for each in found["ONE"]] == [None]
    assert [each["testops_ids"] for each in found["TWO"]] == [[6]]
    assert "2 results name project GONE, which is not in testops_multi" in outcome.problems


@pytest.mark.parametrize(
    ("frames", "running"),
    [
        ([BEGAN], {"ONE": 1, "TWO": 0}),
        ([BEGAN, described(NODEID, projects={"TWO": [3]})], {"ONE": 0, "TWO": 1}),
        ([described(NODEID, projects={"TWO": [3]}), BEGAN], {"ONE": 0, "TWO": 1}),
        ([described(NODEID, projects={"ONE": [1], "TWO": [3]}), BEGAN], {"ONE": 1, "TWO": 1}),
        ([described(NODEID), BEGAN], {"ONE": 1, "TWO": 0}),
        ([described(NODEID, projects={"ONE": [1], "TWO": [3]}), result(projects={"TWO": [3]})], {"ONE": 0, "TWO": 0}),
        ([BEGAN, result(projects={"TWO": [3]})], {"ONE": 0, "TWO": 0}),
        ([described(NODEID, projects={"ONE": [1], "TWO": [3]}), IGNORED], {"ONE": 0, "TWO": 0}),
    ],
)
def test_a_test_runs_in_its_projects_only(frames: list[AnyFrame], running: dict[str, int], session: Session) -> None:
    for frame in frames:
        session.deliveries.keep([frame])
    session.end()

    assert {code: len(found) for code, found in session.running().items()} == running


def test_what_is_rebuilt_of_a_running_test_has_the_id_that_its_result_would_have(
    session: Session, nobody: Server, tmp_path: Path
) -> None:
    frame = described(NODEID, projects={"TWO": [3]})
    session.end(synthetic.result(NODEID, "invalid", "died", described=frame.body))
    killed = Session(nobody, tmp_path / "killed")
    killed.end(frame)

    (sent,) = session.results()["TWO"]
    ((_, body),) = killed.running()["TWO"]
    assert sent["id"] == json.loads(body)["id"]
    assert (sent["testops_ids"], json.loads(body)["testops_ids"]) == ([3], [3])
    assert "testops_project_mapping" not in sent.keys() | json.loads(body).keys()


def test_an_outbox_that_fails_keeps_nothing_from_the_others(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = ProjectDestination.keep

    def fails_once(self: ProjectDestination, frames: Any) -> None:
        monkeypatch.setattr(ProjectDestination, "keep", keep)
        raise OutboxError("full")

    monkeypatch.setattr(ProjectDestination, "keep", fails_once)

    with pytest.raises(OutboxError, match="full"):
        session.deliveries.keep([result(projects={"ONE": [1], "TWO": [3]})])

    session.end()
    assert {code: len(found) for code, found in session.results().items()} == {"ONE": 0, "TWO": 1}
