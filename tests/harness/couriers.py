"""Couriers: one that only notes what the session's process tells it, and orders for real ones."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from famacase_xdist.courier.messages import Finish, Finished, Kept, Opened, Order
from famacase_xdist.courier.parent import Courier
from famacase_xdist.errors import CourierError
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.state.journal import Journal


class FakeCourier:
    """Stands in for `Courier`, and notes what it is told.

    Attributes:
        is_gone: Whether it takes no frames.
        frames: The frames that it was handed, by project.
        calls: The names of its methods in the order of their calls.
        refusal: What `opened` raises.
        answers: What `outcome` returns or raises, one after the other; the last one again and again.
    """

    def __init__(self) -> None:
        self.is_gone = False
        self.frames: dict[str, list[AnyFrame]] = {}
        self.reasons: list[str] = []
        self.calls: list[str] = []
        self.finishes: list[Finish] = []
        self.refusal: BaseException | None = None
        self.answers: list[BaseException | Finished] = [finished()]
        self.run: tuple[RunId | None, str] = (None, "")
        self.note = ""

    def start(self) -> None:
        self.calls.append("start")

    def opened(self) -> Opened:
        if self.refusal is not None:
            raise self.refusal
        return Opened(("famacase: project DEMO, run 7",), "", None)

    def keep(self, code: str, frames: Sequence[AnyFrame], reason: str) -> None:
        if self.is_gone:
            raise CourierError(reason)
        self.frames.setdefault(code, []).extend(frames)
        self.reasons.append(reason)

    def look(self) -> None:
        self.calls.append("look")

    def look_at_run(self) -> tuple[RunId | None, str]:
        return self.run

    def finish(self, finish: Finish) -> None:
        self.finishes.append(finish)

    def outcome(self, finish: Finish, progress: Callable[[int], None]) -> Finished:
        self.calls.append("outcome")
        progress(1)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self.calls.append("close")

    def kill(self) -> None:
        self.calls.append("kill")


def finished(delivered: Mapping[str, int] | None = None, undelivered: int = 0) -> Finished:
    """Return a courier's last answer."""
    causes = Counter({"no connection": undelivered} if undelivered else {})
    return Finished(Outcome(Counter(delivered or {}), undelivered, causes), (), "")


def order_of(path: Path, kept: Mapping[str, Kept], **settings: Any) -> Order:
    """Return an order for a courier of this process; the state directory is below `path`."""
    state = path / "state"
    chosen = {"mode": "report", "report_connection_path": path / "out", "state_dir": state, **settings}
    return Order(Settings(**chosen), state, kept, path, path, os.getpid())


class Delivering:
    """A session's journal, and the courier that delivers from it.

    Attributes:
        said: What the person who waits was told.
    """

    def __init__(self, path: Path, **settings: Any) -> None:
        files = StateDirectory(path / "state").new_outbox()
        self.journal = Journal(files)
        self.code = settings.get("testops_project", "")
        self.order = order_of(path, {self.code: Kept(files.session)}, **settings)
        self.said: list[str] = []
        self.courier = Courier(self.order, self.said.append)
        self.accepted: Counter[str] = Counter()

    def start(self) -> Delivering:
        self.courier.start()
        return self

    def keep(self, *frames: AnyFrame) -> None:
        """Append frames to the journal."""
        self.journal.append(frames)
        self.accepted.update(frame.head.status for frame in frames if is_result(frame))

    def finish(self, timeout: float = 30.0, *, is_finished: bool = True) -> Finish:
        """Tell the courier that the session has ended."""
        finish = Finish(timeout, is_finished, {self.code: self.accepted})
        self.courier.finish(finish)
        return finish

    def end(self, timeout: float = 30.0) -> Outcome:
        """Tell the courier that the session has ended, and wait for what became of the results."""
        return self.courier.outcome(self.finish(timeout), lambda left: None).outcome

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process of the courier."""
        assert self.courier._process is not None
        return self.courier._process

    @property
    def pid(self) -> int:
        """The id of the courier's process."""
        return self.process.pid

    def kill(self) -> None:
        """Kill the courier from outside, and wait until that can be seen."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def look(self) -> None:
        """Look after the courier, however short ago that was done."""
        self.courier._look_due = 0.0
        self.courier.look()

    def close(self) -> None:
        """Close everything."""
        self.courier.kill()
        self.journal.close()
