"""The hooks of the process that owns the run: the xdist controller, or the only process of a session.

It alone opens connections and files. It never sees an item: workers send frames, and so does one process's recorder.
"""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from famacase_xdist import loading
from famacase_xdist.recording import selection, user_fixtures
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.results.sinks import WORKERINPUT, DirectSink, WorkerInput
from famacase_xdist.settings.settings import Settings

from .events import Began, Crashed, NotCollected, Received, Recorded
from .session import Session
from .terminal import Terminal
from .worker_exit import exit_of

if TYPE_CHECKING:
    import execnet
    from xdist.workermanage import WorkerController

NAME = "famacase-controller"
#: What the only process of a session is called where a worker would have a name.
MAIN = "main"
#: The exit statuses of a session that ran all that it was to run.
ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
#: The exit statuses with which pytest prints a summary.
SUMMED_UP = (*ENDED, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR)


def configure(config: pytest.Config, settings: Settings) -> None:
    """Register the controller.

    Raises:
        pytest.UsageError: The embedded server is asked for and its extra is not installed.
    """
    if settings.mode == "embedded" and importlib.util.find_spec("uvicorn") is None:
        raise pytest.UsageError("famacase: mode embedded needs the extra: pip install 'famacase-xdist[server]'")
    config.pluginmanager.register(Controller(config, settings), NAME)


class Controller:
    """pytest's and xdist's hooks; each hands on at once."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._terminal = Terminal(config, settings)
        self._session = Session(config, settings, self._terminal)
        self._pytest_session: pytest.Session | None = None
        #: execnet closes a channel that is collected.
        self._channels: list[execnet.Channel] = []
        config.stash[user_fixtures.RUN] = self._session.run

    @property
    def _is_distributed(self) -> bool:
        """Whether xdist has its loop here, which it registers only where there are workers."""
        return bool(self._config.pluginmanager.hasplugin("dsession"))

    def pytest_sessionstart(self) -> None:
        """Open the run before the header is printed and before xdist starts its workers."""
        self._session.start()
        if not self._is_distributed:
            # Not where workers run the tests: this process then handles bytes only, and need not import upstream. It
            # does so while the courier starts.
            with loading.quick(self._config), self._session.starting():
                from famacase_xdist.recording import install as install
        self._session.open(is_distributed=self._is_distributed)
        if self._session.is_open and not self._is_distributed:
            self._record_here()

    def _record_here(self) -> None:
        """Record the tests of this process, as a worker does."""
        if self._session.selection is not None:
            selection.install(self._config, self._session.selection)
        sink = DirectSink(lambda frame: self._session.enter(Recorded(MAIN, frame)))
        from famacase_xdist.recording import install

        install.install(self._config, self._settings, sink, MAIN)
        self._config.add_cleanup(partial(install.uninstall, self._config))

    def pytest_report_header(self) -> list[str]:
        """Say where the results go, and what else the settings give reason to say."""
        return self._session.header()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Hand channel and settings to a worker that is about to start; also to one that replaces a crashed worker."""
        if not self._session.is_open:
            return
        channel = node.gateway.newchannel()
        channel.setcallback(partial(self._receive, node.gateway.id))
        self._channels.append(channel)
        given: WorkerInput = {
            "channel": channel,
            "settings": json.dumps(self._settings.for_worker()),
            "selection": self._session.selection,
            "run": json.dumps(self._session.run()),
        }
        node.workerinput[WORKERINPUT] = given

    def _receive(self, worker: str, message: object) -> None:
        """Take a worker's message. Runs on execnet's receiver thread, so it only enqueues and never raises."""
        if isinstance(message, bytes):
            self._session.enter(Received(worker, message))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take a module that could not be collected, or was skipped as a whole."""
        if not report.passed:
            self._session.enter(NotCollected(report))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what the only process collected."""
        self._session.ledger.collect([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note what a worker collected."""
        times = self._config.option.numprocesses or len(self._channels)
        self._session.ledger.collect(ids, times=times if self._config.option.dist == "each" else 1)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test runs now."""
        self._session.enter(Began(nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        """Put on disk what came of a test that is over, because another hook may end this process in a moment."""
        self._session.settle()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Put on disk what came before this attempt, and what the recorder knows of it, in case it ends the process.

        Called in one process only, after the recorder's wrapper has begun and before any fixture.
        """
        self._session.settle()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take pytest's own report of a phase, or xdist's of a crash."""
        self._session.look()
        node: WorkerController | None = getattr(report, "node", None)
        worker = MAIN if node is None else node.gateway.id
        if report.when != "???":  # type: ignore[comparison-overlap]  # xdist's mark of a crash
            self._session.reports.add(worker, report)
        # A worker that pytest.exit or Ctrl-C ended is no crash, though xdist says so: it has told all it knows.
        elif not hasattr(node, "workeroutput"):
            self._session.reports.tell(worker)
            self._session.enter(Crashed(worker, report.nodeid, exit_of(node), report.longreprtext))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Let the courier deliver the rest; after xdist's own hook, which has ended the workers.

        pytest prints failures first, and then this plugin's section, which waits for the courier. Where no summary will
        come, the waiting is here, because the exit status can be changed here at the latest.
        """
        if self._session.is_in_child:
            return
        self._pytest_session = session
        is_interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        self._session.end(is_interrupted=is_interrupted, is_finished=exitstatus in ENDED)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if getattr(reporter, "no_summary", True) or exitstatus not in SUMMED_UP:
            self._finish()

    def _finish(self) -> Outcome:
        outcome = self._session.finish()
        session = self._pytest_session
        is_failure = outcome.is_lossy and self._settings.undelivered == "fail"
        if is_failure and session is not None and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return outcome

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what happened, with counts and the run's link."""
        if self._pytest_session is not None and not self._session.is_in_child:
            self._terminal.show_end(terminalreporter, self._session.ledger, self._finish())

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Let go of everything, also where the session never finished; an internal error has no summary either."""
        if self._session.is_in_child:
            return
        self._session.end(is_interrupted=True, is_finished=False)
        outcome = self._session.finish()
        self._terminal.say_end(self._session.ledger, outcome)
        self._session.close()
