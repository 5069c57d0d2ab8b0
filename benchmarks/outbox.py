"""What a journal, an outbox and its sender take of a million results. Prints a Markdown table.

    python benchmarks/outbox.py [--results 1000000] [--over-http 100000]

Results of some 1.5 kB go into the journal 500 at a time, as the inbox puts them, and out of the outbox in requests of
200: to a transport that acknowledges and does nothing else, and over HTTP to a server in a process of its own. Each row
is a process of its own: with the server up from the start, and with one that comes back when all results wait.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frames import result_frame, size_on_disk
from stub_server import Stub, running

from famacase_xdist.client.api import Api
from famacase_xdist.client.transport import HttpTransport, Transport
from famacase_xdist.delivery.sender import Sender
from famacase_xdist.errors import NoAnswer
from famacase_xdist.results.frames import AnyFrame, Frame, ResultHead, decode
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox

PUT = 500
#: Results made beforehand, so that their making is not measured; each is put again with another id.
MADE = 10_000


class Acknowledging:
    """A transport that takes all; over HTTP where there is a stub."""

    def __init__(self, stub: Stub | None) -> None:
        self._http: Transport | None = HttpTransport("rep_benchmark", "reporter=benchmark") if stub else None
        self._counting = threading.Lock()
        self.is_up = True
        self.results = 0

    def send(self, method: str, url: str, **content: Any) -> Any:
        """Take a request."""
        if not self.is_up:
            raise NoAnswer("no connection (Connection refused)", cause="connection")
        if url.endswith("/results"):
            with self._counting:  # up to four threads send
                self.results += content["body"].count(b'"testops_ids"')
        return {"id": 1} if self._http is None else self._http.send(method, url, **content)

    def close(self) -> None:
        """Let go of the connection."""
        if self._http is not None:
            self._http.close()


class Disk(threading.Thread):
    """Notes the most that the outbox takes, and the most segments that it has."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self._directory = directory
        self._ended = threading.Event()
        self.most = 0.0
        self.segments = 0

    def run(self) -> None:
        """Look ten times a second."""
        while not self._ended.wait(0.1):
            self.most = max(self.most, size_on_disk(self._directory))
            self.segments = max(self.segments, len(list(self._directory.rglob("*.journal"))))

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def frames(results: int) -> Iterator[list[AnyFrame]]:
    """Make batches of frames."""
    made = [decode(result_frame(number)[1][-1]) for number in range(min(MADE, results))]
    ids = [frame.head.id.encode() for frame in made]  # type: ignore[union-attr]
    batch: list[AnyFrame] = []
    for number in range(results):
        frame = made[number % MADE]
        head, body = frame.head, frame.body
        # A uuid that differs in its last digits from the one before of this test.
        result_id = f"{head.id[:24]}{number:012x}"  # type: ignore[union-attr]
        own = ResultHead(result_id, head.nodeid, "passed")  # type: ignore[union-attr]
        batch.append(Frame(own, body.replace(ids[number % MADE], result_id.encode(), 1)))
        if len(batch) == PUT:
            yield batch
            batch = []
    if batch:
        yield batch


def measure(results: int, *, is_up: bool, stub: Stub | None) -> list[str]:
    """Return the row of one way."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        journal = Journal(StateDirectory(directory).outbox("o"))
        outbox = Outbox(journal.files, beside_writer=True)
        transport = Acknowledging(stub)
        transport.is_up = is_up
        settings = Settings(mode="testops", testops_project="DEMO", retry_attempts=1)
        run = Run.from_settings(settings)
        sender = Sender(Api(transport, stub.url if stub else "http://stub", "DEMO", timeout=30), outbox, run, settings)
        disk = Disk(directory / "outbox")
        disk.start()
        sender.start()
        in_ = 0.0
        for batch in frames(results):
            begun = time.perf_counter()
            journal.append(batch)
            sender.notify(outbox.follow())
            in_ += time.perf_counter() - begun
        waiting = outbox.undelivered()
        on_disk = size_on_disk(directory)
        transport.is_up = True
        before, begun = transport.results, time.perf_counter()
        sender.request_stop()
        sender.join(3600)
        out = time.perf_counter() - begun
        found = (transport.results, outbox.undelivered(), sender.trouble, sender.is_idle)
        assert found == (results, 0, "", True), found
        after = size_on_disk(directory)
        disk.end()
        outbox.close(delete=True)
        journal.close()
        transport.close()
        left = size_on_disk(directory)
    rate_out = f"{(results - before) / out:,.0f}" if results - before > PUT else "as they come"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return [
        f"{results:,}",
        "HTTP" if stub else "none",
        "up" if is_up else "down, then up",
        f"{results / in_:,.0f}",
        rate_out,
        f"{waiting:,}",
        *(f"{value:,.0f}" for value in (disk.most, disk.segments, on_disk, after, left, memory)),
    ]


def rows(given: argparse.Namespace) -> Iterator[list[str]]:
    """Measure all ways, each in a process of its own."""
    for results, is_http in ((given.results, False), (given.over_http, True)):
        for is_up in (True, False) if results else ():
            with running() if is_http else contextlib.nullcontext() as stub:
                url = Stub(stub.url, None) if stub else None  # type: ignore[arg-type]
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    yield pool.apply(measure, (results,), {"is_up": is_up, "stub": url})


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--over-http", type=int, default=100_000)
    heads = (
        *("results", "transport", "server", "in, a second", "out at the end, a second", "left for the end"),
        *("disk, most, MB", "segments, most", "all in, MB", "all out, MB", "closed, MB", "memory, most, MB"),
    )
    print(f"| {' | '.join(heads)} |")
    print(f"|{' --- |' * len(heads)}")
    for row in rows(parser.parse_args()):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
