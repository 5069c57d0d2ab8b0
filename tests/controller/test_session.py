"""A session: it begins whatever fails, ends once, and is true about a courier that does not answer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness.couriers import FakeCourier, finished
from harness.results import result

from famacase_xdist.controller import session as module
from famacase_xdist.controller.events import Recorded
from famacase_xdist.controller.session import INTERRUPTED_FLUSH, Session
from famacase_xdist.controller.terminal import Terminal
from famacase_xdist.courier.messages import Finished, Order, Refused
from famacase_xdist.courier.parent import NothingReported
from famacase_xdist.errors import CourierError
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.system import Origin


class Told:
    """A session with a courier that only notes what it is told.

    Attributes:
        said: What the terminal was told outside its section.
    """

    def __init__(self, path: Path, patch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.path = path
        self.courier = FakeCourier()
        self.orders: list[Order] = []
        self.said: list[str] = []

        def courier(order: Order, say: Callable[[str], None]) -> FakeCourier:
            self.orders.append(order)
            return self.courier

        patch.setattr(module, "Courier", courier)
        reporter = SimpleNamespace(write_line=self.said.append, isatty=False)
        config: Any = SimpleNamespace(
            invocation_params=SimpleNamespace(dir=path),
            rootpath=path,
            stash=pytest.Stash(),
            pluginmanager=SimpleNamespace(get_plugin=lambda name: reporter, has_plugin=lambda name: False),
        )
        chosen = {"mode": "testops", "testops_project": "DEMO", "state_dir": path, "flush_timeout": 30.0, **settings}
        given = Settings(**chosen)
        self.session = Session(config, given, Terminal(config, given))

    def start(self) -> Told:
        self.session.start()
        self.session.open(is_distributed=False)
        return self

    def report(self, name: str) -> None:
        self.session.enter(Recorded("main", result(name)))

    def end(self, *, is_interrupted: bool = False, is_finished: bool = True) -> None:
        self.session.end(is_interrupted=is_interrupted, is_finished=is_finished)

    def finish(self) -> Outcome:
        self.end()
        return self.session.finish()

    def outboxes(self) -> list[str]:
        return [files.session for files in StateDirectory(self.path).all_outboxes()]


Make = Callable[..., Told]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Told] = []

    def make(**settings: Any) -> Told:
        made.append(Told(tmp_path, monkeypatch, **settings))
        return made[-1]

    yield make
    for each in made:
        each.session.close()


# The start


def test_the_courier_is_given_its_order_before_anything_else(make: Make) -> None:
    told = make()
    told.session.start()

    (order,) = told.orders
    assert (order.pid, order.state, order.is_second) == (os.getpid(), told.path, False)
    assert order.kept["DEMO"].session in told.outboxes()
    assert told.courier.calls == ["start"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(CourierError("the courier ended before it began"), "the courier ended before it began"),
     (RuntimeError("ours"), "internal error: RuntimeError('ours')")],
    ids=["expected", "a mistake"],
)  # fmt: skip
def test_tests_run_all_the_same_if_nothing_can_be_reported(error: Exception, reason: str, make: Make) -> None:
    told = make()
    told.courier.refusal = error
    told.start()

    told.report("test_a")

    assert not told.session.is_open
    assert told.session.header()[0] == f"famacase: nothing is reported: {reason}"
    assert told.finish().nothing_because == reason
    assert told.outboxes() == []


def test_a_refusal_that_leaves_the_tests_unknown_ends_pytest(make: Make) -> None:
    told = make(debug=True, testops_plan_id=7)
    told.courier.refusal = NothingReported(Refused("test plan 7: gone", log=("a line",)))

    with pytest.raises(pytest.UsageError, match="famacase: test plan 7: gone"):
        told.start()

    assert told.said == ["famacase: a line"]
    assert told.outboxes() == []


@pytest.mark.parametrize("mode", ["testops", "report"])
def test_a_start_that_fails_is_said_and_harms_nothing(mode: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Journals", lambda *args: 1 / 0)
    told = make(mode=mode).start()

    assert "ZeroDivisionError" in told.session.header()[0]
    told.report("test_a")
    told.session.settle()
    told.session.look()
    assert told.session.run() == (None, "")
    assert "ZeroDivisionError" in str(told.finish().nothing_because)


def test_the_header_says_why_delivery_is_in_a_thread(make: Make) -> None:
    told = make().start()
    told.courier.note = "delivery runs in a thread"

    assert told.session.header() == ["famacase: project DEMO, run 7", "famacase: delivery runs in a thread"]


def test_the_run_is_what_the_courier_says(make: Make) -> None:
    told = make()
    assert told.session.run() == (None, "")
    told.start()
    told.courier.run = (7, "https://f/7")  # type: ignore[assignment]

    assert told.session.run() == (7, "https://f/7")


# The end


@pytest.mark.parametrize(("is_interrupted", "seconds"), [(False, 30.0), (True, INTERRUPTED_FLUSH)])
def test_the_end_tells_the_courier_once_how_long_it_has(is_interrupted: bool, seconds: float, make: Make) -> None:
    told = make().start()
    told.report("test_a")

    told.end(is_interrupted=is_interrupted)
    told.end(is_interrupted=not is_interrupted)

    (finish,) = told.courier.finishes
    assert (finish.timeout, finish.is_finished, finish.accepted) == (seconds, True, {"DEMO": Counter(passed=1)})


@pytest.mark.parametrize(
    ("collected", "is_finished", "expected"), [(1, True, True), (2, True, False), (1, False, False)]
)
def test_a_session_is_finished_if_all_tests_ran(collected: int, is_finished: bool, expected: bool, make: Make) -> None:
    told = make().start()
    told.session.ledger.collect([f"t.py::test_{number}" for number in range(collected)])
    told.report("test_0")

    told.end(is_finished=is_finished)

    assert told.courier.finishes[0].is_finished is expected


def test_after_the_end_nothing_is_taken_and_no_courier_is_started(make: Make) -> None:
    told = make().start()
    told.end()

    told.report("test_late")
    told.session.settle()
    told.session.look()

    assert told.finish().delivered == Counter()
    assert told.courier.finishes[0].accepted == {"DEMO": Counter()}
    assert "look" not in told.courier.calls


def test_the_outcome_is_waited_for_once(make: Make) -> None:
    told = make().start()
    told.courier.answers = [finished({"passed": 1}), finished({"passed": 2})]

    first = told.finish()

    assert told.finish() is first
    assert first.delivered == Counter(passed=1)
    assert told.courier.calls.count("outcome") == 1


def test_the_log_of_the_courier_is_the_terminals(make: Make) -> None:
    told = make().start()
    told.courier.answers = [Finished(Outcome(Counter(), 0, Counter()), ("a line",), "no space")]
    told.finish()

    assert (told.session._terminal.log, told.session._terminal.log_trouble) == (("a line",), "no space")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(CourierError("the courier has ended (signal 9)"), "the courier has ended (signal 9)"),
     (RuntimeError("ours"), "internal error: RuntimeError('ours')")],
    ids=["no answer", "a mistake"],
)  # fmt: skip
def test_a_courier_that_does_not_answer_is_ended_and_what_is_left_is_counted(
    error: Exception, reason: str, make: Make
) -> None:
    told = make().start()
    told.report("test_a")
    told.courier.answers = [error]

    outcome = told.finish()

    assert "kill" in told.courier.calls
    assert (outcome.delivered, outcome.undelivered, outcome.causes) == (Counter(), 1, Counter({reason: 1}))
    assert [path.name for path in outcome.outboxes] == told.outboxes()


def test_a_second_ctrl_c_leaves_the_courier_no_time(make: Make) -> None:
    told = make().start()
    told.courier.answers = [KeyboardInterrupt(), finished({"passed": 1}, undelivered=2)]

    outcome = told.finish()

    assert [finish.timeout for finish in told.courier.finishes] == [30.0, 0.0]
    assert (outcome.delivered.total(), outcome.undelivered) == (1, 2)


def test_a_third_ctrl_c_ends_the_courier(make: Make) -> None:
    told = make().start()
    told.report("test_a")
    told.courier.answers = [KeyboardInterrupt()]

    outcome = told.finish()

    assert "kill" in told.courier.calls
    assert outcome.undelivered == 1
    assert outcome.problems == ("the session was interrupted before the courier had answered",)


def test_a_mistake_of_ours_in_the_books_is_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told = make().start()
    monkeypatch.setattr(module.Pipeline, "notes", lambda self: 1 / 0)

    assert told.finish().nothing_because == (
        "internal error: ZeroDivisionError('division by zero'); results stay in the outbox"
    )


def test_a_session_that_never_began_has_nothing_to_say(make: Make) -> None:
    told = make()

    assert told.finish().nothing_because == ""


def test_the_outbox_of_a_session_that_reported_stays_for_the_courier(make: Make) -> None:
    told = make().start()
    told.report("test_a")
    told.finish()

    told.session.close()
    told.session.close()

    assert len(told.outboxes()) == 1


# A forked child


def test_the_copy_of_a_forked_child_does_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told = make().start()
    with monkeypatch.context() as patch:
        patch.setattr(Origin, "forks", Origin.forks + 1)
        told.report("test_a")
        told.session.settle()
        told.session.look()

    told.end()

    assert told.courier.finishes[0].accepted == {"DEMO": Counter()}
    assert "look" not in told.courier.calls
