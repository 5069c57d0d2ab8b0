"""A suite that runs twice, without reporting and with it, and what must be the same in both runs.

A test of the suite can wait until results of earlier tests are on the server, by the module `arrival` that is written
beside it. It looks for files that the server's process makes, so that nothing that the test patches is in its way.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .server import RESULTS, Action, App, Backend, Send
from .suites import Ran, Suite

#: In one process, and with two workers, where a file of tests is run by one of them.
COMPARED_MODES = {"no-xdist": ("-pno:xdist",), "n2": ("-n2", "--dist=loadfile")}

#: Plugins that these suites have no use for, and that make a session five times as long.
_UNUSED = ("anyio", "hypothesispytest", "platformdirs", "pytest-bdd", "pytest-split", "rerunfailures", "time_machine")

ARRIVAL = """
    import os, sys, time

    # In a tuple, where libraries that replace functions in the globals of modules do not find them.
    REAL = (os.stat, time.sleep, time.monotonic)
    DIRECTORY = os.environ.get("ARRIVED")

    def wait_for(*names):
        stat, sleep, now = REAL
        file = sys._getframe(1).f_globals["__file__"].rpartition("/")[2]
        deadline = now() + 20
        for name in names if DIRECTORY else ():
            while True:
                try:
                    stat(f"{DIRECTORY}/{file}::{name}")
                    break
                except FileNotFoundError:
                    pass
                assert now() < deadline, f"the result of {name} has not arrived"
                sleep(0.02)
"""

#: The duration in the last line of pytest's output.
_DURATION = re.compile(r" in [\d.]+s( \([\d:]+\))?")
#: A line of the section of `-rA`.
_OUTCOME = re.compile(r"(PASSED|FAILED|ERROR|XFAIL|XPASS|SKIPPED)\b")
_TEST = re.compile(r"(PASSED|FAILED|ERROR) (\S+?::[^ \[]+(?:\[.*?\])?)(?: - (.*))?")


def name_of(result: dict[str, Any]) -> str:
    """Return the node id of a result's test, which must be a function."""
    file = result["signature"].partition("::")[0]
    params = "-".join(result["params"].values())
    return f"{file}::{result['title']}[{params}]" if params else f"{file}::{result['title']}"


def announcing(backend: Backend, directory: Path) -> Action:
    """Return an action that lets the application answer, and makes a file for each result that is on the server."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await app(scope, receive, send)
        for result in await asyncio.to_thread(backend.results):
            (directory / name_of(result)).touch()

    return act


@dataclass(frozen=True, slots=True)
class Told:
    """What a run said, and the files that it made by their paths."""

    ran: Ran
    files: dict[str, str]

    @property
    def outcomes(self) -> list[str]:
        """The lines of pytest's short summary in the order of the alphabet, and the last line without its duration."""
        lines = self.ran.stdout.rstrip().splitlines()
        last = _DURATION.sub("", lines[-1]).strip("= ") if lines else ""
        return [*sorted(line for line in lines if _OUTCOME.match(line)), last]

    @property
    def statuses(self) -> dict[str, str]:
        """The status that is to be reported of each test by its node id, read off pytest's short summary."""
        statuses = {}
        for outcome, nodeid, message in (found.groups() for found in map(_TEST.match, self.outcomes) if found):
            is_assertion = (message or "").startswith(("assert", "AssertionError"))
            statuses[nodeid] = "passed" if outcome == "PASSED" else "failed" if is_assertion else "invalid"
        return statuses

    @property
    def seen(self) -> dict[str, str]:
        """What the suite saw: the contents of its JSON and text files."""
        return {name: text for name, text in self.files.items() if name.endswith((".json", ".txt"))}

    def lines_with(self, words: re.Pattern[str]) -> Counter[str]:
        """Return the lines of the output that hold one of our words and are neither our header nor our section."""
        found: Counter[str] = Counter()
        is_section = False
        for line in self.ran.text.splitlines():
            if line.startswith("==="):
                is_section = " Famacase " in line
            if words.search(line) and not is_section and not line.startswith(("famacase: ", "plugins: ")):
                found[line] += 1
        return found


@dataclass
class Compared:
    """A suite and a server, and the two runs."""

    suite: Suite
    backend: Backend
    without: Told = field(init=False)
    reported: Told = field(init=False)

    def run(self, *args: str, timeout: float = 90) -> None:
        """Run a copy of the suite without reporting, and then the suite with it.

        Args:
            args: Options of pytest.
            timeout: How many seconds each run may take.
        """
        self.suite.write("arrival.py", ARRIVAL)
        sources = self.suite.files()
        copy = Suite(self.suite.path.with_name("without"), self.suite.state, plugins=self.suite.plugins)
        shutil.copytree(self.suite.path, copy.path)
        # Not active, qase-pytest would need xdist, ask pip for versions four times, and write a log.
        ran = copy.run("-pno:qase_pytest", *self._options(), *args, timeout=timeout)
        self.without = Told(ran, made(copy, sources))
        self.reported = Told(self.run_reported(*args, timeout=timeout), made(self.suite, sources))

    def run_reported(self, *args: str, timeout: float = 90) -> Ran:
        """Run the suite with reporting, each result in a request of its own.

        Args:
            args: Options of pytest.
            timeout: How many seconds it may take.
        """
        return self.suite.run(*self._options(), *args, timeout=timeout, **self.reporting())

    def reporting(self) -> dict[str, str]:
        """Return the environment of a run with reporting; the module `arrival` is written, too."""
        self.suite.write("arrival.py", ARRIVAL)
        arrived = self.suite.path.with_name("arrived")
        arrived.mkdir()
        self.backend.inject(RESULTS, announcing(self.backend, arrived), times=float("inf"))
        return {**self.backend.environment(), "FAMACASE_TESTOPS_BATCH_SIZE": "1", "ARRIVED": str(arrived)}

    def _options(self) -> list[str]:
        return ["-rA", *(f"-pno:{name}" for name in _UNUSED if name not in self.suite.plugins)]

    def check(self) -> None:
        """Check that both runs were the same to their users, and that the server has all results."""
        self.check_outcomes()
        self.check_traces()
        self.check_results(self.without.statuses)
        self.check_nothing_is_left()

    def check_outcomes(self) -> None:
        """Check that pytest said the same, and that the suite saw the same.

        In the suite all tests pass but those that are named so that they fail.
        """
        print(f"without:\n{self.without.ran.text}\n\nreported:\n{self.reported.ran.text}")  # noqa: T201
        assert {name for name, status in self.without.statuses.items() if status != "passed"} == {
            name for name in self.without.statuses if "::test_fails" in name
        }
        assert self.reported.outcomes == self.without.outcomes
        assert self.reported.ran.status == self.without.ran.status
        assert self.reported.seen == self.without.seen
        assert self.reported.files.keys() == self.without.files.keys()

    def check_traces(self) -> None:
        """Check that neither the output nor a file of the suite has a word of ours."""
        address = self.backend.url.partition("://")[2]
        words = re.compile(f"famacase|{re.escape(address)}|{self.backend.token}|Authorization", re.IGNORECASE)
        assert self.reported.lines_with(words) == self.without.lines_with(words), self.reported.ran.text
        for name, text in self.reported.files.items():
            assert not words.search(text), f"{name}: {text}"

    def check_results(self, statuses: dict[str, str]) -> None:
        """Check that the server has each of these results once, in one run, which is completed."""
        results = self.backend.results()
        told = Counter((name_of(each), each["execution"]["status"]) for each in results)
        assert told == Counter(statuses.items()), self.reported.ran.text
        assert {each["execution"]["attempt_index"] for each in results} == {1}
        (run,) = self.backend.store.runs()
        stored = self.backend.store.stored_results(run.id)
        assert len({each.id for each in stored}) == len(stored) == len(statuses)
        assert {each.times_received for each in stored} == {1}
        assert run.status == "completed", self.reported.ran.text

    def check_nothing_is_left(self) -> None:
        """Check that the session left neither a file of ours nor a process."""
        assert self.suite.leftovers() == []
        assert self.suite.couriers() == []


def made(suite: Suite, sources: set[str]) -> dict[str, str]:
    """Return the contents of the files of a suite that are not its sources, by their paths."""
    return {name: (suite.path / name).read_bytes().decode(errors="replace") for name in suite.files() - sources}
