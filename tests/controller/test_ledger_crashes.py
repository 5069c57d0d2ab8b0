"""Workers that die: one result for each attempt that they took along, and for each that came after."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from harness.ledgers import CALL, SETUP, TEARDOWN, TEST, Kept, crashed, described, recorded, report, reported

from famacase_xdist import clock
from famacase_xdist.controller.events import Began, Event, Reported

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
    events: list[Event], phase: str, kept: Kept
) -> None:
    kept.enter(*events, crashed()).close()

    assert kept.results == [(TEST, "invalid", 1)]
    assert kept.content["message"] == (f"worker gw0 crashed (signal SIGSEGV) while running {TEST}, in its {phase}")


def test_a_crash_of_which_nobody_knows_the_exit_does_not_make_one_up(kept: Kept) -> None:
    kept.enter(crashed(exit=""))

    assert kept.content["message"].startswith(f"worker gw0 crashed while running {TEST}")


def test_a_crash_says_on_which_worker_it_was_and_what_xdist_said(kept: Kept) -> None:
    kept.enter(crashed(worker="gw3"))

    execution = kept.content["execution"]
    assert execution["thread"] == "gw3"
    assert execution["stacktrace"] == "worker 'gw0' crashed while running 't.py::test_a'"


def test_a_crashed_test_took_the_time_since_its_first_report(kept: Kept) -> None:
    kept.enter(Reported("gw0", TEST, [report("setup")], since=clock.monotonic() - 7), crashed()).close()

    assert 7000 <= kept.content["execution"]["duration"] < 8000


def test_a_crash_of_a_described_test_keeps_all_that_was_known(kept: Kept) -> None:
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

    kept.enter(described(**known), SETUP, crashed()).close()

    assert {name: kept.content[name] for name in known} == known


def test_a_test_that_is_described_before_it_is_said_to_begin_keeps_what_was_known(kept: Kept) -> None:
    kept.enter(described(title="Buys a book"), Began(TEST), crashed())

    assert kept.content["title"] == "Buys a book"


@pytest.mark.parametrize("late", [[], [TEARDOWN], [SETUP, CALL, TEARDOWN]], ids=["in-time", "last-late", "all-late"])
def test_a_crash_after_the_result_came_makes_no_second_one(late: list[Event], kept: Kept) -> None:
    early = [event for event in (SETUP, CALL, TEARDOWN) if event not in late]

    kept.enter(Began(TEST), *early, recorded(), *late, crashed()).close()

    assert kept.results == [(TEST, "passed", 1)]


def test_a_crash_in_the_test_after_one_that_ended_is_reported(kept: Kept) -> None:
    kept.enter(SETUP, CALL, TEARDOWN, recorded(), Began("t.py::test_b"), crashed("t.py::test_b"))

    assert kept.results == [(TEST, "passed", 1), ("t.py::test_b", "invalid", 1)]


def test_the_test_that_crashed_is_not_running_any_more(kept: Kept) -> None:
    kept.enter(Began(TEST), described(), crashed()).close()

    assert kept.running == []


def test_a_test_that_runs_again_after_a_crash_is_its_second_attempt(kept: Kept) -> None:
    kept.enter(Began(TEST), SETUP, crashed())

    kept.enter(Began(TEST), *reported("setup", "call", "teardown", worker="gw2"), recorded(worker="gw2")).close()

    assert kept.results == [(TEST, "invalid", 1), (TEST, "passed", 2)]
    execution = kept.contents[1]["execution"]
    assert (execution["attempt_index"], execution["is_rerun"]) == (2, True)


def test_a_test_that_crashes_each_time_counts_its_attempts(kept: Kept) -> None:
    for worker in ("gw0", "gw1", "gw2"):
        kept.enter(Began(TEST), *reported("setup", worker=worker), crashed(worker=worker))

    assert kept.results == [(TEST, "invalid", attempt) for attempt in (1, 2, 3)]
    assert [content["execution"]["is_rerun"] for content in kept.contents] == [False, True, True]


def test_the_reruns_of_the_next_worker_are_counted_on(kept: Kept) -> None:
    kept.enter(SETUP, crashed())

    kept.enter(recorded(worker="gw1", status="failed"), recorded(worker="gw1", attempt=2)).close()

    assert [attempt for _, _, attempt in kept.results] == [1, 2, 3]


def test_the_attempts_of_a_rerun_have_each_a_result(kept: Kept) -> None:
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    kept.enter(Began(TEST), SETUP, rerun, recorded(status="failed"), SETUP, CALL, TEARDOWN, recorded(attempt=2))

    assert kept.close().results == [(TEST, "failed", 1), (TEST, "passed", 2)]


def test_a_result_that_overtakes_the_reports_of_the_attempt_before_is_counted(kept: Kept) -> None:
    """pytest-rerunfailures reports a teardown of each attempt."""
    rerun = Reported("gw0", TEST, [report("call", "rerun")])
    first, second, third = recorded(status="failed"), recorded(status="failed", attempt=2), recorded(attempt=3)

    kept.enter(Began(TEST), SETUP, first, rerun, TEARDOWN)
    kept.enter(Began(TEST), SETUP, second, third, rerun, TEARDOWN)
    kept.enter(Began(TEST), SETUP, CALL, TEARDOWN).close()

    assert [attempt for _, _, attempt in kept.results] == [1, 2, 3]
    assert kept.ledger.rebuilt == 0


def test_the_attempts_of_a_rerun_have_each_a_result_where_pytests_news_comes_late(kept: Kept) -> None:
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    kept.enter(recorded(status="failed"), recorded(attempt=2), Began(TEST), SETUP, rerun, SETUP, CALL, TEARDOWN)

    assert kept.close().results == [(TEST, "failed", 1), (TEST, "passed", 2)]


@pytest.mark.parametrize("word", [[], [described()]], ids=["plain", "described"])
def test_a_crash_in_an_attempt_after_one_that_was_torn_down_is_the_next_attempt(word: list[Event], kept: Kept) -> None:
    kept.ledger.collect([TEST, "t.py::test_b"])
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    kept.enter(Began(TEST), *word, SETUP, recorded(status="failed"), rerun, TEARDOWN)
    kept.enter(Began(TEST), *word, crashed())
    kept.enter(Began(TEST), recorded(worker="gw1"), *reported("setup", "call", "teardown", worker="gw1")).close()

    assert kept.results == [(TEST, "failed", 1), (TEST, "invalid", 2), (TEST, "passed", 3)]
    assert kept.ledger.not_run == 1
    assert kept.running == []


def test_a_result_that_never_came_after_one_that_was_torn_down_is_the_next_attempt(kept: Kept) -> None:
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    kept.enter(Began(TEST), SETUP, recorded(status="failed"), rerun, TEARDOWN)
    kept.enter(Began(TEST), SETUP, CALL, TEARDOWN).close()

    assert kept.results == [(TEST, "failed", 1), (TEST, "passed", 2)]


@pytest.mark.parametrize("results", [0, 1, 2], ids="{} results first".format)
def test_attempts_that_are_told_at_once_have_each_their_result(results: int, kept: Kept) -> None:
    phases = [report("setup"), report("call", "rerun"), report("setup"), report("call"), report("teardown")]
    recorded_ones = [recorded(status="failed"), recorded(attempt=2)]

    kept.enter(Began(TEST), *recorded_ones[:results], Reported("gw0", TEST, phases), *recorded_ones[results:]).close()

    assert kept.results == [(TEST, "failed", 1), (TEST, "passed", 2)]
    assert kept.ledger.rebuilt == 0


def test_another_test_of_a_worker_that_died_is_no_rerun(kept: Kept) -> None:
    kept.enter(SETUP, crashed(), recorded("t.py::test_b", worker="gw1")).close()

    assert kept.results[1] == ("t.py::test_b", "passed", 1)


# --dist each: every worker runs every test


def test_where_each_worker_runs_all_each_has_its_result(kept: Kept) -> None:
    kept.ledger.collect([TEST], times=2)
    for worker in ("gw0", "gw1"):
        kept.enter(Began(TEST), *reported("setup", "call", "teardown", worker=worker), recorded(worker=worker))

    kept.close()

    assert sorted(content["execution"]["thread"] for content in kept.contents) == ["gw0", "gw1"]
    assert kept.ledger.not_run == 0


def test_where_each_worker_runs_all_only_the_lost_one_is_rebuilt(kept: Kept) -> None:
    kept.enter(*reported("setup", "call", worker="gw1"), SETUP, CALL, TEARDOWN, recorded()).close()

    assert [content["execution"]["thread"] for content in kept.contents] == ["gw0", "gw1"]


def test_where_each_worker_runs_all_a_crash_of_one_makes_no_rerun_of_the_others(kept: Kept) -> None:
    kept.ledger.collect([TEST], times=2)

    kept.enter(Began(TEST), SETUP, crashed(worker="gw0"), Began(TEST), recorded(worker="gw1")).close()

    assert kept.results == [(TEST, "invalid", 1), (TEST, "passed", 1)]
    assert kept.ledger.not_run == 0
