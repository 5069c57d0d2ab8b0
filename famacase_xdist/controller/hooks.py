"""The side of the xdist controller, which is also that of a session of one process.

It alone opens connections and files. It never sees an item: workers send frames, one process's recorder too.
"""

from __future__ import annotations

import importlib.util
import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from famacase_xdist import conflicts, loading
from famacase_xdist.client.server import Server
from famacase_xdist.delivery import resend
from famacase_xdist.delivery.destination import Destination, Outcome
from famacase_xdist.delivery.file_report import Report
from famacase_xdist.delivery.project import Delivery
from famacase_xdist.delivery.projects import Deliveries
from famacase_xdist.errors import FamacaseError
from famacase_xdist.log import Recording, log
from famacase_xdist.recording import selection, user_fixtures
from famacase_xdist.results.redaction import Mask
from famacase_xdist.results.sinks import WORKERINPUT, DirectSink
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.sources import described
from famacase_xdist.state.directory import StateDirectory

from . import plan, terminal
from .events import Began, Crashed, NotCollected, Received, Recorded
from .ledger import Ledger
from .pipeline import Intake
from .report_buffer import Phases
from .sigterm import Termination
from .worker_exit import exit_of

if TYPE_CHECKING:
    from famacase_xdist.server.embedded import EmbeddedServer

NAME = "famacase-controller"
#: Seconds that an interrupted session (Ctrl-C, SIGTERM) may still take to deliver.
INTERRUPTED_FLUSH = 10.0
MAIN = "main"


def configure(config: pytest.Config, settings: Settings) -> None:
    """Register the controller.

    Raises:
        pytest.UsageError: The embedded server is asked for and its extra is not installed.
    """
    if settings.mode == "embedded" and importlib.util.find_spec("uvicorn") is None:
        raise pytest.UsageError("famacase: mode embedded needs the extra: pip install 'famacase-xdist[server]'")
    config.pluginmanager.register(Controller(config, settings), NAME)


class Controller:
    """Hooks of the process that owns the run."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._pid = os.getpid()
        self._ledger = Ledger(
            collection_errors=settings.collection_errors,
            keep_nodeids=settings.not_run,
            status_mapping=settings.status_mapping,
            status_policy=settings.status_policy,
            # As upstream, whose report has all that ran.
            status_filter=() if settings.mode == "report" else settings.testops_status_filter,
            root_suite=settings.root_suite,
        )
        self._termination = Termination()
        self._server: EmbeddedServer | None = None
        self._to: Destination | None = None
        self._intake: Intake | None = None
        self._outcome: Outcome | None = None
        self._cases: frozenset[int] | None = None
        self._recording: Recording | None = None
        self._problem = ""
        self._leftovers = ""
        self._phases = Phases(self._enter)
        self._channels: list[Any] = []
        self._is_said = False
        config.add_cleanup(self._termination.end)
        config.stash[user_fixtures.RUN] = self._run

    @property
    def _is_in_child(self) -> bool:
        """Whether this is the copy of a child that a test forked: it has nothing to deliver, and its parent's files."""
        return self._pid != os.getpid()

    @property
    def _is_distributed(self) -> bool:
        """Whether xdist has its loop here, which it registers only where there are workers."""
        return bool(self._config.pluginmanager.hasplugin("dsession"))

    def pytest_sessionstart(self) -> None:
        """Open the run before the header is printed and before xdist starts its workers."""
        self._leftovers = resend.leftover_line(self._settings)
        try:
            self._intake = self._start()
        except FamacaseError as error:
            self._problem = str(error)
            self._stop_server()
            if self._settings.testops_plan_id is not None and self._settings.has_plan:
                self._is_said = True
                if self._recording is not None and self._is_log_shown:
                    for line in self._recording.section():
                        self._say(line)
                raise pytest.UsageError(f"famacase: {plan.refusal(self._settings, error)}") from None
            return
        except Exception as error:
            # A mistake of ours must not become the suite's.
            self._problem = f"internal error: {error!r}"
            self._stop_server()
            return
        self._termination.watch()
        if not self._is_distributed:
            if self._selection is not None:
                selection.install(self._config, self._selection)
            sink = DirectSink(lambda frame: self._enter(Recorded(MAIN, frame)))
            # Not where workers run the tests: this process then handles bytes only, and need not import upstream.
            with loading.quick(self._config):
                from famacase_xdist.recording import install
            install.install(self._config, self._settings, sink, MAIN)
            self._config.add_cleanup(partial(install.uninstall, self._config))

    def _run(self) -> tuple[Any, str]:
        """Give id and address of the run; empty before it is open, and where it is none or several."""
        run = getattr(self._to, "run", None)
        return (run.id, run.url) if run is not None else (None, "")

    def _start(self) -> Intake:
        self._to = destination = self._destination()
        destination.start(self._say)
        return Intake(self._settings, self._ledger, destination, is_immediate=not self._is_distributed)

    def _destination(self) -> Destination:
        """Choose where the results go; nothing else here knows."""
        if self._settings.mode == "report":
            self._record(Mask(*self._settings.secrets))
            return Report(self._settings, Path(self._config.invocation_params.dir))
        server = self._served() if self._settings.mode == "embedded" else self._configured()
        self._record(Mask(server.token, *self._settings.secrets))
        if self._settings.mode == "testops_multi":
            return Deliveries(self._settings, server)
        if self._settings.testops_plan_id is not None:
            # Before the run is made, and before a worker starts: all have to select the same tests.
            self._cases = plan.load(self._settings, server, self._say)
        return Delivery(self._settings, server)

    def _configured(self) -> Server:
        return Server.of(self._settings)

    def _served(self) -> Server:
        """Start a server of our own."""
        from famacase_xdist.server.embedded import EmbeddedServer

        database = self._config.rootpath / ".famacase" / "famacase.sqlite3"
        self._server = EmbeddedServer(database, self._settings.project)
        self._server.start()
        return Server(self._server.url, self._server.token, database)

    def _record(self, mask: Mask) -> None:
        """Listen to what we do, where DEBUG or LOGGING_FILE asks for that."""
        if self._settings.debug or self._settings.logging_file:
            self._recording = Recording(mask.text)
            self._recording.start()
            if self._settings.logging_file:
                state = StateDirectory.of(self._settings)
                self._recording.write_to(state.log(state.new_outbox().session))
            for name, (value, source) in described(self._settings).items():
                log.info("setting %s = %s (%s)", name, value, source)

    @property
    def _is_log_shown(self) -> bool:
        return self._settings.debug and self._settings.logging_console is not False

    @property
    def _selection(self) -> str | None:
        """What tells a process which tests to run; None for all."""
        return None if self._cases is None else selection.given(self._settings.project, self._cases)

    def _say(self, line: str) -> None:
        """Say something before the header."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"famacase: {line}")

    def pytest_report_header(self) -> list[str]:
        """Say where the results go, and what else the settings give reason to say."""
        where = self._intake.header() if self._intake else [f"famacase: nothing is reported: {self._problem}"]
        notes = terminal.notes(self._settings, self._cases)
        return [*where, *notes, *filter(None, [conflicts.header_line(self._config), self._leftovers])]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker that is about to start its channel and settings; also the one that replaces a crashed one."""
        if self._intake is None:
            return
        channel = node.gateway.newchannel()
        channel.setcallback(partial(self._receive, node.gateway.id))
        self._channels.append(channel)
        node.workerinput[WORKERINPUT] = {
            "channel": channel,
            "settings": json.dumps(self._settings.for_worker()),
            "selection": self._selection,
            "run": json.dumps(self._run()),
        }

    def _receive(self, worker: str, message: object) -> None:
        """Take a worker's message. Runs on execnet's receiver thread, so it only enqueues and never raises."""
        if isinstance(message, bytes):
            self._enter(Received(worker, message))

    def _enter(self, event: Any) -> None:
        if self._intake is not None and not self._is_in_child:
            self._intake.put(event)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take a module that could not be collected, or was skipped as a whole."""
        if not report.passed:
            self._enter(NotCollected(report))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what one process collected."""
        self._ledger.collect([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note what a worker collected."""
        times = self._config.option.numprocesses or len(self._channels)
        self._ledger.collect(ids, times=times if self._config.option.dist == "each" else 1)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test runs now."""
        self._enter(Began(nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Put on disk what came before this attempt, and what the recorder knows of it, in case it ends the process.

        Called in one process only, after the recorder's wrapper has begun and before any fixture.
        """
        if self._intake is not None and not self._is_in_child:
            self._intake.settle()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take pytest's own report of a phase, or xdist's of a crash."""
        node = getattr(report, "node", None)
        worker = MAIN if node is None else node.gateway.id
        if report.when == "???":  # type: ignore[comparison-overlap]  # xdist's mark
            # A worker that pytest.exit or Ctrl-C ended is no crash, though xdist says so: it has told all it knows.
            if not hasattr(node, "workeroutput"):
                self._phases.tell(worker)
                self._enter(Crashed(worker, report.nodeid, exit_of(node), report.longreprtext))
        else:
            self._phases.add(worker, report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Deliver the rest; after xdist's own hook, which has ended the workers, and before the summary."""
        ended = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
        self._finish(is_interrupted=exitstatus == pytest.ExitCode.INTERRUPTED, is_finished=exitstatus in ended)
        is_lossy = self._outcome is None or self._outcome.undelivered
        if is_lossy and self._settings.undelivered == "fail" and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what happened, with counts and the run's link."""
        terminalreporter.section("Famacase")
        for line in self._said():
            terminalreporter.write_line(line)
        if self._recording is not None and self._is_log_shown:
            terminalreporter.section("Famacase log")
            for line in self._recording.section():
                terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Let go of everything, also where the session never finished; an internal error has no summary either."""
        self._finish(is_interrupted=True, is_finished=False)
        for line in self._said():
            self._say(line)
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.stop()

    def _said(self) -> list[str]:
        """Give the lines of the summary, once."""
        if self._is_said or self._is_in_child:
            return []
        self._is_said = True
        if self._intake is None or self._outcome is None:
            return [f"nothing was reported: {self._problem}"]
        lines = list(terminal.section(self._ledger, self._outcome, self._settings))
        if self._recording is not None and self._recording.trouble:
            lines.append(f"problem: no log file: {self._recording.trouble}")
        return lines

    def _finish(self, *, is_interrupted: bool, is_finished: bool) -> None:
        if self._is_in_child:
            return
        if self._intake is not None and self._outcome is None:
            timeout = self._settings.flush_timeout
            try:
                self._phases.tell_all()
                seconds = min(timeout, INTERRUPTED_FLUSH) if is_interrupted else timeout
                self._outcome = self._intake.finish(seconds, is_finished=is_finished)
            except KeyboardInterrupt:
                # Ctrl-C again: what is not delivered by now stays in the outbox.
                self._outcome = self._intake.finish(0, is_finished=False)
            except Exception as error:
                # A mistake of ours must not become the suite's.
                self._intake, self._problem = None, f"internal error: {error!r}; results stay in the outbox"
        self._stop_server()

    def _stop_server(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None
