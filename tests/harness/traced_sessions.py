"""A small suite whose sessions run under strace, what each of its tests is reported as, and what a session says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from .server import Backend, running
from .suites import Ran
from .tracing import Call, TracedSuite, calls_in

#: The system calls that leave something behind, by kind; the names of a kind differ between machines.
KINDS = {
    "open": ("open", "openat"),
    "write": ("write", "writev", "pwrite64", "pwritev"),
    "send": ("sendto", "sendmsg"),
    "sync": ("fsync", "fdatasync"),
    "rename": ("rename", "renameat", "renameat2", "link", "linkat"),
    "remove": ("unlink", "unlinkat", "rmdir"),
    "mkdir": ("mkdir", "mkdirat"),
    "truncate": ("ftruncate", "truncate"),
    "lock": ("fcntl", "flock"),
}
#: The system calls that leave something behind.
CALLS = tuple(name for names in KINDS.values() for name in names)
#: The name that `PINNED` gives to a session.
SESSION = "20260101T000000-0123456789ab"

_CONFTEST = """
    import os
    import pytest

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(nodeid):
        note("begun", nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(nodeid):
        note("ended", nodeid)

    def note(what, nodeid):
        with open("noted", "a") as file:
            file.write(f"{what} {nodeid}\\n")
"""
#: Gives each session of the suite the same name, and with it the same files; added to the suite's conftest.
PINNED = f"""
    from famacase_xdist.state.directory import StateDirectory

    StateDirectory.new_outbox = lambda directory: directory.outbox("{SESSION}")
"""
_SUITE = """
    import pytest
    from qase.pytest import qase

    def test_passes():
        pass

    def test_fails():
        assert 0

    def test_attaches():
        qase.attach(("words", "text/plain", "note.txt"))

    @pytest.mark.parametrize("number", range(3))
    def test_counts(number):
        pass

    @pytest.mark.skip
    def test_skips():
        pass
"""
#: The status of each of its tests.
STATUSES = {
    **{"test_passes": "passed", "test_fails": "failed", "test_attaches": "passed", "test_skips": "skipped"},
    **{f"test_counts[{number}]": "passed" for number in range(3)},
}
#: What pytest's last line says of it.
SUMMARY = "1 failed, 5 passed, 1 skipped"


@dataclass(frozen=True, slots=True)
class Told:
    """The numbers of a session's summary."""

    collected: int
    delivered: int
    undelivered: int

    @classmethod
    def by(cls, ran: Ran) -> Told:
        """Return the numbers that a session told."""
        found = re.search(r"collected (\d+), delivered (\d+).*, undelivered (\d+)", ran.stdout)
        assert found is not None, ran.text
        return cls(*map(int, found.groups()))


@dataclass
class Sessions:
    """A server, and the suite in a new directory for each session.

    Attributes:
        backend: The server, which knows the newest session only.
    """

    directory: Path
    backend: Backend
    count: int = 0

    @classmethod
    @contextmanager
    def below(cls, directory: Path) -> Iterator[Sessions]:
        """Yield sessions in the directory, with a server that runs until the block ends."""
        with running(directory / "server.sqlite3") as backend:
            yield cls(directory, backend)

    def new(self, conftest: str = "") -> TracedSuite:
        """Return the suite, which has never run.

        Args:
            conftest: What its conftest does besides.
        """
        self.backend.clear()
        self.count += 1
        home = self.directory / str(self.count)
        # Two results to a request, so that there are several.
        suite = TracedSuite(home, home / "state", {**self.backend.environment(), "FAMACASE_TESTOPS_BATCH_SIZE": "2"})
        suite.write("conftest.py", dedent(_CONFTEST) + dedent(conftest))
        suite.write("test_it.py", _SUITE)
        return suite

    def rows(self) -> dict[str, str]:
        """Return the status of each test that the server has, and check that it has none twice.

        Raises:
            AssertionError: It has one twice, or one as a second attempt, or one without its attachment and a
                word about it.
        """
        results = self.backend.results()
        names = [each["title"] + "".join(f"[{value}]" for value in each["params"].values()) for each in results]
        assert [name for name, count in Counter(names).items() if count > 1] == []
        assert {each["execution"]["attempt_index"] for each in results} <= {1}
        for each in results:
            _check_attachment(each)
        return dict(zip(names, (each["execution"]["status"] for each in results), strict=True))


def _check_attachment(result: dict[str, Any]) -> None:
    """Check that a result has its attachment, or names it as one that could not be read."""
    if result["title"] == "test_attaches" and result["execution"]["status"] == "passed":
        assert len(result["attachments"]) == 1 or "note.txt" in (result["message"] or ""), result


def noted(suite: TracedSuite, what: str) -> list[str]:
    """Return the tests that the suite itself noted as "begun" or as "ended", in order."""
    path = suite.path / "noted"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.rpartition("::")[2] for line in lines if line.startswith(what)]


def ours(log: Path, state: Path) -> list[Call]:
    """Return the calls about a state directory and about channels; not those of pytest and of Python's imports."""
    return [call for call in calls_in(log) if call.is_on(state) or call.is_on_channel]


def outboxes(suite: TracedSuite) -> list[str]:
    """Return the outboxes that are left; a directory with a dot never became one."""
    return [name for name in suite.leftovers() if not name.startswith(".")]


def of_kind(calls: Iterable[Call], kind: str) -> list[Call]:
    """Return the calls of a kind, for several threads' calls with the same name and number only the first.

    strace's `when` does not tell the threads apart.
    """
    found: dict[tuple[str, int], Call] = {}
    for call in calls:
        if call.name in KINDS[kind]:
            found.setdefault((call.name, call.number), call)
    return list(found.values())
