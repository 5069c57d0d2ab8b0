"""What the terminal says: a line in the header, a section at the end."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .delivery import Outcome
from .ledger import Ledger
from .run import Run


def header_line(project: str, run: Run) -> str:
    """Name project and run, or say why there is none yet."""
    if run.is_open:
        return f"famacase: project {project}, run {run.id}: {run.url}"
    reason = run.trouble or "the server has not answered yet"
    return f"famacase: project {project}, no run yet: {reason}; results are kept"


def section(run: Run, ledger: Ledger, outcome: Outcome) -> Iterator[str]:
    """Give the lines of the section at the end."""
    if run.is_open:
        yield f"run {run.id}: {run.url} ({'completed' if run.completed else 'not completed'})"
    else:
        yield "no run was opened"
    yield f"collected {ledger.collected}, delivered {_counted(outcome.delivered)}, undelivered {outcome.undelivered}"
    if outcome.trouble:
        yield f"problem: {outcome.trouble}"
    if outcome.outbox is not None:
        yield f"kept in {outcome.outbox}"


def embedded_hint(run: Run, database: Path, cwd: Path) -> str:
    """Say how to look at a run in the embedded server's database once that server has stopped."""
    default = Path(".famacase", "famacase.sqlite3")
    option = "" if database == cwd / default else f" --database {shlex.quote(str(database))}"
    return f"to look at it: famacase-xdist serve{option}, then open http://127.0.0.1:8484/runs/{run.id}"


def _counted(statuses: Counter[str]) -> str:
    total = sum(statuses.values())
    if not total:
        return "0"
    return f"{total} ({', '.join(f'{count} {status}' for status, count in sorted(statuses.items()))})"
