"""What an outbox keeps of its session, so that `famacase-xdist resend` can go on where the session ended."""

from __future__ import annotations

from typing import Any, TypedDict

from famacase_xdist.settings.run_reference import RunId


class MemberFacts(TypedDict):
    """What a run key's record says of a session, for people."""

    host: str
    pid: int
    since: str
    shard: tuple[int, int] | None


class SharedFacts(TypedDict):
    """The run key that a session shares its run under."""

    key: str
    member: MemberFacts


class RunFacts(TypedDict, total=False):
    """The run of a session.

    Attributes:
        run_id: The server's id; None where the run is not open.
        join_id: The id of the run to join; None where the session creates one.
        request: What the run is created from, as JSON.
        stays_open: Why the session may not complete it; empty where it may.
        shared: The run key; None where there is none.
    """

    run_id: RunId | None
    join_id: RunId | None
    request: dict[str, Any]
    stays_open: str
    shared: SharedFacts | None


class SessionFacts(RunFacts, total=False):
    """All that is known of a session.

    Attributes:
        host: The server's address.
        project: The project's code.
        database: The embedded server's database; None for any other server.
        pid: The session's process.
        is_finished: Whether all tests ran that were to run; missing where the session died.
    """

    host: str
    project: str
    database: str | None
    pid: int
    is_finished: bool
