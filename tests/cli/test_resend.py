"""What the command prints: a line for each outbox, and no problem where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from harness.outboxes import left_behind
from harness.results import result
from harness.server import TOKEN, Backend

from famacase_xdist.cli import resend as module
from famacase_xdist.delivery.resend import Leftover
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import OutboxFiles, StateDirectory

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A function that runs the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAMACASE_TESTOPS_API_TOKEN", TOKEN)

    def call(*args: str) -> Result:
        return CliRunner().invoke(module.resend, [*args, "--state-dir", str(tmp_path / "state")])

    return call


@pytest.fixture
def left(tmp_path: Path, backend: Backend) -> OutboxFiles:
    """The outbox of a session that left one result."""
    files = StateDirectory(tmp_path / "state").outbox("20260101T000000-a")
    facts = Run.from_settings(Settings()).facts()
    left_behind(files, [result()], host=backend.url, project="DEMO", database=None, pid=1, **facts)
    return files


def test_where_nothing_is_left_that_is_said(call: Call, tmp_path: Path) -> None:
    for ran in (call(), call("--list")):
        assert (ran.exit_code, ran.output.strip()) == (0, f"nothing to send in {tmp_path / 'state' / 'outbox'}")


def test_what_is_left_is_shown_and_not_sent(call: Call, left: OutboxFiles, backend: Backend) -> None:
    ran = call("--list")

    assert (ran.exit_code, backend.seen) == (1, [])
    assert ran.output == f"{left.session}: 1 results for a run still to be created, project DEMO, {backend.url}\n"


def test_what_is_left_is_sent(call: Call, left: OutboxFiles, backend: Backend) -> None:
    ran = call()

    run = backend.store.runs()[0]
    assert ran.exit_code == 0
    assert ran.output.strip() == f"{left.session}: delivered 1, left 0; {backend.url}/runs/{run.id} (completed)"


def test_a_problem_is_named_and_the_status_says_so(call: Call, left: OutboxFiles) -> None:
    Path(left.segment(1)).write_bytes(b"garbage" * 100)

    ran = call()

    assert ran.exit_code == 1
    assert "left 1; " in ran.output
    assert "; problem: " in ran.output


def test_what_a_courier_delivers_after_the_look_is_no_problem(
    call: Call, left: OutboxFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = module.leftovers

    def look_and_deliver(settings: Settings, patience: float) -> list[Leftover]:
        found = look(settings, patience)
        shutil.rmtree(left.path)
        return found

    monkeypatch.setattr(module, "leftovers", look_and_deliver)

    ran = call()

    assert (ran.exit_code, ran.output.strip()) == (0, f"{left.session}: another process has delivered it")
