"""Two hundred workers that feed one controller over real channels. Prints a Markdown table.

    python benchmarks/workers.py [--workers 200] [--rate 2000] [--seconds 60] [--slow 0.5] [--bare]

Each worker is an execnet gateway on a loopback socket, so that the controller has a receiver thread for each; four
processes hold them all. A worker sends the frames that a recorder sends, every tenth test with an attachment of
10 kB, and a word on a second channel for each test, of which the main thread makes pytest's reports, as xdist does.
The controller's books, inbox, journal and courier are the real ones; a server in a process of its own acknowledges.
"""

from __future__ import annotations

import argparse
import math
import os
import queue
import tempfile
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import execnet
from controlling import Controlling
from frames import begun_frame, nodeid_of, passed, resident, result_frame, size_on_disk
from stub_server import running

from famacase_xdist.controller.events import Began, Received
from famacase_xdist.settings.settings import Settings

PROCESSES = 4
#: Seconds after which memory has to be flat: all buffers have been full once.
WARM = 10.0


#: What a gateway executes; `channel` is execnet's.
FEEDING = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import workers; workers.feed(channel)"


def feed(control: Any) -> None:
    """Be a worker, at the far end of a gateway: send so many tests, one each so many seconds."""
    first, tests, interval = control.receive()
    results, reports, start = control.receive()
    sent = []
    longest = 0.0
    control.send("ready")
    start.receive()
    began = time.monotonic() + interval * (first % 97) / 97
    for position in range(tests):
        time.sleep(max(0.0, began + position * interval - time.monotonic()))
        number = first + position
        result_id, frames = result_frame(number, os.urandom(10_000) if number % 10 == 0 else b"")
        before = time.monotonic()
        for frame in (begun_frame(number), *frames):
            results.send(frame)
        reports.send(number)
        longest = max(longest, time.monotonic() - before)
        sent.append(result_id)
    control.send(longest)
    # Not before the controller's memory has been measured.
    control.receive()
    control.send(sent)


class Durations:
    """Counts durations in classes of 9 %, so that the counting takes the same memory from the beginning."""

    def __init__(self, *others: Durations) -> None:
        self._counts = array("Q", [0] * 300)
        self.longest = 0
        for each in others:
            self._counts = array("Q", map(sum, zip(self._counts, each._counts, strict=True)))
            self.longest = max(self.longest, each.longest)

    def add(self, nanoseconds: int) -> None:
        """Count one."""
        self._counts[int(8 * math.log2(nanoseconds + 1))] += 1
        self.longest = max(self.longest, nanoseconds)

    def __str__(self) -> str:
        return f"{self._quantile(0.5):.3g} ms, {self._quantile(0.999):.3g} ms, {self.longest / 1e6:.3g} ms"

    def _quantile(self, share: float) -> float:
        """Return the milliseconds that this share of all does not exceed."""
        left = share * sum(self._counts)
        for position, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return min(2 ** ((position + 1) / 8), self.longest) / 1e6
        return self.longest / 1e6


class Receiver:
    """Takes a worker's frames on its receiver thread, as the controller does, and notes how long that takes."""

    def __init__(self, worker: str, pipeline: Any) -> None:
        self._worker = worker
        self._intake = pipeline
        self.durations = Durations()
        self.results = 0
        self.last = 0.0

    def __call__(self, message: object) -> None:
        """Take one frame."""
        begun = time.perf_counter_ns()
        if isinstance(message, bytes):
            self._intake.put(Received(self._worker, message))
        self.durations.add(time.perf_counter_ns() - begun)
        if isinstance(message, bytes) and message[:1] == b"R":
            self.results += 1
            self.last = time.monotonic()


class Bare:
    """In the place of the pipeline: what the measuring itself takes on this machine, with as many threads."""

    def __init__(self) -> None:
        self.put = deque[Any](maxlen=1000).append


class Crowd:
    """All workers."""

    def __init__(self, workers: int, reported: queue.SimpleQueue[Any], pipeline: Any) -> None:
        self._group = execnet.Group()
        hosts = [self._group.makegateway(f"popen//id=host{each}").id for each in range(PROCESSES)]
        self._controls: list[Any] = []
        self._starts: list[Any] = []
        self._channels: list[Any] = []
        self.receivers: list[Receiver] = []
        self.longest = 0.0
        self._gateways = [
            self._group.makegateway(f"socket//installvia={hosts[each % PROCESSES]}//id=gw{each}")
            for each in range(workers)
        ]
        for gateway in self._gateways:
            results, reports, start = (gateway.newchannel() for _ in range(3))
            self.receivers.append(Receiver(gateway.id, pipeline))
            results.setcallback(self.receivers[-1])
            reports.setcallback(partial(self._report, reported, gateway.id))
            self._channels.append((results, reports, start))

    @staticmethod
    def _report(reported: queue.SimpleQueue[Any], worker: str, number: int) -> None:
        reported.put((worker, number))

    def prepare(self, tests: int, interval: float) -> None:
        """Let all load what they need."""
        for index, (gateway, channels) in enumerate(zip(self._gateways, self._channels, strict=True)):
            control = gateway.remote_exec(FEEDING)
            control.send((index * tests, tests, interval))
            control.send(channels)
            self._controls.append(control)
        for control in self._controls:
            assert control.receive() == "ready"

    def start(self) -> None:
        """Let all begin."""
        for _, _, start in self._channels:
            start.send(None)

    def wait(self, ended: Callable[[], None]) -> None:
        """Wait for all, and say so; what a worker sent before its last word has been received then."""
        self.longest = max(control.receive() for control in self._controls)
        ended()

    def sent(self) -> set[str]:
        """Return the ids that were sent."""
        for control in self._controls:
            control.send(None)
        return {result_id for control in self._controls for result_id in control.receive()}

    def close(self) -> None:
        """End all processes."""
        self._group.terminate(5)


def reports(worker: str, number: int) -> Iterator[Any]:
    """Yield what pytest and xdist tell the controller of a test that passed."""
    nodeid = nodeid_of(number)
    yield Began(nodeid)
    yield passed(worker, nodeid)


def tell(reported: queue.SimpleQueue[Any], pipeline: Any, durations: Durations) -> None:
    """Be the main thread of a session: tell of each test that was reported, until the end."""
    while (each := reported.get()) is not None:
        for event in reports(*each):
            begun = time.perf_counter_ns()
            pipeline.put(event)
            durations.add(time.perf_counter_ns() - begun)


class Sampler(threading.Thread):
    """Notes each second what this process and its courier take."""

    def __init__(self, directory: Path, session: Controlling) -> None:
        super().__init__(daemon=True)
        self._directory = directory
        self._session = session
        self.couriers_memory: list[float] = []
        self._ended = threading.Event()
        self.memory: list[float] = []
        self.disk: list[float] = []

    def run(self) -> None:
        """Sample until the end."""
        while not self._ended.wait(1):
            self.memory.append(resident())
            self.couriers_memory.append(self._session.couriers_memory())
            self.disk.append(size_on_disk(self._directory))

    def end(self) -> None:
        """Sample no more."""
        self._ended.set()
        self.join()


def measure(given: argparse.Namespace, directory: Path) -> Iterator[tuple[str, str]]:
    """Run it, and give names and values."""
    tests = round(given.rate * given.seconds / given.workers)
    with running() as stub:
        settings = Settings(
            mode="testops",
            testops_project="DEMO",
            api_url=stub.url,
            reporter_token="rep_benchmark",
            state_dir=directory,
        )
        session = Controlling(settings, is_distributed=True, slow=given.slow)
        reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
        taker: Any = Bare() if given.bare else session.pipeline
        crowd = Crowd(given.workers, reported, taker)
        told = Durations()
        crowd.prepare(tests, given.workers / given.rate)
        sampler = Sampler(directory, session)
        sampler.start()
        begun, cpu = time.monotonic(), time.process_time()
        crowd.start()
        # The main thread, on which the pipeline was made, is busy as pytest's and xdist's is.
        waiting = threading.Thread(target=crowd.wait, args=(lambda: reported.put(None),))
        waiting.start()
        tell(reported, taker, told)
        cpu = (time.process_time() - cpu) / (time.monotonic() - begun)
        ended = max(each.last for each in crowd.receivers)
        sampler.end()
        drained = time.monotonic()
        outcome = session.finish(120)
        drained = time.monotonic() - drained
        sent = crowd.sent()
        crowd.close()
        stored = stub.ids()
        counts = stub.counts()
    received = Durations(*(each.durations for each in crowd.receivers))
    yield "workers, receiver threads", str(given.workers)
    yield "results sent", str(len(sent))
    yield "results a second, asked for and reached", f"{given.rate}, {len(sent) / (ended - begun):.0f}"
    yield "CPU of the controller", f"{100 * cpu:.0f} % of a core"
    yield (
        "results at the server, missing, twice",
        (f"{len(stored)}, {len(sent - stored)}, {counts['results'] - len(stored)}"),
    )
    yield "attachments at the server", str(counts["attachments"])
    yield "requests", str(counts["requests"])
    yield "undelivered, problems", f"{outcome.undelivered}, {list(outcome.problems)}"
    yield "seconds from the last result to the end", f"{drained:.1f}"
    yield "callback on a receiver thread: median, 99.9 %, longest", str(received)
    yield "an event of the main thread: median, 99.9 %, longest", str(told)
    yield "longest that a worker waited to send a test", f"{crowd.longest * 1000:.0f} ms"
    yield "controller's memory: after 10 s, at the end, most", memory(sampler.memory)
    yield "courier's memory: after 10 s, at the end, most", memory(sampler.couriers_memory)
    yield "outbox on disk, most", f"{max(sampler.disk):.0f} MB"
    yield "memory each 5 s, in MB", " ".join(f"{each:.0f}" for each in sampler.memory[::5])


def memory(samples: list[float]) -> str:
    """Return what matters of the samples."""
    return f"{samples[min(int(WARM), len(samples) - 1)]:.1f} MB, {samples[-1]:.1f} MB, {max(samples):.1f} MB"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=2000, help="results a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--slow", type=float, default=0, help="seconds that the disk takes longer for each batch")
    parser.add_argument("--bare", action="store_true", help="throw all away: what the measuring takes")
    given = parser.parse_args()
    print("| | |")
    print("| --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        for name, value in measure(given, Path(directory)):
            print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()
