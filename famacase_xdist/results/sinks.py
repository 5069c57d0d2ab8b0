"""The way from a recorder to the controller: a sink takes frames and never makes a test wait or fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypedDict

from famacase_xdist.system import Origin

from .frames import AnyFrame

if TYPE_CHECKING:
    import execnet

#: The key of a `WorkerInput` in xdist's `workerinput`.
WORKERINPUT = "famacase"


class WorkerInput(TypedDict):
    """The controller's input for one worker.

    Attributes:
        channel: Carries the worker's frames to the controller.
        settings: The settings of a worker, without secrets, as JSON.
        selection: The tests to run, as text of `recording.selection`; None for all tests.
        run: The id and the address of the run as JSON; ``[null, ""]`` if there is no run, or if it is not open yet.
    """

    channel: execnet.Channel
    settings: str
    selection: str | None
    run: str


class ResultSink(Protocol):
    """Takes frames. Called from the thread that runs the test."""

    def send(self, frame: AnyFrame) -> None:
        """Hand over one frame. Returns at once and never raises."""

    def close(self) -> None:
        """Send nothing more. May be called twice."""


class ChannelSink:
    """Sends over the execnet channel that the controller put into `workerinput`.

    The sink keeps a reference to the channel, because execnet closes a channel that is garbage-collected. In a forked
    child it does nothing: the channel is the parent's, and a message of the child would get between two halves of one.

    Attributes:
        lost: How many frames were not sent, because the controller was gone.
    """

    def __init__(self, channel: execnet.Channel) -> None:
        self._channel = channel
        self._origin = Origin()
        self.lost = 0

    def send(self, frame: AnyFrame) -> None:
        """Send one frame. It is counted in `lost` if the controller is gone."""
        if not self._origin.is_here:
            return
        try:
            self._channel.send(frame.encoded)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the channel, so that the controller sees its end."""
        if not self._origin.is_here:
            return
        try:
            self._channel.close()
        except OSError:
            return


class DirectSink:
    """Hands frames to a function of the same process; in a forked child it does nothing.

    Args:
        take: Takes a frame; returns at once and never raises.
    """

    def __init__(self, take: Callable[[AnyFrame], None]) -> None:
        self._take = take
        self._origin = Origin()

    def send(self, frame: AnyFrame) -> None:
        """Hand over one frame."""
        if self._origin.is_here:
            self._take(frame)

    def close(self) -> None:
        """Do nothing: the owner of the function knows when the session ends."""


class ListSink:
    """A sink that keeps its frames in `frames`: the double for tests of a recorder."""

    def __init__(self) -> None:
        self.frames: list[AnyFrame] = []

    def send(self, frame: AnyFrame) -> None:
        """Keep one frame."""
        self.frames.append(frame)

    def close(self) -> None:
        """Do nothing."""
