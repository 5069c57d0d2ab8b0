"""One session that reports: starts the courier, keeps what tests say, and ends under one deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from famacase_xdist.courier.messages import Finish, Finished, Opened, Order
from famacase_xdist.courier.parent import Courier, NothingReported
from famacase_xdist.errors import CourierError, FamacaseError
from famacase_xdist.recording import selection
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.system import Origin, System

from .events import Event
from .keeping import Journals
from .ledger import Ledger
from .pipeline import Pipeline
from .report_buffer import ReportBuffer
from .routing import routes
from .terminal import Terminal

#: Seconds that an interrupted session (Ctrl-C) may still take to deliver.
INTERRUPTED_FLUSH = 10.0


class Session:
    """The session of the process that owns the run; its methods are called by pytest's thread, `enter` by any.

    Attributes:
        ledger: The books.
        reports: pytest's reports on their way to the books.
        outcome: What became of the results; None before the end.
    """

    def __init__(self, config: pytest.Config, settings: Settings, terminal: Terminal) -> None:
        self._config = config
        self._settings = settings
        self._terminal = terminal
        self._origin = Origin()
        self._routes = routes(settings)
        self._journals: Journals | None = None
        self._courier: Courier | None = None
        self._pipeline: Pipeline | None = None
        self._opened = Opened()
        self._refusal = ""
        self._finish: Finish | None = None
        self._temporary: Path | None = None
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
        self.outcome: Outcome | None = None

    @property
    def is_in_child(self) -> bool:
        """Whether this is the copy of a child that a test forked: it has nothing to deliver, and its parent's files."""
        return not self._origin.is_here

    @property
    def is_open(self) -> bool:
        """Whether results are taken."""
        return self._pipeline is not None

    @property
    def selection(self) -> str | None:
        """What tells a process which tests to run (`recording.selection`); None for all."""
        cases = self._opened.cases
        return None if cases is None else selection.given(self._settings.project, cases)

    def start(self) -> None:
        """Start the courier, which opens the destination. Returns at once."""
        with self.starting():
            self._start()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Surround a part of the start. If it fails, nothing is reported, and the tests run all the same."""
        try:
            yield
        except FamacaseError as error:
            self._refuse(str(error))
        except OSError as error:
            self._refuse(f"the courier cannot be started: {error.strerror or error}")
        except Exception as error:
            # A mistake of ours must not become the suite's.
            self._refuse(f"internal error: {error!r}")

    def _start(self) -> None:
        self._journals = Journals(self._state(), self._routes)
        order = Order(
            settings=self._settings,
            state=self._journals.state.path,
            kept=self._journals.kept,
            started_in=self._config.invocation_params.dir,
            rootdir=self._config.rootpath,
            pid=System.getpid(),
        )
        self._courier = Courier(order, self._terminal.say)
        self._courier.start()

    def _state(self) -> StateDirectory:
        """Return the state directory; a file report needs none of its own, because only files of it can be kept."""
        if self._settings.mode != "report":
            return StateDirectory.of(self._settings)
        self._temporary = Path(tempfile.mkdtemp(prefix="famacase-"))
        return StateDirectory(self._temporary)

    def open(self, *, is_distributed: bool) -> None:
        """Wait for the destination. Where it cannot be opened, the tests run all the same, and the header says why.

        Args:
            is_distributed: Whether xdist's workers run the tests.

        Raises:
            pytest.UsageError: A test plan is asked for and could not be loaded: which tests are to run is not known.
        """
        if not self._refusal:
            with self.starting():
                self._open(is_distributed)
        if self._refusal and self._settings.needs_plan:
            self._terminal.show_log_now()
            raise pytest.UsageError(f"famacase: {self._refusal}")

    def _open(self, is_distributed: bool) -> None:
        assert self._courier is not None
        assert self._journals is not None
        try:
            self._opened = self._courier.opened()
            self._journals.distrust(self._opened.troubles)
            self._pipeline = Pipeline(
                self._settings, self.ledger, self._journals, self._courier, is_distributed=is_distributed
            )
        except NothingReported as error:
            self._terminal.log = error.log
            self._refuse(str(error))

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        self.close()

    def header(self) -> list[str]:
        """Return the lines of pytest's header: where the results go, and what else the settings give reason to say."""
        lines = self._opened.header if self.is_open else (f"famacase: nothing is reported: {self._refusal}",)
        more = [self._opened.leftovers]
        if self._courier is not None and self.is_open and self._courier.note:
            more.append(f"famacase: {self._courier.note}")
        return [*lines, *self._terminal.notes(self._opened.cases), *filter(None, more)]

    def run(self) -> tuple[RunId | None, str]:
        """Return id and address of the run; empty before it is open, and where there is none or several."""
        return (None, "") if self._courier is None else self._courier.look_at_run()

    def enter(self, event: Event) -> None:
        """Take an event; any thread."""
        if self._pipeline is not None and self._finish is None and not self.is_in_child:
            self._pipeline.put(event)

    def settle(self) -> None:
        """Put on disk what came until now."""
        if self._pipeline is not None and self._finish is None and not self.is_in_child:
            self._pipeline.settle()

    def look(self) -> None:
        """See whether the courier lives."""
        if self._courier is not None and self.is_open and self._finish is None and not self.is_in_child:
            self._courier.look()

    def end(self, *, is_interrupted: bool, is_finished: bool) -> None:
        """Take no more, and let the courier deliver the rest. Returns at once; a second call does nothing.

        Args:
            is_interrupted: Whether a person waits for the end.
            is_finished: Whether pytest came to its end; a session that left tests undone is not finished either.
        """
        if self._pipeline is None or self._courier is None or self._finish is not None:
            return
        self.reports.tell_all()
        accepted = self._pipeline.seal()
        seconds = self._settings.flush_timeout
        self._finish = Finish(
            timeout=min(seconds, INTERRUPTED_FLUSH) if is_interrupted else seconds,
            is_finished=is_finished and not self.ledger.not_run,
            accepted=accepted,
        )
        self._courier.finish(self._finish)

    def finish(self) -> Outcome:
        """Wait until the courier has delivered, and return what became of the results; a second call does not wait."""
        if self.outcome is None:
            try:
                self.outcome = self._outcome()
            except Exception as error:
                # A mistake of ours must not become the suite's.
                self.outcome = Outcome.nothing(f"internal error: {error!r}; results stay in the outbox")
        return self.outcome

    def _outcome(self) -> Outcome:
        if self._pipeline is None or self._courier is None or self._finish is None or self._journals is None:
            did_start = self._courier is not None
            return Outcome.nothing(self._refusal or ("the session did not begin" if did_start else ""))
        try:
            outcome = self._delivered(self._courier, self._finish)
        except Exception as error:
            self._courier.kill()
            outcome = self._journals.counted(
                str(error) if isinstance(error, CourierError) else f"internal error: {error!r}"
            )
        finally:
            self._terminal.forget_left()
        return dataclasses.replace(
            outcome,
            undelivered=outcome.undelivered + self._pipeline.lost,
            problems=(*dict.fromkeys(self._pipeline.problems), *outcome.problems, *self._journals.problems()),
            notes=self._pipeline.notes(),
        )

    def _delivered(self, courier: Courier, finish: Finish) -> Outcome:
        """Return what the courier answers.

        Raises:
            CourierError: It does not answer.
        """
        finished = self._awaited(courier, finish)
        self._terminal.log, self._terminal.log_trouble = finished.log, finished.log_trouble
        return finished.outcome

    def _awaited(self, courier: Courier, finish: Finish) -> Finished:
        try:
            return courier.outcome(finish, self._terminal.show_left)
        except KeyboardInterrupt:
            # Ctrl-C again: what is not delivered by now stays in the outbox.
            hurry = dataclasses.replace(finish, timeout=0.0)
            courier.finish(hurry)
        try:
            return courier.outcome(hurry, self._terminal.show_left)
        except KeyboardInterrupt:
            raise CourierError("the session was interrupted before the courier had answered") from None

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        if self._courier is not None:
            self._courier.close()
        if self._journals is not None:
            if self.is_open:
                self._journals.close()
            else:
                self._journals.discard()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._temporary)
