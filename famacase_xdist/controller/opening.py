"""Where the results of a session go: the only part of the controller that knows the modes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from famacase_xdist.client.server import Server
from famacase_xdist.delivery.destination import Destination, Say
from famacase_xdist.delivery.embedded import serving
from famacase_xdist.delivery.file_report import FileReport
from famacase_xdist.delivery.project import ProjectDestination
from famacase_xdist.delivery.projects import ProjectsDestination
from famacase_xdist.results.redaction import Mask
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import EMBEDDED_DATABASE

from . import plan
from .terminal import Terminal


class Opening:
    """Chooses a destination and opens it.

    Args:
        settings: Of the session.
        started_in: The directory that pytest was started in; a file report's path may be relative to it.
        rootdir: pytest's rootdir, where the embedded server's database is.

    Attributes:
        cases: The case ids of the test plan; None where all tests are selected.
        destination: The destination; None before it is chosen.
    """

    def __init__(self, settings: Settings, started_in: Path, rootdir: Path) -> None:
        self._settings = settings
        self._started_in = started_in
        self._rootdir = rootdir
        #: What lives as long as the session: the embedded server.
        self._resources = ExitStack()
        self.cases: frozenset[int] | None = None
        self.destination: Destination | None = None

    def open(self, terminal: Terminal) -> Destination:
        """Return the destination, open.

        Raises:
            FamacaseError: Nothing can be reported.
        """
        self.destination = destination = self._chosen(terminal)
        destination.start(terminal.say)
        return destination

    def close(self) -> None:
        """Stop the embedded server, if there is one. May be called twice."""
        self._resources.close()

    def _chosen(self, terminal: Terminal) -> Destination:
        if self._settings.mode == "report":
            terminal.listen(Mask(*self._settings.secrets))
            return FileReport(self._settings, self._started_in)
        server = self._server()
        terminal.listen(Mask(server.token, *self._settings.secrets))
        if self._settings.mode == "testops_multi":
            return ProjectsDestination(self._settings, server)
        self._load_plan(server, terminal.say)
        return ProjectDestination(self._settings, server)

    def _server(self) -> Server:
        if self._settings.mode != "embedded":
            return Server.of(self._settings)
        database = self._rootdir / EMBEDDED_DATABASE
        return self._resources.enter_context(serving(database, self._settings.project))

    def _load_plan(self, server: Server, say: Say) -> None:
        """Load the test plan before the run is made and before a worker starts: all have to select the same tests."""
        if self._settings.testops_plan_id is not None:
            self.cases = plan.load(self._settings, server, say)
