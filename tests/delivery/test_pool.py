"""Jobs on a few threads: each is done once, a failure ends the rest, and no thread holds up the exit."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from famacase_xdist.delivery.pool import Pool
from famacase_xdist.errors import NoAnswer

DEADLINE = 10.0
NAME = "test-pool"

MakePool = Callable[[int], Pool]


@pytest.fixture
def pool_of() -> Iterator[MakePool]:
    """Makes a pool with a number of threads at most; its threads end with the test."""
    made: list[Pool] = []

    def pool_of(workers: int) -> Pool:
        made.append(Pool(NAME, workers))
        return made[-1]

    yield pool_of
    for pool in made:
        pool.close()
    for thread in threads():
        thread.join(DEADLINE)
    assert threads() == []


def threads() -> list[threading.Thread]:
    """Return the threads of all pools, by name."""
    found = (thread for thread in threading.enumerate() if thread.name.startswith(NAME))
    return sorted(found, key=lambda thread: thread.name)


def names() -> list[str]:
    return [thread.name for thread in threads()]


def nothing() -> None:
    """Do nothing: the shortest job."""


def failing(error: BaseException) -> Callable[[], None]:
    """Make a job that raises an error."""

    def fail() -> None:
        raise error

    return fail


# Work


@pytest.mark.parametrize("workers", [1, 3, 40])
def test_each_job_is_done_once(workers: int, pool_of: MakePool) -> None:
    done: list[int] = []

    pool_of(workers).run([lambda number=number: done.append(number) for number in range(20)])  # type: ignore[misc]

    assert sorted(done) == list(range(20))


def test_one_thread_does_jobs_in_their_order(pool_of: MakePool) -> None:
    done: list[int] = []

    pool_of(1).run([lambda number=number: done.append(number) for number in range(20)])  # type: ignore[misc]

    assert done == list(range(20))


def test_the_slowest_job_is_waited_for(pool_of: MakePool) -> None:
    done: list[str] = []
    second_is_done = threading.Event()

    def slow() -> None:
        assert second_is_done.wait(DEADLINE)
        done.append("slow")

    def quick() -> None:
        done.append("quick")
        second_is_done.set()

    pool_of(2).run([slow, quick])

    assert done == ["quick", "slow"]


def test_no_job_is_done_by_the_thread_that_waits(pool_of: MakePool) -> None:
    by: list[threading.Thread] = []

    pool_of(1).run([lambda: by.append(threading.current_thread())])

    assert by == threads()


def test_no_more_jobs_are_done_side_by_side_than_set(pool_of: MakePool) -> None:
    together = threading.Barrier(2)
    lock = threading.Lock()
    now = most = 0

    def job() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(DEADLINE)  # one alone would break it
        with lock:
            now -= 1

    pool_of(2).run([job] * 6)

    assert most == 2
    assert names() == [f"{NAME}-0", f"{NAME}-1"]


# Errors


def test_after_a_failure_no_job_is_begun(pool_of: MakePool) -> None:
    done: list[int] = []
    error = NoAnswer("no answer", cause="timeout")
    jobs = [lambda: done.append(1), failing(error), *[lambda: done.append(2)] * 50]

    with pytest.raises(NoAnswer) as caught:
        pool_of(1).run(jobs)

    assert caught.value is error
    assert done == [1]


def test_a_failure_is_raised_after_the_jobs_on_their_way_have_ended(pool_of: MakePool) -> None:
    begun, failed = threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> None:
        begun.set()
        assert failed.wait(DEADLINE)
        done.append("slow")

    def fail() -> None:
        assert begun.wait(DEADLINE)
        failed.set()
        raise NoAnswer("no answer", cause="timeout")

    with pytest.raises(NoAnswer):
        pool_of(2).run([slow, fail])

    assert done == ["slow"]


@pytest.mark.parametrize("error", [ValueError("a mistake"), OSError("no disk"), NoAnswer("none", cause="tls")])
def test_an_error_of_any_kind_is_raised(error: Exception, pool_of: MakePool) -> None:
    with pytest.raises(type(error)) as caught:
        pool_of(2).run([nothing, failing(error), nothing])

    assert caught.value is error


@pytest.mark.parametrize("is_first", [True, False])
def test_of_several_errors_that_of_delivery_is_raised(is_first: bool, pool_of: MakePool) -> None:
    """The sender knows what to do about it; the order of the errors depends on the threads."""
    both_began = threading.Barrier(2)
    first_fails = threading.Event()

    def first(error: Exception) -> None:
        both_began.wait(DEADLINE)
        first_fails.set()
        raise error

    def second(error: Exception) -> None:
        both_began.wait(DEADLINE)
        assert first_fails.wait(DEADLINE)
        raise error

    delivery, other = NoAnswer("none", cause="timeout"), ValueError("a mistake")
    errors = (delivery, other) if is_first else (other, delivery)

    with pytest.raises(NoAnswer) as caught:
        pool_of(2).run([lambda: first(errors[0]), lambda: second(errors[1])])

    assert caught.value is delivery


def test_after_a_failure_the_next_jobs_are_done(pool_of: MakePool) -> None:
    pool, done = pool_of(2), []
    with pytest.raises(ValueError, match="once"):
        pool.run([failing(ValueError("once")), nothing])

    pool.run([lambda: done.append(1), lambda: done.append(2)])

    assert sorted(done) == [1, 2]


# Threads


def test_threads_are_named_and_do_not_hold_up_the_exit(pool_of: MakePool) -> None:
    pool_of(3).run([nothing] * 3)

    assert names() == [f"{NAME}-0", f"{NAME}-1", f"{NAME}-2"]
    assert all(thread.daemon for thread in threads())


def test_no_thread_is_started_before_there_is_a_job_for_it(pool_of: MakePool) -> None:
    pool = pool_of(8)

    pool.run([])
    assert names() == []
    pool.run([nothing])
    assert names() == [f"{NAME}-0"]
    pool.run([nothing] * 3)
    assert names() == [f"{NAME}-0", f"{NAME}-1", f"{NAME}-2"]


def test_threads_are_used_again(pool_of: MakePool) -> None:
    pool = pool_of(2)
    pool.run([nothing] * 2)
    first = threads()

    pool.run([nothing] * 9)

    assert threads() == first


def test_after_close_all_threads_are_gone(pool_of: MakePool) -> None:
    pool = pool_of(3)
    pool.run([nothing] * 9)
    started = threads()

    pool.close()

    for thread in started:
        thread.join(DEADLINE)
    assert len(started) == 3
    assert threads() == []


def test_a_pool_may_be_closed_twice_and_before_its_first_job(pool_of: MakePool) -> None:
    unused, used = pool_of(2), pool_of(2)
    used.run([nothing] * 2)

    for pool in (unused, used):
        pool.close()
        pool.close()

    for thread in threads():
        thread.join(DEADLINE)
    assert names() == []


# Memory


class Batch:
    """Something that a job holds."""


@pytest.mark.parametrize("is_failing", [False, True])
def test_a_thread_that_waits_keeps_no_job_in_memory(is_failing: bool, pool_of: MakePool) -> None:
    pool, gone = pool_of(1), threading.Event()

    def run() -> None:
        batch = Batch()
        weakref.finalize(batch, gone.set)

        def job() -> None:
            assert not is_failing, batch

        try:
            pool.run([job])
        except AssertionError as error:
            error.__traceback__ = None

    run()

    # The thread drops it a moment after it has said that the job is done.
    assert gone.wait(DEADLINE)
