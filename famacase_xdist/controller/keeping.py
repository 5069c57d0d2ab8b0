"""Keeps the frames of a session: in the journal of each project, and with the courier where a disk fails."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from famacase_xdist.courier.messages import Kept
from famacase_xdist.courier.parent import Courier
from famacase_xdist.errors import CourierError, FamacaseError, OutboxError
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox

from .routing import Routes


class Journals:
    """The writing ends of a session's outboxes.

    Args:
        state: The state directory.
        routes: Say which projects keep a frame.

    Attributes:
        accepted: How many results were accepted, by the project's code and by status.
        lost: How many results were lost.
    """

    def __init__(self, state: StateDirectory, routes: Routes) -> None:
        self.state = state
        self._routes = routes
        self._journals: dict[str, Journal] = {}
        self._troubles: dict[str, str] = {}
        self._kept: dict[str, Kept] = {}
        self.lost = 0
        #: Those of the accepted results that no disk took.
        self._handed: dict[str, Counter[str]] = {code: Counter() for code in routes.codes}
        self.accepted: dict[str, Counter[str]] = {code: Counter() for code in routes.codes}
        for code in routes.codes:
            self._open(code)

    def _open(self, code: str) -> None:
        files = self.state.new_outbox()
        try:
            self._journals[code] = Journal(files)
        except OutboxError as error:
            self._troubles[code] = str(error)
        self._kept[code] = Kept(files.session, self._troubles.get(code, ""))

    @property
    def kept(self) -> Mapping[str, Kept]:
        """Where the results of each project were kept at the start."""
        return self._kept

    def distrust(self, troubles: Mapping[str, str]) -> None:
        """Hand all frames of some projects to the courier from now on, because it cannot read their outboxes.

        Args:
            troubles: Why not, by the project's code.
        """
        for code, trouble in troubles.items():
            self._troubles.setdefault(code, trouble)
            # The courier's order has this mapping, which a second courier is sent too.
            self._kept[code] = self._kept[code]._replace(trouble=self._troubles[code])
            if code in self._journals:
                self._journals.pop(code).close()

    def keep(self, frames: Sequence[AnyFrame], courier: Courier) -> None:
        """Keep frames; they cannot get lost from now on.

        Raises:
            FamacaseError: Some are lost, and counted; all others are kept.
        """
        batches: dict[str, list[AnyFrame]] = {}
        for frame in frames:
            for code, own in self._routes.of(frame):
                batches.setdefault(code, []).append(own)
        errors = []
        for code, batch in batches.items():
            try:
                self._keep(code, batch, courier)
            except FamacaseError as error:
                self.lost += sum(map(is_result, batch))
                errors.append(error)
        if errors:
            raise errors[0]

    def _keep(self, code: str, frames: Sequence[AnyFrame], courier: Courier) -> None:
        journal = self._journals.get(code)
        if journal is not None and code not in self._troubles:
            try:
                journal.append(frames)
            except OutboxError as error:
                self._troubles[code] = str(error)
                # Without them an attachment is missing, and no result.
                with contextlib.suppress(CourierError):
                    courier.keep(code, journal.unfinished(), str(error))
        statuses = Counter(frame.head.status for frame in frames if is_result(frame))
        if (trouble := self._troubles.get(code)) is not None:
            courier.keep(code, frames, trouble)
            self._handed[code].update(statuses)
        self.accepted[code].update(statuses)

    def problems(self) -> Iterator[str]:
        """Yield lines about what was kept."""
        yield from self._routes.problems()

    def counted(self, reason: str) -> Outcome:
        """Return what became of the results by what is left in the outboxes, because the courier cannot tell it.

        Args:
            reason: Why it cannot.
        """
        delivered: Counter[str] = Counter()
        outboxes = []
        for code, accepted in self.accepted.items():
            left = self._left(code)
            delivered += accepted if left is None else accepted - left
            if left and code in self._journals:
                outboxes.append(self._files(code).path)
        undelivered = sum(each.total() for each in self.accepted.values()) - delivered.total()
        causes = Counter({reason: undelivered} if undelivered else {})
        return Outcome(delivered, undelivered, causes, problems=(reason,), outboxes=tuple(outboxes))

    def _left(self, code: str) -> Counter[str] | None:
        """Return which results of a project are not delivered, by status; None if its outbox is gone, as nothing is."""
        if not self._files(code).path.is_dir():
            return None if code in self._journals else self.accepted[code]
        try:
            with contextlib.closing(Outbox(self._files(code), beside_writer=True, patience=1.0)) as outbox:
                # Of what cannot be read it is not known whether it was delivered.
                return self.accepted[code] if outbox.damage else outbox.left_by_status() + self._handed[code]
        except OutboxError:
            return self.accepted[code]

    def _files(self, code: str) -> OutboxFiles:
        return self.state.outbox(self._kept[code].session)

    def discard(self) -> None:
        """Close all journals and delete the outboxes, because nothing is reported."""
        for code in self._journals:
            # Nobody else looks into an outbox whose writer's lock is taken, and the courier has ended.
            shutil.rmtree(self._files(code).path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Close all journals; they stay where they are."""
        for journal in self._journals.values():
            journal.close()
