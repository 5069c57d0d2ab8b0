"""The ledger of a session: what began, what came in, and what has to be rebuilt because nothing came.

A result travels over our channel and is taken in at once. pytest's reports wait in xdist's queue, so they may come
after the result that they belong to; the two are matched by number, because each attempt has one report of a set-up.
All of a worker's messages come before the news of its death, so a test that is open then gets no result any more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from famacase_xdist import clock
from famacase_xdist.results import synthetic
from famacase_xdist.results.body import with_attempt
from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    Frame,
    IgnoredHead,
    NoteHead,
    ResultFrame,
    decode,
    is_result,
)
from famacase_xdist.results.pytest_reports import phase_after
from famacase_xdist.results.status import INVALID

from .events import Began, Crashed, Event, Received, Recorded, Reported


@dataclass(slots=True)
class _Open:
    """A test on a worker: attempts that pytest reported, results that came, and the last attempt's reports."""

    since: float = field(default_factory=clock.monotonic)
    attempts: int = 0
    results: int = 0
    is_ignored: bool = False
    described: bytes = b""
    reports: list[pytest.TestReport] = field(default_factory=list)

    @property
    def is_missing(self) -> bool:
        """Whether a result has not come."""
        return self.attempts > self.results and not self.is_ignored

    @property
    def is_cut_off(self) -> bool:
        """Whether the recorder began, and not even a set-up was reported."""
        return bool(self.described) and not (self.attempts or self.results or self.is_ignored)

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will come: all phases are reported, and each attempt's result is there.

        Where there are more results than attempts, pytest's reports of some attempts are still on their way.
        """
        is_over = bool(self.reports) and self.reports[-1].when == "teardown"
        return is_over and (self.is_ignored or self.attempts == self.results)

    def report(self, report: pytest.TestReport) -> None:
        """Add pytest's report of a phase."""
        if report.when == "setup":
            self.attempts += 1
            self.reports.clear()
        self.reports.append(report)


class Ledger:
    """Turns events into the frames to keep, and counts. One thread at a time calls it, in the order of events.

    Attributes:
        collected: Tests that were collected.
        received: Results that were kept, by status; crashed and rebuilt ones count.
        filtered: Results that were left out, because the status filter names their status.
        ignored: Tests that are not reported.
        crashed: Results of tests that took their worker with them.
        rebuilt: Results made from pytest's reports because the recorder's never came.
        not_collected: Modules that could not be collected.
        unreadable: Messages that were no frames.
        notes: Lines for the summary, each once.
    """

    def __init__(
        self,
        *,
        collection_errors: bool = True,
        keep_nodeids: bool = False,
        status_mapping: Mapping[str, str] | None = None,
        status_filter: Collection[str] = (),
        status_policy: str = "famacase",
        root_suite: str | None = None,
    ) -> None:
        self.collected = 0
        self.received: Counter[str] = Counter()
        self.filtered = 0
        self.ignored = 0
        self.crashed = 0
        self.rebuilt = 0
        self.not_collected = 0
        self.unreadable = 0
        self.notes: dict[str, None] = {}
        self._collection_errors = collection_errors
        self._status_mapping = status_mapping or {}
        self._status_filter = frozenset(status_filter)
        self._status_policy = status_policy
        self._root_suite = root_suite
        self._is_each = False
        self._open: defaultdict[tuple[str, str], _Open] = defaultdict(_Open)
        self._attempts_before: Counter[tuple[str, str]] = Counter()
        self._begun: Counter[str] = Counter()
        self._ended_early: Counter[str] = Counter()
        #: By worker: the test that was settled last, and how many results it had.
        self._settled: dict[str, tuple[str, int]] = {}
        self._ignored: set[tuple[str, str]] = set()
        self._failed_modules: set[str] = set()
        self._finished = 0
        self._nodeids: dict[str, None] | None = {} if keep_nodeids else None

    @property
    def not_run(self) -> int:
        """Tests that were collected and never began."""
        return max(0, self.collected - self._finished)

    def collect(self, nodeids: Sequence[str], *, times: int = 1) -> None:
        """Note what was collected.

        Args:
            nodeids: The tests; each worker collects the same.
            times: How many workers run all of them.
        """
        self.collected = len(nodeids) * times
        self._is_each = times > 1
        if self._nodeids is not None:
            self._nodeids.update(dict.fromkeys(nodeids))

    def enter(self, event: Event) -> Iterable[AnyFrame]:
        """Enter an event, and return the frames to keep."""
        if isinstance(event, Reported):
            self._report(event)
            return ()
        if isinstance(event, Recorded):
            return self._take_in(event.worker, event.frame)
        if isinstance(event, Received):
            return self._receive(event)
        if isinstance(event, Began):
            return self._begin(event.nodeid)
        if isinstance(event, Crashed):
            return self._crash(event)
        return self._leave_out(event.report)

    def close(self, *, report_not_run: bool) -> list[AnyFrame]:
        """Return the frames of all that is still open when no more events come.

        Args:
            report_not_run: Whether tests that never began are results too.
        """
        open_ = {key: each for key, each in self._open.items() if each.is_missing or each.is_cut_off}
        frames: list[AnyFrame] = [self._rebuild(key, each) for key, each in open_.items()]
        frames += [self._made(synthetic.cut_off(nodeid)) for nodeid in self._begun]
        self._open.clear()
        self._begun.clear()
        if report_not_run and self._nodeids is not None:
            frames += [self._made(synthetic.not_run(nodeid)) for nodeid in list(self._nodeids)]
            self._nodeids = None
        return frames

    def _leave_out(self, report: pytest.CollectReport) -> Iterator[AnyFrame]:
        """Yield the result of a module that has no tests now, once: every worker tells of it."""
        if report.nodeid in self._failed_modules:
            return
        if report.skipped:
            self._failed_modules.add(report.nodeid)
            yield self._made(synthetic.collection_skip(report))
        elif self._collection_errors:
            self._failed_modules.add(report.nodeid)
            self.not_collected += 1
            yield self._made(synthetic.collection_error(report))

    def _begin(self, nodeid: str) -> Sequence[AnyFrame]:
        """Note that a test runs, unless its result came before the news of its begin."""
        if _take(self._ended_early, nodeid):
            return ()
        self._begun[nodeid] += 1
        return (Frame(BegunHead(nodeid)),)

    def _end(self, nodeid: str) -> None:
        if not _take(self._begun, nodeid):
            self._ended_early[nodeid] += 1

    def _receive(self, event: Received) -> Sequence[AnyFrame]:
        try:
            frame = decode(event.message)
        except ValueError:
            self.unreadable += 1
            return ()
        return self._take_in(event.worker, frame)

    def _take_in(self, worker: str, frame: AnyFrame) -> Sequence[AnyFrame]:
        head = frame.head
        if is_result(frame):
            return (self._enter_result(worker, frame),)
        if isinstance(head, NoteHead):
            self.notes[head.text] = None
            return ()
        if isinstance(head, BegunHead):
            self._open[worker, head.nodeid].described = frame.body
        elif isinstance(head, IgnoredHead):
            self._end(head.nodeid)
            self._ignore(worker, head.nodeid)
        return (frame,)

    def _enter_result(self, worker: str, frame: ResultFrame) -> AnyFrame:
        self._end(frame.head.nodeid)
        result = self._numbered(worker, frame)
        self._finished += result.head.attempt == 1
        open_ = self._open[worker, result.head.nodeid]
        open_.results += 1
        self._drop_settled(worker, result.head.nodeid, open_)
        return self._count(result)

    def _ignore(self, worker: str, nodeid: str) -> None:
        """Count a test that is not reported, once for all of its attempts."""
        self._open[worker, nodeid].is_ignored = True
        key = self._test(worker, nodeid)
        if key not in self._ignored:
            self._ignored.add(key)
            self.ignored += 1
            self._finished += 1
            self._ran(nodeid)

    def _report(self, event: Reported) -> None:
        worker, nodeid = event.worker, event.nodeid
        open_ = self._open[worker, nodeid]
        open_.since = min(open_.since, event.since)
        # The attempt before was dropped together with its entry; the recorder's frame for this one may still come.
        if self._ignored and self._test(worker, nodeid) in self._ignored:
            open_.is_ignored = True
        for report in event.reports:
            open_.report(report)
        self._drop_settled(worker, nodeid, open_)

    def _crash(self, event: Crashed) -> Iterator[AnyFrame]:
        """Yield the result of the test in which a worker died."""
        open_ = self._open.pop((event.worker, event.nodeid), None)
        earlier = self._earlier(event.worker, event.nodeid)
        if open_ is None and earlier and event.nodeid not in self._begun:
            return  # the result has come: the worker died between two tests
        open_ = open_ or _Open()
        key = self._test(event.worker, event.nodeid)
        if key in self._ignored:
            return
        attempt = self._attempts_before[key] + earlier + open_.results + 1
        self._attempts_before[key] = attempt
        self.crashed += 1
        self._finished += attempt == 1
        self._end(event.nodeid)
        phase = phase_after(open_.reports if open_.is_missing else [])
        yield self._made(
            synthetic.result(
                event.nodeid,
                INVALID,
                synthetic.crash_message(event.nodeid, event.worker, event.exit, phase),
                described=open_.described,
                thread=event.worker,
                attempt=attempt,
                stacktrace=event.stacktrace,
                seconds=clock.monotonic() - open_.since,
            ),
            open_.described,
        )

    def _rebuild(self, key: tuple[str, str], open_: _Open) -> AnyFrame:
        worker, nodeid = key
        self.rebuilt += 1
        before = self._attempts_before[self._test(worker, nodeid)] + self._earlier(worker, nodeid)
        attempt = before + max(1, open_.attempts)
        self._end(nodeid)
        self._finished += attempt == 1
        return self._made(
            synthetic.from_reports(nodeid, open_.reports, described=open_.described, thread=worker, attempt=attempt),
            open_.described,
        )

    def _test(self, worker: str, nodeid: str) -> tuple[str, str]:
        """Return what attempts are counted by: a test, or, where each worker runs all of them, a test on a worker."""
        return (worker if self._is_each else "", nodeid)

    def _numbered(self, worker: str, frame: ResultFrame) -> ResultFrame:
        """Return a result with the attempts of workers that died added: this worker cannot know of them."""
        before = self._attempts_before.get(self._test(worker, frame.head.nodeid))
        if not before:
            return frame
        return with_attempt(frame, frame.head.attempt + before)

    def _made(self, frame: ResultFrame, described: bytes = b"") -> AnyFrame:
        """Return what is kept of a result that no recorder made; status mapping and root suite apply to it too."""
        root_suite = None if described else self._root_suite
        settled = synthetic.settled(frame, self._status_mapping, self._status_policy)
        return self._count(synthetic.rooted(settled, root_suite))

    def _count(self, frame: ResultFrame) -> AnyFrame:
        """Count a result, and return what is kept of it."""
        self._ran(frame.head.nodeid)
        kept = synthetic.filtered(frame, self._status_filter)
        if kept is frame:
            self.received[frame.head.status] += 1
        else:
            self.filtered += 1
        return kept

    def _ran(self, nodeid: str) -> None:
        if self._nodeids is not None:
            self._nodeids.pop(nodeid, None)

    def _drop_settled(self, worker: str, nodeid: str, open_: _Open) -> None:
        if open_.is_settled:
            del self._open[worker, nodeid]
            self._settled[worker] = (nodeid, self._earlier(worker, nodeid) + open_.results)

    def _earlier(self, worker: str, nodeid: str) -> int:
        """Return how many results a settled test has: some plugins report a teardown for each attempt."""
        settled, results = self._settled.get(worker, ("", 0))
        return results if settled == nodeid else 0


def _take(counter: Counter[str], key: str) -> bool:
    """Take one off a count, and return whether there was one; no key is kept at zero."""
    if key not in counter:
        return False
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
    return True
