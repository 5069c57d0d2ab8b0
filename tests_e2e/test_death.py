"""The controller, or the only process, dies: its courier delivers what reached it, and `resend` what is left, once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness.server import COMPLETE, RESULTS, RUNS, Action, App, Backend, Send, answer, hang
from harness.suites import Suite

FINISHED = 30
SUITE = f"""
    import os, pathlib, signal, time
    import pytest
    from qase.pytest import qase

    @pytest.mark.parametrize("number", range({FINISHED}))
    def test_before(number):
        pass

    @qase.id(5)
    @qase.title("Was running")
    def test_running():
        pathlib.Path("started").touch()
        DEATH
"""
ONE_PROCESS = ("-p", "no:xdist")


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


@pytest.fixture
def dying(suite: Suite, backend: Backend) -> Suite:
    # A session that dies gives its courier this time.
    suite.env.update(backend.environment(), FAMACASE_FLUSH_TIMEOUT="3")
    return suite


DEATHS = {
    "exit": "os._exit(3)",
    "sigkill": "os.kill(os.getpid(), signal.SIGKILL)",
    "segfault": "os.kill(os.getpid(), signal.SIGSEGV)",
    "timeout": "time.sleep(60)",
}


def die(suite: Suite, death: str) -> None:
    """Run the suite until its death, and wait until its courier has ended."""
    suite.write("test_it.py", SUITE.replace("DEATH", DEATHS[death]))
    options = ("-o", "timeout=1", "-o", "timeout_method=thread") if death == "timeout" else ()
    suite.run(*ONE_PROCESS, "-p", "no:faulthandler", *options)
    suite.await_couriers()


@pytest.mark.parametrize("death", DEATHS)
def test_the_courier_delivers_what_one_process_left_that_died(death: str, dying: Suite, backend: Backend) -> None:
    die(dying, death)

    all_is_there(backend)
    assert dying.leftovers() == []


def test_what_the_courier_could_not_deliver_is_left_to_resend(dying: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503), times=float("inf"))
    die(dying, "sigkill")
    assert backend.results() == []
    backend.faults.clear()

    sent = dying.resend()

    assert sent.status == 0, sent.text
    assert f"delivered {FINISHED + 1}, left 0" in sent.stdout
    all_is_there(backend)
    assert dying.leftovers() == []


def all_is_there(backend: Backend) -> None:
    """Check that one complete run has each finished test, and the one that was running as invalid."""
    assert len([each for each in backend.results() if each["title"] == "test_before"]) == FINISHED
    (running,) = [each for each in backend.results() if each["title"] == "Was running"]
    assert running["execution"]["status"] == "invalid"
    assert running["testops_ids"] == [5]
    assert running["message"] == "the process ended while this test was running"
    assert len(backend.results()) == FINISHED + 1
    assert [run.status for run in backend.store.runs()] == ["completed"]


def test_resend_twice_sends_nothing_twice(dying: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503), times=float("inf"))
    die(dying, "exit")
    backend.faults.clear()

    first, second = dying.resend(), dying.resend()

    assert first.status == second.status == 0, first.text
    assert "nothing to send" in second.stdout
    assert len(backend.results()) == FINISHED + 1
    (run,) = backend.store.runs()
    assert {stored.times_received for stored in backend.store.stored_results(run.id)} == {1}


def refusing(results: int, arrived: threading.Event) -> Action:
    """Answer 503, and tell when one request has held so many results: then all of them are in the outbox."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if len(json.loads(body)["results"]) >= results:
            arrived.set()
        await answer(503)(app, scope, read, send)

    async def read() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    return act


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_controller_leaves_what_reached_it(number: signal.Signals, dying: Suite, backend: Backend) -> None:
    dying.write("test_it.py", SUITE.replace("DEATH", "time.sleep(60)"))
    arrived = threading.Event()
    backend.inject(RESULTS, refusing(FINISHED, arrived), times=float("inf"))
    process = dying.start("-n2", FAMACASE_RETRY_ATTEMPTS="1")
    wait_for(dying.path / "started")
    assert arrived.wait(60), "the controller never had all results"

    os.kill(process.pid, number)
    stdout, stderr = process.communicate(timeout=40)
    assert process.returncode == -number, stdout + stderr
    dying.await_couriers()
    backend.faults.clear()
    sent = dying.resend()

    assert sent.status == 0, sent.text
    titles = [each["title"] for each in backend.results()]
    assert titles.count("test_before") == FINISHED
    assert titles.count("Was running") == 1
    assert [run.status for run in backend.store.runs()] == ["completed"]


@pytest.mark.parametrize("args", [ONE_PROCESS, ("-n2",)], ids=["no-xdist", "n2"])
def test_ctrl_c_ends_the_session_with_a_flush(args: tuple[str, ...], dying: Suite, backend: Backend) -> None:
    dying.write("test_it.py", SUITE.replace("DEATH", "time.sleep(60)"))
    process = dying.start(*args)
    wait_for(dying.path / "started")

    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=40)

    assert process.returncode == 2, stdout + stderr
    titles = [each["title"] for each in backend.results()]
    assert titles.count("test_before") == FINISHED, stdout
    assert "undelivered 0" in stdout
    assert "Traceback" not in stderr


@pytest.mark.parametrize("args", [ONE_PROCESS, ("-n2",)], ids=["no-xdist", "n2"])
def test_sigterm_ends_pytest_as_without_us_and_the_courier_delivers(
    args: tuple[str, ...], dying: Suite, backend: Backend
) -> None:
    dying.write("test_it.py", SUITE.replace("DEATH", "time.sleep(60)"))
    process = dying.start(*args)
    wait_for(dying.path / "started")

    os.kill(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=40)

    assert process.returncode == -signal.SIGTERM, stdout + stderr
    assert "Famacase =" not in stdout
    dying.await_couriers()
    assert [each["title"] for each in backend.results()].count("Was running") == 1
    assert dying.leftovers() == []


def test_an_interrupted_flush_takes_ten_seconds_at_most(dying: Suite, backend: Backend) -> None:
    dying.write("test_it.py", SUITE.replace("DEATH", "time.sleep(60)"))
    backend.inject(RESULTS, hang(backend), times=float("inf"))
    process = dying.start(*ONE_PROCESS, FAMACASE_FLUSH_TIMEOUT="60")
    wait_for(dying.path / "started")

    os.kill(process.pid, signal.SIGINT)
    began = time.monotonic()
    stdout, _ = process.communicate(timeout=60)

    assert time.monotonic() - began < 20
    assert "famacase-xdist resend" in stdout
    assert backend.requests(COMPLETE) == []
    assert len(dying.leftovers()) >= 1


def test_the_next_session_says_what_is_left_and_leaves_it(dying: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503), times=float("inf"))
    die(dying, "exit")
    backend.faults.clear()
    left = dying.leftovers()

    ran = dying.run(*ONE_PROCESS, "-k", "before")

    line = f"famacase: {FINISHED + 1} results of 1 earlier sessions were not delivered"
    assert line in ran.stdout, ran.text
    assert dying.leftovers() == left
    assert len(backend.results()) == FINISHED


def test_resend_leaves_a_live_session_alone(dying: Suite, backend: Backend) -> None:
    dying.write(
        "test_it.py", SUITE.replace("DEATH", "\n        while not pathlib.Path('go').exists(): time.sleep(0.05)")
    )
    process = dying.start(*ONE_PROCESS)
    wait_for(dying.path / "started")

    sent = dying.resend()
    (dying.path / "go").touch()
    stdout, stderr = process.communicate(timeout=60)

    assert "a session has it" in sent.stdout, sent.text
    assert process.returncode == 0, stdout + stderr
    assert len(backend.results()) == FINISHED + 1
    (run,) = backend.store.runs()
    assert {stored.times_received for stored in backend.store.stored_results(run.id)} == {1}


def test_list_and_dry_run_send_nothing(dying: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503), times=float("inf"))
    die(dying, "exit")
    backend.faults.clear()
    before = len(backend.seen)

    for option in ("--list", "--dry-run"):
        shown = dying.resend(option)
        assert f"{FINISHED + 1} results for run 1, project DEMO, {backend.url}" in shown.stdout
        assert shown.status == 1
    assert len(backend.seen) == before


def test_a_run_that_was_never_created_is_created_by_resend(dying: Suite, backend: Backend) -> None:
    dying.write("test_it.py", SUITE.replace("DEATH", "pass"))
    backend.inject(r"/DEMO", answer(503), times=float("inf"))

    ran = dying.run(*ONE_PROCESS, FAMACASE_RETRY_ATTEMPTS="1", FAMACASE_TESTOPS_RUN_TITLE="Nightly")
    assert ran.status == 0, ran.text
    assert "no run was opened" in ran.stdout
    assert f"undelivered {FINISHED + 1}" in ran.stdout
    backend.faults.clear()
    sent = dying.resend()

    assert sent.status == 0, sent.text
    assert [(run.title, run.status) for run in backend.store.runs()] == [("Nightly", "completed")]
    assert len(backend.requests(RUNS)) == 1
    assert len(backend.results()) == FINISHED + 1
