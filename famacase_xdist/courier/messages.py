"""What the process of the tests and its courier say to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.settings.settings import Settings


class Kept(NamedTuple):
    """Where the results of a project are kept.

    Attributes:
        session: The name of the session's outbox in the state directory.
        trouble: Why the outbox is in the courier's memory; empty if it is on disk.
    """

    session: str
    trouble: str = ""


# The parent says:


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be delivered: the first message.

    Attributes:
        settings: The settings of the session, with the token.
        state: The state directory.
        kept: The outbox of each project, by its code; a file report has one without a code.
        started_in: The directory that pytest was started in.
        rootdir: pytest's rootdir.
        pid: The id of the process that runs the tests, or that controls those that do.
        is_second: Whether an earlier courier of this session died.
    """

    settings: Settings
    state: Path
    kept: Mapping[str, Kept]
    started_in: Path
    rootdir: Path
    pid: int
    is_second: bool = False


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames that the disk did not take.

    Attributes:
        code: The project's code.
        frames: The frames, encoded.
        reason: What the disk said.
    """

    code: str
    frames: tuple[bytes, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The session has ended. A second one shortens the time of the first.

    Attributes:
        timeout: Seconds to deliver the rest.
        is_finished: Whether all tests ran that were to run.
        accepted: How many results each project's outbox accepted, by code and status.
    """

    timeout: float
    is_finished: bool
    accepted: Mapping[str, Counter[str]]


# The courier says:


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the person who waits."""

    line: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The destination is open, or the first try to open it is over.

    Attributes:
        header: Lines of the session's header.
        leftovers: A line about what earlier sessions left; empty if they left nothing.
        cases: The case ids of the test plan; None where all tests are selected.
        troubles: Why an outbox cannot be read, by the project's code. Its results have to come over the line.
    """

    header: tuple[str, ...] = ()
    leftovers: str = ""
    cases: frozenset[int] | None = None
    troubles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunOpened:
    """The session's one run is open."""

    id: RunId
    url: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing can be reported.

    Attributes:
        reason: Why.
        log: The lines of the log.
    """

    reason: str
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """How many results are still to be delivered."""

    results: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything is over.

    Attributes:
        outcome: What became of the results.
        log: The lines of the log.
        log_trouble: Why the log's file is missing or incomplete; empty if there is no reason.
    """

    outcome: Outcome
    log: tuple[str, ...]
    log_trouble: str
