"""Forked children, as tests make them."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable


def status_in_child(act: Callable[[], object]) -> int:
    """Call a function in a forked child. Return its exit status: 0, or 1 after an exception, which is printed."""
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads; pytest-timeout and others may have some.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        act()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
