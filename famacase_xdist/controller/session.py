"""One session that reports: opens its destination, takes events while tests run, and ends under one deadline."""

from __future__ import annotations

import os

import pytest

from famacase_xdist.delivery import resend
from famacase_xdist.delivery.destination import Outcome
from famacase_xdist.delivery.project import ProjectDestination
from famacase_xdist.errors import FamacaseError
from famacase_xdist.recording import selection
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.settings.settings import Settings

from . import plan
from .events import Event
from .inbox import ImmediateInbox, QueuedInbox
from .ledger import Ledger
from .opening import Opening
from .pipeline import AnyPipeline, NullPipeline, Pipeline
from .report_buffer import ReportBuffer
from .terminal import Terminal

#: Seconds that an interrupted session (Ctrl-C, SIGTERM) may still take to deliver.
INTERRUPTED_FLUSH = 10.0


class Session:
    """The session of the process that owns the run; its methods are called by pytest's thread, `enter` by any.

    Attributes:
        ledger: The books.
        reports: pytest's reports on their way to the books.
        leftovers: What earlier sessions left, in a line; empty where that is nothing.
        outcome: What became of the results; None before the end.
    """

    def __init__(self, config: pytest.Config, settings: Settings, terminal: Terminal) -> None:
        self._settings = settings
        self._terminal = terminal
        self._pid = os.getpid()
        self._opening = Opening(settings, config.invocation_params.dir, config.rootpath)
        self._pipeline: AnyPipeline = NullPipeline()
        self.ledger = Ledger(
            collection_errors=settings.collection_errors,
            keep_nodeids=settings.not_run,
            status_mapping=settings.status_mapping,
            status_policy=settings.status_policy,
            # As upstream, whose report has all that ran.
            status_filter=() if settings.mode == "report" else settings.testops_status_filter,
            root_suite=settings.root_suite,
        )
        self.reports = ReportBuffer(self.enter)
        self.leftovers = ""
        self.outcome: Outcome | None = None

    @property
    def is_in_child(self) -> bool:
        """Whether this is the copy of a child that a test forked: it has nothing to deliver, and its parent's files."""
        return self._pid != os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether results are taken."""
        return isinstance(self._pipeline, Pipeline)

    @property
    def selection(self) -> str | None:
        """What tells a process which tests to run (`recording.selection`); None for all."""
        cases = self._opening.cases
        return None if cases is None else selection.given(self._settings.project, cases)

    def open(self, *, is_distributed: bool) -> None:
        """Open the destination. Where that fails, the tests run all the same, and the header says why.

        Args:
            is_distributed: Whether xdist's workers run the tests.

        Raises:
            pytest.UsageError: A test plan is asked for and could not be loaded: which tests are to run is not known.
        """
        self.leftovers = resend.leftover_line(self._settings)
        try:
            destination = self._opening.open(self._terminal)
            inbox = QueuedInbox[Event] if is_distributed else ImmediateInbox[Event]
            self._pipeline = Pipeline(self._settings, self.ledger, destination, inbox)
        except FamacaseError as error:
            self._refuse(str(error))
            if self._settings.testops_plan_id is not None and self._settings.has_plan:
                self._terminal.show_log_now()
                raise pytest.UsageError(f"famacase: {plan.refusal(self._settings, error)}") from None
        except Exception as error:
            # A mistake of ours must not become the suite's.
            self._refuse(f"internal error: {error!r}")

    def _refuse(self, reason: str) -> None:
        self._pipeline = NullPipeline(reason)
        self._opening.close()

    def header(self) -> list[str]:
        """Return the lines of pytest's header: where the results go, and what else the settings give reason to say."""
        notes = self._terminal.notes(self._opening.cases)
        return [*self._pipeline.header(), *notes, *filter(None, [self.leftovers])]

    def run(self) -> tuple[RunId | None, str]:
        """Return id and address of the run; empty before it is open, and where there is none or several."""
        destination = self._opening.destination
        if not isinstance(destination, ProjectDestination):
            return None, ""
        return destination.run.id, destination.run.url

    def enter(self, event: Event) -> None:
        """Take an event; any thread."""
        if not self.is_in_child:
            self._pipeline.put(event)

    def settle(self) -> None:
        """Put on disk what came until now."""
        if not self.is_in_child:
            self._pipeline.settle()

    def finish(self, *, is_interrupted: bool, is_finished: bool) -> Outcome:
        """Deliver the rest and close everything; a second call returns what the first one did."""
        if self.outcome is None:
            seconds = self._settings.flush_timeout
            try:
                self.reports.tell_all()
                seconds = min(seconds, INTERRUPTED_FLUSH) if is_interrupted else seconds
                self.outcome = self._pipeline.finish(seconds, is_finished=is_finished)
            except KeyboardInterrupt:
                # Ctrl-C again: what is not delivered by now stays in the outbox.
                self.outcome = self._pipeline.finish(0, is_finished=False)
            except Exception as error:
                # A mistake of ours must not become the suite's.
                self.outcome = Outcome.nothing(f"internal error: {error!r}; results stay in the outbox")
                self._pipeline = NullPipeline()
        self._opening.close()
        return self.outcome
