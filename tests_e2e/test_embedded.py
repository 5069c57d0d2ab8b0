"""`--famacase-mode=embedded` needs no other setting, and its server never outlives pytest."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from harness.suites import Suite

from famacase_xdist.server.store import Store

SLOW = """
    import pathlib, time

    def test_waits():
        pathlib.Path("started").touch()
        time.sleep(60)
"""


def children(pid: int) -> list[int]:
    """Return the live descendants of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(stat.parent.name)
            found += [child, *children(child)]
    return found


def servers(pid: int) -> list[int]:
    """Return those that are embedded servers."""
    return [
        child for child in children(pid) if b"famacase_xdist.server\0" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_no_other_setting_is_needed(mode: tuple[str, ...], suite: Suite) -> None:
    suite.write("test_it.py", "def test_one():\n    pass\n\ndef test_two():\n    assert 0\n")

    ran = suite.run(*mode, "--famacase-mode=embedded")

    assert "delivered 2 (1 failed, 1 passed), undelivered 0" in ran.stdout, ran.text
    assert "famacase-xdist serve, then open http://127.0.0.1:8484/runs/1" in ran.stdout
    assert suite.files() == {"test_it.py", ".famacase/.gitignore", ".famacase/famacase.sqlite3"}
    assert (suite.path / ".famacase/.gitignore").read_text() == "*\n"
    with Store(suite.path / ".famacase/famacase.sqlite3") as store:
        (run,) = store.runs()
        assert (run.project, run.status) == ("LOCAL", "completed")
        assert sorted(result["title"] for result in store.results(run.id)) == ["test_one", "test_two"]


def test_sessions_share_the_database(suite: Suite) -> None:
    suite.write("test_it.py", "def test_one():\n    pass\n")

    for _ in range(2):
        suite.run("-n0", "--famacase-mode=embedded")

    with Store(suite.path / ".famacase/famacase.sqlite3") as store:
        assert [len(store.results(run.id)) for run in store.runs()] == [1, 1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_the_controller(number: signal.Signals, mode: tuple[str, ...], suite: Suite) -> None:
    suite.write("test_it.py", SLOW)
    process = suite.start(*mode, "--famacase-mode=embedded")
    wait_until((suite.path / "started").exists)
    (server,) = servers(process.pid)

    os.kill(process.pid, number)
    process.communicate(timeout=30)

    wait_until(lambda: not is_alive(server))


def test_the_server_ends_though_a_forked_child_keeps_the_pipe(suite: Suite) -> None:
    suite.write(
        "test_it.py",
        """
        import os, pathlib, time

        def test_forks():
            if os.fork() == 0:
                time.sleep(300)
                os._exit(0)
            pathlib.Path("started").touch()
            time.sleep(60)
        """,
    )
    process = suite.start("-n0", "--famacase-mode=embedded")
    wait_until((suite.path / "started").exists)
    (server,) = servers(process.pid)
    others = [child for child in children(process.pid) if child != server]

    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        wait_until(lambda: not is_alive(server))
    finally:
        for child in others:
            os.kill(child, signal.SIGKILL)
        process.communicate(timeout=30)


def test_a_missing_extra_is_said_before_collection(suite: Suite) -> None:
    suite.write("test_it.py", "def test_one():\n    pass\n")
    suite.write("hidden/sitecustomize.py", "import sys\nsys.modules['uvicorn'] = None\n")

    ran = suite.run("-n0", "--famacase-mode=embedded", PYTHONPATH="hidden")

    assert ran.status == 4, ran.text
    assert "pip install 'famacase-xdist[server]'" in ran.stderr
    assert "Traceback" not in ran.text


def test_a_server_that_does_not_start_costs_no_test(suite: Suite) -> None:
    suite.write("test_it.py", "def test_one():\n    pass\n")
    (suite.path / ".famacase").write_text("a file where the directory should be")

    ran = suite.run("-n0", "--famacase-mode=embedded")

    assert ran.status == 0, ran.text
    assert re.search(r"nothing was reported: .*\.famacase", ran.stdout), ran.text
