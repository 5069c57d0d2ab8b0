"""A few threads that run jobs side by side, while the thread that needs them waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from famacase_xdist.errors import DeliveryError

Job = Callable[[], None]


class Pool:
    """Daemon threads, started on first use.

    Python's own executors join their threads at exit, so a request that hangs could hold up the exit.

    Args:
        name: The name of the threads; each has a number behind it.
        workers: Most threads.
    """

    def __init__(self, name: str, workers: int) -> None:
        self._name = name
        self._workers = workers
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs, and wait for all of them. Only one thread at a time may call this with jobs.

        Raises:
            Exception: The first `DeliveryError` of a job, or else the first other error. Jobs that had not begun when
                the first error was raised are not run.
        """
        done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        has_failed = threading.Event()

        def watched(job: Job) -> Job:
            def work() -> None:
                try:
                    # If the token is refused or the server is gone, the other jobs would fail as well.
                    if not has_failed.is_set():
                        job()
                except Exception as error:
                    # The waiting thread needs an answer for each job, whatever the error is.
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
        """Let the threads end. Returns at once."""
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
            del job  # or the thread would keep the job's batch in memory while it waits
