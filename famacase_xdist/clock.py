"""Clocks that tests cannot change. Libraries that freeze or shift time replace those of `time`, in every thread.

freezegun and time-machine do not replace the clock that counts from the machine's start, so the time of day is computed
from that one.
"""

from __future__ import annotations

import time
from time import clock_gettime

#: The clock since the machine's start; where there is a choice, one that goes on while the machine is suspended.
_SINCE_START = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
#: The time of day at the machine's start. Read once, because a test could end before it began if the time of day were
#: set during a session.
_START = clock_gettime(time.CLOCK_REALTIME) - clock_gettime(_SINCE_START)


def now() -> float:
    """Return the time of day, in seconds since the epoch."""
    return _START + clock_gettime(_SINCE_START)


def monotonic() -> float:
    """Return seconds that only grow, for durations and deadlines."""
    return clock_gettime(_SINCE_START)
