"""The books: every test that began has one result for each attempt, in whatever order the news of it comes."""

from __future__ import annotations

import itertools
import json
import textwrap
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist import clock
from famacase_xdist.controller.events import Began, Crashed, Event, NotCollected, Received, Recorded, Reported
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.recording import install
from famacase_xdist.results import synthetic
from famacase_xdist.results.frames import AnyFrame, BegunHead, Frame, IgnoredHead, NoteHead, ResultHead, decode, encode
from famacase_xdist.results.sinks import ListSink
from famacase_xdist.results.text import to_json
from famacase_xdist.server import payloads
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

TEST = "t.py::test_a"


# Events


def report(when: str, outcome: str = "passed", nodeid: str = TEST) -> pytest.TestReport:
    """Make pytest's report of a phase."""
    longrepr = None if outcome == "passed" else "E   ValueError: boom"
    return pytest.TestReport(nodeid, ("t.py", 0, "test_a"), {}, outcome, longrepr, when, duration=0.25)  # type: ignore[arg-type]


def received(frame: AnyFrame, worker: str = "gw0") -> Received:
    """Make the event of a frame that arrives."""
    return Received(worker, frame.encoded)


def recorded(nodeid: str = TEST, status: str = "passed", attempt: int = 1, worker: str = "gw0") -> Received:
    """Make the event of a result that a recorder sent."""
    return received(synthetic.result(nodeid, status, "", thread=worker, attempt=attempt), worker)


def described(nodeid: str = TEST, worker: str = "gw0", **more: object) -> Received:
    """Make the event of a test that its recorder describes when it begins."""
    content = {**synthetic.described_by(nodeid), "id": str(uuid.uuid4()), **more}
    return received(Frame(BegunHead(nodeid), to_json(content)), worker)


def ignored(nodeid: str = TEST, worker: str = "gw0") -> Received:
    """Make the event of a test that is not to be reported."""
    return received(Frame(IgnoredHead(nodeid)), worker)


def reported(*phases: str, nodeid: str = TEST, worker: str = "gw0") -> list[Event]:
    """Make the events of phases that passed."""
    return [Reported(worker, nodeid, [report(when, nodeid=nodeid)]) for when in phases]


def crashed(nodeid: str = TEST, worker: str = "gw0", exit: str = "signal SIGSEGV") -> Crashed:
    """Make the event of a worker that died in a test."""
    return Crashed(worker, nodeid, exit, "worker 'gw0' crashed while running 't.py::test_a'")


SETUP, CALL, TEARDOWN = reported("setup", "call", "teardown")


@dataclass
class Books:
    """A ledger, and all the frames that it gave to keep."""

    ledger: Ledger = field(default_factory=Ledger)
    frames: list[AnyFrame] = field(default_factory=list)

    def enter(self, *events: Event) -> Books:
        """Enter events one by one."""
        for event in events:
            self.frames += self.ledger.enter(event)
        return self

    def close(self, *, report_not_run: bool = False) -> Books:
        """Close the books."""
        self.frames += self.ledger.close(report_not_run=report_not_run)
        return self

    @property
    def results(self) -> list[tuple[str, str, int]]:
        """Node id, status and attempt of each result."""
        heads = [frame.head for frame in self.frames if isinstance(frame.head, ResultHead)]
        return [(head.nodeid, head.status, head.attempt) for head in heads]

    @property
    def contents(self) -> list[dict[str, Any]]:
        """What goes to the server, of each result."""
        return [json.loads(frame.body) for frame in self.frames if isinstance(frame.head, ResultHead)]

    @property
    def content(self) -> dict[str, Any]:
        """What goes to the server, of the only result."""
        (content,) = self.contents
        return content

    @property
    def running(self) -> list[str]:
        """What an outbox that was given all these frames takes for running still."""
        outbox = Outbox(None)
        for frame in self.frames:
            outbox.put([frame])
        running = [nodeid for nodeid, _ in outbox.running()]
        outbox.close()
        return running


@pytest.fixture
def books() -> Books:
    return Books()


# Results that come


def test_a_result_that_comes_is_kept_byte_for_byte(books: Books) -> None:
    event = recorded()

    books.enter(Began(TEST), event, SETUP, CALL, TEARDOWN).close()

    assert [frame for frame in books.frames if isinstance(frame.head, ResultHead)] == [decode(event.message)]


ORDERS: dict[str, list[Event]] = {
    "all-before-the-result": [Began(TEST), described(), SETUP, CALL, TEARDOWN, recorded()],
    "all-after-the-result": [described(), recorded(), Began(TEST), SETUP, CALL, TEARDOWN],
    "the-last-after-the-result": [described(), Began(TEST), SETUP, CALL, recorded(), TEARDOWN],
    "all-but-the-start-after-the-result": [Began(TEST), recorded(), SETUP, CALL, TEARDOWN],
}


@pytest.mark.parametrize("events", ORDERS.values(), ids=ORDERS)
def test_frames_of_this_process_are_taken_as_those_of_a_worker_are(events: list[Event], books: Books) -> None:
    for event in events:
        is_message = isinstance(event, Received)
        books.enter(Recorded(event.worker, decode(event.message)) if is_message else event)  # type: ignore[union-attr]

    assert books.close().results == Books().enter(*events).close().results
    assert books.running == []


@pytest.mark.parametrize("events", ORDERS.values(), ids=ORDERS)
def test_pytests_own_reports_of_a_result_that_came_make_no_second_one(events: list[Event], books: Books) -> None:
    books.enter(*events).close()

    assert books.results == [(TEST, "passed", 1)]


@pytest.mark.parametrize("events", ORDERS.values(), ids=ORDERS)
def test_a_test_whose_result_came_is_not_running_any_more(events: list[Event], books: Books) -> None:
    books.enter(*events).close()

    assert books.running == []


@dataclass(frozen=True)
class Told:
    """One test as its worker tells of it: in which order events are sent, and what becomes of it."""

    is_described: bool
    is_ignored: bool

    def sent(self, nodeid: str) -> list[Event]:
        """Give the events in the order in which the worker sends them."""
        opening: list[Event] = [ignored(nodeid)] if self.is_ignored else []
        opening += [described(nodeid)] if self.is_described and not self.is_ignored else []
        closing: list[Event] = [] if self.is_ignored else [recorded(nodeid)]
        return [Began(nodeid), *opening, *reported("setup", "call", "teardown", nodeid=nodeid), *closing]


TOLD = st.lists(st.builds(Told, st.booleans(), st.booleans()), min_size=1, max_size=4)
LAG = st.lists(st.integers(0, 4), max_size=40)


def arriving(sent: Iterable[Event], lag: list[int]) -> list[Event]:
    """Order events as they arrive: frames at once, pytest's own news through xdist's queue, some time later."""
    arrived: list[Event] = []
    queue: list[Event] = []
    for event, count in zip(sent, itertools.chain(lag, itertools.repeat(0)), strict=False):
        (arrived if isinstance(event, Received) else queue).append(event)
        arrived += queue[:count]
        del queue[:count]
    return [*arrived, *queue]


@given(told=TOLD, lag=LAG)
def test_each_test_has_one_result_however_late_pytests_news_comes(told: list[Told], lag: list[int]) -> None:
    books = Books()
    sent = [event for number, each in enumerate(told) for event in each.sent(f"t.py::test_{number}")]

    books.enter(*arriving(sent, lag)).close()

    expected = [f"t.py::test_{number}" for number, each in enumerate(told) if not each.is_ignored]
    assert [nodeid for nodeid, _, _ in books.results] == expected
    assert books.running == []


DEATHS = {"set-up": 0, "call": 1, "tear-down": 2}


@given(told=TOLD, lag=LAG, phase=st.sampled_from(sorted(DEATHS)))
def test_a_crash_has_one_result_however_late_pytests_news_comes(told: list[Told], lag: list[int], phase: str) -> None:
    books = Books()
    *before, last = [each.sent(f"t.py::test_{number}") for number, each in enumerate(told)]
    nodeid = f"t.py::test_{len(before)}"
    reports = [event for event in last if isinstance(event, Reported)]
    sent = [*(event for events in before for event in events), *last[: last.index(reports[0]) + DEATHS[phase]]]

    books.enter(*arriving(sent, lag), crashed(nodeid)).close()

    died = [] if told[-1].is_ignored else [content for content in books.contents if content["message"]]
    assert len(died) == 1 - told[-1].is_ignored
    assert all(content["message"].endswith(f"while running {nodeid}, in its {phase}") for content in died)
    assert len(books.results) == sum(not each.is_ignored for each in told)


# Tests that are not reported


def test_an_ignored_test_has_no_result(books: Books) -> None:
    books.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN).close()

    assert books.results == []


def test_an_ignored_test_is_not_said_to_have_never_begun() -> None:
    books = Books(Ledger(keep_nodeids=True))
    books.ledger.collect([TEST])

    books.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN).close(report_not_run=True)

    assert books.results == []


def test_an_ignored_test_that_runs_again_is_one_ignored_test(books: Books) -> None:
    books.ledger.collect([TEST, "t.py::test_b"])
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    books.enter(Began(TEST), ignored(), SETUP, rerun, ignored(), SETUP, CALL, TEARDOWN).close()

    assert (books.ledger.ignored, books.ledger.not_run) == (1, 1)


def test_an_ignored_test_that_runs_again_once_its_books_are_closed_has_no_result(books: Books) -> None:
    """Under xdist pytest's reports of the second attempt may come before the recorder's word on it."""
    books.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN, SETUP, CALL, TEARDOWN, ignored()).close()

    assert books.results == []
    assert (books.ledger.ignored, books.ledger.rebuilt) == (1, 0)


@pytest.mark.parametrize(("policy", "status"), [("famacase", "blocked"), ("upstream", "invalid")])
@pytest.mark.parametrize("end", ["crashed", "closed"])
def test_a_muted_test_that_dies_is_blocked(end: str, policy: str, status: str) -> None:
    books = Books(Ledger(status_policy=policy)).enter(Began(TEST), described(muted=True), SETUP)
    if end == "crashed":
        books.enter(crashed())
    books.close()

    assert [each[1] for each in books.results] == [status]
    assert books.content["muted"] is True


def test_an_ignored_test_that_fails_has_no_result(books: Books) -> None:
    books.enter(
        ignored(), Reported("gw0", TEST, [report("setup")]), Reported("gw0", TEST, [report("call", "failed")])
    ).close()

    assert books.results == []


def test_an_ignored_test_that_takes_its_worker_along_has_no_result(books: Books) -> None:
    books.enter(Began(TEST), ignored(), SETUP, crashed()).close()

    assert books.results == []


# Workers that die


CRASHES: dict[str, tuple[list[Event], str]] = {
    "before-anything-came": ([], "set-up"),
    "in-set-up": ([Began(TEST)], "set-up"),
    "in-set-up-described": ([Began(TEST), described()], "set-up"),
    "in-the-call": ([Began(TEST), SETUP], "call"),
    "in-tear-down": ([Began(TEST), SETUP, CALL], "tear-down"),
    "in-tear-down-after-a-bad-set-up": ([Began(TEST), Reported("gw0", TEST, [report("setup", "failed")])], "tear-down"),
}


@pytest.mark.parametrize(("events", "phase"), CRASHES.values(), ids=CRASHES)
def test_a_crash_is_one_invalid_result_that_names_worker_exit_test_and_phase(
    events: list[Event], phase: str, books: Books
) -> None:
    books.enter(*events, crashed()).close()

    assert books.results == [(TEST, "invalid", 1)]
    assert books.content["message"] == (f"worker gw0 crashed (signal SIGSEGV) while running {TEST}, in its {phase}")


def test_a_crash_of_which_nobody_knows_the_exit_does_not_make_one_up(books: Books) -> None:
    books.enter(crashed(exit=""))

    assert books.content["message"].startswith(f"worker gw0 crashed while running {TEST}")


def test_a_crash_says_on_which_worker_it_was_and_what_xdist_said(books: Books) -> None:
    books.enter(crashed(worker="gw3"))

    execution = books.content["execution"]
    assert execution["thread"] == "gw3"
    assert execution["stacktrace"] == "worker 'gw0' crashed while running 't.py::test_a'"


def test_a_crashed_test_took_the_time_since_its_first_report(books: Books) -> None:
    books.enter(Reported("gw0", TEST, [report("setup")], since=clock.monotonic() - 7), crashed()).close()

    assert 7000 <= books.content["execution"]["duration"] < 8000


def test_a_crash_of_a_described_test_keeps_all_that_was_known(books: Books) -> None:
    known: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "title": "Buys a book",
        "testops_ids": [7, 8],
        "params": {"amount": "1"},
        "param_groups": [["amount"]],
        "fields": {"severity": "critical"},
        "tags": ["smoke"],
        "signature": "7-8::t.py::test_a",
    }

    books.enter(described(**known), SETUP, crashed()).close()

    assert {name: books.content[name] for name in known} == known


def test_a_test_that_is_described_before_it_is_said_to_begin_keeps_what_was_known(books: Books) -> None:
    books.enter(described(title="Buys a book"), Began(TEST), crashed())

    assert books.content["title"] == "Buys a book"


@pytest.mark.parametrize("late", [[], [TEARDOWN], [SETUP, CALL, TEARDOWN]], ids=["in-time", "last-late", "all-late"])
def test_a_crash_after_the_result_came_makes_no_second_one(late: list[Event], books: Books) -> None:
    early = [event for event in (SETUP, CALL, TEARDOWN) if event not in late]

    books.enter(Began(TEST), *early, recorded(), *late, crashed()).close()

    assert books.results == [(TEST, "passed", 1)]


def test_a_crash_in_the_test_after_one_that_ended_is_reported(books: Books) -> None:
    books.enter(SETUP, CALL, TEARDOWN, recorded(), Began("t.py::test_b"), crashed("t.py::test_b"))

    assert books.results == [(TEST, "passed", 1), ("t.py::test_b", "invalid", 1)]


def test_the_test_that_crashed_is_not_running_any_more(books: Books) -> None:
    books.enter(Began(TEST), described(), crashed()).close()

    assert books.running == []


def test_a_test_that_runs_again_after_a_crash_is_its_second_attempt(books: Books) -> None:
    books.enter(Began(TEST), SETUP, crashed())

    books.enter(Began(TEST), *reported("setup", "call", "teardown", worker="gw2"), recorded(worker="gw2")).close()

    assert books.results == [(TEST, "invalid", 1), (TEST, "passed", 2)]
    execution = books.contents[1]["execution"]
    assert (execution["attempt_index"], execution["is_rerun"]) == (2, True)


def test_a_test_that_crashes_each_time_counts_its_attempts(books: Books) -> None:
    for worker in ("gw0", "gw1", "gw2"):
        books.enter(Began(TEST), *reported("setup", worker=worker), crashed(worker=worker))

    assert books.results == [(TEST, "invalid", attempt) for attempt in (1, 2, 3)]
    assert [content["execution"]["is_rerun"] for content in books.contents] == [False, True, True]


def test_the_reruns_of_the_next_worker_are_counted_on(books: Books) -> None:
    books.enter(SETUP, crashed())

    books.enter(recorded(worker="gw1", status="failed"), recorded(worker="gw1", attempt=2)).close()

    assert [attempt for _, _, attempt in books.results] == [1, 2, 3]


def test_the_attempts_of_a_rerun_have_each_a_result(books: Books) -> None:
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    books.enter(Began(TEST), SETUP, rerun, recorded(status="failed"), SETUP, CALL, TEARDOWN, recorded(attempt=2))

    assert books.close().results == [(TEST, "failed", 1), (TEST, "passed", 2)]


def test_a_result_that_overtakes_the_reports_of_the_attempt_before_is_counted(books: Books) -> None:
    """pytest-rerunfailures reports a teardown of each attempt."""
    rerun = Reported("gw0", TEST, [report("call", "rerun")])
    first, second, third = recorded(status="failed"), recorded(status="failed", attempt=2), recorded(attempt=3)

    books.enter(Began(TEST), SETUP, first, rerun, TEARDOWN)
    books.enter(Began(TEST), SETUP, second, third, rerun, TEARDOWN)
    books.enter(Began(TEST), SETUP, CALL, TEARDOWN).close()

    assert [attempt for _, _, attempt in books.results] == [1, 2, 3]
    assert books.ledger.rebuilt == 0


def test_the_attempts_of_a_rerun_have_each_a_result_where_pytests_news_comes_late(books: Books) -> None:
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    books.enter(recorded(status="failed"), recorded(attempt=2), Began(TEST), SETUP, rerun, SETUP, CALL, TEARDOWN)

    assert books.close().results == [(TEST, "failed", 1), (TEST, "passed", 2)]


@pytest.mark.parametrize("word", [[], [described()]], ids=["plain", "described"])
def test_a_crash_in_an_attempt_after_one_that_was_torn_down_is_the_next_attempt(
    word: list[Event], books: Books
) -> None:
    books.ledger.collect([TEST, "t.py::test_b"])
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    books.enter(Began(TEST), *word, SETUP, recorded(status="failed"), rerun, TEARDOWN)
    books.enter(Began(TEST), *word, crashed())
    books.enter(Began(TEST), recorded(worker="gw1"), *reported("setup", "call", "teardown", worker="gw1")).close()

    assert books.results == [(TEST, "failed", 1), (TEST, "invalid", 2), (TEST, "passed", 3)]
    assert books.ledger.not_run == 1
    assert books.running == []


def test_a_result_that_never_came_after_one_that_was_torn_down_is_the_next_attempt(books: Books) -> None:
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    books.enter(Began(TEST), SETUP, recorded(status="failed"), rerun, TEARDOWN)
    books.enter(Began(TEST), SETUP, CALL, TEARDOWN).close()

    assert books.results == [(TEST, "failed", 1), (TEST, "passed", 2)]


@pytest.mark.parametrize("results", [0, 1, 2], ids="{} results first".format)
def test_attempts_that_are_told_at_once_have_each_their_result(results: int, books: Books) -> None:
    phases = [report("setup"), report("call", "rerun"), report("setup"), report("call"), report("teardown")]
    recorded_ones = [recorded(status="failed"), recorded(attempt=2)]

    books.enter(Began(TEST), *recorded_ones[:results], Reported("gw0", TEST, phases), *recorded_ones[results:]).close()

    assert books.results == [(TEST, "failed", 1), (TEST, "passed", 2)]
    assert books.ledger.rebuilt == 0


def test_another_test_of_a_worker_that_died_is_no_rerun(books: Books) -> None:
    books.enter(SETUP, crashed(), recorded("t.py::test_b", worker="gw1")).close()

    assert books.results[1] == ("t.py::test_b", "passed", 1)


# --dist each: every worker runs every test


def test_where_each_worker_runs_all_each_has_its_result(books: Books) -> None:
    books.ledger.collect([TEST], times=2)
    for worker in ("gw0", "gw1"):
        books.enter(Began(TEST), *reported("setup", "call", "teardown", worker=worker), recorded(worker=worker))

    books.close()

    assert sorted(content["execution"]["thread"] for content in books.contents) == ["gw0", "gw1"]
    assert books.ledger.not_run == 0


def test_where_each_worker_runs_all_only_the_lost_one_is_rebuilt(books: Books) -> None:
    books.enter(*reported("setup", "call", worker="gw1"), SETUP, CALL, TEARDOWN, recorded()).close()

    assert [content["execution"]["thread"] for content in books.contents] == ["gw0", "gw1"]


def test_where_each_worker_runs_all_a_crash_of_one_makes_no_rerun_of_the_others(books: Books) -> None:
    books.ledger.collect([TEST], times=2)

    books.enter(Began(TEST), SETUP, crashed(worker="gw0"), Began(TEST), recorded(worker="gw1")).close()

    assert books.results == [(TEST, "invalid", 1), (TEST, "passed", 1)]
    assert books.ledger.not_run == 0


# Results that never come


SUITE = """
    import pytest

    def three():
        return 3

    def test_passes():
        pass

    def test_asserts():
        assert three() == 2

    def test_asserts_with_a_message():
        assert three() == 2, "not two"

    def test_raises():
        raise ValueError("boom")

    def test_fails():
        pytest.fail("no good")

    @pytest.mark.skip(reason="SHOP-1: not yet")
    def test_skips():
        pass

    @pytest.mark.xfail(reason="known")
    def test_xfails():
        assert False

    @pytest.fixture
    def broken():
        raise OSError("no database")

    def test_breaks_in_set_up(broken):
        pass

    @pytest.fixture
    def leaking():
        yield
        raise OSError("cannot close")

    def test_breaks_in_tear_down(leaking):
        pass
"""


class Heard:
    """Keeps what pytest says of a session, as it comes over xdist's wire."""

    def __init__(self) -> None:
        self.reports: dict[str, list[pytest.TestReport]] = {}
        self.not_collected: list[pytest.CollectReport] = []
        self.sink = ListSink()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        install.install(session.config, Settings(mode="testops"), self.sink, "main")

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        install.uninstall(config)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        self.reports.setdefault(name, []).append(pytest.TestReport._from_json(report._to_json()))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.not_collected.append(pytest.CollectReport._from_json(report._to_json()))


def heard(directory: Path, **files: str) -> Heard:
    """Run a suite in this process, and give what pytest said."""
    for name, text in files.items():
        file = directory / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
    plugin = Heard()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        arguments = ["-p", "no:cacheprovider", "-p", "no:qase_pytest", "-p", "no:famacase_xdist.plugin"]
        pytest.main(
            [
                *arguments,
                "-pno:asyncio",
                "-pno:randomly",
                "-pno:playwright",
                "--import-mode=importlib",
                "-c",
                "/dev/null",
                "--rootdir=.",
                ".",
            ],
            plugins=[plugin],
        )
    return plugin


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[pytest.TestReport]]:
    return heard(tmp_path_factory.mktemp("outcomes"), test_it=SUITE).reports


def rebuilt_from(reports: list[pytest.TestReport]) -> dict[str, Any]:
    """Give what the books make of reports whose result never comes."""
    return Books().enter(*(Reported("gw0", each.nodeid, [each]) for each in reports)).close().content


OUTCOMES = {
    "test_passes": ("passed", None),
    "test_asserts": ("failed", "assert 3 == 2"),
    "test_asserts_with_a_message": ("failed", "AssertionError: not two"),
    "test_raises": ("invalid", "ValueError: boom"),
    "test_fails": ("invalid", "Failed: no good"),
    "test_skips": ("skipped", "SHOP-1: not yet"),
    "test_xfails": ("skipped", None),
    "test_breaks_in_set_up": ("invalid", "OSError: no database"),
    "test_breaks_in_tear_down": ("invalid", "OSError: cannot close"),
}


@pytest.mark.parametrize(("name", "status"), [(name, status) for name, (status, _) in OUTCOMES.items()])
def test_a_lost_result_is_rebuilt_with_its_status(
    name: str, status: str, said: dict[str, list[pytest.TestReport]]
) -> None:
    assert rebuilt_from(said[name])["execution"]["status"] == status


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, (_, words) in OUTCOMES.items() if words])
def test_a_lost_result_is_rebuilt_with_its_reason(
    name: str, words: str, said: dict[str, list[pytest.TestReport]]
) -> None:
    assert (rebuilt_from(said[name])["message"] or "").removeprefix("Skipped: ") == words


def test_a_lost_failure_is_rebuilt_with_its_traceback(said: dict[str, list[pytest.TestReport]]) -> None:
    assert "def test_raises():" in rebuilt_from(said["test_raises"])["execution"]["stacktrace"]


def test_a_lost_result_is_rebuilt_with_the_time_of_all_phases(books: Books) -> None:
    books.enter(SETUP, CALL, TEARDOWN).close()

    execution = books.content["execution"]
    assert execution["duration"] == 750
    assert execution["end_time"] - execution["start_time"] == pytest.approx(0.75, abs=0.01)


def test_a_lost_result_of_a_described_test_keeps_what_was_known(books: Books) -> None:
    books.enter(described(title="Buys a book", testops_ids=[7]), SETUP, CALL, TEARDOWN).close()

    assert (books.content["title"], books.content["testops_ids"]) == ("Buys a book", [7])


def test_a_lost_result_is_no_longer_running(books: Books) -> None:
    books.enter(Began(TEST), SETUP, CALL, TEARDOWN).close()

    assert books.running == []


ENDINGS: dict[str, tuple[list[Event], str]] = {
    "described": ([Began(TEST), described()], "set-up"),
    "in-the-call": ([Began(TEST), SETUP], "call"),
}


@pytest.mark.parametrize(("events", "phase"), ENDINGS.values(), ids=ENDINGS)
def test_a_test_that_the_end_of_the_session_cut_off_is_invalid_and_says_where(
    events: list[Event], phase: str, books: Books
) -> None:
    books.enter(*events).close()

    assert books.results == [(TEST, "invalid", 1)]
    assert books.content["message"] == f"the session ended while this test was in its {phase} on gw0"


def test_a_test_that_only_began_is_not_said_to_have_never_begun(books: Books) -> None:
    books.ledger = Ledger(keep_nodeids=True)
    books.ledger.collect([TEST])

    books.enter(Began(TEST)).close(report_not_run=True)

    assert "before this test began" not in "".join(content["message"] for content in books.contents)


def test_a_second_close_rebuilds_nothing_again(books: Books) -> None:
    books.ledger = Ledger(keep_nodeids=True)
    books.ledger.collect([TEST, "t.py::test_b"])

    books.enter(SETUP, CALL).close(report_not_run=True).close(report_not_run=True)

    assert len(books.results) == 2


# What never became a test


@pytest.fixture(scope="module")
def broken_module(tmp_path_factory: pytest.TempPathFactory) -> pytest.CollectReport:
    (found,) = heard(tmp_path_factory.mktemp("broken"), test_broken="import no_such_module").not_collected
    return found


def test_a_module_that_cannot_be_collected_is_one_result_for_all_workers(
    broken_module: pytest.CollectReport, books: Books
) -> None:
    books.enter(*[NotCollected(broken_module)] * 4).close()

    assert books.results == [("test_broken.py", "invalid", 1)]


def test_a_module_that_cannot_be_collected_says_why(broken_module: pytest.CollectReport, books: Books) -> None:
    books.enter(NotCollected(broken_module))

    assert books.content["title"] == "test_broken.py"
    assert books.content["message"] == "collection error: ModuleNotFoundError: No module named 'no_such_module'"
    assert "import no_such_module" in books.content["execution"]["stacktrace"]


def test_each_module_that_cannot_be_collected_has_its_result(books: Books) -> None:
    for name in ("a.py", "b.py"):
        books.enter(NotCollected(pytest.CollectReport(name, "failed", "E   SyntaxError: x", None)))

    assert [nodeid for nodeid, _, _ in books.results] == ["a.py", "b.py"]


def test_collection_errors_are_left_out_where_so_set(broken_module: pytest.CollectReport) -> None:
    books = Books(Ledger(collection_errors=False)).enter(NotCollected(broken_module)).close()

    assert (books.results, books.ledger.not_collected) == ([], 0)


@pytest.mark.parametrize("collection_errors", [True, False])
def test_a_module_that_is_skipped_is_one_result_for_all_workers_with_its_reason(collection_errors: bool) -> None:
    skip = pytest.CollectReport("test_whole.py", "skipped", ("test_whole.py", 2, "Skipped: JIRA-9: not here"), None)  # type: ignore[arg-type]
    books = Books(Ledger(collection_errors=collection_errors)).enter(*[NotCollected(skip)] * 2).close()

    assert books.results == [("test_whole.py", "skipped", 1)]
    assert books.content["message"] == "JIRA-9: not here"
    assert books.ledger.not_collected == 0


def subtest(outcome: str) -> Reported:
    """Make the event of a subtest's report, of the shape that pytest 9 and pytest-subtests give it."""
    made = report("call", outcome)
    made.context = SimpleNamespace(msg="m", kwargs={})  # type: ignore[attr-defined]
    return Reported("gw0", TEST, [made])


def test_a_worker_that_dies_after_a_subtest_died_in_the_call(books: Books) -> None:
    books.enter(SETUP, subtest("passed"), crashed())

    assert str(books.content["message"]).endswith("in its call")


@pytest.mark.parametrize(("outcome", "status"), [("passed", "passed"), ("skipped", "passed"), ("failed", "invalid")])
def test_a_rebuilt_result_follows_its_failed_subtests_only(outcome: str, status: str, books: Books) -> None:
    books.enter(SETUP, subtest(outcome), CALL, TEARDOWN).close()

    assert books.results == [(TEST, status, 1)]


def test_subtests_alone_do_not_make_a_rebuilt_result_passed(books: Books) -> None:
    books.enter(SETUP, subtest("passed")).close()

    assert books.results == [(TEST, "invalid", 1)]


def test_a_rebuilt_xfail_says_its_reason(books: Books) -> None:
    xfail = report("call", "skipped")
    xfail.wasxfail = "reason: known: bug"  # type: ignore[attr-defined]

    books.enter(SETUP, Reported("gw0", TEST, [xfail]), TEARDOWN).close()

    assert (books.results, books.content["message"]) == ([(TEST, "skipped", 1)], "known: bug")


def test_tests_that_never_began_are_untested_where_asked_for() -> None:
    books = Books(Ledger(keep_nodeids=True))
    books.ledger.collect([TEST, "t.py::test_b", "t.py::test_c"])

    books.enter(SETUP, CALL, TEARDOWN, recorded(), crashed("t.py::test_b")).close(report_not_run=True)

    assert books.results[2:] == [("t.py::test_c", "untested", 1)]
    assert books.contents[2]["message"] == "the session ended before this test began"


@pytest.mark.parametrize(("keep", "report_not_run"), [(True, False), (False, True), (False, False)])
def test_tests_that_never_began_are_left_out_where_not_asked_for(keep: bool, report_not_run: bool) -> None:
    books = Books(Ledger(keep_nodeids=keep))
    books.ledger.collect([TEST])

    assert books.close(report_not_run=report_not_run).results == []


# Counts


def test_the_books_count_what_they_kept(books: Books, broken_module: pytest.CollectReport) -> None:
    books.ledger.collect([f"t.py::test_{number}" for number in range(8)])

    books.enter(
        recorded("t.py::test_0"),
        recorded("t.py::test_1", "failed"),
        *[Began("t.py::test_2"), crashed("t.py::test_2")],
        *reported("setup", "call", nodeid="t.py::test_3"),
        *[ignored("t.py::test_4"), *reported("setup", "call", "teardown", nodeid="t.py::test_4")],
        NotCollected(broken_module),
        Received("gw0", b"garbage"),
    ).close()

    ledger = books.ledger
    assert ledger.collected == 8
    assert ledger.received == {"passed": 2, "failed": 1, "invalid": 2}
    assert (ledger.crashed, ledger.rebuilt, ledger.ignored) == (1, 1, 1)
    assert (ledger.not_collected, ledger.unreadable, ledger.not_run) == (1, 1, 3)


def test_a_rerun_is_no_second_test_that_ran(books: Books) -> None:
    books.ledger.collect([TEST, "t.py::test_b"])

    books.enter(recorded(status="failed"), recorded(attempt=2), recorded(attempt=3)).close()

    assert books.ledger.not_run == 1


def test_a_collection_that_each_worker_tells_of_is_counted_once(books: Books) -> None:
    for _ in range(4):
        books.ledger.collect([TEST, "t.py::test_b"])

    assert books.ledger.collected == 2


@pytest.mark.parametrize("frame", [b"", b"garbage", b"R\0\0\0\x02{}", encode(BegunHead("a"))[:-1]])
def test_a_message_that_is_no_frame_is_counted_and_stops_nothing(frame: bytes, books: Books) -> None:
    books.enter(Received("gw0", frame), recorded()).close()

    assert books.ledger.unreadable == 1
    assert books.results == [(TEST, "passed", 1)]


# What a rebuilt result looks like


MADE: dict[str, list[Event]] = {
    "crash": [crashed()],
    "described-crash": [described(testops_ids=[7], params={"a": "1"}), crashed()],
    "lost": [SETUP, Reported("gw0", TEST, [report("call", "failed")])],
    "cut-off": [Began(TEST), described()],
    "not-collected": [NotCollected(pytest.CollectReport("", "failed", "E   SyntaxError: x", None))],
    "rerun": [crashed(), recorded(worker="gw1")],
    "odd-node-id": [crashed("t\ud800.py::test_\udcff")],
}


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_strict_server_takes_what_the_books_make(events: list[Event], books: Books) -> None:
    books.enter(*events).close()

    assert books.contents
    for content in books.contents:
        payloads.Result.model_validate(content)


@pytest.fixture(scope="module")
def by_recorder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the recorder itself says of plain tests, by node id."""
    body = "def test_a(): pass\n\nclass TestGroup:\n    def test_b(self): pass\n"
    files = {"test_flat": body, "tests__Unit Tests__test_deep": body, "dir[1]__test_odd": body, "a__test_x.y": body}
    frames = heard(tmp_path_factory.mktemp("recorded"), **files).sink.frames
    return {frame.head.nodeid: json.loads(frame.body) for frame in frames if isinstance(frame.head, ResultHead)}


NODEIDS = [
    f"{path}::{name}"
    for path in ("test_flat.py", "tests/Unit Tests/test_deep.py", "dir[1]/test_odd.py", "a/test_x.y.py")
    for name in ("test_a", "TestGroup::test_b")
]


def test_the_recorder_was_asked_for_all_of_them(by_recorder: dict[str, dict[str, Any]]) -> None:
    assert set(by_recorder) == set(NODEIDS)


@pytest.mark.parametrize("name", ["title", "signature", "relations"])
@pytest.mark.parametrize("nodeid", NODEIDS)
def test_a_rebuilt_result_is_the_same_test_to_the_server_as_a_recorded_one(
    nodeid: str, name: str, by_recorder: dict[str, dict[str, Any]]
) -> None:
    assert synthetic.described_by(nodeid)[name] == by_recorder[nodeid][name]


# What is left out, and what is added


@pytest.mark.parametrize("status", ["passed", "failed", "invalid"])
def test_a_filtered_result_is_counted_and_not_kept(status: str) -> None:
    books = Books(Ledger(status_filter=["passed", "invalid"], keep_nodeids=True))
    books.ledger.collect([TEST])
    is_kept = status == "failed"

    books.enter(Began(TEST), recorded(status=status), SETUP, CALL, TEARDOWN).close(report_not_run=True)

    assert books.results == [(TEST, status, 1)] * is_kept
    assert (books.ledger.filtered, books.ledger.received.total()) == (not is_kept, is_kept)
    assert (books.ledger.not_run, books.running) == (0, [])


MADE: dict[str, list[Event]] = {
    "crashed": [Began(TEST), crashed()],
    "rebuilt": [Began(TEST), SETUP, Reported("gw0", TEST, [report("call", "failed")]), TEARDOWN],
    "cut-off": [Began(TEST)],
}


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_result_that_no_recorder_made_is_filtered_by_its_mapped_status(events: list[Event]) -> None:
    mapping = {"invalid": "blocked"}
    books = Books(Ledger(status_filter=["blocked"], status_mapping=mapping)).enter(*events).close()
    kept = Books(Ledger(status_filter=["invalid"], status_mapping=mapping)).enter(*events).close()

    assert (books.results, books.ledger.filtered, books.running) == ([], 1, [])
    assert (kept.results, kept.ledger.filtered) == ([(TEST, "blocked", 1)], 0)


def test_an_attempt_after_a_filtered_crash_is_the_second() -> None:
    books = Books(Ledger(status_filter=["invalid"]))

    books.enter(Began(TEST), crashed(), Began(TEST), recorded(worker="gw1"))

    assert books.results == [(TEST, "passed", 2)]


def suites(content: dict[str, Any]) -> list[str]:
    """Give the titles of a result's suites."""
    return [suite["title"] for suite in content["relations"]["suite"]["data"]]


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_result_made_from_a_node_id_is_below_the_root_suite(events: list[Event]) -> None:
    books = Books(Ledger(root_suite="Root")).enter(*events).close()

    assert suites(books.content) == ["Root", "t"]


def test_a_description_has_the_root_suite_already() -> None:
    content = synthetic.described_by(TEST)
    content["relations"]["suite"]["data"].insert(0, {"title": "Root", "description": None})
    begun = described(relations=content["relations"])

    for events in ([begun, crashed()], [begun, SETUP]):
        assert suites(Books(Ledger(root_suite="Root")).enter(*events).close().content) == ["Root", "t"]


def test_a_note_is_kept_once_in_the_order_of_the_first(books: Books) -> None:
    notes = [received(Frame(NoteHead(text)), worker) for worker in ("gw0", "gw1") for text in ("b", "a")]

    books.enter(*notes).close()

    assert list(books.ledger.notes) == ["b", "a"]
    assert books.frames == []
