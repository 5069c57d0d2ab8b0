"""Steps of `famacase_xdist.qase` and of upstream's own: how they nest and end, and that they harm no test."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qase.commons.models.result import Result
from qase.commons.models.runtime import Runtime
from qase.commons.models.step import Step, StepTextData, StepType
from qase.pytest import qase as theirs
from qase.pytest.plugin import QasePytestPlugin, QasePytestPluginSingleton

import famacase_xdist
from famacase_xdist import qase
from famacase_xdist.recording.runtime import StepRuntime


class _Plugin(QasePytestPlugin):  # type: ignore[misc]
    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> StepRuntime:
    """The runtime of a test that runs."""
    runtime = StepRuntime()
    runtime.result = Result("test", "")
    monkeypatch.setattr(QasePytestPluginSingleton, "_instance", _Plugin(runtime))
    return runtime


def lines(steps: Any) -> list[str]:
    """Return a line for each step with its status, indented as nested."""

    def below(parent: str | None, indent: str) -> Iterator[str]:
        for step in steps.steps.values():
            if step.parent_id == parent:
                yield f"{indent}{step.data.action} {step.execution.status}"
                yield from below(step.id, f"{indent}  ")

    return list(below(None, ""))


def test_both_names_are_upstreams_class_with_its_step_mended() -> None:
    assert famacase_xdist.famacase is famacase_xdist.qase
    assert issubclass(qase, theirs)
    own = {name for name in vars(qase) if not name.startswith("__")}
    assert own == {"step"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AssertionError("a"), "failed"),
        (AttributeError("a"), "failed"),
        (StopIteration(), "failed"),
        (RuntimeError("a"), "failed"),
        (pytest.fail.Exception("a"), "failed"),
        (KeyboardInterrupt(), "failed"),
        (pytest.exit.Exception("a"), "failed"),
        (pytest.skip.Exception("a"), "skipped"),
        (pytest.xfail.Exception("a"), "skipped"),
        (__import__("unittest").SkipTest("a"), "skipped"),
        (asyncio.CancelledError(), "skipped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_an_exception_goes_through_a_step_and_ends_it(error: BaseException, status: str, steps: StepRuntime) -> None:
    @qase.step("decorated")
    def decorated() -> None:
        raise error

    for act in (decorated, lambda: _raise_in(error)):
        caught = None
        try:
            act()
        except BaseException as raised:
            caught = raised
        assert caught is error

    assert lines(steps) == [f"decorated {status}", f"with {status}"]


def _raise_in(error: BaseException) -> None:
    with qase.step("with"):
        raise error


def test_a_function_without_a_title_gives_its_name(steps: StepRuntime) -> None:
    @qase.step
    def logs_in(name: str, *, quick: bool = False) -> tuple[str, bool]:
        """Log in."""
        return name, quick

    assert logs_in("ada", quick=True) == ("ada", True)
    assert (logs_in.__name__, logs_in.__doc__) == ("logs_in", "Log in.")
    assert lines(steps) == ["logs_in passed"]


def test_a_step_says_what_is_expected(steps: StepRuntime) -> None:
    with qase.step("title", expected="it opens"):
        pass

    (step,) = steps.steps.values()
    assert step.data.expected_result == "it opens"


def test_one_step_may_be_entered_again_and_within_itself(steps: StepRuntime) -> None:
    step = qase.step("again")

    with step, step:
        pass
    with step:
        pass

    assert lines(steps) == ["again passed", "  again passed", "again passed"]


@pytest.mark.parametrize(
    "instance",
    [None, SimpleNamespace(), SimpleNamespace(runtime=None), _Plugin(Runtime())],
    ids=["none", "no runtime", "runtime None", "no result"],
)
def test_steps_do_nothing_to_a_test_where_nobody_reports_it(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QasePytestPluginSingleton, "_instance", instance)

    @qase.step("generator")
    def generator() -> Iterator[int]:
        yield 1

    with qase.step("with"), pytest.raises(AttributeError, match="mine"), qase.step("inner"):
        raise AttributeError("mine")
    assert list(generator()) == [1]


def test_steps_work_while_upstream_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    monkeypatch.setattr(QasePytestPluginSingleton, "_instance", _Plugin(runtime))

    with suppress(pytest.fail.Exception), qase.step("outer"), qase.step("inner"):
        pytest.fail("no")
    with qase.step("later"):
        pass

    assert lines(runtime) == ["outer failed", "  inner failed", "later passed"]


def test_a_step_with_the_id_of_another_gets_its_own(steps: StepRuntime) -> None:
    outer, inner, later = (Step(StepType.TEXT, "same", StepTextData(name)) for name in ("outer", "inner", "later"))
    steps.add_step(outer)
    steps.add_step(inner)
    steps.finish_step(inner.id, "passed")
    steps.finish_step(outer.id, "failed")
    steps.add_step(later)
    steps.finish_step(later.id, "passed")

    assert lines(steps) == ["outer failed", "  inner passed", "later passed"]


@pytest.mark.parametrize("step", [qase.step, theirs.step], ids=["ours", "upstream's"])
def test_a_step_that_outlives_its_test_raises_nothing_in_the_next(step: Any, steps: StepRuntime) -> None:
    with step("of a session fixture"):
        steps.clear()
        steps.result = Result("next", "")
        with step("of the next test"):
            pass

    assert lines(steps) == ["of the next test passed"]


@pytest.mark.parametrize("step", [qase.step, theirs.step], ids=["ours", "upstream's"])
def test_steps_of_threads_are_siblings_below_the_step_that_waits_for_them(step: Any, steps: StepRuntime) -> None:
    both = threading.Barrier(2)

    def work(number: int) -> None:
        with step("thread"):
            both.wait(10)
            with step("inner"):
                both.wait(10)

    with step("outer"), ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))

    assert lines(steps) == ["outer passed", *["  thread passed", "    inner passed"] * 2]


def test_a_thread_that_outlives_a_test_begins_anew_in_the_next(steps: StepRuntime) -> None:
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(qase.step("of the first test").__enter__)
        held.result(10)
        steps.clear()
        with qase.step("outer"):
            pool.submit(qase.step("inner").__call__(lambda: None)).result(10)

    assert lines(steps) == ["outer passed", "  inner passed"]


@pytest.mark.parametrize("step", [qase.step, theirs.step], ids=["ours", "upstream's"])
def test_steps_of_tasks_are_siblings(step: Any, steps: StepRuntime) -> None:
    async def work(name: str, pause: float) -> None:
        with step(name):
            await asyncio.sleep(pause)
            with step(f"in {name}"):
                await asyncio.to_thread(lambda: step("in its thread").__enter__())

    async def main() -> None:
        await asyncio.gather(work("a", 0.02), work("b", 0.01))

    asyncio.run(main())

    assert [line.rpartition(" ")[0] for line in lines(steps)] == [
        *("a", "  in a", "    in its thread"),
        *("b", "  in b", "    in its thread"),
    ]


def test_a_cancelled_task_closes_its_step(steps: StepRuntime) -> None:
    async def main() -> None:
        task = asyncio.create_task(qase.step("waits")(asyncio.sleep)(60))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert lines(steps) == ["waits skipped"]


def test_a_decorated_function_stays_of_its_kind() -> None:
    async def coroutine() -> None: ...

    async def agen() -> AsyncGenerator[int, None]:
        yield 1

    def gen() -> Iterator[int]:
        yield 1

    def plain() -> None: ...

    checks = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    functions: tuple[Callable[..., Any], ...] = (coroutine, agen, gen, plain)
    for function in functions:
        assert [check(qase.step("x")(function)) for check in checks] == [check(function) for check in checks]


@qase.step("generator")
def echo(log: list[str]) -> Generator[Any, Any, str]:
    with qase.step("set-up"):
        pass
    got = None
    try:
        while got != "stop":
            try:
                got = yield got
            except KeyError as error:
                got = f"caught {error.args[0]}"
    finally:
        log.append("closed")
    return "done"


def test_a_generator_is_resumed_as_without_the_step(steps: StepRuntime) -> None:
    log: list[str] = []
    generator = echo(log)

    assert next(generator) is None
    with qase.step("between"):
        assert generator.send("one") == "one"
    assert generator.throw(KeyError("two")) == "caught two"
    with pytest.raises(StopIteration) as ended:
        generator.send("stop")

    assert ended.value.value == "done"
    assert log == ["closed"]
    assert lines(steps) == ["generator passed", "  set-up passed", "between passed"]


@pytest.mark.parametrize(("end", "status"), [("close", "passed"), ("throw", "failed"), ("leave", "passed")])
def test_a_generator_that_is_not_finished_ends_its_step(end: str, status: str, steps: StepRuntime) -> None:
    log: list[str] = []
    generator = echo(log)
    next(generator)
    if end == "close":
        generator.close()
    elif end == "throw":
        with pytest.raises(ValueError, match="from outside"):
            generator.throw(ValueError("from outside"))
    steps.close_steps("invalid")

    assert lines(steps) == [f"generator {status}", "  set-up passed"]
    assert all(step.execution.end_time for step in steps.steps.values())


def test_an_async_generator_is_resumed_as_without_the_step(steps: StepRuntime) -> None:
    log: list[object] = []

    @qase.step("async")
    async def source() -> AsyncGenerator[Any, Any]:
        try:
            got = yield 1
            log.append(got)
            with qase.step("inner"):
                await asyncio.sleep(0)
            yield 2
        except KeyError:
            yield 3
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async def main() -> None:
        first, second, third = source(), source(), source()
        assert [each async for each in first] == [1, 2]
        assert await second.__anext__() == 1
        with qase.step("between"):
            assert await second.asend("sent") == 2
        await second.aclose()
        assert await third.__anext__() == 1
        assert await third.athrow(KeyError()) == 3
        await third.aclose()

    asyncio.run(main())

    assert log == [None, "closed", "sent", "closed", "closed"]
    assert lines(steps) == ["async passed", "  inner passed", "async passed", "  inner passed", *LAST]


LAST = ["between passed", "async passed"]


def test_a_yield_fixture_can_be_a_step(steps: StepRuntime) -> None:
    @qase.step("database")
    def database() -> Iterator[str]:
        with qase.step("connect"):
            pass
        yield "db"
        with qase.step("disconnect"):
            pass

    fixture = database()
    next(fixture)
    with qase.step("of the test"):
        pass
    list(fixture)

    assert lines(steps) == ["database passed", "  connect passed", "  disconnect passed", "of the test passed"]


def test_upstreams_steps_that_pytests_exceptions_left_open_are_closed(steps: StepRuntime) -> None:
    with suppress(pytest.fail.Exception), theirs.step("outer"), theirs.step("inner"):
        pytest.fail("no")

    steps.close_steps("failed")
    with theirs.step("later"):
        pass

    assert lines(steps) == ["outer failed", "  inner failed", "later passed"]


def test_closing_leaves_open_what_began_before(steps: StepRuntime) -> None:
    with theirs.step("around"):
        since = time.time()
        with suppress(pytest.skip.Exception), theirs.step("skips"):
            pytest.skip("no")
        steps.close_steps("skipped", since=since)
        with theirs.step("next"):
            pass

    assert lines(steps) == ["around passed", "  skips skipped", "  next passed"]


def test_a_subtest_is_a_step_around_what_began_in_it(steps: StepRuntime) -> None:
    with qase.step("outer"):
        with qase.step("before"):
            pass
        start = time.time()
        with qase.step("inside"), qase.step("deeper"):
            pass
        steps.add_subtest("subtest [a]", "failed", start, start + 0.25)

    assert lines(steps) == [
        "outer passed",
        "  before passed",
        "  subtest [a] failed",
        "    inside passed",
        "      deeper passed",
    ]
    assert list(steps.steps.values())[-1].execution.duration == 250


@pytest.mark.parametrize("start", [0.0, time.time() + 1e6], ids=["unittest", "frozen in the future"])
def test_a_subtest_whose_begin_nobody_knows_is_a_step_without_duration(start: float, steps: StepRuntime) -> None:
    with qase.step("inside"):
        pass
    subtest = steps.add_subtest("subtest", "passed", start, start)

    assert lines(steps) == ["inside passed", "subtest passed"]
    assert subtest.execution.duration == 0
    assert subtest.execution.start_time == subtest.execution.end_time < time.time() + 60


TREES = st.recursive(
    st.tuples(st.sampled_from(["passed", "failed", "skipped"]), st.just([])),
    lambda below: st.tuples(st.sampled_from(["passed", "failed", "skipped"]), st.lists(below, max_size=3)),
    max_leaves=8,
)
ERRORS = {"passed": None, "failed": pytest.fail.Exception("no"), "skipped": pytest.skip.Exception("no")}


@settings(deadline=None, max_examples=40)
@given(trees=st.lists(TREES, max_size=3))
def test_any_tree_of_steps_is_reported_as_it_was(trees: list[Any]) -> None:
    runtime = StepRuntime()
    runtime.result = Result("test", "")
    before, QasePytestPluginSingleton._instance = QasePytestPluginSingleton._instance, _Plugin(runtime)

    def run(status: str, below: list[Any]) -> None:
        error = ERRORS[status]
        with suppress(pytest.fail.Exception, pytest.skip.Exception), qase.step("step"):
            for each in below:
                run(*each)
            if error is not None:
                raise error

    def expected(status: str, below: list[Any], indent: str = "") -> Iterator[str]:
        yield f"{indent}step {status}"
        for each in below:
            yield from expected(*each, f"{indent}  ")

    try:
        for tree in trees:
            run(*tree)
    finally:
        QasePytestPluginSingleton._instance = before

    assert lines(runtime) == [line for tree in trees for line in expected(*tree)]
    assert runtime.step_id is None
