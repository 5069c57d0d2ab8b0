"""The record of a run key: its run, and the sessions that joined it. Data and one verdict, no files and no clocks."""

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
    """How a session stands; the values are kept in records."""

    #: It has not ended, or died without a word.
    NONE = "running"
    #: All tests ran that were to run.
    FINISHED = "left"
    #: It left tests undone.
    INTERRUPTED = "interrupted"
    #: It died, and its outbox was resent.
    DIED = "died"


class LeftBehind(enum.Enum):
    """Why the results that a session left in its outbox cannot be counted."""

    NO_OUTBOX = enum.auto()
    #: A process has it open: the results are being sent.
    LOCKED = enum.auto()


#: Whether a session that has not left still lives.
IsAlive: TypeAlias = "Callable[[Member], bool]"
#: How many results a session left in its outbox.
CountLeft: TypeAlias = "Callable[[Member], int | LeftBehind]"
#: How many of those that still run are named; who more there are is not asked.
MOST_ALIVE = 5
#: What is said where another session was faster.
COMPLETED_ELSEWHERE = "completed by another session"
_ID = re.compile(r"[\w-]+")


@dataclass(slots=True)
class Member:
    """One session of a run key.

    Attributes:
        id: The name of its outbox and of its lease, unique in a state directory.
        host, pid, since: For people; no proof of life.
        shard: Its index, from 1, and how many shards it expects; None where the suite is not divided.
        completes: False if it wants the run to stay open.
        state: How it ended, if it did.
        undelivered: Results that the server has not got, as far as the session itself said.
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
        # Ids are names of files; JSON has neither tuples nor enums.
        if not _ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no id")
        self.state = Ending(self.state)
        if self.shard is not None:
            index, total = self.shard
            self.shard = (int(index), int(total))

    @property
    def name(self) -> str:
        """What people call it: ``shard 2/4``, or pid and host."""
        return "shard {}/{}".format(*self.shard) if self.shard else f"the session of pid {self.pid} on {self.host}"


@dataclass(slots=True)
class Record:
    """What is known of a run key.

    Attributes:
        key: The run key; for people, since the file is named by a digest.
        request: What the run is made from; kept before it is sent, so that another session can send the same again.
        run_id: The server's id, an opaque JSON value; None until the run is there.
        completed: Whether a session completed the run.
        previous: The id of a completed run that had this key before.
        members: The sessions, in the order they joined.
    """

    key: str
    request: dict[str, Any] | None = None
    run_id: RunId | None = None
    completed: bool = False
    previous: RunId | None = None
    members: list[Member] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: bytes) -> Record:
        """Read what `to_json` wrote.

        Raises:
            SharingError: Another version wrote it, or it is damaged.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values.pop("version") != VERSION:
                raise SharingError("another version of famacase-xdist wrote its record")
            return cls(**{**values, "members": [Member(**each) for each in values["members"]]})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SharingError(f"its record is damaged: {error!r}") from None

    def to_json(self) -> bytes:
        """Give the record as JSON."""
        return json.dumps({"version": VERSION, **dataclasses.asdict(self)}, indent=1).encode()

    def member(self, member_id: str) -> Member | None:
        """Find a session."""
        return next((each for each in self.members if each.id == member_id), None)

    def continued(self) -> Record:
        """Give the record of the next run of a key whose run is completed."""
        return Record(self.key, previous=self.run_id)


def why_open(record: Record, is_alive: IsAlive, left_behind: CountLeft) -> list[str]:
    """Say why a run must not be completed now, a few words for each reason; none: whoever asks completes it."""
    latest: dict[object, Member] = {each.shard[0] if each.shard else each.id: each for each in record.members}
    replaced = {each.id for each in record.members if latest[each.shard[0] if each.shard else each.id] is not each}
    reasons = [*filter(None, _of_members(record.members, replaced, is_alive, left_behind))]
    if any(not member.completes for member in record.members):
        reasons.append("FAMACASE_TESTOPS_RUN_COMPLETE=false")
    if record.previous is None:
        reasons += _not_come(latest.values())
    return reasons


def _of_members(
    members: Iterable[Member], replaced: set[str], is_alive: IsAlive, left_behind: CountLeft
) -> Iterator[str]:
    """Say what of each session keeps the run open; nothing is the empty text."""
    alive = unasked = 0
    for member in members:
        is_replaced = member.id in replaced
        if member.state is not Ending.NONE:
            yield _why_left(member, is_replaced, left_behind)
        elif alive == MOST_ALIVE:
            # To ask is to lock a file. Whoever leaves last finds none that lives, and asks for all.
            unasked += 1
        elif is_alive(member):
            alive += 1
            yield f"{member.name} still runs"
        else:
            yield _why_dead(member, is_replaced, left_behind(member))
    if unasked:
        yield f"{unasked} more have not left"


def _why_left(member: Member, is_replaced: bool, left_behind: CountLeft) -> str:
    """Say what of a session that has left keeps the run open; a shard that was run again need not have ended well."""
    if member.undelivered and not (is_replaced and left_behind(member) is LeftBehind.NO_OUTBOX):
        return _undelivered(member.undelivered, member)
    if member.shard and member.state is not Ending.FINISHED and not is_replaced:
        return f"{member.name} {'did not run all of its tests' if member.state is Ending.INTERRUPTED else 'died'}"
    return ""


def _why_dead(member: Member, is_replaced: bool, left: int | LeftBehind) -> str:
    if left is LeftBehind.LOCKED:
        return f"{member.name} died, and its results are being sent"
    if isinstance(left, int) and left:
        return f"{member.name} died; {_undelivered(left, member)}"
    if left == 0 and not member.shard:
        return ""  # no test of it had begun, or all of them have been delivered
    return "" if is_replaced else f"{member.name} died"


def _undelivered(count: int, member: Member) -> str:
    return f"{count} results of {member.name} are undelivered (famacase-xdist resend)"


def _not_come(members: Iterable[Member]) -> list[str]:
    """Name the shards that nobody has started; where sessions disagree about the number, the largest counts."""
    shards = [member.shard for member in members if member.shard]
    total = max((total for _, total in shards), default=0)
    missing = sorted(set(range(1, total + 1)) - {index for index, _ in shards})
    if not missing:
        return []
    names = ", ".join(f"{index}/{total}" for index in missing[:10])
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    return [f"shard{'s' if len(missing) > 1 else ''} {names}{more} {'have' if len(missing) > 1 else 'has'} not come"]
