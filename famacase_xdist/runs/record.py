"""The record of a run key: its run, and the sessions that joined it. Data and one verdict; no files, no clocks."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from famacase_xdist.errors import SharingError
from famacase_xdist.settings.run_reference import RunId

VERSION = 1


class Ending(enum.StrEnum):
    """How a session ended, if it has ended. The values are kept in records."""

    #: It has not ended, or it died before it could say so.
    NONE = "running"
    #: It ran all tests that it was to run.
    FINISHED = "left"
    #: It left out tests.
    INTERRUPTED = "interrupted"
    #: It died, and its outbox was resent.
    DIED = "died"

    @classmethod
    def of(cls, *, is_finished: bool) -> Ending:
        """Return the ending of a session that did not die.

        Args:
            is_finished: Whether the session ran all tests that it was to run.
        """
        return cls.FINISHED if is_finished else cls.INTERRUPTED


class LeftBehind(enum.Enum):
    """Why the results that a session left in its outbox cannot be counted."""

    #: There is no outbox of that name.
    NO_OUTBOX = enum.auto()
    #: A process has the outbox open, so its results are being sent.
    LOCKED = enum.auto()


#: Returns whether a session that has not left the run still lives.
IsAlive: TypeAlias = "Callable[[Member], bool]"
#: Returns how many results a session left in its outbox.
CountLeft: TypeAlias = "Callable[[Member], int | LeftBehind]"
#: How many sessions that still run are named. Whether the others run is not checked.
MOST_ALIVE = 5
#: The reason why a session does not complete a run that another session has completed.
COMPLETED_ELSEWHERE = "completed by another session"
_ID = re.compile(r"[\w-]+")


@dataclass(slots=True)
class Member:
    """One session of a run key.

    Attributes:
        id: The name of its outbox and of its lease, unique in a state directory.
        host, pid, since: For people. They do not prove that the session lives.
        shard: Its index, from 1, and how many shards it expects; None if the suite is not divided.
        completes: Whether the session allows the run to be completed.
        state: How it ended, if it has ended.
        undelivered: How many results the server has not acknowledged, as the session said when it left.
    """

    id: str
    host: str = ""
    pid: int = 0
    since: str = ""
    shard: tuple[int, int] | None = None
    completes: bool = True
    state: Ending = Ending.NONE
    undelivered: int = 0

    def __post_init__(self) -> None:
        # An id is the name of a file, and may come from a file. JSON has neither tuples nor enums.
        if not _ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no id")
        self.state = Ending(self.state)
        if self.shard is not None:
            index, total = self.shard
            self.shard = (int(index), int(total))

    @property
    def name(self) -> str:
        """Its name for people: ``shard 2/4``, or pid and host."""
        return "shard {}/{}".format(*self.shard) if self.shard else f"the session of pid {self.pid} on {self.host}"

    @property
    def part(self) -> int | str:
        """The part of the suite that it runs: the index of its shard, or its own id if there are no shards."""
        return self.shard[0] if self.shard else self.id


@dataclass(slots=True)
class Record:
    """What is known about a run key.

    Attributes:
        key: The run key; for people, because the name of the file is a digest.
        request: The fields of the `RunRequest` that creates the run. They are kept before the request is sent, so that
            another session can send the same request again.
        run_id: The server's id, an opaque JSON value; None until the run is created.
        completed: Whether a session completed the run.
        previous: The id of the completed run that had this key before.
        members: The sessions, in the order they joined.
    """

    key: str
    request: dict[str, object] | None = None
    run_id: RunId | None = None
    completed: bool = False
    previous: RunId | None = None
    members: list[Member] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: bytes) -> Record:
        """Return the record that `to_json` wrote.

        Raises:
            SharingError: Another version of this package wrote it, or it is damaged.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values.pop("version") != VERSION:
                raise SharingError("another version of famacase-xdist wrote its record")
            return cls(**{**values, "members": [Member(**each) for each in values["members"]]})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SharingError(f"its record is damaged: {error!r}") from None

    def to_json(self) -> bytes:
        """Return the record as JSON."""
        return json.dumps({"version": VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    def member(self, member_id: str) -> Member | None:
        """Return the session with an id; None if it has not joined."""
        return next((each for each in self.members if each.id == member_id), None)

    def continued(self) -> Record:
        """Return a new record for the next run of this key, whose run is completed."""
        return Record(self.key, previous=self.run_id)


def why_open(record: Record, is_alive: IsAlive, left_behind: CountLeft) -> list[str]:
    """Return why a run must not be completed now, a few words for each reason.

    If there is no reason, the session that asks completes the run.

    Args:
        record: The record of the run key.
        is_alive: Tells whether a session lives.
        left_behind: Counts the results that a session left.
    """
    latest = {each.part: each for each in record.members}
    replaced = {each.id for each in record.members if latest[each.part] is not each}
    reasons = [*filter(None, _of_members(record.members, replaced, is_alive, left_behind))]
    if any(not member.completes for member in record.members):
        reasons.append("FAMACASE_TESTOPS_RUN_COMPLETE=false")
    if record.previous is None:
        reasons += _not_come(latest.values())
    return reasons


def _of_members(
    members: Iterable[Member], replaced: set[str], is_alive: IsAlive, left_behind: CountLeft
) -> Iterator[str]:
    """Yield for each session the reason why it keeps the run open; an empty text if there is none."""
    alive = unasked = 0
    for member in members:
        is_replaced = member.id in replaced
        if member.state is not Ending.NONE:
            yield _why_left(member, is_replaced, left_behind)
        elif alive == MOST_ALIVE:
            # `is_alive` locks a file, which takes time with many sessions. The session that leaves last finds no living
            # one, so it asks about all.
            unasked += 1
        elif is_alive(member):
            alive += 1
            yield f"{member.name} still runs"
        else:
            yield _why_dead(member, is_replaced, left_behind(member))
    if unasked:
        yield f"{unasked} more have not left"


def _why_left(member: Member, is_replaced: bool, left_behind: CountLeft) -> str:
    """Return why a session that has left keeps the run open; empty if it does not.

    If the shard was run again (`is_replaced`), it does not matter how the first session ended.
    """
    if member.undelivered and not (is_replaced and left_behind(member) is LeftBehind.NO_OUTBOX):
        return _undelivered(member.undelivered, member)
    if member.shard and member.state is not Ending.FINISHED and not is_replaced:
        return f"{member.name} {'did not run all of its tests' if member.state is Ending.INTERRUPTED else 'died'}"
    return ""


def _why_dead(member: Member, is_replaced: bool, left: int | LeftBehind) -> str:
    """Return why a session that died keeps the run open; empty if it does not."""
    if left is LeftBehind.LOCKED:
        return f"{member.name} died, and its results are being sent"
    if isinstance(left, int) and left:
        return f"{member.name} died; {_undelivered(left, member)}"
    if left == 0 and not member.shard:
        return ""  # none of its tests had begun, or all results are delivered
    return "" if is_replaced else f"{member.name} died"


def _undelivered(count: int, member: Member) -> str:
    return f"{count} results of {member.name} are undelivered (famacase-xdist resend)"


def _not_come(members: Iterable[Member]) -> list[str]:
    """Return the reason that names the shards without a session, if there are any.

    If sessions disagree about the number of shards, the largest number counts.
    """
    shards = [member.shard for member in members if member.shard]
    total = max((total for _, total in shards), default=0)
    missing = sorted(set(range(1, total + 1)) - {index for index, _ in shards})
    if not missing:
        return []
    names = ", ".join(f"{index}/{total}" for index in missing[:10])
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    return [f"shard{'s' if len(missing) > 1 else ''} {names}{more} {'have' if len(missing) > 1 else 'has'} not come"]
