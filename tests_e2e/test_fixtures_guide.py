"""What the server holds of the guide to fixtures equals its table, however pytest and xdist order the tests.

Where the steps of a fixture wider than a function stand depends on that order. So the table says of each test what it
shows where it is the only one; here the tests of each worker are gone through as they ran, with the wide fixtures that
live: one that lives is not set up again, and one whose scope does not hold the next test is torn down.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Suite

GUIDE = Path(__file__).parents[1] / "examples" / "fixtures_guide"
TABLE = json.loads((GUIDE / "expected.json").read_text(encoding="utf-8"))
WIDE = TABLE["wide_fixtures"]
SCOPES = ["function", "class", "module", "package", "session"]
ORDERS = {
    "one-process": ("-n0",),
    "alone": ("-n0", "-palone"),
    **{dist: ("-n2", "--dist", dist) for dist in ("load", "loadscope", "loadfile", "loadgroup", "worksteal", "each")},
}
#: Runs each test as if it were the only one.
ALONE = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    for item in session.items:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return True
"""
SETUP, TEARDOWN = "setup: ", "teardown: "

Result = dict[str, Any]


@pytest.fixture
def guide(suite: Suite, backend: Backend) -> Suite:
    shutil.copytree(GUIDE, suite.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".famacase", "__pycache__"))
    suite.env.update(backend.environment())
    return suite


@dataclass
class Seen:
    """What is compared of a result."""

    status: str
    params: dict[str, str]
    message: object
    steps: list[str]
    torn_down: list[str] = field(default_factory=list)


def outline(steps: list[dict[str, Any]], depth: int = 0) -> list[str]:
    """Return steps as the table has them: a line each, indented where nested, with the status unless it is passed."""
    lines = []
    for step in steps:
        status = step["execution"]["status"]
        lines.append("  " * depth + step["data"]["action"] + ("" if status == "passed" else f" -> {status}"))
        lines += outline(step["steps"], depth + 1)
    return lines


def label_of(line: str) -> str:
    """Return the fixture that a line is about, without what happened to it."""
    return line.strip().removeprefix(SETUP).removeprefix(TEARDOWN).partition(" -> ")[0]


def name_of(label: str) -> str:
    return label.partition(" ")[0].partition("[")[0]


def base_of(label: str) -> str:
    """Return what is the same for each param."""
    return label.replace(label.partition(" ")[0], name_of(label), 1)


def scope_of(label: str) -> int:
    return SCOPES.index(label.rpartition(" (")[2].partition(",")[0])


def depth_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def is_wide(line: str) -> bool:
    return label_of(line) in WIDE


@dataclass
class Life:
    """The wide fixtures that live in a process: each with the test that it was set up for."""

    mode: str
    worker: str
    born_in: dict[str, str] = field(default_factory=dict)

    def expected(self, nodeid: str, then: str | None) -> Seen:
        """Say what a test shows where `then` is the next one in this process."""
        entry = TABLE["tests"][nodeid]
        message = entry["message"]
        broken = [label for label in map(label_of, entry["steps"]["all"]) if label in self.born_in and is_broken(label)]
        if broken and "message_later" in entry:
            message = entry["message_later"].format(first=self.born_in[broken[0]])
        replaced = self._replaced(entry)
        steps = self._steps(entry["steps"], replaced)
        for label in replaced:
            del self.born_in[label]
        self.born_in |= {
            label: nodeid
            for label in map(label_of, entry["steps"]["all"])
            if label in WIDE and label not in self.born_in
        }
        ended = [label for label, born in self.born_in.items() if not holds(label, born, then)]
        for label in ended:
            del self.born_in[label]
        errors = [WIDE[label]["error"] for label in ended if "error" in WIDE[label]]
        status = "invalid" if errors and entry["status"] in ("passed", "skipped") else entry["status"]
        if errors:
            # A test that fails by itself has a message of which the table says how it begins.
            own, prefix = ("", message) if isinstance(message, dict) else (message, {})
            message = {**prefix, "lines": sorted("\n".join(filter(None, [own, *errors])).split("\n"))}
        return Seen(status, entry["params"], message, steps, self._torn_down(ended))

    def _steps(self, table: dict[str, list[str]], replaced: list[str]) -> list[str]:
        """Return the lines of a test, without those of wide fixtures that live; one that is replaced goes first."""
        if self.mode == "off":
            return [line.strip() for line in table["failed"] if not is_of_fixture(line)]
        living = self.born_in.keys() - replaced
        kept: list[str] = []
        within: int | None = None
        for line in table[self.mode]:
            if within is not None and depth_of(line) > within:
                continue
            is_living = line.strip().startswith(SETUP) and label_of(line) in living
            within = depth_of(line) if is_living else None
            if not is_living:
                kept.append(line)
        place = place_of(replaced, kept)
        return [*map(self._named, kept[:place]), *self._torn_down(replaced), *map(self._named, kept[place:])]

    def _replaced(self, entry: Result) -> list[str]:
        """Name what pytest tears down because this test needs another param; who requests one goes first."""
        needed = [label for label in map(label_of, entry["steps"]["all"]) if label in WIDE]
        bases = {base_of(label) for label in needed}
        gone = [label for label in self.born_in if base_of(label) in bases and label not in needed]
        requesting = [
            label for label in self.born_in if any(name_of(each) in WIDE[label].get("requests", ()) for each in gone)
        ]
        return requesting + gone

    def _torn_down(self, labels: list[str]) -> list[str]:
        if self.mode == "off":
            return []
        outcomes = {label: WIDE[label].get("teardown", "passed") for label in labels}
        shown = {"failed"} if self.mode == "failed" else {"passed", "failed"}
        return [
            self._named(f"{TEARDOWN}{label}" + ("" if outcome == "passed" else f" -> {outcome}"))
            for label, outcome in outcomes.items()
            if outcome in shown
        ]

    def _named(self, line: str) -> str:
        """Name the worker at a wide fixture."""
        if not is_wide(line) or self.worker == "main":
            return line
        label = label_of(line)
        return line.replace(label, f"{label[:-1]}, {self.worker})")


def place_of(replaced: list[str], lines: list[str]) -> int:
    """Find where fixtures are torn down that are set up again: before their set-up, and in no other step."""
    bases = {base_of(label) for label in replaced}
    place = next((number for number, line in enumerate(lines) if base_of(label_of(line)) in bases), 0)
    while place and depth_of(lines[place]):
        place -= 1
    return place


def is_of_fixture(line: str) -> bool:
    return line.strip().startswith((SETUP, TEARDOWN))


def is_broken(label: str) -> bool:
    return any(f"{SETUP}{label} -> failed" in entry["steps"]["all"] for entry in TABLE["tests"].values())


def holds(label: str, born: str, then: str | None) -> bool:
    """Return whether the scope that a fixture was set up in holds the next test."""
    if then is None:
        return False
    scope = SCOPES[scope_of(label)]
    if scope == "session":
        return True
    if scope == "package":
        return then.startswith(f"{PurePosixPath(label.rpartition(', ')[2]).parent}/")
    parts = 1 if scope == "module" else 2
    return then.split("::")[:parts] == born.split("::")[:parts]


def seen(result: Result, worker: str) -> Seen:
    """Return a result, with the wide fixtures torn down at its end apart: their order has rules of its own."""
    lines = outline(result["steps"])
    end = len(lines)
    while end and lines[end - 1].startswith(TEARDOWN) and is_wide(lines[end - 1].replace(f", {worker})", ")")):
        end -= 1
    execution = result["execution"]
    return Seen(execution["status"], result["params"], result["message"], lines[:end], lines[end:])


def check_order(lines: list[str], worker: str) -> None:
    """Narrow scopes end before wide ones, and a fixture before those that it requests."""
    labels = [label_of(line.replace(f", {worker})", ")")) for line in lines]
    assert [scope_of(label) for label in labels] == sorted(scope_of(label) for label in labels)
    names = [name_of(label) for label in labels]
    for number, label in enumerate(labels):
        assert not set(WIDE[label].get("requests", ())).intersection(names[:number]), lines


def is_as_said(message: object, expected: object) -> bool:
    """Compare a message; where several scopes ended at a test, it names their errors in the order pytest has them."""
    if not isinstance(expected, dict):
        return message == expected
    if not isinstance(message, str):
        return False
    if "prefix" not in expected:
        return sorted(message.split("\n")) == expected["lines"]
    if "lines" not in expected:
        return message.startswith(expected["prefix"])
    # Where its own error is one of its teardown, those of wider scopes may come before it.
    return expected["prefix"] in message and set(expected["lines"]) <= set(message.split("\n"))


def differences(results: list[Result], mode: str, is_alone: bool) -> list[str]:
    """Compare the results of one process, in the order in which it ran the tests."""
    worker = results[0]["execution"]["thread"]
    nodeids = {entry["signature"]: nodeid for nodeid, entry in TABLE["tests"].items()}
    ran = sorted(results, key=lambda result: result["execution"]["start_time"])
    order = [nodeids[result["signature"]] for result in ran]
    life = Life(mode, worker)
    found = []
    following = [None] * len(order) if is_alone else [*order[1:], None]
    for result, nodeid, then in zip(ran, order, following, strict=True):
        expected, actual = life.expected(nodeid, then), seen(result, worker)
        if is_as_said(actual.message, expected.message):
            expected.message = actual.message
        check_order(actual.torn_down, worker)
        expected.torn_down.sort()
        actual.torn_down.sort()
        assert result["title"] == TABLE["tests"][nodeid]["title"]
        if actual != expected:
            found.append(f"{nodeid} on {worker}, then {then}\n  expected {expected}\n  but was  {actual}")
    return found


@pytest.mark.parametrize("mode", ["off", "failed", "all"])
@pytest.mark.parametrize("args", ORDERS.values(), ids=ORDERS)
def test_the_guide_is_reported_as_expected(args: tuple[str, ...], mode: str, guide: Suite, backend: Backend) -> None:
    guide.write("alone.py", ALONE)
    ran = guide.run(*args, FAMACASE_FIXTURE_STEPS=mode)

    results = backend.results()
    times = 2 if "each" in args else 1
    signatures = [entry["signature"] for entry in TABLE["tests"].values()] * times
    assert sorted(result["signature"] for result in results) == sorted(signatures), ran.text
    by_worker = defaultdict(list)
    for result in results:
        by_worker[result["execution"]["thread"]].append(result)
    assert set(by_worker) == ({"main"} if "-n0" in args else {"gw0", "gw1"})
    found = [
        difference for results in by_worker.values() for difference in differences(results, mode, "-palone" in args)
    ]
    assert not found, "\n".join(found)
    if mode == "all":
        check_times(results)


def check_times(results: list[Result]) -> None:
    """Steps are in the order in which they began and end in time; the slow fixture takes as long as it sleeps."""
    taken = {}
    for result in results:
        for steps in families(result["steps"]):
            begins = [step["execution"]["start_time"] for step in steps]
            assert begins == sorted(begins), outline(steps)
        for step in (step for steps in families(result["steps"]) for step in steps):
            execution = step["execution"]
            assert execution["start_time"] <= execution["end_time"]
            assert all(child["execution"]["end_time"] <= execution["end_time"] for child in step["steps"])
            taken[step["data"]["action"]] = execution["duration"]
    slow = "slow (function, tests/test_teardown.py)"
    assert taken[f"{SETUP}{slow}"] >= 30
    assert taken[f"{TEARDOWN}{slow}"] >= 60


def families(steps: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return all lists of steps, whatever they are nested in."""
    return [steps, *(family for step in steps for family in families(step["steps"]))]


@pytest.mark.parametrize("mode", ["off", "failed", "all"])
def test_a_fixture_that_ends_the_session_has_its_reason(mode: str, guide: Suite, backend: Backend) -> None:
    ran = guide.run("-n0", "ends", FAMACASE_FIXTURE_STEPS=mode)

    assert "the licence has run out" in ran.stdout
    results = {result["signature"]: result for result in backend.results()}
    assert set(results) == {entry["signature"] for entry in TABLE["ends"].values()}
    for entry in TABLE["ends"].values():
        actual = seen(results[entry["signature"]], "main")
        assert actual.status == entry["status"]
        assert is_as_said(actual.message, entry["message"]), actual.message
        assert [*actual.steps, *actual.torn_down] == ([] if mode == "off" else entry["steps"][mode])
