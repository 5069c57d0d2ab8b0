"""What every case of failure costs: results, duplicates, exit status and seconds. Prints a Markdown table.

    python benchmarks/losses.py [--tests 300] [--case NAME ...]

Real pytest processes against a real server with injected faults; the server's database is the witness. "Seconds" is
what the session took beyond the same suite in bare pytest on the same machine; read it as an order of magnitude.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness.server import RESULTS, RUNS, Backend, answer, cut_off, hang, lost, running  # noqa: E402
from harness.suites import Suite  # noqa: E402

from famacase_xdist.state.directory import StateDirectory  # noqa: E402
from famacase_xdist.state.outbox import Outbox  # noqa: E402

FOREVER = float("inf")
BODY = """
import ctypes, os, pathlib, signal, time
import pytest

@pytest.mark.parametrize("number", range({half}))
def test_before(number):
    pass

{death}

@pytest.mark.parametrize("number", range({half}))
def test_after(number):
    pass
"""
WAITING = "def test_waits():\n    pathlib.Path('started').touch()\n    time.sleep(30)"
#: Settings that keep the table's making short.
QUICK = {"FAMACASE_RETRY_ATTEMPTS": "2", "FAMACASE_TIMEOUT": "3", "FAMACASE_FLUSH_TIMEOUT": "6"}
Inject = Callable[[Backend], None]


@dataclass(frozen=True)
class Case:
    """One row: what dies, what the server does, which signal the controller gets."""

    name: str
    death: str = ""
    inject: Inject | None = None
    signal: int = 0
    args: tuple[str, ...] = ()
    modes: tuple[str, ...] = ("-p no:xdist", "-n2")
    env: tuple[tuple[str, str], ...] = ()


def dying(code: str) -> str:
    """Return a test that ends its process."""
    return f"def test_dies():\n    {code}"


def injecting(pattern: str, *arguments: object, times: float = 1, **headers: str) -> Inject:
    """Return a function that lets requests meet an answer, or an action."""
    action = arguments[0] if callable(arguments[0]) else answer(*arguments, **headers)  # type: ignore[arg-type]
    return lambda backend: backend.inject(pattern, action, times=times)  # type: ignore[arg-type]


CASES = (
    Case("nothing fails"),
    Case("test calls os._exit", dying("os._exit(3)")),
    Case("SIGKILL of the test's process", dying("os.kill(os.getpid(), signal.SIGKILL)")),
    Case("segfault", dying("ctypes.string_at(0)"), args=("-p", "no:faulthandler")),
    Case("pytest-timeout, thread method", "@pytest.mark.timeout(0.5, method='thread')\n" + dying("time.sleep(30)")),
    Case("os._exit, --max-worker-restart=0", dying("os._exit(3)"), args=("--max-worker-restart=0",), modes=("-n2",)),
    Case("SIGKILL of the controller", WAITING, signal=signal.SIGKILL),
    Case("SIGTERM of the controller", WAITING, signal=signal.SIGTERM),
    Case("Ctrl-C", WAITING, signal=signal.SIGINT),
    Case("connection refused", env=(("FAMACASE_API_URL", "http://127.0.0.1:9"),)),
    Case("host name unknown", env=(("FAMACASE_API_URL", "http://nowhere.invalid"),)),
    Case("503 once", inject=injecting(RESULTS, 503)),
    Case("503 for ever", inject=injecting(RESULTS, 503, times=FOREVER)),
    Case("429 with Retry-After: 1", inject=injecting(RESULTS, 429, retry_after="1")),
    Case("answer cut off", inject=injecting(RESULTS, cut_off())),
    Case("HTML in the place of JSON", inject=injecting(RESULTS, 200, b"<html>", content_type="text/html")),
    Case("answer to results lost", inject=injecting(RESULTS, lost())),
    Case("answer to run creation lost", inject=injecting(RUNS, lost())),
    Case("401 for ever", inject=injecting("", 401, times=FOREVER)),
    Case("404: no such project", inject=injecting("/DEMO", 404, times=FOREVER)),
    Case("413 once", inject=injecting(RESULTS, 413)),
    Case("results never answered", inject=lambda backend: backend.inject(RESULTS, hang(backend), times=FOREVER)),
)


def rows(tests: int, names: list[str]) -> Iterator[str]:
    """Run the cases and give the table's lines."""
    yield "| case | mode | tests begun | on the server | after resend | twice | exit | seconds over bare |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for case in CASES:
        for mode in case.modes if not names or case.name in names else ():
            with tempfile.TemporaryDirectory() as directory:
                yield row(case, mode, tests, Path(directory))


def row(case: Case, mode: str, tests: int, directory: Path) -> str:
    """Run one case in one mode."""
    path = directory / "suite"
    path.mkdir()
    suite = Suite(path, directory / "state", dict(QUICK))
    suite.write("test_it.py", BODY.format(half=tests // 2, death=case.death))
    suite.write("conftest.py", "def pytest_runtest_logstart(nodeid):\n    print(nodeid, file=open('begun', 'a'))\n")
    args = (*mode.split(), *case.args)
    bare, _ = run(suite, case, ("-p", "no:famacase_xdist.plugin", "-p", "no:qase_pytest", *args))
    (path / "started").unlink(missing_ok=True)
    (path / "begun").unlink(missing_ok=True)
    with running(directory / "server.sqlite3") as backend:
        suite.env.update(backend.environment(), **dict(case.env))
        if case.inject is not None:
            case.inject(backend)
        seconds, status = run(suite, case, args)
        suite.await_couriers()
        begun = len(set((path / "begun").read_text().split()))
        first = len(backend.results())
        backend.faults.clear()
        suite.env["FAMACASE_API_URL"] = backend.url
        resend(suite, dict(case.env).get("FAMACASE_API_URL"))
        stored = [each for run_ in backend.store.runs() for each in backend.store.stored_results(run_.id)]
        keys = [(each.payload["signature"], each.payload["execution"]["attempt_index"]) for each in stored]
    twice = len(keys) - len(set(keys))
    return (
        f"| {case.name} | `{mode}` | {begun} | {first} | {len(stored)} | {twice} | {status} | {seconds - bare:+.1f} |"
    )


def run(suite: Suite, case: Case, args: tuple[str, ...]) -> tuple[float, int]:
    """Run pytest, with the case's signal once the tests are under way; give seconds after that, and the status."""
    began = time.monotonic()
    process = suite.start(*args)
    if case.signal:
        while not (suite.path / "started").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(1)  # the other worker gets on
        began = time.monotonic()
        os.kill(process.pid, case.signal)
    process.communicate(timeout=120)
    return time.monotonic() - began, process.returncode


def resend(suite: Suite, former: str | None) -> None:
    """Deliver what was kept; results for a host that is none go to the server that is there, as after a correction."""
    if former:
        for files in StateDirectory(suite.state).all_outboxes():
            with contextlib.closing(Outbox(files, patience=12)) as outbox:
                outbox.remember(host=suite.env["FAMACASE_API_URL"])
    command = [sys.executable, "-m", "famacase_xdist", "resend"]
    subprocess.run(command, cwd=suite.path, env=suite.environment(), capture_output=True, timeout=120, check=False)


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=300)
    parser.add_argument("--case", action="append", default=[], dest="names", choices=[case.name for case in CASES])
    given = parser.parse_args()
    logging.disable()  # uvicorn's tracebacks of the faults that we inject
    for line in rows(given.tests, given.names):
        print(line, flush=True)


if __name__ == "__main__":
    main()
