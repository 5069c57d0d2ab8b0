"""The way from a recorder to the controller: a sink takes frames and never makes a test wait or fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypedDict

from .frames import AnyFrame

if TYPE_CHECKING:
    import execnet

#: The key in `workerinput` under which the controller puts what a worker needs.
WORKERINPUT = "famacase"


class WorkerInput(TypedDict):
    """What a worker needs, under `WORKERINPUT` in xdist's `workerinput`.

    Attributes:
        channel: Frames go over it.
        settings: JSON of the settings that a worker has; no secrets are among them.
        selection: Which tests to run, as text of `recording.selection`; None for all.
        run: JSON of the run's id and address: ``[null, ""]`` where there is none, or it is not open yet.
    """

    channel: execnet.Channel
    settings: str
    selection: str | None
    run: str


class ResultSink(Protocol):
    """Takes frames. Called from the thread that runs the test."""

    def send(self, frame: AnyFrame) -> None:
        """Hand over one frame; returns at once and never raises."""

    def close(self) -> None:
        """Send nothing more. May be called twice."""


class ChannelSink:
    """Sends over the execnet channel that the controller put into `workerinput`.

    The sink keeps the reference to the channel: execnet closes a channel that is collected.
    """

    def __init__(self, channel: execnet.Channel) -> None:
        self._channel = channel
        self.lost = 0

    def send(self, frame: AnyFrame) -> None:
        """Send one frame; counted in `lost` if the controller is gone."""
        try:
            self._channel.send(frame.encoded)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the channel; the controller sees the end of it."""
        try:
            self._channel.close()
        except OSError:
            return


class DirectSink:
    """Hands frames to a function of the same process.

    Args:
        take: Takes a frame; returns at once and never raises.
    """

    def __init__(self, take: Callable[[AnyFrame], None]) -> None:
        self._take = take

    def send(self, frame: AnyFrame) -> None:
        """Hand over one frame."""
        self._take(frame)

    def close(self) -> None:
        """Do nothing: who takes the frames knows when the session ends."""


class ListSink:
    """A sink that keeps its frames in `frames`: the double for tests of a recorder."""

    def __init__(self) -> None:
        self.frames: list[AnyFrame] = []

    def send(self, frame: AnyFrame) -> None:
        """Keep one frame."""
        self.frames.append(frame)

    def close(self) -> None:
        """Do nothing."""
