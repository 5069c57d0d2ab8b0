"""What the terminal says: a few lines in pytest's header, a section at the end, and the log where it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sized

import pytest

from famacase_xdist import conflicts
from famacase_xdist.delivery.destination import Outcome
from famacase_xdist.delivery.wording import resend_command
from famacase_xdist.log import LogCollector, log
from famacase_xdist.results.redaction import Mask
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.shown import effective, idle_line
from famacase_xdist.state.directory import StateDirectory

from .ledger import Ledger

#: Lines about marks that cannot be meant; a suite may have many of them.
MOST_NOTES = 20


class Terminal:
    """Speaks for one session, and collects its log."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._log: LogCollector | None = None
        self._is_said = False

    def say(self, line: str) -> None:
        """Say something outside the section at the end."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"famacase: {line}")

    def listen(self, mask: Mask) -> None:
        """Collect the log, where DEBUG or LOGGING_FILE asks for it.

        Args:
            mask: Takes the token out of each line.
        """
        if self._settings.debug or self._settings.logging_file:
            self._log = LogCollector(mask.text)
            self._log.start()
            if self._settings.logging_file:
                state = StateDirectory.of(self._settings)
                self._log.write_to(state.log(state.new_outbox().session))
            for name, (value, source) in effective(self._settings).items():
                log.info("setting %s = %s (%s)", name, value, source)

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
        if self._log is not None and self._is_log_shown:
            reporter.section("Famacase log")
            for line in self._log.section():
                reporter.write_line(line)

    def say_end(self, ledger: Ledger, outcome: Outcome) -> None:
        """Say how it ended where there was no section, as after an internal error of pytest."""
        for line in self._told(ledger, outcome):
            self.say(line)

    def show_log_now(self) -> None:
        """Write the log of a session that ends before its first test, and nothing more."""
        self._is_said = True
        if self._log is not None and self._is_log_shown:
            for line in self._log.section():
                self.say(line)

    def close(self) -> None:
        """End the log. May be called twice."""
        collector, self._log = self._log, None
        if collector is not None:
            collector.stop()

    @property
    def _is_log_shown(self) -> bool:
        return self._settings.debug and self._settings.logging_console is not False

    def _told(self, ledger: Ledger, outcome: Outcome) -> list[str]:
        """Return the lines of the section, once."""
        if self._is_said:
            return []
        self._is_said = True
        lines = list(section(ledger, outcome, self._settings))
        if outcome.nothing_because is None and self._log is not None and self._log.trouble:
            lines.append(f"problem: no log file: {self._log.trouble}")
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
