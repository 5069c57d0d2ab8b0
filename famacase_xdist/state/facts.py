"""The facts of a session that its outbox keeps, so that `famacase-xdist resend` can go on where the session ended."""

from __future__ import annotations

from typing import TypedDict

from famacase_xdist.settings.run_reference import RunId


class MemberFacts(TypedDict):
    """How the record of a run key describes a session to people, and its shard."""

    host: str
    pid: int
    since: str
    shard: tuple[int, int] | None


class SharedFacts(TypedDict):
    """The run key under which a session shares its run."""

    key: str
    member: MemberFacts


class RunFacts(TypedDict, total=False):
    """The run of a session.

    Attributes:
        run_id: The server's id; None if the run is not open.
        join_id: The id of the run to join; None if the session creates one.
        request: The fields of the `client.api.RunRequest` that creates the run.
        stays_open: Why the session may not complete the run; empty if it may.
        shared: The run key; None if there is none.
    """

    run_id: RunId | None
    join_id: RunId | None
    request: dict[str, object]
    stays_open: str
    shared: SharedFacts | None


class SessionFacts(RunFacts, total=False):
    """All facts of a session.

    Attributes:
        host: The server's address.
        project: The project's code.
        database: The embedded server's database; None for any other server.
        pid: The id of the session's process.
        is_finished: Whether the session ran all tests that it was to run; missing if the session died.
        report: The directory of the file report, as it is shown; missing if there is none.
    """

    host: str
    project: str
    database: str | None
    pid: int
    is_finished: bool
    report: str
