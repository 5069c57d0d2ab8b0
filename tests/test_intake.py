"""The intake: what is lost on the way to a destination is counted, and costs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from famacase_xdist import rebuilt, wire
from famacase_xdist.errors import OutboxError
from famacase_xdist.events import Event, Received
from famacase_xdist.intake import Intake, Outcome, Say
from famacase_xdist.ledger import Ledger
from famacase_xdist.settings import Settings


class Place:
    """A destination that keeps what it gets, unless it is to fail."""

    secret = "rep_effective"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.frames: list[wire.AnyFrame] = []

    def start(self, say: Say) -> None:
        """Be ready."""

    def header(self) -> list[str]:
        return []

    def keep(self, frames: Sequence[wire.AnyFrame]) -> None:
        if self.error is not None:
            raise self.error
        self.frames += frames

    def sync(self) -> None:
        """Do nothing."""

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        return Outcome(Counter(), 0, Counter())


def received(name: str, message: str = "") -> Event:
    return Received("gw0", wire.encode(*rebuilt.result(f"t.py::{name}", "invalid", message)))


def reported(place: Place, *events: Event, ledger: Ledger | None = None, **settings: str) -> Outcome:
    intake = Intake(Settings(**settings), ledger or Ledger(), place, is_immediate=True)  # type: ignore[arg-type]
    for event in events:
        intake.put(event)
    return intake.finish(5.0, is_finished=True)


@pytest.mark.parametrize("error", [OutboxError("disk full"), RuntimeError("ours")], ids=["expected", "a mistake"])
def test_results_that_the_destination_did_not_take_are_undelivered(error: Exception) -> None:
    outcome = reported(Place(error), received("test_a"), received("test_b"))

    assert outcome.undelivered == 2
    (problem,) = outcome.problems
    assert str(error) in problem


def test_an_event_that_the_books_cannot_take_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, place = Ledger(), Place()
    enter = ledger.enter

    def stumble(events: Sequence[Event]) -> list[wire.AnyFrame]:
        if any(isinstance(event, Received) and b"test_bad" in event.frame for event in events):
            raise KeyError("ours")
        return enter(events)

    monkeypatch.setattr(ledger, "enter", stumble)

    outcome = reported(place, received("test_a"), received("test_bad"), received("test_b"), ledger=ledger)

    heads = [frame.head for frame in place.frames if isinstance(frame.head, wire.ResultHead)]
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
