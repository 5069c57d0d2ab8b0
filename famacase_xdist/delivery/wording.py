"""Lines about a run: in the header, at the end of a session, and in the commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from famacase_xdist.runs.record import COMPLETED_ELSEWHERE
from famacase_xdist.runs.run import Run
from famacase_xdist.state.directory import EMBEDDED_DATABASE
from famacase_xdist.state.outbox import Outbox

#: The reason if the deadline of the session's end was over.
NO_TIME = "there was no time left"


def header_line(project: str, run: Run, *, is_on_disk: bool = True) -> str:
    """Return the line of the header that names project and run, or says why there is no run yet.

    Args:
        project: The code of the project.
        run: The run.
        is_on_disk: Whether undelivered results outlive the session.
    """
    if run.is_open:
        return f"famacase: project {project}, run {run.id}{_shared(run)}: {run.url}"
    waiting = f"waiting for the run key's lock: {run.waits_for}" if run.waits_for else ""
    reason = run.trouble or waiting or "the server has not answered yet"
    kept = "results are kept" if is_on_disk else "what is not delivered in this session is lost"
    return f"famacase: project {project}, no run yet: {reason}; {kept}"


def run_lines(run: Run) -> Iterator[str]:
    """Yield the lines that tell which run the results are in."""
    if run.is_open:
        yield f"run {run.id}: {run.url} ({completion(run.completed, run.why_open)})"
        if run.public_url:
            yield f"public link: {run.public_url}"
        if run.continues is not None:
            yield f"it continues run {run.continues}, which was completed before"
    else:
        yield "no run was opened"


def completion(completed: bool, why_open: str) -> str:
    """Return the words that tell whether a run is completed, and if not, why.

    Args:
        completed: Whether this session completed it.
        why_open: Why it did not.
    """
    if why_open == COMPLETED_ELSEWHERE:
        return why_open
    return "completed" if completed else f"not completed: {why_open or NO_TIME}"


def why_missing(outbox: Outbox) -> str:
    """Return why results are neither delivered nor in the outbox."""
    return "; ".join(outbox.damage) or outbox.trouble or "it was not found in the outbox"


def _shared(run: Run) -> str:
    """Return the words that name a run's key and this session's shard; empty if the run is not shared by a key."""
    if run.shared is None or run.join_id is not None:
        return ""
    shard = run.shared.member.shard
    return f" (run key {run.shared.key}{', shard {}/{}'.format(*shard) if shard else ''})"


def embedded_hint(run: Run, database: Path, cwd: Path) -> str:
    """Return the line that tells how to look at a run in the embedded server's database after that server has stopped.

    Args:
        run: The run.
        database: The database.
        cwd: The directory that the person works in; its default database needs no option.
    """
    option = "" if database == cwd / EMBEDDED_DATABASE else f" --database {shlex.quote(str(database))}"
    return f"to look at it: famacase-xdist serve{option}, then open http://127.0.0.1:8484/runs/{run.id}"
