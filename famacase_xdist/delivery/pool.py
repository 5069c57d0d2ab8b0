"""A few threads that do jobs side by side for a thread that waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from famacase_xdist.errors import DeliveryError

Job = Callable[[], None]


class Pool:
    """Daemon threads, started on first use. Not an executor: its threads are joined at exit and could hang it.

    Args:
        name: Of the threads, with a number behind it.
        workers: Most threads.
    """

    def __init__(self, name: str, workers: int) -> None:
        self._name = name
        self._workers = workers
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs and wait for all; only one thread calls it with any.

        Raises:
            Exception: The first error of delivery, else the first of any kind; what had not begun by then never did.
        """
        done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        has_failed = threading.Event()

        def watched(job: Job) -> Job:
            def work() -> None:
                try:
                    # A refused token, or a server that is gone, is not asked for each again.
                    if not has_failed.is_set():
                        job()
                except Exception as error:
                    # Whatever it is, who waits has to hear of it.
                    has_failed.set()
                    done.put(error)
                else:
                    done.put(None)

            return work

        for job in jobs:
            self._jobs.put(watched(job))
        self._start(len(jobs))
        errors = [error for _ in jobs if (error := done.get()) is not None]
        if errors:
            raise next((error for error in errors if isinstance(error, DeliveryError)), errors[0])

    def close(self) -> None:
        """Let the threads end."""
        for _ in self._threads:
            self._jobs.put(None)

    def _start(self, jobs: int) -> None:
        while len(self._threads) < min(self._workers, jobs):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # with its batch, which a thread that waits must not keep in memory
