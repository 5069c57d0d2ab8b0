"""The pipeline: what is lost on the way to a destination is counted, and costs nothing else."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from harness.results import attachment, begun, result
from harness.server import TOKEN

from famacase_xdist.client.server import Server
from famacase_xdist.controller.events import Began, Event, Received, Recorded, Reported
from famacase_xdist.controller.inbox import ImmediateInbox
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.controller.pipeline import Pipeline
from famacase_xdist.delivery.destination import Outcome, Say
from famacase_xdist.delivery.project import ProjectDestination
from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import AnyFrame, ResultHead
from famacase_xdist.server.embedded import EmbeddedServer
from famacase_xdist.settings.settings import Settings


class Place:
    """A destination that keeps what it gets, unless it is to fail."""

    secret = "rep_effective"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.frames: list[AnyFrame] = []

    def start(self, say: Say) -> None:
        """Be ready."""

    def header(self) -> list[str]:
        return []

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        if self.error is not None:
            raise self.error
        self.frames += frames

    def sync(self) -> None:
        """Do nothing."""

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        return Outcome(Counter(), 0, Counter())


def received(name: str, message: str = "") -> Event:
    return Received("gw0", result(name, status="invalid", message=message).encoded)


def recorded(name: str) -> Recorded:
    """Make the event of a result of this process."""
    return Recorded("main", result(name, status="invalid"))


def reported(place: Place, *events: Event, ledger: Ledger | None = None, **settings: str) -> Outcome:
    pipeline = Pipeline(Settings(**settings), ledger or Ledger(), place, ImmediateInbox)  # type: ignore[arg-type]
    for event in events:
        pipeline.put(event)
    return pipeline.finish(5.0, is_finished=True)


@pytest.mark.parametrize("error", [OutboxError("disk full"), RuntimeError("ours")], ids=["expected", "a mistake"])
def test_results_that_the_destination_did_not_take_are_undelivered(error: Exception) -> None:
    outcome = reported(Place(error), received("test_a"), received("test_b"))

    assert outcome.undelivered == 2
    (problem,) = outcome.problems
    assert str(error) in problem


@pytest.mark.parametrize("form", [received, recorded], ids=["of a worker", "of this process"])
def test_an_event_that_the_ledger_cannot_take_costs_no_other(
    form: Callable[[str], Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, place = Ledger(), Place()
    enter = ledger.enter

    def stumble(event: Event) -> Iterable[AnyFrame]:
        if "test_bad" in repr(event):
            raise KeyError("ours")
        return enter(event)

    monkeypatch.setattr(ledger, "enter", stumble)

    outcome = reported(place, form("test_a"), form("test_bad"), form("test_b"), ledger=ledger)

    heads = [frame.head for frame in place.frames if isinstance(frame.head, ResultHead)]
    assert [head.nodeid for head in heads] == ["t.py::test_a", "t.py::test_b"]
    assert outcome.undelivered == 1
    assert outcome.problems == ("internal error: KeyError('ours')",)


def test_every_token_that_is_set_is_masked_not_only_the_one_that_is_sent() -> None:
    place = Place()

    said = "rep_effective rep_reporter rep_api"
    reported(place, received("test_a", said), reporter_token="rep_reporter", testops_api_token="rep_api")

    (frame,) = place.frames
    assert b"rep_" not in frame.body
    assert b"*" * len("rep_effective") in frame.body


# Memory


def passed(number: int) -> list[Event]:
    """Return the events of a test that passed; every twentieth has an attachment."""
    nodeid = f"tests/test_prices.py::TestPrices::test_price_of_a_basket[{number}]"
    digest, pieces = attachment(f"{number:8}".encode() * 100)
    is_attached = number % 20 == 0
    ended = result(nodeid=nodeid, attached={"a.txt": digest} if is_attached else {})
    frames = [begun(nodeid, ended.body), *(pieces if is_attached else ()), ended]
    reports = [
        pytest.TestReport(nodeid, ("t.py", 1, "t"), {}, "passed", None, when)  # type: ignore[arg-type]
        for when in ("setup", "call", "teardown")
    ]
    worker = f"gw{number % 4}"
    return [
        Began(nodeid),
        *(Received(worker, frame.encoded) for frame in frames),
        Reported(worker, nodeid, reports),
    ]


def traced() -> int:
    """Return the bytes of all objects after a moment, in which threads that have just delivered free theirs."""
    time.sleep(0.02)
    return tracemalloc.get_traced_memory()[0]


def tell(pipeline: Pipeline, delivery: ProjectDestination, numbers: Iterable[int], delivered: int | None) -> int:
    """Tell of tests, wait until so many results are delivered in all, and give the bytes of all objects then."""
    for number in numbers:
        for event in passed(number):
            pipeline.put(event)
        pipeline.settle()
    deadline = time.monotonic() + 60
    while delivered is not None and delivery._sender.delivered.total() < delivered and time.monotonic() < deadline:
        time.sleep(0.01)
    assert delivered in (None, delivery._sender.delivered.total())
    delivery.sync()  # what is not in the database yet
    gc.collect()
    return min(traced() for _ in range(20))


@pytest.fixture(params=["the server is up", "the server is down"])
def server_elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server in a process of its own, whose memory does not count, or an address without a server."""
    if request.param == "the server is down":
        yield Server("http://127.0.0.1:9", TOKEN)
        return
    server = EmbeddedServer(tmp_path / "server.sqlite3", "DEMO")
    server.start()
    yield Server(server.url, server.token)
    server.shutdown()


@pytest.mark.process
def test_nothing_is_kept_of_a_test_that_passed(server_elsewhere: Server, tmp_path: Path) -> None:
    is_up = server_elsewhere.host != "http://127.0.0.1:9"
    settings = Settings(mode="testops", testops_project="DEMO", retry_attempts=1, state_dir=tmp_path)
    delivery = ProjectDestination(settings, server_elsewhere)
    delivery.start(lambda line: None)
    pipeline = Pipeline(settings, Ledger(), delivery, ImmediateInbox)
    tracemalloc.start()
    try:
        # What is made once, connections, modules and each thread's last batch, is there after the first five batches.
        before = tell(pipeline, delivery, range(1000), 1000 if is_up else None)
        grown = tell(pipeline, delivery, range(1000, 3000), 3000 if is_up else None) - before
    finally:
        tracemalloc.stop()
        pipeline.finish(0 if not is_up else 10, is_finished=True)

    # A node id alone would be 120 bytes a test.
    assert grown < 2000 * 40
