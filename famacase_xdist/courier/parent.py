"""The courier as the session's process sees it: started, told, waited for.

The tests run in this process. So it has neither a thread nor a connection of ours, nor a module that makes one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from famacase_xdist import clock
from famacase_xdist.errors import CourierError, FamacaseError
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.system import Origin, System

from .line import Line, LocalLine
from .messages import Finish, Finished, Frames, Left, Opened, Order, Refused, RunOpened, Said

#: Seconds to wait for the destination at the start. The courier itself waits for its server for five.
START_PATIENCE = 45.0
#: Seconds beyond the session's own deadline in which the courier answers.
GRACE = 4.0
#: Seconds in which another courier is ready to deliver.
RESTART = 6.0
#: Seconds to wait for a courier that does not read what it is told.
SEND_PATIENCE = 10.0
#: Seconds to wait for the end of the process after its last word: the embedded server ends with it.
END_PATIENCE = 8.0
#: Seconds between two looks whether the courier lives.
LOOK = 1.0
#: Seconds to wait for the end of a process that has closed the line.
ENDING = 0.5
#: Seconds between two looks whether a process has ended that is about to.
POLL = 0.01
#: Variables that would make a tool of the tests work in the courier too and write files there, or Python stumble.
_TOOLS = (
    "COV_CORE_SOURCE",
    "COV_CORE_CONFIG",
    "COV_CORE_DATAFILE",
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
    "PYTHONINSPECT",
    "PYTHONWARNINGS",
)


class NothingReported(FamacaseError):
    """The courier has refused to begin.

    Attributes:
        log: The lines of the log.
    """

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.log = refused.log


class Courier:
    """The courier of one session. One thread uses it, except that any may call `keep` and `look_at_run`.

    In a forked child it does nothing: the child has the same line, and what it took from there its parent would miss.

    Args:
        order: What is to be delivered.
        say: Shows a line to the person who waits.

    Attributes:
        run: Id and address of the session's one run; None and an empty text while there is none.
        note: A line for the header; empty if there is nothing to say.
    """

    def __init__(self, order: Order, say: Callable[[str], None]) -> None:
        self._order = order
        self._say = say
        self._origin = Origin()
        # -P: a module in the user's directory must not be imported in place of ours.
        self._command = [sys.executable, "-P", "-m", "famacase_xdist.courier"]
        self._environ = _environ(order)
        self._line: Line | LocalLine | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        #: What was received and nobody has asked for yet.
        self._unread: deque[object] = deque()
        self._receiving = threading.Lock()
        self._changing = threading.RLock()
        self._never = threading.Event()
        self._look_due = 0.0
        self._is_over = False
        self._end = ""
        self.run: tuple[RunId | None, str] = (None, "")
        self.note = ""

    @property
    def _is_ours(self) -> bool:
        return self._origin.is_here

    def start(self) -> None:
        """Start the courier, in a process or, where that cannot be, in a thread. Returns at once.

        Raises:
            OSError: There are too few descriptors. A thread would take those that the tests need.
        """
        if self._order.settings.courier == "process":
            try:
                self._line = self._start_process()
            except Exception as error:
                if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                    raise
                reason = getattr(error, "strerror", None) or error
                self.note = f"delivery runs in a thread, because no process can be started: {reason}"
        if self._line is None:
            self._line = self._start_thread()
        with contextlib.suppress(OSError):
            self._line.send(self._order, SEND_PATIENCE)

    def opened(self) -> Opened:
        """Wait until the destination is open, or the first try to open it is over.

        Raises:
            FamacaseError: Nothing is reported; `NothingReported` where the courier says so.
        """
        # Each try to load a test plan may take as long as a request, and the courier counts the tries.
        patience = None if self._order.settings.testops_plan_id is not None else START_PATIENCE
        try:
            opened = self._await_opened(patience)
        except EOFError:
            if self._process is None:
                raise CourierError("the courier ended before it began") from None
            self._end_process(ENDING)
            self._hang_up()
            self.note = f"delivery runs in a thread, because its process ended at once{self._end}"
            self._line = self._start_thread()
            self._line.send(self._order)
            opened = self._await_opened(patience)
        return opened or Opened(("famacase: no run yet: the courier has not answered yet; results are kept",))

    def _await_opened(self, patience: float | None) -> Opened | None:
        deadline = None if patience is None else clock.monotonic() + patience
        while True:
            message = self._receive(deadline)
            if message is None or isinstance(message, Opened):
                return message
            if isinstance(message, Refused):
                raise NothingReported(message)

    def keep(self, code: str, frames: Sequence[AnyFrame], reason: str) -> None:
        """Hand over frames that the disk did not take.

        Args:
            code: The project's code.
            frames: The frames.
            reason: What the disk said.

        Raises:
            CourierError: They are lost.
        """
        message = Frames(code, tuple(each.encoded for each in frames), reason)
        with self._changing:
            try:
                if self._line is None or not self._is_ours:
                    raise OSError("there is no courier")
                self._line.send(message, SEND_PATIENCE)
            except OSError:
                raise CourierError(reason) from None

    def look(self) -> None:
        """Start another courier, once, if this one has died or the line to it was closed."""
        if clock.monotonic() < self._look_due or self._line is None or not self._is_ours:
            return
        self._look_due = clock.monotonic() + LOOK
        if self._line.is_cut:
            self._replace()

    def look_at_run(self) -> tuple[RunId | None, str]:
        """Return `run`, with what the courier has said until now taken into account."""
        if self._is_ours and self._receiving.acquire(blocking=False):
            try:
                with contextlib.suppress(EOFError):
                    while (message := self._hear(clock.monotonic())) is not None:
                        self._unread.append(message)
            finally:
                self._receiving.release()
        return self.run

    def finish(self, finish: Finish) -> None:
        """Tell the courier that the session has ended. Returns at once."""
        if self._line is not None and self._is_ours:
            with contextlib.suppress(OSError):
                self._line.send(finish, SEND_PATIENCE)

    def outcome(self, finish: Finish, progress: Callable[[int], None]) -> Finished:
        """Wait for what became of the results.

        Args:
            finish: What `finish` told.
            progress: Called now and then with the number of results that are still to be delivered.

        Raises:
            CourierError: The courier did not answer.
        """
        deadline = clock.monotonic() + finish.timeout + GRACE
        while True:
            try:
                message = self._receive(deadline)
            except EOFError:
                left = max(0.0, deadline - GRACE - clock.monotonic())
                if not self._replace():
                    raise CourierError(f"the courier has ended{self._end}") from None
                self.finish(dataclasses.replace(finish, timeout=left))
                deadline = clock.monotonic() + left + RESTART + GRACE
                continue
            if message is None:
                raise CourierError("the courier has not answered in time")
            if isinstance(message, Finished):
                return message
            if isinstance(message, Refused):
                raise CourierError(message.reason)
            if isinstance(message, Left):
                progress(message.results)

    def close(self) -> None:
        """Wait for the end of the courier; end it by force if that takes long. May be called twice."""
        if self._is_ours:
            self._hang_up()
            # Without its last word it has something else to do than to end.
            self._reap(END_PATIENCE if self._is_over else 0.0)

    def kill(self) -> None:
        """End the courier's process at once; what it was not acknowledged stays in the outbox."""
        self._is_over = False
        self.close()

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _receive(self, deadline: float | None) -> object:
        """Return the next message. None if none comes in time.

        Raises:
            EOFError: The courier is gone.
        """
        with self._receiving:
            return self._unread.popleft() if self._unread else self._hear(deadline)

    def _hear(self, deadline: float | None) -> object:
        """Receive a message; those that concern this object are dealt with too. See `_receive`."""
        if self._line is None or not self._is_ours:
            raise EOFError
        message = self._line.receive(None if deadline is None else max(0.0, deadline - clock.monotonic()))
        if isinstance(message, RunOpened):
            self.run = (message.id, message.url)
        elif isinstance(message, Said):
            self._say(message.line)
        elif isinstance(message, Finished | Refused):
            self._is_over = True
        return message

    def _replace(self) -> bool:
        """Start another courier in the place of one that died. Return whether that was done; it is done once."""
        with self._changing:
            self._hang_up()
            # One that lives has lost the line, and the other needs its lock.
            self._end_process(ENDING)
            self._unread.clear()
            if self._process is None or self._order.is_second:
                return False
            self._is_over = False
            self._order = dataclasses.replace(self._order, is_second=True)
            try:
                self._line = self._start_process()
                self._line.send(self._order, SEND_PATIENCE)
            except Exception:
                # What a test has replaced may fail in any way, in the hooks of that test.
                self._hang_up()
                return False
            return True

    def _start_process(self) -> Line:
        """Start the process, and return the line to it.

        Raises:
            OSError: No process, or no pipe, can be made.
        """
        descriptors: list[int] = []
        try:
            descriptors += System.pipe()
            descriptors += System.pipe()
            its_input, our_output, our_input, its_output = descriptors
            # A new session: Ctrl-C in the terminal must not end the courier before it has delivered. It holds none of
            # our output, because CI systems wait for the end of that. A second one starts where the first one did,
            # because paths to its modules may be relative.
            self._process = System.popen(
                self._command,
                stdin=its_input,
                stdout=its_output,
                stderr=subprocess.DEVNULL,
                env=self._environ,
                cwd=self._order.started_in,
                start_new_session=True,
            )
        except BaseException:
            for each in descriptors:
                System.close(each)
            raise
        System.close(its_input)
        System.close(its_output)
        return Line(our_input, our_output)

    def _start_thread(self) -> LocalLine:
        """Start the courier in this process, and return the line to it."""
        # Imported late, because it brings the HTTP library into the process of the tests.
        from .child import Child

        self._process = None
        ours, its = LocalLine.pair()
        child = Child(its, has_parent=False)
        self._thread = threading.Thread(target=child.run, name="famacase-courier", daemon=True)
        self._thread.start()
        return ours

    def _reap(self, patience: float) -> None:
        """Wait for the end of what was started; a process that takes longer is ended by force."""
        if self._thread is not None:
            self._thread.join(patience)
        self._end_process(patience)

    def _end_process(self, patience: float) -> None:
        """Wait for the end of the process, or end it by force."""
        process = self._process
        if process is None:
            return
        deadline = clock.monotonic() + patience
        while (status := System.poll(process)) is None and clock.monotonic() < deadline:
            self._never.wait(POLL)
        if status is None:
            with contextlib.suppress(OSError):
                System.kill(process.pid, signal.SIGKILL)
            while (status := System.poll(process)) is None:
                self._never.wait(POLL)
        # Where a test ignores its children's ends, the status is 0.
        self._end = f" (signal {-status})" if status < 0 else f" (exit status {status})" if status else ""


def _environ(order: Order) -> Mapping[str, str]:
    """Return the environment of the courier: without the token, which travels over the line."""
    secrets = order.settings.secrets
    return {name: value for name, value in os.environ.items() if value not in secrets and name not in _TOOLS}
