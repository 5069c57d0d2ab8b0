"""SIGTERM, as CI systems send it: the session ends as after Ctrl-C, delivers what it has, and then dies of the signal.

Without a handler the process would be gone at once, with no word on what was delivered.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


class SigtermHandler:
    """Turns the first SIGTERM into a KeyboardInterrupt of the main thread; the second one kills."""

    def __init__(self) -> None:
        self._is_ours = False
        self.is_asked = False

    def watch(self) -> None:
        """Take SIGTERM over, unless another handler has it."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._interrupt)
            self._is_ours = True

    def end(self) -> None:
        """Give SIGTERM back; if one came, die of it, so that the exit status is what it was without us."""
        if not self._is_ours:
            return
        self._is_ours = False
        if signal.getsignal(signal.SIGTERM) == self._interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self.is_asked:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.stdout.flush()
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGTERM)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.is_asked = True
        raise KeyboardInterrupt("SIGTERM")
