"""Which destination a session has, what is ready when it is open, and what is left when it is closed."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from harness.outboxes import failing, left_behind
from harness.results import result
from harness.server import TOKEN, Backend, answer

from famacase_xdist.delivery import plan as plan_module
from famacase_xdist.delivery.destination import Destination
from famacase_xdist.delivery.file_report import FileReport
from famacase_xdist.delivery.opening import Opening
from famacase_xdist.delivery.project import ProjectDestination
from famacase_xdist.delivery.projects import ProjectsDestination
from famacase_xdist.errors import FamacaseError, NoAnswer, PlanError, Refused, ReportError
from famacase_xdist.settings.projects import Projects
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import EMBEDDED_DATABASE, StateDirectory
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox

DEADLINE = 10.0
PID = 4711


class Session:
    """The journals of a session, and the opening of its destination.

    Args:
        settings: Of the session.
        path: A directory for all files.
        codes: The projects.
    """

    def __init__(self, settings: Settings, path: Path, codes: tuple[str, ...] = ("DEMO",)) -> None:
        self.state = StateDirectory(path / "state")
        self.journals = {code: Journal(self.state.new_outbox()) for code in codes}
        self.settings = dataclasses.replace(settings, state_dir=self.state.path)
        self.kept = {code: (journal.files.session, "") for code, journal in self.journals.items()}
        self.path = path

    def opening(self) -> Opening:
        """Return the opening."""
        return Opening(self.settings, self.state.path, self.kept, self.path / "cwd", self.path / "root", PID)

    def finish(self, destination: Destination, **accepted: int) -> Any:
        """End the session, and return what became of the results."""
        destination.request_stop({code: Counter(accepted) for code in self.journals}, is_finished=True)
        while not destination.is_idle:
            pass
        outcome = destination.close()
        destination.release()
        return outcome

    def close(self) -> None:
        """Close the journals."""
        for journal in self.journals.values():
            journal.close()


@pytest.fixture
def settings(backend: Backend) -> Settings:
    return Settings(
        mode="testops", api_url=backend.url, testops_api_token=TOKEN, testops_project="DEMO", retry_attempts=1
    )


def test_a_project(settings: Settings, backend: Backend, tmp_path: Path) -> None:
    session = Session(settings, tmp_path)
    session.journals["DEMO"].append([result()])
    opening = session.opening()

    with opening.opened(print) as destination:
        assert isinstance(destination, ProjectDestination)
        assert destination.run == (backend.store.runs()[0].id, f"{backend.url}/runs/{backend.store.runs()[0].id}")
        outcome = session.finish(destination, passed=1)

    assert (outcome.delivered, backend.titles(), opening.cases) == ({"passed": 1}, ["test_a"], None)
    assert opening.session == session.kept["DEMO"][0]
    assert opening.mask.text(f"Token {TOKEN}") == "Token " + "*" * len(TOKEN)


def test_several_projects(settings: Settings, backend: Backend, tmp_path: Path) -> None:
    projects = Projects("ONE", ({"testops_project": "ONE"}, {"testops_project": "TWO"}))
    settings = dataclasses.replace(settings, mode="testops_multi", testops_multi=projects, testops_project=None)
    session = Session(settings, tmp_path, ("ONE", "TWO"))

    with session.opening().opened(print) as destination:
        assert isinstance(destination, ProjectsDestination)
        assert sorted(run.project for run in backend.store.runs()) == ["ONE", "TWO"]
        session.finish(destination)


def test_a_report_is_below_the_directory_that_pytest_was_started_in(settings: Settings, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, mode="report", report_connection_path=Path("report"))
    session = Session(settings, tmp_path, ("",))
    session.journals[""].append([result()])

    with session.opening().opened(print) as destination:
        assert isinstance(destination, FileReport)
        outcome = session.finish(destination, passed=1)

    assert len(list((tmp_path / "cwd" / "report" / "results").iterdir())) == 1
    assert outcome.delivered == {"passed": 1}
    assert not session.state.path.exists()


def test_what_could_not_be_begun_lets_go_of_the_outbox(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = dataclasses.replace(settings, mode="report", report_connection_path=tmp_path / "file" / "report")
    session = Session(settings, tmp_path, ("",))

    with pytest.raises(ReportError), session.opening().opened(print):
        pass

    Outbox(session.journals[""].files, beside_writer=True).close()
    assert session.state.path.exists()


@pytest.mark.process
def test_the_embedded_server_lives_as_long_as_the_block(settings: Settings, tmp_path: Path) -> None:
    session = Session(dataclasses.replace(settings, mode="embedded"), tmp_path)

    with session.opening().opened(print) as destination:
        outcome = session.finish(destination)
        assert (tmp_path / "root" / EMBEDDED_DATABASE).exists()

    assert f"--database {tmp_path / 'root' / EMBEDDED_DATABASE}" in outcome.where[-1]


# The plan


def test_the_cases_of_a_plan_are_there_before_the_run(settings: Settings, backend: Backend, tmp_path: Path) -> None:
    backend.store.add_plan("DEMO", [1, 2], 8)
    opening = Session(dataclasses.replace(settings, testops_plan_id=8), tmp_path).opening()

    with opening.opened(print):
        pass

    assert opening.cases == {1, 2}
    lines = [seen.line for seen in backend.seen]
    assert lines.index(next(line for line in lines if line.endswith("/plans/8/cases"))) == 0


def test_a_plan_that_is_not_there_is_fatal(settings: Settings, backend: Backend, tmp_path: Path) -> None:
    opening = Session(dataclasses.replace(settings, testops_plan_id=9), tmp_path).opening()

    with pytest.raises(PlanError) as caught, opening.opened(print):
        pass

    assert opening.fatal(caught.value) == plan_module.refusal(opening._settings, caught.value)
    assert backend.store.runs() == []


@pytest.mark.parametrize("error", [PlanError("x"), NoAnswer("x", cause="timeout"), Refused("x", status=500)])
def test_without_a_plan_no_error_is_fatal(error: FamacaseError, settings: Settings, tmp_path: Path) -> None:
    assert Session(settings, tmp_path).opening().fatal(error) == ""


def test_what_takes_long_is_said(settings: Settings, backend: Backend, tmp_path: Path) -> None:
    backend.store.add_plan("DEMO", [1], 8)
    backend.inject(r".*/cases", answer(503, b'{"detail": "later"}'))
    settings = dataclasses.replace(settings, testops_plan_id=8, retry_attempts=2)
    said: list[str] = []

    with Session(settings, tmp_path).opening().opened(said.append):
        pass

    assert said == ["waiting for test plan 8: HTTP 503: later"]


# Outboxes


def test_an_outbox_that_could_not_be_made_is_in_memory_and_the_header_says_so(
    settings: Settings, backend: Backend, tmp_path: Path
) -> None:
    session = Session(settings, tmp_path)
    session.close()
    session.kept = {"DEMO": ("20260101T000000-none", "outbox: Read-only file system")}
    backend.inject(r"POST .*/runs", answer(503), float("inf"))

    with session.opening().opened(print) as destination:
        destination.accept("DEMO", [result()], "outbox: Read-only file system")
        (header,) = destination.header()
        outcome = session.finish(destination, passed=1)

    assert header.endswith("what is not delivered in this session is lost")
    assert (outcome.undelivered, outcome.outboxes) == (1, ())
    assert outcome.problems == ("results were kept in memory only: outbox: Read-only file system",)


def test_an_outbox_that_cannot_be_opened_is_undelivered_and_kept_for_a_resend(
    settings: Settings, backend: Backend, tmp_path: Path
) -> None:
    session = Session(settings, tmp_path)
    session.journals["DEMO"].append([result()])
    files = session.journals["DEMO"].files

    with failing("open", errno.EROFS):
        opened = session.opening().opened(print)
        destination = opened.__enter__()
    outcome = session.finish(destination, passed=1)
    opened.__exit__(None, None, None)
    session.close()

    assert dict(outcome.causes) == {f"outbox {files.path}: Read-only file system": 1}
    assert (outcome.outboxes, backend.store.runs()[0].status) == ((files.path,), "active")
    with contextlib.closing(Outbox(files)) as outbox:
        assert outbox.undelivered() == 1


def test_what_earlier_sessions_left_is_told_and_this_one_is_none_of_them(settings: Settings, tmp_path: Path) -> None:
    session = Session(settings, tmp_path)
    session.journals["DEMO"].append([result()])
    left_behind(session.state.outbox("20200101T000000-a"), [result()], host="h", project="DEMO")
    opening = session.opening()

    with opening.opened(print):
        pass

    assert opening.leftovers.startswith("famacase: 1 results of 1 earlier sessions were not delivered")
