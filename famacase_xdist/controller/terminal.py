"""What the terminal says: a line in the header, a section at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sized

from famacase_xdist.delivery.destination import Outcome
from famacase_xdist.delivery.wording import resend_command
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.sources import idle_line

from .ledger import Ledger

#: Lines about marks that cannot be meant; a suite may have many of them.
MOST_NOTES = 20


def notes(settings: Settings, cases: Sized | None) -> Iterator[str]:
    """Give the lines of the header that the settings ask for."""
    if cases is not None:
        yield f"famacase: test plan {settings.testops_plan_id}: only tests of its {len(cases)} cases are run"
    elif settings.testops_plan_id is not None and not settings.has_plan:
        yield f"famacase: mode {settings.mode} selects no tests by a plan: all are run"
    if idle := idle_line(settings):
        yield f"famacase: {idle}"


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
