"""The courier as the session's process sees it: started, told, waited for.

The tests run in this process. So it has neither a thread nor a connection of ours, nor a module that makes one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from famacase_xdist import clock
from famacase_xdist.errors import CourierError, FamacaseError
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.system import System

from .line import Line
from .messages import Finish, Finished, Frames, Left, Opened, Order, Refused, RunOpened, Said

#: Seconds to wait for the destination at the start. The courier itself waits for its server for five.
START_PATIENCE = 45.0
#: Seconds beyond the session's own deadline in which the courier answers.
GRACE = 4.0
#: Seconds to wait for the end of the process after its last word: the embedded server ends with it.
END_PATIENCE = 8.0
#: Seconds between two looks whether the courier lives.
LOOK = 1.0
#: Variables that would make a tool of the tests work in the courier too, and write files there.
_TOOLS = (
    "COV_CORE_SOURCE",
    "COV_CORE_CONFIG",
    "COV_CORE_DATAFILE",
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
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
    """The courier of one session. One thread uses it, except that any may call `keep`.

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
        self._environ = _environ(order)
        self._line: Line | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._look_due = 0.0
        self._end = ""
        self.run: tuple[RunId | None, str] = (None, "")
        self.note = ""

    def start(self) -> None:
        """Start the courier, in a process or, where that cannot be, in a thread. Returns at once."""
        if self._order.settings.courier == "process":
            try:
                self._line = self._start_process()
            except OSError as error:
                self.note = f"delivery runs in a thread, because no process can be started: {error.strerror or error}"
        if self._line is None:
            self._line = self._start_thread()
        with contextlib.suppress(OSError):
            self._line.send(self._order)

    def opened(self) -> Opened:
        """Wait until the destination is open, or the first try to open it is over.

        Raises:
            FamacaseError: Nothing is reported; `NothingReported` where the courier says so.
        """
        # Each try to load a test plan may take as long as a request, and the courier counts the tries.
        patience = None if self._order.settings.testops_plan_id is not None else START_PATIENCE
        try:
            opened = self._await(Opened, patience)
        except EOFError:
            if self._thread is not None:
                raise CourierError("the courier ended before it began") from None
            self._reap(0.0)
            self.note = f"delivery runs in a thread, because its process ended at once{self._end}"
            self._line = self._start_thread()
            self._line.send(self._order)
            opened = self._await(Opened, patience)
        return opened or Opened(("famacase: no run yet: the courier has not answered yet; results are kept",))

    def _await(self, kind: type[Opened], patience: float | None) -> Opened | None:
        deadline = None if patience is None else clock.monotonic() + patience
        while True:
            message = self._receive(deadline)
            if message is None or isinstance(message, kind):
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
        try:
            if self._line is None:
                raise OSError("there is no courier")
            self._line.send(Frames(code, tuple(each.encoded for each in frames), reason))
        except OSError:
            raise CourierError(reason) from None

    def look(self) -> None:
        """Start another courier, once, if this one has died or the line to it was closed."""
        if clock.monotonic() < self._look_due or self._line is None:
            return
        self._look_due = clock.monotonic() + LOOK
        if self._process is not None and (self._process.poll() is not None or not self._line.is_ours):
            self._replace()

    def look_at_run(self) -> tuple[RunId | None, str]:
        """Return `run`, with what the courier has said until now taken into account."""
        with contextlib.suppress(EOFError):
            while self._receive(clock.monotonic()) is not None:
                pass
        return self.run

    def finish(self, finish: Finish) -> None:
        """Tell the courier that the session has ended. Returns at once."""
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.send(finish)

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
                if not self._replace():
                    raise CourierError(f"the courier has ended{self._end}") from None
                self.finish(finish)
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
        """Wait for the end of the courier; end it by force if it takes long. May be called twice."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
        self._reap(END_PATIENCE)

    def kill(self) -> None:
        """End the courier's process at once; what it was not acknowledged stays in the outbox."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.kill()
        self.close()

    def _receive(self, deadline: float | None) -> object:
        """Return the next message; those that concern this object are dealt with too. None if none comes in time."""
        if self._line is None:
            raise EOFError
        message = self._line.receive(None if deadline is None else max(0.0, deadline - clock.monotonic()))
        if isinstance(message, RunOpened):
            self.run = (message.id, message.url)
        elif isinstance(message, Said):
            self._say(message.line)
        return message

    def _replace(self) -> bool:
        """Start another courier in the place of one that died. Return whether that was done; it is done once."""
        if self._process is None or self._order.is_second:
            return False
        if self._line is not None:
            self._line.close()
        self._reap(END_PATIENCE)
        self._order = dataclasses.replace(self._order, is_second=True)
        try:
            self._line = self._start_process()
            self._line.send(self._order)
        except OSError:
            return False
        return True

    def _start_process(self) -> Line:
        """Start the process, and return the line to it.

        Raises:
            OSError: No process, or no pipe, can be made.
        """
        (its_input, our_output), (our_input, its_output) = _two_pipes()
        try:
            # -P: a module in the user's directory must not be imported in place of ours. A new session: Ctrl-C in the
            # terminal must not end the courier before it has delivered. It holds none of our output, because CI systems
            # wait for the end of that.
            self._process = System.popen(
                [sys.executable, "-P", "-m", "famacase_xdist.courier"],
                stdin=its_input,
                stdout=its_output,
                stderr=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,
            )
        except BaseException:
            System.close(our_input)
            System.close(our_output)
            raise
        finally:
            System.close(its_input)
            System.close(its_output)
        return Line(our_input, our_output)

    def _start_thread(self) -> Line:
        """Start the courier in this process, and return the line to it."""
        # Imported late, because it brings the HTTP library into the process of the tests.
        from .child import Child

        self._process = None
        (its_input, our_output), (our_input, its_output) = _two_pipes()
        child = Child(Line(its_input, its_output), has_parent=False)
        self._thread = threading.Thread(target=child.run, name="famacase-courier", daemon=True)
        self._thread.start()
        return Line(our_input, our_output)

    def _reap(self, patience: float) -> None:
        """Wait for the end of what was started; a process that takes longer is ended by force."""
        if self._thread is not None:
            self._thread.join(patience)
        if self._process is None:
            return
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._end = f" (signal {-status})" if status < 0 else f" (exit status {status})"


def _two_pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """Return two new pipes, or none.

    Raises:
        OSError: They cannot be made.
    """
    first = System.pipe()
    try:
        return first, System.pipe()
    except OSError:
        for number in first:
            System.close(number)
        raise


def _environ(order: Order) -> Mapping[str, str]:
    """Return the environment of the courier: without the token, which travels over the line."""
    secrets = order.settings.secrets
    return {name: value for name, value in os.environ.items() if value not in secrets and name not in _TOOLS}
