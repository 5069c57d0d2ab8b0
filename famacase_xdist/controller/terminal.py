"""What the terminal says: a few lines in pytest's header, a section at the end, and the log where it is asked for."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sized

import pytest

from famacase_xdist import clock, conflicts
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.shown import idle_line, resend_command

from .ledger import Ledger

#: Seconds between two lines about what is left, in a log.
TELL_LEFT = 10.0
#: Lines about marks that cannot be meant; a suite may have many of them.
MOST_NOTES = 20


class Terminal:
    """Speaks for one session.

    Attributes:
        log: The lines of the log, where DEBUG asks for it.
        log_trouble: Why the log's file is missing or incomplete; empty if there is no reason.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._is_said = False
        self._left = ""
        self._left_due = clock.monotonic() + TELL_LEFT
        self.log: tuple[str, ...] = ()
        self.log_trouble = ""

    @property
    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def say(self, line: str) -> None:
        """Say something outside the section at the end."""
        # The reporter may be another plugin's, and what it writes to may be closed.
        with contextlib.suppress(Exception):
            if self._reporter is not None:
                self._reporter.write_line(f"famacase: {line}")

    def show_left(self, results: int) -> None:
        """Say how many results are still to be delivered: in one line that changes, or now and then in a log."""
        reporter = self._reporter
        if reporter is None or not results:
            return
        line = f"famacase: delivering, {results} results left"
        # See `say`.
        with contextlib.suppress(Exception):
            if reporter.isatty:
                self._left = line
                reporter.rewrite(line, erase=True)
            elif clock.monotonic() >= self._left_due:
                self._left_due = clock.monotonic() + TELL_LEFT
                reporter.write_line(line)

    def forget_left(self) -> None:
        """Remove the line that changes."""
        left, self._left = self._left, ""
        with contextlib.suppress(Exception):
            if left and self._reporter is not None:
                self._reporter.write(f"\r{' ' * len(left)}\r", flush=True)

    def notes(self, cases: Sized | None) -> list[str]:
        """Return the lines of the header that the settings and other reporters give reason to.

        Args:
            cases: The case ids of the test plan; None where all tests are selected.
        """
        return [*notes(self._settings, cases), *filter(None, [conflicts.header_line(self._config)])]

    def show_end(self, reporter: pytest.TerminalReporter, ledger: Ledger, outcome: Outcome) -> None:
        """Write the section at the end, and the log's."""
        reporter.section("Famacase")
        for line in self._told(ledger, outcome):
            reporter.write_line(line)
        if self.log and self._is_log_shown:
            reporter.section("Famacase log")
            for line in self.log:
                reporter.write_line(line)

    def say_end(self, ledger: Ledger, outcome: Outcome) -> None:
        """Say how it ended where there was no section, as after an internal error of pytest."""
        # pytest only showed its help.
        if outcome.nothing_because == "":
            return
        for line in self._told(ledger, outcome):
            self.say(line)

    def show_log_now(self) -> None:
        """Write the log of a session that ends before its first test, and nothing more."""
        self._is_said = True
        if self.log and self._is_log_shown:
            for line in self.log:
                self.say(line)

    @property
    def _is_log_shown(self) -> bool:
        return self._settings.debug and self._settings.logging_console is not False

    def _told(self, ledger: Ledger, outcome: Outcome) -> list[str]:
        """Return the lines of the section, once."""
        if self._is_said:
            return []
        self._is_said = True
        lines = list(section(ledger, outcome, self._settings))
        if outcome.nothing_because is None and self.log_trouble:
            lines.append(f"problem: no log file: {self.log_trouble}")
        return lines


def notes(settings: Settings, cases: Sized | None) -> Iterator[str]:
    """Yield the lines of the header that the settings give reason to; see `Terminal.notes`."""
    if cases is not None:
        yield f"famacase: test plan {settings.testops_plan_id}: only tests of its {len(cases)} cases are run"
    elif settings.testops_plan_id is not None and not settings.has_plan:
        yield f"famacase: mode {settings.mode} selects no tests by a plan: all are run"
    if idle := idle_line(settings):
        yield f"famacase: {idle}"


def section(ledger: Ledger, outcome: Outcome, settings: Settings) -> Iterator[str]:
    """Yield the lines of the section at the end."""
    if outcome.nothing_because is not None:
        yield f"nothing was reported: {outcome.nothing_because}"
        return
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
