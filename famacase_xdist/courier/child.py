"""The courier: follows the journals of one session, delivers what is in them, and answers to the session's process.

It runs in a process of its own or, where none can be started, in a thread of the session's. Its threads are
``famacase-line``, which receives, those of the senders, and its own.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from famacase_xdist import clock
from famacase_xdist.delivery.destination import Destination
from famacase_xdist.delivery.opening import Opening
from famacase_xdist.errors import FamacaseError
from famacase_xdist.log import LogCollector, log
from famacase_xdist.results.frames import decode
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.shown import effective
from famacase_xdist.state.directory import StateDirectory

from .line import Line, LocalLine
from .messages import Finish, Finished, Frames, Left, Opened, Order, Refused, RunOpened, Said

#: Seconds between two looks at the journals; a batch that is not full may wait much longer.
LOOK = 0.1
#: Seconds between two looks while the session's end is waited for.
LAST_LOOK = 0.02
#: Seconds between two answers about what is left.
TELL = 0.5
#: Seconds between two times that what is on disk is made to survive a power failure too.
SYNC = 1.0
#: Seconds to deliver what a dead session left, and seconds after which this process ends whatever it is doing.
LAST_WILL, LAST_BREATH = 7.0, 9.5
#: Seconds between the end of a dying parent's pipe and its death.
DYING = 2.0


class _LineEnded:
    """Takes the place of a message when no more can come."""


class Child:
    """Delivers for one session.

    Args:
        line: The line to the session's process; the first message is the order.
        has_parent: Whether the session's process is another one, the parent of this one.
    """

    def __init__(self, line: Line | LocalLine, *, has_parent: bool) -> None:
        self._line = line
        self._has_parent = has_parent
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._log: LogCollector | None = None
        self._parent = 0
        self._is_run_told = False
        self._is_ending = False
        self._sync_due = 0.0
        #: When to give up at the end, on our monotonic clock.
        self._deadline = 0.0

    def run(self) -> None:
        """Deliver until the session has ended, or its process has."""
        try:
            order = self._line.receive(None)
            assert isinstance(order, Order)
            self._parent = order.pid
            threading.Thread(target=self._receive, name="famacase-line", daemon=True).start()
            self._serve(order)
        except EOFError:
            pass
        except Exception as error:
            # A mistake of ours; the session's process counts what is left by itself.
            self._tell(Refused(f"internal error: {error!r}", log=self._lines()))
        finally:
            self._line.close()

    def _serve(self, order: Order) -> None:
        kept = {code: (each.session, each.trouble) for code, each in order.kept.items()}
        opening = Opening(
            order.settings,
            order.state,
            kept,
            order.started_in,
            order.rootdir,
            order.pid,
            is_second=order.is_second,
        )
        with contextlib.ExitStack() as resources:
            try:
                self._log = resources.enter_context(_listening(order, opening))
                destination = resources.enter_context(opening.opened(self._say))
            except FamacaseError as error:
                self._tell(self._refusal(error, opening))
                return
            # Ahead of it, because the first test may ask for the run.
            self._tell_run(destination)
            self._tell(Opened(tuple(destination.header()), opening.leftovers, opening.cases, opening.troubles))
            outcome = self._deliver(destination, order.settings)
            if outcome is not None:
                self._tell(Finished(outcome, self._lines(), self._log.trouble if self._log else ""))
                destination.release()

    def _refusal(self, error: FamacaseError, opening: Opening) -> Refused:
        return Refused(opening.fatal(error) or str(error), log=self._lines())

    def _deliver(self, destination: Destination, settings: Settings) -> Outcome | None:
        """Follow the journals until the end. Return what became of the results; None if nobody is left to tell."""
        while True:
            message = self._next(LOOK)
            self._look(destination)
            if isinstance(message, Frames):
                destination.accept(message.code, [decode(each) for each in message.frames], message.reason)
            elif isinstance(message, Finish):
                return self._finish(destination, message)
            elif isinstance(message, _LineEnded):
                if self._dies_soon():
                    self._inherit(destination, settings)
                elif not self._has_parent:
                    # The session reports nothing, and its tests must not find connections of ours.
                    destination.close()
                    destination.release()
                # Else the session's process lives, and has lost the line: it starts another courier.
                return None

    def _look(self, destination: Destination) -> None:
        destination.follow()
        self._tell_run(destination)
        if clock.monotonic() >= self._sync_due:
            destination.sync()
            self._sync_due = clock.monotonic() + SYNC

    def _tell_run(self, destination: Destination) -> None:
        """Tell the session's one run, once, when it is open."""
        if not self._is_run_told and (run := destination.run) is not None:
            self._is_run_told = True
            self._tell(RunOpened(*run))

    def _finish(self, destination: Destination, finish: Finish) -> Outcome:
        """Deliver the rest within the time that the session gives."""
        self._deadline = clock.monotonic() + finish.timeout
        destination.request_stop(finish.accepted, is_finished=finish.is_finished)
        for message in self._waiting(destination):
            if isinstance(message, Finish):
                self._shorten(message.timeout)
            elif isinstance(message, _LineEnded):
                if self._is_orphan:
                    self._end_soon()
                self._shorten(LAST_WILL)
        return destination.close()

    def _inherit(self, destination: Destination, settings: Settings) -> None:
        """Deliver what a session left that died."""
        self._end_soon()
        destination.follow()
        destination.bury()
        self._deadline = clock.monotonic() + min(settings.flush_timeout, LAST_WILL)
        for _ in self._waiting(destination):
            pass
        destination.close()
        destination.release()

    def _shorten(self, seconds: float) -> None:
        self._deadline = min(self._deadline, clock.monotonic() + seconds)

    def _waiting(self, destination: Destination) -> Iterator[object]:
        """Yield what comes while the destination delivers, None now and then, until it is done or out of time."""
        tell_due = clock.monotonic() + TELL
        while not destination.is_idle and clock.monotonic() < self._deadline:
            yield self._next(LAST_LOOK)
            if clock.monotonic() >= tell_due:
                self._tell(Left(destination.left()))
                tell_due = clock.monotonic() + TELL

    def _next(self, seconds: float) -> object:
        with contextlib.suppress(queue.Empty):
            return self._messages.get(timeout=seconds)
        # A child that a test has forked may hold the line open.
        return _LineEnded() if self._is_orphan else None

    def _receive(self) -> None:
        with contextlib.suppress(Exception):
            while True:
                self._messages.put(self._line.receive(None))
        self._messages.put(_LineEnded())
        if self._dies_soon():
            self._end_soon()

    def _end_soon(self) -> None:
        """End this process in a few seconds, whatever it waits for: it must not outlive the session for long."""
        if not self._is_ending:
            self._is_ending = True
            timer = threading.Timer(LAST_BREATH, os._exit, (1,))
            timer.daemon = True
            timer.start()

    @property
    def _is_orphan(self) -> bool:
        return self._has_parent and os.getppid() != self._parent

    def _dies_soon(self) -> bool:
        """Return whether the session's process dies; it has closed its files a moment before that can be seen."""
        if not self._has_parent:
            return False
        deadline = clock.monotonic() + DYING
        pause = threading.Event()
        while not self._is_orphan and clock.monotonic() < deadline:
            pause.wait(0.01)
        return self._is_orphan

    def _say(self, line: str) -> None:
        self._tell(Said(line))

    def _tell(self, message: object) -> None:
        with contextlib.suppress(OSError):
            self._line.send(message)

    def _lines(self) -> tuple[str, ...]:
        return tuple(self._log.section()) if self._log else ()


@contextmanager
def _listening(order: Order, opening: Opening) -> Iterator[LogCollector | None]:
    """Collect the log within a block, where DEBUG or LOGGING_FILE asks for it."""
    settings = order.settings
    if not (settings.debug or settings.logging_file):
        yield None
        return
    collector = LogCollector(lambda text: opening.mask.text(text))
    collector.start()
    try:
        if settings.logging_file:
            collector.write_to(StateDirectory.of(settings).log(opening.session))
        for name, (value, source) in effective(settings).items():
            log.info("setting %s = %s (%s)", name, value, source)
        yield collector
    finally:
        collector.stop()
