"""What the terminal says: a line in the header, a section at the end."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sized
from pathlib import Path

from .intake import Outcome
from .ledger import Ledger
from .record import COMPLETED_ELSEWHERE
from .run import Run
from .settings import Settings
from .table import SETTINGS, Setting

#: Lines about marks that cannot be meant; a suite may have many of them.
MOST_NOTES = 20


def header_line(project: str, run: Run, *, is_on_disk: bool = True) -> str:
    """Name project and run, or say why there is none yet."""
    if run.is_open:
        return f"famacase: project {project}, run {run.id}{_shared(run)}: {run.url}"
    waiting = f"waiting for the run key's lock: {run.waits_for}" if run.waits_for else ""
    reason = run.trouble or waiting or "the server has not answered yet"
    kept = "results are kept" if is_on_disk else "what is not delivered in this session is lost"
    return f"famacase: project {project}, no run yet: {reason}; {kept}"


def notes(settings: Settings, cases: Sized | None) -> Iterator[str]:
    """Give the lines of the header that the settings ask for."""
    if cases is not None:
        yield f"famacase: test plan {settings.testops_plan_id}: only tests of its {len(cases)} cases are run"
    elif settings.testops_plan_id is not None and not settings.has_plan:
        yield f"famacase: mode {settings.mode} selects no tests by a plan: all are run"
    if idle := idle_line(settings):
        yield f"famacase: {idle}"


def idle_line(settings: Settings) -> str:
    """Name what is set and has no effect; empty where nothing is."""
    each = [settings, *settings.of_each_project().values()]
    found = (one.sources.get(row.name, row.name) for one in each for row in SETTINGS if _is_idle(row, one))
    idle = list(dict.fromkeys(found))
    them = "them" if len(idle) > 1 else "it"
    return f"Famacase has no call for {', '.join(idle)}: nothing comes of {them}" if idle else ""


def _is_idle(row: Setting, settings: Settings) -> bool:
    return row.is_idle and bool(getattr(settings, row.name))


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


def section(ledger: Ledger, outcome: Outcome, settings: Settings) -> Iterator[str]:
    """Give the lines of the section at the end."""
    yield from outcome.where
    yield _books(ledger, outcome)
    for reason, count in outcome.causes.most_common() if settings.undelivered != "ignore" else ():
        yield f"{outcome.words[1]} {count}: {reason}"
    for note in outcome.notes[:MOST_NOTES]:
        yield f"note: {note}"
    if len(outcome.notes) > MOST_NOTES:
        yield f"note: {len(outcome.notes) - MOST_NOTES} more of this kind"
    for problem in outcome.problems:
        yield f"problem: {problem}"
    for outbox in outcome.outboxes:
        yield f"kept in {outbox}"
    if outcome.outboxes:
        yield f"to send what was kept: {resend_command(settings)}"


def completion(completed: bool, why_open: str) -> str:
    """Say that a run is completed, or why not."""
    if why_open == COMPLETED_ELSEWHERE:
        return why_open
    return "completed" if completed else f"not completed: {why_open or 'there was no time left'}"


def _shared(run: Run) -> str:
    """Say under which key, and as which shard, a run is shared."""
    if run.sharing is None or run.join_id is not None:
        return ""
    shard = run.sharing.member.shard
    return f" (run key {run.sharing.key}{', shard {}/{}'.format(*shard) if shard else ''})"


def resend_command(settings: Settings) -> str:
    """Give the command that delivers what was kept."""
    option = f" --state-dir {shlex.quote(str(settings.state_dir))}" if settings.state_dir else ""
    return f"famacase-xdist resend{option}"


def embedded_hint(run: Run, database: Path, cwd: Path) -> str:
    """Say how to look at a run in the embedded server's database once that server has stopped."""
    default = Path(".famacase", "famacase.sqlite3")
    option = "" if database == cwd / default else f" --database {shlex.quote(str(database))}"
    return f"to look at it: famacase-xdist serve{option}, then open http://127.0.0.1:8484/runs/{run.id}"


def _books(ledger: Ledger, outcome: Outcome) -> str:
    parts = [
        f"collected {ledger.collected}",
        f"{outcome.words[0]} {_counted(outcome.delivered)}",
        f"{outcome.words[1]} {outcome.undelivered}",
        f"not run {ledger.not_run}",
    ]
    rare = {
        "filtered": ledger.filtered,
        "ignored": ledger.ignored,
        "crashed": ledger.crashed,
        "rebuilt from pytest's reports": ledger.rebuilt,
        "modules not collected": ledger.not_collected,
        "unreadable messages": ledger.unreadable,
    }
    return ", ".join([*parts, *(f"{name} {count}" for name, count in rare.items() if count)])


def _counted(statuses: Counter[str]) -> str:
    total = sum(statuses.values())
    if not total:
        return "0"
    return f"{total} ({', '.join(f'{count} {status}' for status, count in sorted(statuses.items()))})"
