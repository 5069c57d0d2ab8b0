"""Retries: which errors lead to another try, the number of tries, and the waits between them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tenacity import RetryCallState
from tenacity.stop import stop_when_event_set

from famacase_xdist.client.retry import MAX_WAIT, retrying
from famacase_xdist.errors import DeliveryError, LockTimeout, NoAnswer, PlanError, Refused
from famacase_xdist.log import LogCollector

BUSY = Refused("HTTP 503: busy", status=503)


class Call:
    """A call that raises some errors, one each time, and then returns an answer."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


def tries_of(error: BaseException, attempts: int = 3) -> int:
    """Return the number of tries of a call that raises an error each time."""
    call = Call(*[error] * attempts)
    with pytest.raises(type(error)):
        retrying(attempts, sleep=lambda seconds: None)(call)
    return call.times


def waits(attempts: int, *errors: BaseException) -> list[float]:
    """Return the seconds between the tries of a call that raises these errors."""
    slept: list[float] = []
    retrying(attempts, sleep=slept.append)(Call(*errors))
    return slept


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each random wait the longest one."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


@pytest.fixture
def shortest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each random wait the shortest one."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low)


# Which errors


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 507, 599])
def test_a_status_that_may_pass_is_tried_again(status: int) -> None:
    assert tries_of(Refused("no", status=status)) == 3


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 415, 422])
def test_a_status_that_is_final_is_not_tried_again(status: int) -> None:
    assert tries_of(Refused("no", status=status)) == 1


@pytest.mark.parametrize(
    ("cause", "times"), [("connection", 3), ("timeout", 3), ("tls", 3), ("answer", 3), ("token", 1)]
)
def test_a_request_without_an_answer_is_tried_again_unless_its_token_cannot_be_sent(cause: str, times: int) -> None:
    assert tries_of(NoAnswer("none", cause=cause)) == times


@pytest.mark.parametrize(
    "error",
    [
        DeliveryError("of no kind"),
        LockTimeout("waited"),
        PlanError("it has no cases"),
        OSError("no disk"),
        TypeError("a mistake of ours"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_no_request_raised_is_not_tried_again(error: BaseException) -> None:
    assert tries_of(error) == 1


def test_a_foreign_error_that_calls_itself_retryable_is_not_tried_again() -> None:
    error = ValueError("foreign")
    error.retryable = True  # type: ignore[attr-defined]

    assert tries_of(error) == 1


# How often


def test_a_call_that_succeeds_is_made_once_without_a_wait() -> None:
    call = Call()
    slept: list[float] = []
    told: list[RetryCallState] = []

    answer = retrying(3, sleep=slept.append, before_sleep=told.append)(call)

    assert (answer, call.times, slept, told) == ("answer", 1, [], [])


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_there_are_no_more_tries_than_set_and_no_wait_after_the_last(attempts: int) -> None:
    call = Call(*[BUSY] * 9)
    slept: list[float] = []

    with pytest.raises(Refused):
        retrying(attempts, sleep=slept.append)(call)

    assert (call.times, len(slept)) == (attempts, attempts - 1)


def test_a_last_try_that_succeeds_counts() -> None:
    call = Call(BUSY, NoAnswer("none", cause="timeout"))

    assert retrying(3, sleep=lambda seconds: None)(call) == "answer"
    assert call.times == 3


def test_the_error_of_the_last_try_is_raised_as_it_is() -> None:
    first, last = Refused("first", status=500), NoAnswer("last", cause="timeout")

    with pytest.raises(DeliveryError) as caught:
        retrying(2, sleep=lambda seconds: None)(Call(first, last))

    assert caught.value is last
    assert caught.value.__cause__ is None


def test_a_final_error_ends_the_tries_at_once() -> None:
    final = Refused("gone", status=404)
    call = Call(BUSY, final, BUSY)

    with pytest.raises(Refused) as caught:
        retrying(9, sleep=lambda seconds: None)(call)

    assert (caught.value, call.times) == (final, 2)


def test_each_call_has_all_tries_to_itself(longest: None) -> None:
    slept: list[float] = []
    patiently = retrying(3, sleep=slept.append)

    for _ in range(2):
        assert patiently(Call(BUSY, BUSY)) == "answer"

    assert slept == [0.5, 1.0, 0.5, 1.0]


# How long


def test_the_most_that_is_waited_doubles_up_to_a_limit(longest: None) -> None:
    assert waits(9, *[BUSY] * 8) == [0.5, 1.0, 2.0, 4.0, 8.0, *[MAX_WAIT] * 3]


def test_the_least_that_is_waited_is_nothing(shortest: None) -> None:
    assert waits(9, *[BUSY] * 8) == [0.0] * 8


def test_many_that_failed_together_do_not_come_back_together() -> None:
    first = [waits(2, BUSY)[0] for _ in range(100)]

    assert len(set(first)) > 50
    assert 0.0 <= min(first) <= max(first) <= 0.5


def refused(retry_after: float | None) -> Refused:
    return Refused("HTTP 429: later", status=429, retry_after=retry_after)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [(None, 0.5), (0.0, 0.5), (0.2, 0.5), (0.7, 0.7), (30.0, 30.0), (60.0, 60.0), (61.0, 60.0), (1e9, 60.0)],
)
def test_a_server_gets_the_rest_it_asks_for_up_to_a_limit(asked: float | None, waited: float, longest: None) -> None:
    assert waits(2, refused(asked)) == [waited]


def test_chance_makes_no_rest_shorter_than_the_server_asks_for(shortest: None) -> None:
    assert waits(4, refused(3.0), BUSY, refused(1.0)) == [3.0, 0.0, 1.0]


def test_without_a_sleep_of_its_own_a_call_lets_its_thread_sleep(
    longest: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    assert retrying(2)(Call(BUSY)) == "answer"
    assert slept == [0.5]


# Giving up


def test_giving_up_raises_the_error_of_the_last_try_that_was_made() -> None:
    enough = threading.Event()
    errors = [Refused(str(number), status=503) for number in range(9)]
    call = Call(*errors)

    def sleep(seconds: float) -> None:
        if call.times == 2:
            enough.set()

    with pytest.raises(Refused) as caught:
        retrying(9, sleep=sleep, give_up=stop_when_event_set(enough))(call)

    assert (caught.value, call.times) == (errors[2], 3)


def test_a_call_that_is_given_up_from_the_start_is_tried_once_without_a_wait() -> None:
    enough = threading.Event()
    enough.set()
    call = Call(BUSY, BUSY)
    slept: list[float] = []
    told: list[RetryCallState] = []

    with pytest.raises(Refused):
        retrying(9, sleep=slept.append, give_up=stop_when_event_set(enough), before_sleep=told.append)(call)

    assert (call.times, slept, told) == (1, [], [])


# What is told


def test_each_wait_is_told_before_it_begins_with_its_reason(longest: None) -> None:
    happened: list[Any] = []
    errors = [Refused("HTTP 503: first", status=503), NoAnswer("second", cause="timeout"), BUSY]

    def told(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        happened.append((state.attempt_number, state.upcoming_sleep, error))

    with pytest.raises(Refused):
        retrying(3, sleep=happened.append, before_sleep=told)(Call(*errors))

    assert happened == [(1, 0.5, errors[0]), 0.5, (2, 1.0, errors[1]), 1.0]


@pytest.fixture
def recording() -> Iterator[LogCollector]:
    """The log of DEBUG."""
    recording = LogCollector(str)
    recording.start()
    yield recording
    recording.stop()


def test_debug_tells_which_try_failed_and_why(longest: None, recording: LogCollector) -> None:
    retrying(3, sleep=lambda seconds: None)(Call(refused(7.25), BUSY))

    assert [line.partition(": ")[2] for line in recording.lines] == [
        "try 1 of 3 failed, again in 7.2 s: HTTP 429: later",
        "try 2 of 3 failed, again in 1.0 s: HTTP 503: busy",
    ]
