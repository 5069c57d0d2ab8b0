"""The pipeline: what is lost on the way to the journal is counted, and costs nothing else."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from harness.couriers import FakeCourier
from harness.results import attachment, begun, result

from famacase_xdist.controller.events import Began, Event, Received, Recorded, Reported
from famacase_xdist.controller.keeping import Journals
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.controller.pipeline import Pipeline
from famacase_xdist.controller.routing import OneProject
from famacase_xdist.courier.parent import Courier
from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import AnyFrame, ResultHead
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.state.outbox import Outbox


class Place(Journals):
    """Journals that keep frames in memory, unless they are to fail."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.accepted = {}
        self.lost = 0
        self.error = error
        self.frames: list[AnyFrame] = []

    def keep(self, frames: Sequence[AnyFrame], courier: Courier) -> None:
        if self.error is not None:
            raise self.error
        self.frames += frames

    @property
    def names(self) -> list[str]:
        """The node ids of the results."""
        return [frame.head.nodeid for frame in self.frames if isinstance(frame.head, ResultHead)]


def received(name: str, message: str = "") -> Event:
    return Received("gw0", result(name, status="invalid", message=message).encoded)


def recorded(name: str) -> Recorded:
    """Make the event of a result of this process."""
    return Recorded("main", result(name, status="invalid"))


def pipeline_to(
    place: Journals,
    ledger: Ledger | None = None,
    courier: FakeCourier | None = None,
    *,
    is_distributed: bool = False,
    **settings: str,
) -> Pipeline:
    return Pipeline(
        Settings(**settings),  # type: ignore[arg-type]
        ledger or Ledger(),
        place,
        courier or FakeCourier(),  # type: ignore[arg-type]
        is_distributed=is_distributed,
    )


def reported(place: Place, *events: Event, ledger: Ledger | None = None, **settings: str) -> Pipeline:
    pipeline = pipeline_to(place, ledger, **settings)
    for event in events:
        pipeline.put(event)
    pipeline.seal()
    return pipeline


def test_results_that_a_mistake_of_ours_cost_are_counted() -> None:
    pipeline = reported(Place(RuntimeError("ours")), received("test_a"), received("test_b"))

    assert pipeline.lost == 2
    assert pipeline.problems == ["internal error: RuntimeError('ours')"]


def test_results_that_neither_disk_nor_courier_took_are_counted_once() -> None:
    place = Place(OutboxError("disk full"))
    place.lost = 2

    pipeline = reported(place, received("test_a"), received("test_b"))

    assert pipeline.lost == 2
    assert pipeline.problems == ["results were lost: disk full"]


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

    pipeline = reported(place, form("test_a"), form("test_bad"), form("test_b"), ledger=ledger)

    assert place.names == ["t.py::test_a", "t.py::test_b"]
    assert pipeline.lost == 1
    assert pipeline.problems == ["internal error: KeyError('ours')"]


def test_a_ledger_that_cannot_be_closed_does_not_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, place = Ledger(), Place()
    monkeypatch.setattr(ledger, "close", lambda **_: 1 / 0)

    pipeline = reported(place, received("test_a"), ledger=ledger)

    assert place.names == ["t.py::test_a"]
    assert pipeline.problems == ["internal error: ZeroDivisionError('division by zero')"]


def test_every_token_that_is_set_is_masked_not_only_the_one_that_is_sent() -> None:
    place = Place()

    said = "rep_reporter rep_api"
    reported(place, received("test_a", said), reporter_token="rep_reporter", testops_api_token="rep_api")

    (frame,) = place.frames
    assert b"rep_" not in frame.body
    assert b"*" * len("rep_reporter") in frame.body


# When a result is on disk


def test_in_one_process_a_result_is_kept_when_its_put_returns() -> None:
    place = Place()
    pipeline = pipeline_to(place)

    pipeline.put(Began("t.py::test_a"))
    assert place.frames == []
    pipeline.put(recorded("test_a"))

    assert place.names == ["t.py::test_a"]
    assert [type(each.head).__name__ for each in place.frames] == ["BegunHead", "ResultHead"]


def test_before_a_test_everything_is_kept_and_the_courier_is_looked_after() -> None:
    place, courier = Place(), FakeCourier()
    pipeline = pipeline_to(place, courier=courier)
    pipeline.put(Began("t.py::test_a"))

    pipeline.settle()

    assert len(place.frames) == 1
    assert courier.calls == ["look"]


def test_under_xdist_a_result_is_kept_without_any_call() -> None:
    kept = threading.Event()

    class Telling(Place):
        def keep(self, frames: Sequence[AnyFrame], courier: Courier) -> None:
            super().keep(frames, courier)
            kept.set()

    place = Telling()
    pipeline = pipeline_to(place, is_distributed=True)
    pipeline.put(received("test_a"))

    assert kept.wait(10)
    assert place.names == ["t.py::test_a"]
    pipeline.seal()


@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt(), pytest.fail.Exception("Timeout")], ids=["ctrl-c", "timeout"]
)
def test_what_an_interruption_kept_from_the_disk_is_kept_the_next_time(interruption: BaseException) -> None:
    """The signal of pytest-timeout raises in the middle of anything, also of a hook of ours."""
    place = Place(interruption)
    pipeline = pipeline_to(place)
    with pytest.raises(type(interruption)):
        pipeline.put(recorded("test_a"))
    place.error = None

    pipeline.put(recorded("test_b"))

    assert place.names == ["t.py::test_a", "t.py::test_b"]
    assert pipeline.lost == 0


def test_what_is_kept_twice_after_an_interruption_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journals = Journals(StateDirectory(tmp_path), OneProject("DEMO"))
    pipeline = pipeline_to(journals)
    (journal,) = journals._journals.values()
    append = journal.append

    def interrupted(frames: Sequence[AnyFrame]) -> None:
        monkeypatch.setattr(journal, "append", append)
        append(frames)
        raise KeyboardInterrupt

    monkeypatch.setattr(journal, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.put(recorded("test_a"))
    pipeline.seal()

    outbox = Outbox(journals.state.outbox(journals.kept["DEMO"].session), beside_writer=True)
    assert outbox.undelivered() == journals.accepted["DEMO"].total() == 1
    outbox.close()
    journals.close()


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


def tell(pipeline: Pipeline, numbers: Iterable[int]) -> int:
    """Tell of tests, and return the bytes of all objects then."""
    for number in numbers:
        for event in passed(number):
            pipeline.put(event)
        pipeline.settle()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    journals = Journals(StateDirectory(tmp_path), OneProject("DEMO"))
    yield journals
    journals.close()


def test_nothing_is_kept_of_a_test_that_passed(journals: Journals) -> None:
    pipeline = pipeline_to(journals)
    tracemalloc.start()
    try:
        before = tell(pipeline, range(500))
        grown = tell(pipeline, range(500, 2500)) - before
    finally:
        tracemalloc.stop()

    # A node id alone would be 120 bytes a test. The digests of the attachments, one of twenty tests, stay known.
    assert grown < 2000 * 40
