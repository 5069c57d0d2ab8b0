"""Clocks that no test can change."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import freezegun
import pytest
import time_machine

from famacase_xdist import clock

THEN = "2001-02-03"
BENDING: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "freezegun": lambda: freezegun.freeze_time(THEN),
    "time-machine": lambda: time_machine.travel(THEN, tick=False),
    "time-machine, into the future": lambda: time_machine.travel("2101-02-03"),
}


@pytest.mark.parametrize("bend", BENDING.values(), ids=BENDING)
def test_a_bent_clock_is_not_ours(bend: Callable[[], AbstractContextManager[Any]]) -> None:
    before = time.time()
    since = clock.monotonic()

    with bend():
        assert abs(time.time() - before) > 1e6  # else the time is not changed at all
        now, meanwhile = clock.now(), clock.monotonic()

    # NTP may have moved the system's clock a little since ours was read.
    assert before - 5 < now < time.time() + 5
    assert 0 <= meanwhile - since < 60


def test_our_clock_is_the_systems() -> None:
    assert abs(clock.now() - time.time()) < 5


def test_time_only_grows() -> None:
    times = [clock.now() for _ in range(1000)]

    assert times == sorted(times)
