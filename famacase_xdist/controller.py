"""The side of the xdist controller, which is also that of a session of one process.

It alone opens connections and files. It never sees an item: workers send frames, one process's recorder too.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import recorder, summary
from .delivery import Delivery, Outcome
from .errors import FamacaseError
from .ledger import Ledger
from .settings import Settings
from .worker import WORKERINPUT

if TYPE_CHECKING:
    from .server.process import EmbeddedServer

NAME = "famacase-controller"
#: Seconds that an interrupted session (Ctrl-C, SIGTERM) may still take to deliver.
INTERRUPTED_FLUSH = 10.0


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
        self._ledger = Ledger()
        self._server: EmbeddedServer | None = None
        self._delivery: Delivery | None = None
        self._outcome: Outcome | None = None
        self._problem = ""
        self._channels: list[Any] = []
        self._is_said = False

    def pytest_sessionstart(self) -> None:
        """Open the run before the header is printed and before xdist starts its workers."""
        try:
            self._delivery = self._start()
        except FamacaseError as error:
            self._problem = str(error)
            self._stop_server()
            return
        # xdist registers its loop only where there are workers; without them the tests run here.
        if not self._config.pluginmanager.hasplugin("dsession"):
            recorder.install(self._config, self._settings, self._delivery.inbox, "main")

    def _start(self) -> Delivery:
        host, token = self._settings.host, self._settings.token
        if self._settings.mode == "embedded":
            from .server.process import EmbeddedServer

            self._server = EmbeddedServer(self._database, self._settings.project)
            self._server.start()
            host, token = self._server.url, self._server.token
        delivery = Delivery(self._settings, host=host, token=token, ledger=self._ledger)
        delivery.start()
        return delivery

    def pytest_report_header(self) -> str:
        """Name project and run."""
        if self._delivery is None:
            return f"famacase: nothing is reported: {self._problem}"
        return summary.header_line(self._settings.project, self._delivery.run)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker that is about to start its channel and settings; also the one that replaces a crashed one."""
        if self._delivery is None:
            return
        channel = node.gateway.newchannel()
        channel.setcallback(self._receive)
        self._channels.append(channel)
        node.workerinput[WORKERINPUT] = {"channel": channel, "settings": json.dumps(self._settings.for_worker())}

    def _receive(self, message: object) -> None:
        """Take a worker's message. Runs on execnet's receiver thread, so it only enqueues and never raises."""
        if self._delivery is not None and isinstance(message, bytes):
            self._delivery.inbox.put(message)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count what one process collected."""
        self._ledger.collected = len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Count what a worker collected; each worker collects the same."""
        self._ledger.collected = len(ids)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Deliver the rest; after xdist's own hook, which has ended the workers, and before the summary."""
        self._finish(is_interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what happened, with counts and the run's link."""
        terminalreporter.section("Famacase")
        for line in self._said():
            terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Let go of everything, also where the session never finished; an internal error has no summary either."""
        self._finish(is_interrupted=True)
        recorder.uninstall(self._config)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        for line in self._said() if reporter else ():
            reporter.write_line(f"famacase: {line}")

    def _said(self) -> list[str]:
        """Give the lines of the summary, once."""
        if self._is_said:
            return []
        self._is_said = True
        if self._delivery is None or self._outcome is None:
            return [f"nothing was reported: {self._problem}"]
        lines = list(summary.section(self._delivery.run, self._ledger, self._outcome))
        if self._settings.mode == "embedded" and self._delivery.run.is_open:
            cwd = Path(self._config.invocation_params.dir)
            lines.append(summary.embedded_hint(self._delivery.run, self._database, cwd))
        return lines

    @property
    def _database(self) -> Path:
        return self._config.rootpath / ".famacase" / "famacase.sqlite3"

    def _finish(self, *, is_interrupted: bool) -> None:
        if self._delivery is not None and self._outcome is None:
            timeout = self._settings.flush_timeout
            self._outcome = self._delivery.finish(min(timeout, INTERRUPTED_FLUSH) if is_interrupted else timeout)
        self._stop_server()

    def _stop_server(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None
