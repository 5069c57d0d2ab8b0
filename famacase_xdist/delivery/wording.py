"""How a run is told: in the header, at the end of a session, and by the commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from famacase_xdist.runs.record import COMPLETED_ELSEWHERE
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings


def header_line(project: str, run: Run, *, is_on_disk: bool = True) -> str:
    """Name project and run, or say why there is none yet."""
    if run.is_open:
        return f"famacase: project {project}, run {run.id}{_shared(run)}: {run.url}"
    waiting = f"waiting for the run key's lock: {run.waits_for}" if run.waits_for else ""
    reason = run.trouble or waiting or "the server has not answered yet"
    kept = "results are kept" if is_on_disk else "what is not delivered in this session is lost"
    return f"famacase: project {project}, no run yet: {reason}; {kept}"


def run_lines(run: Run) -> Iterator[str]:
    """Say which run holds the results."""
    if run.is_open:
        yield f"run {run.id}: {run.url} ({completion(run.completed, run.why_open)})"
        if run.public_url:
            yield f"public link: {run.public_url}"
        if run.continues is not None:
            yield f"it continues run {run.continues}, which was completed before"
    else:
        yield "no run was opened"


def completion(completed: bool, why_open: str) -> str:
    """Say that a run is completed, or why not."""
    if why_open == COMPLETED_ELSEWHERE:
        return why_open
    return "completed" if completed else f"not completed: {why_open or 'there was no time left'}"


def _shared(run: Run) -> str:
    """Say under which key, and as which shard, a run is shared."""
    if run.shared is None or run.join_id is not None:
        return ""
    shard = run.shared.member.shard
    return f" (run key {run.shared.key}{', shard {}/{}'.format(*shard) if shard else ''})"


def resend_command(settings: Settings) -> str:
    """Give the command that delivers what was kept."""
    option = f" --state-dir {shlex.quote(str(settings.state_dir))}" if settings.state_dir else ""
    return f"famacase-xdist resend{option}"


def embedded_hint(run: Run, database: Path, cwd: Path) -> str:
    """Say how to look at a run in the embedded server's database once that server has stopped."""
    default = Path(".famacase", "famacase.sqlite3")
    option = "" if database == cwd / default else f" --database {shlex.quote(str(database))}"
    return f"to look at it: famacase-xdist serve{option}, then open http://127.0.0.1:8484/runs/{run.id}"
