"""Clocks that tests do not bend: libraries that freeze or shift time replace the ones of `time`, in every thread.

freezegun and time-machine leave the clock that counts from the machine's start alone, so the time of day is made of it.
"""

from __future__ import annotations

import time
from time import clock_gettime

#: It goes on while the machine is suspended, where there is such a clock.
_SINCE_START = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
#: Read once: a time of day that is set anew in the middle of a session would make a test end before it began.
_START = clock_gettime(time.CLOCK_REALTIME) - clock_gettime(_SINCE_START)


def now() -> float:
    """Give the time of day, in seconds since the epoch."""
    return _START + clock_gettime(_SINCE_START)


def monotonic() -> float:
    """Give seconds that only grow, for durations and deadlines."""
    return clock_gettime(_SINCE_START)
