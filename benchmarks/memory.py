"""What a controller's memory grows by with the tests of a session. Prints a Markdown table.

    python benchmarks/memory.py [--tests 1000 16000] [--rate 2000]

Books, inbox, outbox and sender are the real ones, and are told what they are told of passed tests; pytest and xdist,
which keep reports themselves, are not there. Each row is a process of its own; memory is read before the session ends.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from frames import begun_frame, nodeid_of, passed, resident, result_frame
from stub_server import running

from famacase_xdist.client.server import Server
from famacase_xdist.controller.events import Began, Event, Received
from famacase_xdist.controller.inbox import ImmediateInbox, QueuedInbox
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.controller.pipeline import Pipeline
from famacase_xdist.delivery.project import ProjectDestination
from famacase_xdist.settings.settings import Settings

#: A port where nobody listens.
NOWHERE = "http://127.0.0.1:9"
MODES = {"xdist": False, "one process": True}


def events(number: int) -> Iterator[Event]:
    """Yield what a controller hears of a test that passed."""
    nodeid = nodeid_of(number)
    worker = f"gw{number % 8}"
    yield Began(nodeid)
    for frame in (
        begun_frame(number),
        *result_frame(number, bytes([number % 251]) * 10_000 if number % 10 == 0 else b"")[1],
    ):
        yield Received(worker, frame)
    yield passed(worker, nodeid)


class Peak(threading.Thread):
    """Notes the most that this process takes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self.most = 0.0

    def run(self) -> None:
        """Look fifty times a second."""
        while not self._ended.wait(0.02):
            self.most = max(self.most, resident())

    def end(self) -> float:
        """Look no more; gives the most."""
        self._ended.set()
        self.join()
        return self.most


def measure(
    tests: int, rate: float, url: str, *, is_immediate: bool, is_traced: bool
) -> tuple[float, float, list[str]]:
    """Return the MB at the end, the most, and the largest growths by line where they are traced."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(
            mode="testops",
            testops_project="DEMO",
            api_url=url,
            reporter_token="rep_benchmark",
            state_dir=Path(directory),
            retry_attempts=1,
        )
        delivery = ProjectDestination(settings, Server(settings.host, settings.token))
        delivery.start(print)
        ledger = Ledger()
        pipeline = Pipeline(settings, ledger, delivery, ImmediateInbox if is_immediate else QueuedInbox)
        for event in (each for number in range(100) for each in events(number)):
            pipeline.put(event)
        pipeline.settle()
        peak = Peak()
        peak.start()
        if is_traced:
            tracemalloc.start()
            first = tracemalloc.take_snapshot()
        begun = time.monotonic()
        for number in range(100, tests + 100):
            for event in events(number):
                pipeline.put(event)
            if is_immediate:
                pipeline.settle()
            time.sleep(max(0.0, begun + (number - 99) / rate - time.monotonic()))
        pipeline.settle()
        time.sleep(1)
        if is_traced:
            last = tracemalloc.take_snapshot()
            now, most = (each / 1e6 for each in tracemalloc.get_traced_memory())
            grown = [str(each) for each in last.compare_to(first, "lineno")[:8]]
        else:
            now, most, grown = resident(), peak.end(), []
        pipeline.finish(5, is_finished=True)
    return now, most, grown


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, nargs="+", default=[1000, 16000])
    parser.add_argument("--rate", type=float, default=2000, help="tests a second")
    parser.add_argument("--lines", action="store_true", help="say where the traced memory is")
    given = parser.parse_args()
    print("| mode | server | tests | objects, MB | objects, most, MB | memory, MB | memory, most, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for mode, is_immediate in MODES.items():
        for is_up in (True, False):
            for tests in given.tests:
                row: list[float] = []
                for is_traced in (True, False):
                    with running() if is_up else contextlib.nullcontext() as stub:
                        arguments = (tests, given.rate, stub.url if stub else NOWHERE)
                        keywords = {"is_immediate": is_immediate, "is_traced": is_traced}
                        with multiprocessing.get_context("spawn").Pool(1) as pool:
                            now, most, grown = pool.apply(measure, arguments, keywords)
                    row += [now, most]
                    if given.lines and grown:
                        print("\n".join(grown))
                values = " | ".join(f"{value:.1f}" for value in row)
                print(f"| {mode} | {'up' if is_up else 'down'} | {tests:,} | {values} |", flush=True)


if __name__ == "__main__":
    main()
