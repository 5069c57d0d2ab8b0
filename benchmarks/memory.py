"""What the memory of a controller and its courier grows by with the tests of a session. Prints a Markdown table.

    python benchmarks/memory.py [--tests 1000 16000] [--rate 2000]

Books, inbox, journal and courier are the real ones, and are told what they are told of passed tests; pytest and xdist,
which keep reports themselves, are not there. Each row is a process of its own, with a courier; memory is read before
the session ends. Objects are those of the controller.
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

from controlling import Controlling
from frames import begun_frame, nodeid_of, passed, resident, result_frame
from stub_server import running

from famacase_xdist.controller.events import Began, Event, Received
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
    """Notes the most that this process and its courier take."""

    def __init__(self, session: Controlling) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._session = session
        self.most = [0.0, 0.0]

    def run(self) -> None:
        """Look fifty times a second."""
        while not self._ended.wait(0.02):
            now = (resident(), self._session.couriers_memory())
            self.most = [*map(max, zip(self.most, now, strict=True))]

    def end(self) -> list[float]:
        """Look no more; gives the most."""
        self._ended.set()
        self.join()
        return self.most


def measure(tests: int, rate: float, url: str, *, is_immediate: bool, is_traced: bool) -> tuple[list[float], list[str]]:
    """Return the MB at the end and the most, of each process, and the largest growths by line where they are traced."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(
            mode="testops",
            testops_project="DEMO",
            api_url=url,
            reporter_token="rep_benchmark",
            state_dir=Path(directory),
            retry_attempts=1,
        )
        session = Controlling(settings, is_distributed=not is_immediate)
        pipeline = session.pipeline
        for event in (each for number in range(100) for each in events(number)):
            pipeline.put(event)
        pipeline.settle()
        peak = Peak(session)
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
            values = [each / 1e6 for each in tracemalloc.get_traced_memory()]
            grown = [str(each) for each in last.compare_to(first, "lineno")[:8]]
        else:
            most = peak.end()
            values, grown = [resident(), most[0], session.couriers_memory(), most[1]], []
        peak.end()
        session.finish(5)
    return values, grown


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, nargs="+", default=[1000, 16000])
    parser.add_argument("--rate", type=float, default=2000, help="tests a second")
    parser.add_argument("--lines", action="store_true", help="say where the traced memory is")
    given = parser.parse_args()
    heads = ("objects", "objects, most", "controller", "controller, most", "courier", "courier, most")
    print(f"| mode | server | tests | {' | '.join(f'{head}, MB' for head in heads)} |")
    print(f"|{' --- |' * (3 + len(heads))}")
    for mode, is_immediate in MODES.items():
        for is_up in (True, False):
            for tests in given.tests:
                row: list[float] = []
                for is_traced in (True, False):
                    with running() if is_up else contextlib.nullcontext() as stub:
                        arguments = (tests, given.rate, stub.url if stub else NOWHERE)
                        keywords = {"is_immediate": is_immediate, "is_traced": is_traced}
                        with multiprocessing.get_context("spawn").Pool(1) as pool:
                            values, grown = pool.apply(measure, arguments, keywords)
                    row += values
                    if given.lines and grown:
                        print("\n".join(grown))
                shown = " | ".join(f"{value:.1f}" for value in row)
                print(f"| {mode} | {'up' if is_up else 'down'} | {tests:,} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
