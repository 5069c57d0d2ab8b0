"""Delivery: one thread, ``famacase-sender``, takes batches from the outbox and sends them to the server.

A batch is sent when it is full, when its oldest result is `MAX_AGE` seconds old, or when the session ends. If more than
one batch waits, for example because the server was away, a few are sent side by side on threads ``famacase-sender-N``.
A batch that fails stays in the outbox, because only an acknowledgement deletes it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from tenacity import RetryCallState, sleep_using_event
from tenacity import stop_when_event_set as stop_when_set

from famacase_xdist import clock
from famacase_xdist.client.api import Api
from famacase_xdist.client.retry import MAX_WAIT, retrying
from famacase_xdist.errors import DeliveryError, FamacaseError, Refused
from famacase_xdist.log import log
from famacase_xdist.results.body import with_attachment_ids, with_notes
from famacase_xdist.results.frames import ResultFrame
from famacase_xdist.runs.record import Ending
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

from .pool import Pool
from .schedule import Schedule
from .uploads import Uploads

T = TypeVar("T")

#: Seconds that a result waits at most for others in the same request.
MAX_AGE = 5.0
#: Most bytes of results in one request; a larger result is sent alone.
BATCH_BYTES = 16 * 1024 * 1024
#: Seconds before a server that did not answer is tried again.
REST = 1.5 * MAX_WAIT
#: Seconds without an answer after which it is the server that takes long.
SILENCE = 1.0
#: Most batches that are sent side by side, each on a connection of its own.
LANES = 4
#: Statuses, with all redirects, that refuse the session and not one result.
FATAL = frozenset({*range(300, 400), 401, 403, 404})


class Sender:
    """Delivers the results of an outbox until it is asked to stop.

    Args:
        api: The calls of the project.
        outbox: The results; only this object takes batches.
        run: The run to open, to report to, and to leave at the end.
        settings: The settings of the session.

    Attributes:
        delivered: How many results the server acknowledged, by status.
        trouble: The last reason why something was not delivered; empty while there is none.
        halted: Whether that reason is final, so that nothing is sent any more.
    """

    def __init__(self, api: Api, outbox: Outbox, run: Run, settings: Settings) -> None:
        self._api = api
        self._outbox = outbox
        self._run = run
        self._settings = settings
        self._abandoned = threading.Event()
        self._schedule = Schedule(settings.testops_batch_size, MAX_AGE)
        self._counting = threading.Lock()
        self._is_server_well = False
        self._ending = Ending.NONE
        self._accepted: int | None = None
        #: By thread: since when it has been waiting for an answer, and why its last try failed.
        self._asking: dict[int, float] = {}
        self._failing: dict[int, str] = {}
        self._uploads = Uploads(api, outbox.contents, self._retry, workers=settings.attachment_workers)
        self._pool = Pool("famacase-sender", LANES)
        self._thread = threading.Thread(target=self._work, name="famacase-sender", daemon=True)
        self.delivered: Counter[str] = Counter()
        self.trouble = ""
        self.halted = False

    @property
    def reason(self) -> str:
        """Why not everything is delivered yet: what is waited for now, or the last trouble; or empty."""
        if holder := self._run.waits_for:
            return f"waiting for the run key's lock: {holder}"
        now = clock.monotonic()
        silence = max((now - since for since in self._asking.copy().values()), default=0.0)
        if silence > SILENCE:
            return f"{self._api.host} has not answered for {silence:.0f} s"
        return next(iter(self._failing.copy().values()), self.trouble)

    @property
    def is_idle(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; it opens the run first."""
        self._thread.start()

    def notify(self, results: int) -> None:
        """Announce results that were put into the outbox. Any thread may call this; it does not wait for the network.

        Args:
            results: How many.
        """
        self._schedule.announce(results)

    def abandon(self) -> None:
        """Let the thread end as soon as it can. As a daemon, it holds up no exit while it is in a request."""
        self._abandoned.set()
        self._schedule.stop()
        self._thread.join(0.1)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds."""
        self._thread.join(timeout)

    def request_stop(self, ending: Ending = Ending.FINISHED, accepted: int | None = None) -> None:
        """Let the thread deliver everything in the outbox, leave the run, and end. Returns at once.

        Args:
            ending: How the session ends, see `Run.leave`.
            accepted: How many results the session had accepted; None if that is not known.
        """
        self._ending = ending
        self._accepted = accepted
        self._schedule.stop()

    def books(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many results were delivered, and how many are in the outbox, by status and at one moment."""
        with self._counting:
            return Counter(self.delivered), self._outbox.left_by_status()

    def missing(self) -> int:
        """Return how many results are not in the outbox, and were never delivered, because they could not be read."""
        if self._accepted is None:
            return self._outbox.damage.total()
        return max(0, self._accepted - self._outbox.seen)

    def _work(self) -> None:
        try:
            is_last = False
            while not (is_last or self._abandoned.is_set() or self.halted):
                # Read before the cycle, because only a cycle that begins after the session's end sees all results.
                is_last = self._schedule.is_stopping
                self._cycle()
                if not self.halted:
                    self._schedule.wait(is_run_open=self._run.is_open)
            # An abandoned thread does not leave the run, because the summary may have been printed already.
            if not self._abandoned.is_set():
                self._leave()
        except Exception as error:
            # A mistake of ours at the end. If it ended the thread, a traceback would appear in the user's terminal.
            self._halt(f"internal error: {error!r}")
        finally:
            self._uploads.close()
            self._pool.close()

    def _cycle(self) -> None:
        """Open the run if it is not open, and send what waits. If that fails, note why."""
        try:
            if not self._run.is_open:
                self._open()
            self._send_all()
            self.trouble = ""
        except Refused as error:
            if error.status in FATAL or (not error.retryable and not self._run.is_open):
                self._halt(str(error))
            else:
                self._rest(error)
        except DeliveryError as error:
            if error.retryable:
                self._rest(error)
            else:
                self._halt(str(error))
        except Exception as error:
            # In a thread of the tests' process, what a test replaces may fail here; another time it may work.
            self._rest(f"internal error: {error!r}")

    def _leave(self) -> None:
        """Leave the run, which completes it if nothing is missing, and publish it if that is asked for."""
        undelivered = self._outbox.undelivered() + self.missing()
        try:
            self._retry(lambda: self._run.leave(self._api, undelivered=undelivered, ending=self._ending))
        except FamacaseError as error:
            self.trouble = self.trouble or f"the run could not be completed: {error}"
        else:
            if self._settings.testops_show_public_report_link and self._run.is_open and not self.halted:
                self._publish()

    def _publish(self) -> None:
        try:
            self._run.public_url = self._retry(lambda: self._api.publish_run(self._run.opened))
        except FamacaseError as error:
            self._run.notes.append(f"the run has no public link: {error}")

    def _open(self) -> None:
        # Noted before anybody is told: a courier that takes this one's place must find it.
        self._retry(lambda: self._run.open(self._api, self._abandoned.is_set, self._note_run))

    def _note_run(self) -> None:
        self._outbox.remember(**self._run.facts())

    def _send_all(self) -> None:
        """Send a first batch, however many results it has, and then batches for as long as more is due."""
        while not self._abandoned.is_set():
            announced = self._schedule.waiting
            batches = self._take(announced)
            try:
                self._send_side_by_side(batches)
            finally:
                for batch in batches:
                    self._outbox.give_back(batch)
            # If the outbox has nothing, an earlier cycle sent the announced results. Results that were announced
            # meanwhile still wait.
            is_more_due = self._schedule.settle(sum(map(len, batches)) or announced)
            if not batches or not is_more_due:
                return

    def _take(self, waiting: int) -> list[list[ResultFrame]]:
        """Take and return a batch, or a few if more than one waits and the server took the last one."""
        size = self._settings.testops_batch_size
        batches: list[list[ResultFrame]] = []
        tests: set[str] = set()
        for number in range(LANES if self._is_server_well else 1):
            # Before the end, further batches must be full, because more results may come in a moment.
            if number and waiting - number * size < (1 if self._schedule.is_stopping else size):
                break
            batch = self._outbox.take(size, BATCH_BYTES)
            if not batch:
                break
            nodeids = {each.head.nodeid for each in batch}
            if nodeids & tests:
                # A second attempt must not arrive before the first one.
                self._outbox.give_back(batch)
                break
            tests |= nodeids
            batches.append(batch)
        return batches

    def _send_side_by_side(self, batches: Sequence[Sequence[ResultFrame]]) -> None:
        if len(batches) > 1:
            # Uploaded before, on this thread, because two batches with the same attachment would both upload it.
            self._uploads.upload([digest for batch in batches for each in batch for digest in each.head.contents])
            self._pool.run([partial(self._send, batch) for batch in batches])
        elif batches:
            self._send(batches[0])

    def _send(self, batch: Sequence[ResultFrame]) -> None:
        """Send one batch. If the server refuses it, send its halves, down to the single result that is refused."""
        ids = self._uploads.upload([digest for each in batch for digest in each.head.contents])
        bodies = [self._body(each, ids) for each in batch]
        try:
            self._retry(lambda: self._api.send_results(self._run.opened, bodies))
        except Refused as error:
            if error.status in FATAL or error.retryable:
                raise
            if len(batch) == 1:
                log.info("a result is refused: %s [%s]", error, batch[0].head.nodeid)
                self._outbox.refuse(batch[0], str(error))
                return
            half = len(batch) // 2
            self._send(batch[:half])
            self._send(batch[half:])
        else:
            log.info("a batch of %d results is delivered", len(batch))
            self._is_server_well = True
            with self._counting:
                self._outbox.acknowledge(batch)
                self.delivered.update(each.head.status for each in batch)

    def _body(self, frame: ResultFrame, ids: Mapping[str, object]) -> bytes:
        """Return a result's JSON with the server's ids of attachments. Its message names those that have no id."""
        resolved = with_attachment_ids(frame, ids)
        missing = [digest for digest in frame.head.contents if digest not in ids]
        if missing:
            resolved = with_notes(resolved, self._outbox.contents.refusals(missing))
        return resolved.body

    def _retry(self, call: Callable[[], T]) -> T:
        """Make a call, and repeat it if that may help, until the thread is abandoned."""
        thread = threading.get_ident()

        def ask() -> T:
            self._asking[thread] = clock.monotonic()
            try:
                return call()
            finally:
                del self._asking[thread]

        def fail(state: RetryCallState) -> None:
            self._failing[thread] = str(state.outcome.exception() if state.outcome else "")

        patiently = retrying(
            self._settings.retry_attempts,
            sleep=sleep_using_event(self._abandoned),
            give_up=stop_when_set(self._abandoned),
            before_sleep=fail,
        )
        try:
            return patiently(ask)
        finally:
            self._failing.pop(thread, None)

    def _rest(self, error: object) -> None:
        log.info("no request for %g s: %s", REST, error)
        self.trouble = str(error)
        self._is_server_well = False
        self._schedule.rest(REST)

    def _halt(self, reason: str) -> None:
        log.info("nothing is sent any more: %s", reason)
        self.trouble = reason
        self.halted = True
