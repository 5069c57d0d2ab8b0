"""Which projects keep a frame, and in which form: each project has an outbox of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from famacase_xdist.results.body import begun, description_in, description_of, in_project, with_ids
from famacase_xdist.results.frames import AnyFrame, BegunHead, Frame, IgnoredHead, is_result
from famacase_xdist.settings.settings import Settings

#: Test case ids by project; None to keep the ids that the result has already.
Targets = Mapping[str, Sequence[int] | None]


class Routes(Protocol):
    """Says where frames are kept.

    Attributes:
        codes: The codes of all projects.
    """

    codes: Sequence[str]

    def of(self, frame: AnyFrame) -> Iterable[tuple[str, AnyFrame]]:
        """Return what to keep of a frame, with the project that keeps it."""

    def problems(self) -> Iterator[str]:
        """Yield lines about results that name projects which are not set up."""


def routes(settings: Settings) -> Routes:
    """Return the routes of a session."""
    if settings.testops_multi is None or settings.mode != "testops_multi":
        return OneProject("" if settings.mode == "report" else settings.project)
    return SeveralProjects(list(settings.of_each_project()), settings.testops_multi.default)


class OneProject:
    """All frames are kept for one project.

    Args:
        code: The project's code; empty for a file report, which keeps what a test says of all projects.
    """

    def __init__(self, code: str) -> None:
        self.codes: Sequence[str] = [code]
        self._code = code

    def of(self, frame: AnyFrame) -> Iterable[tuple[str, AnyFrame]]:
        """Return the frame; a result has the ids of @qase.project_id for this project."""
        if self._code and is_result(frame) and (ids := frame.head.projects.get(self._code)):
            frame = with_ids(frame, ids)
        return ((self._code, frame),)

    def problems(self) -> Iterator[str]:
        """Yield nothing."""
        yield from ()


class SeveralProjects:
    """Each result is kept for the projects that it belongs to.

    Args:
        codes: The projects that are set up.
        default: The project of the results that name none.
    """

    def __init__(self, codes: Sequence[str], default: str) -> None:
        self.codes = codes
        self._default = default
        self._running: dict[str, set[str]] = {}
        self._unknown: Counter[str] = Counter()

    def of(self, frame: AnyFrame) -> Iterator[tuple[str, AnyFrame]]:
        """Yield what to keep of a frame, with the project that keeps it."""
        head = frame.head
        if is_result(frame):
            targets = self._targets(frame.head.projects, is_counted=True)
            yield from self._ended(frame.head.nodeid, set(targets))
            for code, ids in targets.items():
                yield code, frame if ids is None else in_project(frame, code, ids)
        elif isinstance(head, BegunHead):
            yield from self._began(head, frame.body)
        elif isinstance(head, IgnoredHead):
            yield from self._ended(head.nodeid, set())
        else:
            # A content comes before the results that tell its project, so every project gets it.
            yield from ((code, frame) for code in self.codes)

    def problems(self) -> Iterator[str]:
        """Yield a line for each project that results name and that is not set up."""
        for code, count in self._unknown.items():
            yield f"{count} results name project {code}, which is not in testops_multi"

    def _began(self, head: BegunHead, body: bytes) -> Iterator[tuple[str, AnyFrame]]:
        if not body:
            # A begun frame without a description comes from pytest's report. It may arrive after the recorder's frame,
            # which knows the projects.
            for code in self._running.setdefault(head.nodeid, {self._default}):
                yield code, Frame(head)
            return
        described, projects = description_of(body)
        targets = self._targets(projects, is_counted=False)
        yield from self._ended(head.nodeid, set(targets))
        self._running[head.nodeid] = set(targets)
        for code, ids in targets.items():
            yield code, begun(head.nodeid, described if ids is None else description_in(described, code, ids))

    def _ended(self, nodeid: str, targets: set[str]) -> Iterator[tuple[str, AnyFrame]]:
        """Yield frames that end a test in those projects that it was thought to belong to and does not."""
        for code in self._running.pop(nodeid, set()) - targets:
            yield code, Frame(IgnoredHead(nodeid))

    def _targets(self, projects: Mapping[str, Sequence[int]], *, is_counted: bool) -> Targets:
        """Return the projects of a test. If it names none that is set up, that is the default project.

        Args:
            projects: Test case ids by project, as the test names them.
            is_counted: Whether to count projects that are not set up.
        """
        known = {code: ids for code, ids in projects.items() if code in self.codes}
        if is_counted:
            self._unknown.update(projects.keys() - known.keys())
        return known or {self._default: [] if projects else None}
