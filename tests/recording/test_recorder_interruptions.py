"""The recorder: interruptions go through, and mistakes of ours harm no test."""

from __future__ import annotations

import pytest
from harness.recorders import FAILED, FILE, PASSED, Session, Silent, report_of

from famacase_xdist.recording.recorder import Recorder
from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    ContentHead,
    Head,
    IgnoredHead,
    NoteHead,
    PieceHead,
    ResultHead,
)
from famacase_xdist.results.sinks import ListSink
from famacase_xdist.settings.settings import Settings


# Interruptions
@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("pytest.exit('enough')", "pytest.exit: enough"),
        ("raise KeyboardInterrupt", "the session was interrupted while this test was running: KeyboardInterrupt"),
    ],
    ids=["exit", "interrupt"],
)
@pytest.mark.parametrize("phase", ["set-up", "call", "teardown"])
def test_an_interruption_settles_the_attempt(ending: str, message: str, phase: str, session: Session) -> None:
    body = {each: ending if each == phase else "pass" for each in ("set-up", "call", "teardown")}

    ran = session.run(f"""
        @pytest.fixture
        def fixture():
            {body["set-up"]}
            yield
            {body["teardown"]}

        def test_a(fixture):
            {body["call"]}

        def test_never_run(): pass
    """)

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert ran.kinds == [ResultHead]
    assert ran.verdicts == [("test_a", "invalid", message)]
    stacktrace = ran.body["execution"]["stacktrace"] or ""
    assert f"{FILE}.py" in stacktrace.splitlines()[0], "pytest's own frames are left out"
    assert ran.recorder.failures == 0


@pytest.mark.parametrize("plugins", [(), (Silent(1),)], ids=["told", "not-told"])
def test_a_failure_before_an_interruption_is_kept(plugins: tuple[object, ...], session: Session) -> None:
    text = """
        @pytest.fixture
        def fixture():
            yield
            pytest.exit("enough")

        def test_a(fixture):
            with qase.step("step"):
                assert False, "first"
    """

    ran = session.run(text, *plugins)

    assert ran.verdicts == [("test_a", "failed", "AssertionError: first\nassert False\npytest.exit: enough")]


class Interrupting(ListSink):
    """A sink in which Ctrl-C comes just after it has taken a result."""

    def send(self, frame: AnyFrame) -> None:
        super().send(frame)
        if isinstance(frame.head, ResultHead) and len(self.frames) == 1:
            raise KeyboardInterrupt


def test_an_interruption_while_a_result_is_sent_does_not_send_it_twice(session: Session) -> None:
    session.sink = Interrupting()

    ran = session.run("def test_a(): pass\ndef test_b(): pass")

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert ran.verdicts == [("test_a", "passed", None)]


def test_an_interruption_ends_the_steps_that_are_open(session: Session) -> None:
    ran = session.run("""
        def test_a():
            qase.step("open").__enter__()
            pytest.exit("enough")
    """)

    (step,) = ran.body["steps"]
    assert step["execution"]["status"] == "invalid"
    assert step["execution"]["end_time"] is not None


def test_an_interruption_between_two_tests_makes_no_result(session: Session) -> None:
    class Exiting:
        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logfinish(self) -> None:
            pytest.exit("enough")

    ran = session.run("def test_a(): pass\ndef test_b(): pass", Exiting())

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert ran.verdicts == [("test_a", "passed", None)]


# Mistakes of ours
class Broken(ListSink):
    """A sink that raises once for frames of a kind."""

    def __init__(self, kind: type[Head]) -> None:
        super().__init__()
        self._kind = kind
        self.raised = 0

    def send(self, frame: AnyFrame) -> None:
        if isinstance(frame.head, self._kind) and not self.raised:
            self.raised += 1
            raise RuntimeError("a mistake of ours")
        super().send(frame)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (NoteHead, [BegunHead, PieceHead, ContentHead, ResultHead, IgnoredHead, ResultHead]),
        (BegunHead, [NoteHead, PieceHead, ContentHead, ResultHead, IgnoredHead, ResultHead]),
        (IgnoredHead, [NoteHead, BegunHead, PieceHead, ContentHead, ResultHead, ResultHead]),
        # The ledger makes the first test's result of pytest's reports.
        (ContentHead, [NoteHead, BegunHead, PieceHead, IgnoredHead, ResultHead]),
        (ResultHead, [NoteHead, BegunHead, PieceHead, ContentHead, IgnoredHead, ResultHead]),
    ],
)
def test_a_mistake_of_ours_costs_no_test_and_is_counted(
    kind: type[Head], sent: list[type[Head]], session: Session
) -> None:
    session.sink = broken = Broken(kind)

    ran = session.run("""
        @qase.id("no number")
        def test_first():
            qase.attach((b"x", "text/plain", "a.txt"))

        @qase.ignore()
        def test_ignored(): pass

        def test_second(): pass
    """)

    assert ran.status == PASSED
    assert (broken.raised, ran.recorder.failures) == (1, 1)
    assert ran.kinds == sent
    assert ran.verdicts[-1] == ("test_second", "passed", None)
    assert {status for _, status, _ in ran.verdicts} == {"passed"}


def test_a_failed_test_stays_failed_beside_a_mistake_of_ours(session: Session) -> None:
    session.sink = Broken(ResultHead)

    ran = session.run("def test_first(): assert False\ndef test_second(): assert False, 'second'")

    assert ran.status == FAILED
    assert ran.verdicts == [("test_second", "failed", "AssertionError: second\nassert False")]


def test_an_interruption_goes_through_although_its_result_cannot_be_sent(session: Session) -> None:
    session.sink = Broken(ResultHead)

    ran = session.run("def test_a(): pytest.exit('enough')\ndef test_b(): pass")

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert (ran.kinds, ran.recorder.failures) == ([], 1)


def test_a_block_for_our_mistakes_lets_interruptions_through() -> None:
    recorder = Recorder(Settings(), ListSink(), "main")

    for number in range(3):
        with recorder.guard:
            raise ValueError(number)
    with pytest.raises(KeyboardInterrupt), recorder.guard:
        raise KeyboardInterrupt
    with recorder.guard, recorder.guard:
        pass

    assert recorder.failures == 3


def test_the_hooks_do_nothing_where_no_test_runs() -> None:
    sink = ListSink()
    recorder = Recorder(Settings(), sink, "main")

    recorder.pytest_runtest_logfinish()
    recorder.pytest_runtest_logreport(report_of(""))
    recorder.pytest_runtest_logfinish()

    assert (sink.frames, recorder.failures) == ([], 0)
