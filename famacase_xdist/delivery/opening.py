"""Where the results of a session go: the only part of the courier that knows the modes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from famacase_xdist.client.server import Server
from famacase_xdist.errors import FamacaseError, OutboxError
from famacase_xdist.results.redaction import Mask
from famacase_xdist.runs.run import Home
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import EMBEDDED_DATABASE, StateDirectory
from famacase_xdist.state.outbox import Outbox

from . import plan, resend
from .destination import Destination, Say
from .embedded import serving
from .file_report import FileReport
from .project import ProjectDestination
from .projects import ProjectsDestination

#: Seconds to wait for a process that looks into an outbox, or for a courier that dies.
LOOK_PATIENCE = 5.0


class Opening:
    """Chooses a destination and opens it.

    Args:
        settings: The settings of the session.
        state: The state directory.
        kept: For each project's code, the name of the session's outbox, and why it is in memory, or an empty text.
        started_in: The directory that pytest was started in; a file report's path may be relative to it.
        rootdir: pytest's rootdir, where the embedded server's database is.
        pid: The id of the session's process.
        is_second: Whether an earlier courier of this session has noted what it delivered.

    Attributes:
        cases: The case ids of the test plan; None where all tests are selected.
        leftovers: A line about what earlier sessions left; empty if they left nothing.
        mask: Hides the secrets of the session.
        session: A name of the session.
        troubles: Why an outbox cannot be read, by the project's code; its results have to come another way.
    """

    def __init__(
        self,
        settings: Settings,
        state: Path,
        kept: Mapping[str, tuple[str, str]],
        started_in: Path,
        rootdir: Path,
        pid: int,
        *,
        is_second: bool = False,
    ) -> None:
        self._settings = settings
        self._state = StateDirectory(state)
        self._kept = kept
        self._started_in = started_in
        self._rootdir = rootdir
        self._pid = pid
        self._is_second = is_second
        self.cases: frozenset[int] | None = None
        self.leftovers = ""
        self.mask = Mask(*settings.secrets)
        self.session = next(iter(kept.values()))[0]
        self.troubles: dict[str, str] = {}

    @contextmanager
    def opened(self, say: Say) -> Iterator[Destination]:
        """Yield the destination, open; the embedded server lives as long as the block.

        Raises:
            FamacaseError: Nothing can be reported.
        """
        self.leftovers = resend.leftover_line(self._settings)
        with contextlib.ExitStack() as resources:
            destination = self._chosen(resources, say)
            destination.start(say)
            yield destination
        if self._settings.mode == "report":
            # A directory for this session alone; what a session that died has left of it.
            with contextlib.suppress(OSError):
                self._state.outboxes.rmdir()
                self._state.path.rmdir()

    def fatal(self, error: FamacaseError) -> str:
        """Return why no test may be run after an error; empty if the tests can run all the same."""
        return plan.refusal(self._settings, error) if self._settings.needs_plan else ""

    def _chosen(self, resources: contextlib.ExitStack, say: Say) -> Destination:
        if self._settings.mode == "report":
            return FileReport(self._settings, self._started_in, self._outbox("", resources))
        server = self._server(resources)
        self.mask = Mask(server.token, *self._settings.secrets)
        if self._settings.mode == "testops_multi":
            projects = self._settings.of_each_project()
            opened = {code: self._project(own, server, resources) for code, own in projects.items()}
            return ProjectsDestination(opened)
        if self._settings.needs_plan and not self._is_second:
            # Before the run is made and before a worker starts, because all of them have to select the same tests.
            self.cases = plan.load(self._settings, server, say)
        return self._project(self._settings, server, resources)

    def _server(self, resources: contextlib.ExitStack) -> Server:
        if self._settings.mode != "embedded":
            return Server.of(self._settings)
        return resources.enter_context(serving(self._rootdir / EMBEDDED_DATABASE, self._settings.project))

    def _project(self, settings: Settings, server: Server, resources: contextlib.ExitStack) -> ProjectDestination:
        session, _ = self._kept[settings.project]
        home = Home(self._state.outbox(session), server.scope(settings.project), self._pid)
        return ProjectDestination(settings, server, self._outbox(settings.project, resources), home, self._started_in)

    def _outbox(self, code: str, resources: contextlib.ExitStack) -> Outbox:
        """Return the reading end of an outbox. If it cannot be opened, the results come another way, into memory.

        Raises:
            OutboxError: It cannot be opened, and has notes without which a second run would be made.
        """
        session, trouble = self._kept[code]
        if not trouble:
            try:
                outbox = Outbox(self._state.outbox(session), beside_writer=True, patience=LOOK_PATIENCE)
            except OutboxError as error:
                if self._is_second:
                    raise
                trouble = self.troubles[code] = str(error)
        if trouble:
            outbox = Outbox(None)
            outbox.accept([], trouble)
        resources.callback(outbox.close)
        return outbox
