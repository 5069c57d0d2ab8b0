"""Delivery: one thread, ``famacase-sender``, takes batches from the outbox to the server.

A batch goes when it is full, when its oldest result is `MAX_AGE` old, or when the session ends. Where more than one
waits, as after a server was away, a few go side by side on threads ``famacase-sender-N``. A batch that fails stays in
the outbox; only an acknowledgement deletes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from tenacity import sleep_using_event
from tenacity import stop_when_event_set as stop_when_set

from famacase_xdist import clock
from famacase_xdist.client.api import Api
from famacase_xdist.client.retry import MAX_WAIT, retrying
from famacase_xdist.errors import DeliveryError, FamacaseError, OutboxError, Refused
from famacase_xdist.log import log
from famacase_xdist.results.body import with_attachment_ids, with_notes
from famacase_xdist.results.frames import ResultFrame
from famacase_xdist.runs.record import Ending
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

from .pool import Pool
from .uploads import Uploads

T = TypeVar("T")

#: Seconds a result waits at most for others to share its request.
MAX_AGE = 5.0
#: Bytes of results in one request; a single larger one goes alone.
BATCH_BYTES = 16 * 1024 * 1024
#: Seconds before a server that did not answer is tried again.
REST = 1.5 * MAX_WAIT
#: Batches that go side by side, each on a connection of its own.
LANES = 4
#: A refusal of these is about the session, not about one result; so is every redirect.
FATAL = frozenset({*range(300, 400), 401, 403, 404})


class Sender:
    """Delivers what is in the outbox until it is closed.

    Attributes:
        delivered: Results that the server acknowledged, by status.
        trouble: The last reason why something was not delivered; empty while all is well.
        halted: Whether that reason is final: nothing is sent any more.
    """

    def __init__(self, api: Api, outbox: Outbox, run: Run, settings: Settings) -> None:
        self._api = api
        self._outbox = outbox
        self._run = run
        self._settings = settings
        self._abandoned = threading.Event()
        self._changed = threading.Condition()
        self._waiting = 0
        self._since = 0.0
        self._rest_until = 0.0
        self._is_server_well = False
        self._is_stopping = False
        self._ending = Ending.NONE
        self._uploads = Uploads(api, outbox.contents, self._retry, workers=settings.attachment_workers)
        self._pool = Pool("famacase-sender", LANES)
        self._thread = threading.Thread(target=self._work, name="famacase-sender", daemon=True)
        self.delivered: Counter[str] = Counter()
        self.trouble = ""
        self.halted = False

    @property
    def is_idle(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; it opens the run first."""
        self._thread.start()

    def notify(self, results: int) -> None:
        """Say that the outbox has this many more results; any thread, never waits for the network."""
        if not results:
            return
        with self._changed:
            is_first = self._waiting == 0
            self._waiting += results
            if is_first:
                self._since = clock.monotonic()
            # Waking the thread costs the test that runs, so only where there is something to do or to wait for.
            if is_first or self._waiting >= self._settings.testops_batch_size:
                self._changed.notify()

    def shutdown(self, timeout: float, ending: Ending = Ending.FINISHED) -> bool:
        """Deliver all that is there, leave the run, and stop; give up after `timeout` seconds.

        Args:
            timeout: In seconds.
            ending: How the session ends, see `Run.leave`.

        Returns:
            Whether the thread has ended.
        """
        self.request_stop(ending)
        self._thread.join(timeout)
        self._abandoned.set()
        # The thread may sit in a request. It is a daemon and cannot hold up the exit.
        self._thread.join(0.1)
        return self.is_idle

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds."""
        self._thread.join(timeout)

    def request_stop(self, ending: Ending = Ending.FINISHED) -> None:
        """Let the thread deliver all that is there, leave the run and then end; returns at once."""
        with self._changed:
            self._is_stopping = True
            self._ending = ending
            self._changed.notify()

    def _work(self) -> None:
        try:
            is_last = False
            while not (is_last or self._abandoned.is_set() or self.halted):
                # What is there when the session closes is seen by the cycle that begins after that.
                is_last = self._is_stopping
                self._cycle()
                self._wait()
            # Not behind the back of a summary that has been printed.
            if not self._abandoned.is_set():
                self._leave()
        except OutboxError as error:
            self._halt(str(error))
        except Exception as error:
            # A thread that dies of a mistake of ours prints a traceback into the user's terminal.
            self._halt(f"internal error: {error!r}")
        finally:
            self._uploads.close()
            self._pool.close()

    def _cycle(self) -> None:
        """Open the run where it is not, and send what waits; note why where that fails."""
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

    def _wait(self) -> None:
        """Wait until a cycle is due, or the session ends."""
        with self._changed:
            while not self._is_stopping and not self.halted and (pause := self._seconds_to_next()) != 0:
                self._changed.wait(pause)

    def _seconds_to_next(self) -> float | None:
        """Give the seconds until a cycle is due; 0 for now, None for not before something changes."""
        now = clock.monotonic()
        if now < self._rest_until:
            return self._rest_until - now
        if not self._waiting:
            return None if self._run.is_open else 0
        if self._waiting >= self._settings.testops_batch_size:
            return 0
        return max(0.0, self._since + MAX_AGE - now)

    def _leave(self) -> None:
        """Leave the run, and complete it if nothing is missing."""
        undelivered = self._outbox.undelivered()
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
        self._retry(lambda: self._run.open(self._api, self._abandoned.is_set))
        self._outbox.remember(**self._run.facts())

    def _send_all(self) -> None:
        """Send full batches, and with the first one whatever else is due."""
        while not self._abandoned.is_set():
            with self._changed:
                known = self._waiting
            batches = self._take(known)
            try:
                self._send_side_by_side(batches)
            finally:
                for batch in batches:
                    self._outbox.give_back(batch)
            # What was announced and is not there, has been sent already; what came meanwhile still counts.
            if not self._is_more_due(sum(map(len, batches)) or known) or not batches:
                return

    def _take(self, waiting: int) -> list[list[ResultFrame]]:
        """Take a batch; a few where more than one waits, if the server took the last one."""
        size = self._settings.testops_batch_size
        batches: list[list[ResultFrame]] = []
        tests: set[str] = set()
        for number in range(LANES if self._is_server_well else 1):
            # Before the end only full ones: what is there of the next may have company in a moment.
            if number and waiting - number * size < (1 if self._is_stopping else size):
                break
            batch = self._outbox.take(size, BATCH_BYTES)
            if not batch:
                break
            nodeids = {each.head.nodeid for each in batch}
            if nodeids & tests:
                # A second attempt must not arrive before the first.
                self._outbox.give_back(batch)
                break
            tests |= nodeids
            batches.append(batch)
        return batches

    def _send_side_by_side(self, batches: Sequence[Sequence[ResultFrame]]) -> None:
        if len(batches) > 1:
            # Before, and on this thread: of two batches with one attachment, each would upload it.
            self._uploads.upload([digest for batch in batches for each in batch for digest in each.head.contents])
            self._pool.run([partial(self._send, batch) for batch in batches])
        elif batches:
            self._send(batches[0])

    def _is_more_due(self, done: int) -> bool:
        with self._changed:
            self._waiting = max(0, self._waiting - done)
            self._since = clock.monotonic()
            return self._is_stopping or self._waiting >= self._settings.testops_batch_size

    def _send(self, batch: Sequence[ResultFrame]) -> None:
        """Send one batch; where the server will not take it, halve it until the bad result stands alone."""
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
            self._outbox.acknowledge(batch)
            self._is_server_well = True
            with self._changed:
                self.delivered.update(each.head.status for each in batch)

    def _body(self, frame: ResultFrame, ids: Mapping[str, object]) -> bytes:
        """Return a result's JSON with the server's ids; what could not be uploaded is named in its message."""
        resolved = with_attachment_ids(frame, ids)
        missing = [digest for digest in frame.head.contents if digest not in ids]
        if missing:
            resolved = with_notes(resolved, self._outbox.contents.refusals(missing))
        return resolved.body

    def _retry(self, call: Callable[[], T]) -> T:
        """Make a call, again where that may help, until the deadline interrupts it."""
        patiently = retrying(
            self._settings.retry_attempts,
            sleep=sleep_using_event(self._abandoned),
            give_up=stop_when_set(self._abandoned),
        )
        return patiently(call)

    def _rest(self, error: FamacaseError) -> None:
        log.info("the server gets a rest of %g s: %s", REST, error)
        self.trouble = str(error)
        self._is_server_well = False
        with self._changed:
            self._rest_until = clock.monotonic() + REST

    def _halt(self, reason: str) -> None:
        log.info("nothing is sent any more: %s", reason)
        self.trouble = reason
        self.halted = True
