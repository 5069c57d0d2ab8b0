"""We take bounded time and can do without a disk: no hung server and no full disk holds up or harms a session."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.server import ATTACHMENTS, COMPLETE, RESULTS, TOKEN, Action, App, Backend, Send, delay, running
from harness.suites import Ran, Suite

ONE_PROCESS = ("-p", "no:xdist")
TWO_WORKERS = ("-n2",)
BOTH = pytest.mark.parametrize("args", [ONE_PROCESS, TWO_WORKERS], ids=["no-xdist", "n2"])
FOR_EVER = float("inf")
TESTS = 100
#: Seconds that a busy machine may take beside those that we wait for. The server is silent for as long as the test
#: lasts, so a wait without a deadline takes longer than any of these bounds.
SLACK = 15
QUICK = f"""
    import pytest

    @pytest.mark.parametrize("number", range({TESTS}))
    def test_quick(number):
        pass
"""
#: Takes the times of the controller, or of the only process.
TIMING = """
    import json, pathlib, time
    import pytest

    TIMES = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart():
        begun = time.monotonic()
        yield
        TIMES["start"] = time.monotonic() - begun

    def pytest_runtest_logstart():
        TIMES.setdefault("first", time.monotonic())

    def pytest_runtest_logfinish():
        TIMES["last"] = time.monotonic()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(session):
        begun = time.monotonic()
        yield
        TIMES["finish"] = time.monotonic() - begun
        if not hasattr(session.config, "workerinput"):
            pathlib.Path("times.json").write_text(json.dumps(TIMES))
"""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a session.

    Attributes:
        start: Of pytest's session start, with ours and that of the workers.
        tests: From the first test's start to the last one's end.
        finish: Of pytest's session finish, with ours and the end of the workers.
    """

    start: float
    tests: float
    finish: float


@pytest.fixture
def timed(suite: Suite, backend: Backend) -> Suite:
    """Return 100 quick tests, three seconds at the end, and a note of the times."""
    suite.write("test_quick.py", QUICK)
    suite.write("conftest.py", TIMING)
    suite.env.update(FAMACASE_FLUSH_TIMEOUT="3", **backend.environment())
    return suite


def times_of(suite: Suite) -> Times:
    times = json.loads((suite.path / "times.json").read_text())
    return Times(times["start"], times["last"] - times["first"], times["finish"])


def header(ran: Ran) -> str:
    """Return our lines of the header."""
    return "\n".join(line for line in ran.stdout.splitlines() if line.startswith("famacase:"))


def section(ran: Ran) -> str:
    """Return our section at the end."""
    _, found, rest = ran.stdout.partition("= Famacase =")
    assert found, ran.text
    lines = rest.splitlines()[1:]
    end = next((number for number, line in enumerate(lines) if line.startswith("===")), len(lines))
    return "\n".join(lines[:end])


def is_unharmed(ran: Ran) -> bool:
    """Say whether all tests passed and nothing of ours broke out."""
    return ran.status == 0 and not re.search(r"Traceback|INTERNALERROR|Exception", ran.text)


def numbers(backend: Backend) -> list[int]:
    return sorted(int(result["params"]["number"]) for result in backend.results())


def silent(backend: Backend) -> Action:
    """Neither read nor answer until the test is over."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        while not backend.released.is_set():
            await asyncio.sleep(0.1)

    return act


def trickle(backend: Backend) -> Action:
    """Begin an answer, and send a byte of it now and then until the test is over."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while not backend.released.is_set():
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.1)

    return act


# A server that does not answer


@pytest.mark.parametrize(
    ("trouble", "args"),
    [(silent, ONE_PROCESS), (silent, TWO_WORKERS), (trickle, ONE_PROCESS)],
    ids=["silent-no-xdist", "silent-n2", "trickle"],
)
def test_a_server_that_never_answers_costs_the_start_and_the_flush_and_no_test(
    trouble: Callable[[Backend], Action], args: tuple[str, ...], timed: Suite, backend: Backend
) -> None:
    backend.inject(".*", trouble(backend), times=FOR_EVER)

    ran = timed.run(*args, timeout=60)

    assert is_unharmed(ran), ran.text
    times = times_of(timed)
    assert 4.5 < times.start < 5 + SLACK, times
    assert times.tests < SLACK, times
    assert times.finish < 3 + SLACK, times
    assert "no run yet: the server has not answered yet; results are kept" in header(ran)
    assert f"collected {TESTS}, delivered 0, undelivered {TESTS}" in section(ran)
    assert len(timed.leftovers()) == 1
    assert "famacase-xdist resend" in section(ran)


@pytest.mark.parametrize("trouble", [silent, trickle], ids=["silent", "trickle"])
def test_results_that_are_never_acknowledged_cost_the_flush(
    trouble: Callable[[Backend], Action], timed: Suite, backend: Backend
) -> None:
    backend.inject(RESULTS, trouble(backend), times=FOR_EVER)

    ran = timed.run(*TWO_WORKERS, FAMACASE_TESTOPS_BATCH_SIZE="20", timeout=60)

    assert is_unharmed(ran), ran.text
    times = times_of(timed)
    assert times.start < SLACK, times
    assert times.tests < SLACK, times
    assert times.finish < 3 + SLACK, times
    assert f"delivered 0, undelivered {TESTS}" in section(ran)
    assert "(not completed: " in section(ran)
    assert backend.requests(COMPLETE) == []
    assert len(timed.leftovers()) == 1


@pytest.mark.parametrize("trouble", [silent, trickle], ids=["silent", "trickle"])
def test_a_completion_that_is_never_answered_costs_seconds(
    trouble: Callable[[Backend], Action], timed: Suite, backend: Backend
) -> None:
    backend.inject(COMPLETE, trouble(backend), times=FOR_EVER)

    ran = timed.run(*ONE_PROCESS, timeout=50)

    assert is_unharmed(ran), ran.text
    assert times_of(timed).finish < 3 + 5 + SLACK
    assert numbers(backend) == list(range(TESTS))
    assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in section(ran)
    assert "(not completed: " in section(ran)
    assert "could not be completed" in section(ran)


def test_uploads_that_are_never_answered_cost_the_flush(timed: Suite, backend: Backend) -> None:
    timed.write(
        "test_attaching.py",
        """
        from qase.pytest import qase

        def test_attaching():
            for number in range(4):
                qase.attach((bytes([number]) * 5_000_000, "text/plain", f"{number}.txt"))
        """,
    )
    backend.inject(ATTACHMENTS, silent(backend), times=FOR_EVER)

    ran = timed.run(*ONE_PROCESS, timeout=60)

    assert is_unharmed(ran), ran.text
    times = times_of(timed)
    assert times.tests < SLACK, times
    assert times.finish < 3 + SLACK, times
    assert f"undelivered {TESTS + 1}" in section(ran)
    assert len(timed.leftovers()) == 1


@BOTH
def test_a_slow_server_gets_everything_and_no_test_waits(args: tuple[str, ...], timed: Suite, backend: Backend) -> None:
    backend.inject(".*", delay(1.0), times=FOR_EVER)

    ran = timed.run(*args, FAMACASE_FLUSH_TIMEOUT="30", timeout=60)

    assert is_unharmed(ran), ran.text
    assert times_of(timed).tests < SLACK
    assert numbers(backend) == list(range(TESTS))
    assert [run.status for run in backend.store.runs()] == ["completed"]


def test_a_flush_timeout_of_zero_ends_at_once_and_keeps_everything(timed: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, silent(backend), times=FOR_EVER)

    ran = timed.run(*ONE_PROCESS, FAMACASE_FLUSH_TIMEOUT="0", timeout=60)

    assert is_unharmed(ran), ran.text
    assert times_of(timed).finish < SLACK
    assert f"undelivered {TESTS}" in section(ran)
    assert len(timed.leftovers()) == 1


# A disk that does not serve


@pytest.mark.parametrize("place", ["a regular file", "/proc/nope"])
@BOTH
def test_a_state_directory_that_cannot_be_made_is_said_in_one_line(
    args: tuple[str, ...], place: str, timed: Suite, backend: Backend, tmp_path: Path
) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("not a directory")
    state = place if place.startswith("/") else str(occupied)

    ran = timed.run(*args, FAMACASE_STATE_DIR=state)

    assert is_unharmed(ran), ran.text
    (line,) = [line for line in ran.text.splitlines() if "in memory only" in line]
    assert line in section(ran)
    assert state in line
    assert numbers(backend) == list(range(TESTS))
    assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in section(ran)
    assert [run.status for run in backend.store.runs()] == ["completed"]
    assert occupied.read_text() == "not a directory"


def test_without_disk_and_without_server_nothing_is_said_to_be_kept(timed: Suite, tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("not a directory")
    with closed_port() as port:
        env = {"FAMACASE_API_URL": f"http://127.0.0.1:{port}", "FAMACASE_RETRY_ATTEMPTS": "1"}
        ran = timed.run(*ONE_PROCESS, FAMACASE_STATE_DIR=str(occupied), **env)

    assert is_unharmed(ran), ran.text
    assert f"undelivered {TESTS}" in section(ran)
    assert "in memory only" in section(ran)
    for said in (header(ran), section(ran)):
        assert "results are kept" not in said, said
        assert "kept in /" not in said, said
        assert "resend" not in said, said


def reporting_to(url: str) -> dict[str, str]:
    return {
        "FAMACASE_MODE": "testops",
        "FAMACASE_API_URL": url,
        "FAMACASE_TESTOPS_API_TOKEN": TOKEN,
        "FAMACASE_TESTOPS_PROJECT": "DEMO",
    }


@contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port that refuses connections and that nobody else gets."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


#: A file system that takes no more: no file grows beyond 50 kB in the process that has the journal.
FULL = """
    import resource
    import pytest

    def pytest_configure(config):
        if not hasattr(config, "workerinput"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
"""


@BOTH
def test_a_disk_that_fills_up_is_said_in_one_line_and_costs_no_result(
    args: tuple[str, ...], suite: Suite, backend: Backend
) -> None:
    suite.write("conftest.py", FULL)
    suite.write(
        "test_full.py",
        """
        import pytest
        from qase.pytest import qase

        @pytest.mark.parametrize("number", range(40))
        def test_full(number):
            qase.attach((f"{number} " * 20_000, "text/plain", f"{number}.txt"))
        """,
    )
    ran = suite.run(*args, FAMACASE_FLUSH_TIMEOUT="30", **backend.environment())

    assert is_unharmed(ran), ran.text
    (line,) = [line for line in ran.text.splitlines() if "in memory only" in line]
    assert line in section(ran)
    assert str(suite.state) in line
    assert numbers(backend) == list(range(40))
    for result in backend.results():
        ((entry),) = result["attachments"]
        file = backend.store.attachment(entry["id"])
        assert file is not None
        assert file.content == f"{result['params']['number']} ".encode() * 20_000
    assert {result["message"] for result in backend.results()} == {None}
    assert [run.status for run in backend.store.runs()] == ["completed"]
    assert suite.leftovers() == []


def test_damaged_files_of_earlier_sessions_harm_neither_the_next_one_nor_resend(suite: Suite, tmp_path: Path) -> None:
    suite.write("test_quick.py", QUICK)
    suite.env.update(FAMACASE_RETRY_ATTEMPTS="1", FAMACASE_FLUSH_TIMEOUT="10")
    with closed_port() as port:
        suite.env.update(reporting_to(f"http://127.0.0.1:{port}"))
        suite.run(*ONE_PROCESS)
    outbox = suite.state / "outbox"
    (good,) = outbox.iterdir()
    damage(good, outbox)
    before = {path: path.read_bytes() for path in outbox.iterdir() if path.is_file() and path != good}

    with running(tmp_path / "late.sqlite3", port=port) as backend:
        ran = suite.run(*ONE_PROCESS)
        sent = suite.resend()

        assert is_unharmed(ran), ran.text
        # All of the good one, and what is before the damage in the other one.
        assert re.search(r"famacase: 1[45]\d results of 2 earlier sessions were not delivered", header(ran))
        assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in section(ran)
        assert sent.status == 1
        assert "Traceback" not in sent.stdout + sent.stderr
        assert f"{good.name}: delivered {TESTS}, left 0" in sent.stdout
        assert [len(backend.store.results(run.id)) for run in backend.store.runs()] == [TESTS, TESTS]
    (line,) = [line for line in sent.stdout.splitlines() if line.startswith("01-half:")]
    assert "problem: " in line
    assert {path: path.read_bytes() for path in before} == before
    assert (outbox / "02-folder").is_dir()
    assert (outbox / "01-half").is_dir()
    assert not good.exists()


def damage(good: Path, outbox: Path) -> None:
    """Put files that are no outboxes, or not whole ones, around a good one."""
    (outbox / "00-garbage").write_bytes(b"\x00garbage\xff" * 1000)
    (outbox / "zz-text").write_text("[section]\nkey = value\n" * 100)
    half = outbox / "01-half"
    shutil.copytree(good, half)
    segment = half / "00000001.journal"
    content = segment.read_bytes()
    segment.write_bytes(content[: len(content) // 2] + b"\x00garbage\xff" * 1000)
    (half / "notes").write_bytes(b"\x00garbage\xff" * 1000)
    (outbox / "02-folder").mkdir()
