"""The locks of an outbox: one process has them, until it ends however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.outboxes import Child, failing

from famacase_xdist.errors import OutboxError
from famacase_xdist.state.process_lock import ProcessLock


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


@pytest.fixture
def lock(path: str) -> Iterator[ProcessLock]:
    lock = ProcessLock(path)
    lock.acquire()
    yield lock
    lock.release()


HOLD = """
    lock = ProcessLock(sys.argv[1])
    try:
        lock.acquire()
        ready()
    except OutboxError as error:
        print(error)
"""


@pytest.mark.process
def test_another_process_is_refused_until_the_lock_is_released(
    path: str, lock: ProcessLock, child: Callable[..., Child]
) -> None:
    assert child(HOLD, path).line().endswith(": a session has it")

    lock.release()

    assert child(HOLD, path).line() == "ready"


@pytest.mark.process
def test_a_process_that_is_killed_has_no_lock(path: str, child: Callable[..., Child]) -> None:
    holder = child(HOLD, path)
    assert holder.line() == "ready"
    with pytest.raises(OutboxError, match="a session has it"):
        ProcessLock(path).acquire()

    holder.kill()

    lock = ProcessLock(path)
    lock.acquire()
    assert lock.is_held
    lock.release()


@pytest.mark.process
def test_who_is_patient_gets_the_lock_when_it_is_released(path: str, child: Callable[..., Child]) -> None:
    holder = child(HOLD, path)
    assert holder.line() == "ready"
    holder.go()

    lock = ProcessLock(path)
    lock.acquire(60.0)

    assert lock.is_held
    lock.release()


@pytest.mark.process
def test_a_refused_second_object_of_the_process_does_not_unlock_the_file(
    path: str, lock: ProcessLock, child: Callable[..., Child]
) -> None:
    with pytest.raises(OutboxError, match="a session has it"):
        ProcessLock(path).acquire()

    assert child(HOLD, path).line().endswith("a session has it")


@pytest.mark.process
@pytest.mark.parametrize(
    "ending", ["os._exit(0)", "lock.release(); os._exit(0)", "os.close(3); os._exit(0)", "sys.exit()"]
)
def test_a_forked_child_that_ends_leaves_the_lock_with_its_parent(
    ending: str, path: str, child: Callable[..., Child]
) -> None:
    parent = child(
        f"""
        lock = ProcessLock(sys.argv[1])
        lock.acquire()
        pid = os.fork()
        if not pid:
            {ending}
        os.waitpid(pid, 0)
        ready()
        """,
        path,
    )
    assert parent.line() == "ready"

    with pytest.raises(OutboxError, match="a session has it"):
        ProcessLock(path).acquire()


@pytest.mark.process
def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_lock(path: str, child: Callable[..., Child]) -> None:
    parent = child(
        """
        lock = ProcessLock(sys.argv[1])
        lock.acquire()
        reading, writing = os.pipe()
        if not os.fork():
            os.close(1)
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        ready()
        """,
        path,
    )
    assert parent.line() == "ready"
    parent.kill()

    lock = ProcessLock(path)
    lock.acquire()
    lock.release()


@pytest.mark.process
def test_a_forked_child_has_no_lock_of_its_parent(path: str, lock: ProcessLock) -> None:
    pid = os.fork()
    if not pid:
        try:
            ProcessLock(path).acquire()
            os._exit(0)
        except OutboxError:
            os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_a_lock_whose_descriptor_a_test_closed_is_known_to_be_lost(path: str, lock: ProcessLock) -> None:
    assert lock._descriptor is not None
    os.close(lock._descriptor.number)
    assert not lock.is_held

    lock.acquire()

    assert lock.is_held


def test_a_descriptor_that_has_another_file_now_is_not_closed(path: str, lock: ProcessLock) -> None:
    assert lock._descriptor is not None
    number = lock._descriptor.number
    foreign = os.open(os.devnull, os.O_RDONLY)
    os.dup2(foreign, number)

    lock.release()

    os.fstat(number)
    os.close(number)
    os.close(foreign)


def test_a_file_that_took_the_place_of_the_locked_one_is_locked(path: str, lock: ProcessLock) -> None:
    os.unlink(path)

    second = ProcessLock(path)
    second.acquire()

    assert os.path.samestat(os.stat(path), os.fstat(second._descriptor.number))  # type: ignore[union-attr]
    second.release()


@pytest.mark.parametrize(
    ("call", "error"), [("open", errno.EROFS), ("open", errno.EMFILE), ("lockf", errno.ENOLCK), ("stat", errno.EIO)]
)
def test_what_the_system_refuses_is_an_error_of_ours_and_leaves_nothing_open(call: str, error: int, path: str) -> None:
    before = os.listdir("/proc/self/fd")

    with failing(call, error), pytest.raises(OutboxError, match=os.strerror(error)):
        ProcessLock(path).acquire()

    assert os.listdir("/proc/self/fd") == before


def test_a_directory_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match=r"outbox .*nowhere: No such file"):
        ProcessLock(str(tmp_path / "nowhere" / "lock")).acquire()

    assert list(tmp_path.iterdir()) == []
