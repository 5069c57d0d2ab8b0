"""One run for many sessions, by its key: created once, joined, completed by the last. The server is the witness."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.outboxes import left_behind
from harness.results import begun, result
from harness.server import COMPLETE, RUNS, TOKEN, Backend, answer, cut_off, lost

from famacase_xdist.client.api import Api, RunRequest
from famacase_xdist.client.transport import HttpTransport
from famacase_xdist.errors import DeliveryError, LockTimeout, Refused, SharingError
from famacase_xdist.runs.record import Ending, Member
from famacase_xdist.runs.run_key import KEPT_SECONDS, SharedRun
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.file_system import FLOCK, LEASE, lock_kind
from famacase_xdist.state.locks import KeyLock
from famacase_xdist.state.outbox import Outbox

Join = Callable[..., tuple[SharedRun, object]]


@pytest.fixture
def api(backend: Backend) -> Iterator[Api]:
    transport = HttpTransport(TOKEN, "reporter=test")
    yield Api(transport, backend.url, "DEMO", timeout=10)
    transport.close()


@pytest.fixture(params=[FLOCK, LEASE])
def state(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A state directory with each kind of lock."""
    (tmp_path / "runs").mkdir(parents=True)
    (tmp_path / "runs" / "locks").write_text(request.param)
    return tmp_path


def request(title: str = "Nightly") -> RunRequest:
    return RunRequest(title, "All tests", f"key-{os.urandom(4).hex()}", tags=("a", "b"))


def session(
    state: Path,
    name: str = "one",
    *,
    key: str = "nightly",
    shard: tuple[int, int] | None = None,
    completes: bool = True,
    scope: tuple[str, str] = ("https://host", "DEMO"),
    run_id: object = None,
    lock_timeout: float = 5.0,
) -> SharedRun:
    member = Member(name, "ci-1", os.getpid(), "", shard, completes)
    return SharedRun(StateDirectory(state), scope, key, member, run_id=run_id, lock_timeout=lock_timeout)


def join(shared: SharedRun, api: Api) -> object:
    return shared.join(request(), api, lambda: False)


def leave(
    shared: SharedRun, run_id: object, api: Api, *, state: Ending = Ending.FINISHED, undelivered: int = 0
) -> list[str]:
    return shared.leave(run_id, api, state=state, undelivered=undelivered)


def die(shared: SharedRun) -> None:
    """Let a session's lease go as the system does when it is killed."""
    shared._leases[shared.member.id]._lock.release()


# Joining


def test_the_first_creates_the_run_and_the_others_join_it(tmp_path: Path, api: Api, backend: Backend) -> None:
    ids = [join(session(tmp_path, name), api) for name in "abc"]

    (run,) = backend.store.runs()
    assert ids == [run.id] * 3
    assert (run.title, run.tags) == ("Nightly", ("a", "b"))
    assert len(backend.requests(RUNS)) == 1


def test_keys_hosts_and_projects_do_not_share(tmp_path: Path, api: Api, backend: Backend) -> None:
    sessions = [
        session(tmp_path, "a"),
        session(tmp_path, "b", key="weekly"),
        session(tmp_path, "c", scope=("https://other", "DEMO")),
        session(tmp_path, "d", scope=("https://host", "OTHER")),
    ]

    assert len({join(each, api) for each in sessions}) == 4


def test_an_id_is_opaque(tmp_path: Path, api: Api, backend: Backend) -> None:
    backend.inject(RUNS, answer(200, b'{"id": "5f0c-a/b"}'))
    backend.inject(r"GET .*/runs/5f0c-a/b", answer(200, b"{}"), times=2)

    assert [join(session(tmp_path, name), api) for name in "ab"] == ["5f0c-a/b"] * 2


def test_a_creator_that_dies_in_the_call_is_followed_by_the_same_request(
    tmp_path: Path, api: Api, backend: Backend
) -> None:
    """The server may have taken it: only the same Idempotency-Key and the same body make no second run."""
    backend.inject(RUNS, lost())
    first = session(tmp_path, "a")
    with pytest.raises(DeliveryError):
        join(first, api)
    die(first)

    join(session(tmp_path, "b"), api)

    assert len(backend.store.runs()) == 1
    one, two = backend.requests(RUNS)
    assert one.headers["idempotency-key"] == two.headers["idempotency-key"]


def test_a_creator_that_the_server_refused_lets_the_next_one_try(tmp_path: Path, api: Api, backend: Backend) -> None:
    backend.inject(RUNS, answer(503))
    first, second = session(tmp_path, "a"), session(tmp_path, "b")
    with pytest.raises(Refused):
        join(first, api)

    assert join(second, api) == join(first, api)


def test_a_run_that_could_not_be_created_is_not_completed(tmp_path: Path, api: Api, backend: Backend) -> None:
    backend.inject(RUNS, answer(503))
    only = session(tmp_path)
    with pytest.raises(Refused):
        join(only, api)

    assert leave(only, None, api) == ["it was never opened"]
    assert backend.requests(COMPLETE) == []


def test_to_join_again_is_to_be_there_once(tmp_path: Path, api: Api, backend: Backend) -> None:
    only = session(tmp_path)
    run_id = join(only, api)
    assert join(only, api) == run_id

    assert leave(only, run_id, api) == []


def test_a_run_that_the_server_does_not_know_any_more_is_made_anew(tmp_path: Path, api: Api, backend: Backend) -> None:
    first = join(session(tmp_path, "a"), api)
    backend.store._write("DELETE FROM runs")

    second = join(session(tmp_path, "b"), api)

    assert second != first
    assert [run.id for run in backend.store.runs()] == [second]
    assert join(session(tmp_path, "c"), api) == second


def test_a_server_that_cannot_say_whether_the_run_is_there_makes_no_new_one(
    tmp_path: Path, api: Api, backend: Backend
) -> None:
    join(session(tmp_path, "a"), api)
    backend.inject("GET .*/runs/.*", answer(500))

    with pytest.raises(Refused):
        join(session(tmp_path, "b"), api)

    assert len(backend.requests(RUNS)) == 1


def test_a_run_that_is_completed_by_hand_is_followed_by_another(tmp_path: Path, api: Api, backend: Backend) -> None:
    first = join(session(tmp_path, "a", shard=(1, 2)), api)
    api.complete_run(first)
    second = session(tmp_path, "b", shard=(2, 2))

    new = join(second, api)

    assert new != first
    assert second.continues == first
    made = backend.store.run(int(str(new)))
    assert made is not None
    assert f"Continues run {first}" in str(made.description)


def test_a_request_that_the_server_refused_is_not_the_keys_for_ever(tmp_path: Path, api: Api, backend: Backend) -> None:
    backend.inject(RUNS, answer(422))
    with pytest.raises(Refused):
        session(tmp_path, "a").join(request("Bad"), api, lambda: False)

    session(tmp_path, "b").join(request("Good"), api, lambda: False)

    assert [run.title for run in backend.store.runs()] == ["Good"]


def test_a_disk_that_is_full_once_the_run_is_there_makes_no_second_run(
    tmp_path: Path, api: Api, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session(tmp_path, "a")
    create = api.create_run

    def create_and_fill(plan: RunRequest) -> object:
        run_id = create(plan)
        monkeypatch.setattr(first, "_write", full)
        return run_id

    def full(record: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(api, "create_run", create_and_fill)
    run_id = join(first, api)

    assert [run.id for run in backend.store.runs()] == [run_id]
    monkeypatch.undo()
    assert join(session(tmp_path, "b"), api) == run_id
    assert len(backend.store.runs()) == 1


@pytest.mark.parametrize("request_", ['{"title": "t"}', '["t"]', '{"title": "t", "tags": [], "odd": 1}'])
def test_a_damaged_request_is_named_and_not_sent(request_: str, tmp_path: Path, api: Api, backend: Backend) -> None:
    first = session(tmp_path, "a")
    backend.inject(RUNS, answer(503))
    with pytest.raises(Refused):
        join(first, api)
    record = first._files.record
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "request": json.loads(request_)}))
    backend.seen.clear()

    with pytest.raises(SharingError, match="damaged"):
        join(session(tmp_path, "b"), api)
    assert backend.requests(RUNS) == []


# Waiting


def test_who_waits_too_long_is_told_for_whom(tmp_path: Path, api: Api) -> None:
    first = session(tmp_path)
    join(first, api)

    with (
        KeyLock(first._files, lock_kind(StateDirectory(tmp_path))).hold(1),
        pytest.raises(LockTimeout, match=rf"run key 'nightly': waited 0 s for pid {os.getpid()} on ") as caught,
    ):
        join(session(tmp_path, "b", lock_timeout=0.1), api)
    assert not caught.value.retryable


def test_who_is_told_to_give_up_does_not_wait(tmp_path: Path, api: Api) -> None:
    first = session(tmp_path)
    join(first, api)

    with KeyLock(first._files, lock_kind(StateDirectory(tmp_path))).hold(1), pytest.raises(LockTimeout):
        session(tmp_path, "b", lock_timeout=3600).join(request(), api, lambda: True)


# Leaving


def test_the_last_one_completes_the_run_and_only_he(state: Path, api: Api, backend: Backend) -> None:
    sessions = [session(state, name) for name in "abc"]
    (run_id, *_) = [join(each, api) for each in sessions]

    said = [leave(each, run_id, api) for each in sessions]

    pid = os.getpid()
    still = f"the session of pid {pid} on ci-1 still runs"
    assert said == [[still, still], [still], []]
    assert len(backend.requests(COMPLETE)) == 1
    assert [run.status for run in backend.store.runs()] == ["completed"]


def test_the_last_shard_completes_the_run_whenever_it_comes(tmp_path: Path, api: Api, backend: Backend) -> None:
    said = []
    for index in (2, 1, 3):
        each = session(tmp_path, f"s{index}", shard=(index, 3))
        said.append(leave(each, join(each, api), api))

    assert said == [["shards 1/3, 3/3 have not come"], ["shard 3/3 has not come"], []]
    assert len(backend.requests(COMPLETE)) == 1


def test_a_completion_that_failed_is_made_up_by_who_tries_again(tmp_path: Path, api: Api, backend: Backend) -> None:
    only = session(tmp_path)
    run_id = join(only, api)
    backend.inject(COMPLETE, cut_off())
    with pytest.raises(DeliveryError):
        leave(only, run_id, api)

    again = session(tmp_path)
    assert leave(again, run_id, api) == []

    assert len(backend.requests(COMPLETE)) == 2
    assert [run.status for run in backend.store.runs()] == ["completed"]


def test_undelivered_results_keep_the_run_open_until_they_are_sent(tmp_path: Path, api: Api, backend: Backend) -> None:
    first, second = session(tmp_path, "a"), session(tmp_path, "b")
    run_id = join(first, api)
    join(second, api)

    leave(first, run_id, api, undelivered=3)
    (reason,) = leave(second, run_id, api)
    assert reason.startswith("3 results of the session of pid")
    assert backend.requests(COMPLETE) == []

    assert leave(first, run_id, api) == []
    assert len(backend.requests(COMPLETE)) == 1


def outbox_of(state: Path, name: str, results: int, running: int = 0) -> OutboxFiles:
    """Make the outbox that a session left."""
    files = StateDirectory(state).outbox(name)
    frames = [result(f"test_{number}") for number in range(results)]
    left_behind(files, [*frames, *(begun(f"test_b.py::test_{number}") for number in range(running))])
    return files


@pytest.mark.parametrize(("results", "running"), [(2, 0), (0, 1)])
def test_what_a_dead_session_left_on_disk_keeps_the_run_open(
    results: int, running: int, tmp_path: Path, api: Api, backend: Backend
) -> None:
    dead, last = session(tmp_path, "dead"), session(tmp_path, "last")
    run_id = join(dead, api)
    join(last, api)
    outbox_of(tmp_path, "dead", results, running)
    die(dead)

    (reason,) = leave(last, run_id, api)

    assert f"died; {results + running} results of" in reason
    assert backend.requests(COMPLETE) == []


def test_a_session_that_died_before_its_first_test_keeps_nothing_open(
    tmp_path: Path, api: Api, backend: Backend
) -> None:
    dead, last = session(tmp_path, "dead"), session(tmp_path, "last")
    run_id = join(dead, api)
    join(last, api)
    outbox_of(tmp_path, "dead", 0)
    die(dead)

    assert leave(last, run_id, api) == []


def test_an_outbox_that_is_being_resent_keeps_the_run_open(tmp_path: Path, api: Api) -> None:
    dead, last = session(tmp_path, "dead"), session(tmp_path, "last")
    run_id = join(dead, api)
    join(last, api)
    die(dead)
    outbox = Outbox(outbox_of(tmp_path, "dead", 0))
    try:
        (reason,) = leave(last, run_id, api)
        assert reason.endswith(" died, and its results are being sent")
    finally:
        outbox.close()


def test_to_look_for_a_dead_sessions_outbox_makes_none(tmp_path: Path, api: Api) -> None:
    dead, last = session(tmp_path, "dead"), session(tmp_path, "last")
    run_id = join(dead, api)
    join(last, api)
    die(dead)

    assert leave(last, run_id, api) == [f"the session of pid {os.getpid()} on ci-1 died"]
    assert not (tmp_path / "outbox").exists()


def test_a_shard_that_was_interrupted_is_waited_for(tmp_path: Path, api: Api, backend: Backend) -> None:
    first = session(tmp_path, "first", shard=(1, 1))
    run_id = join(first, api)
    assert leave(first, run_id, api, state=Ending.INTERRUPTED) == ["shard 1/1 did not run all of its tests"]

    again = session(tmp_path, "again", shard=(1, 1))
    assert join(again, api) == run_id
    assert leave(again, run_id, api) == []
    assert len(backend.requests(COMPLETE)) == 1


def test_a_dead_session_that_was_resent_lets_the_run_be_completed(tmp_path: Path, api: Api, backend: Backend) -> None:
    dead, last = session(tmp_path, "dead"), session(tmp_path, "last")
    run_id = join(dead, api)
    join(last, api)
    die(dead)
    leave(last, run_id, api)

    assert leave(session(tmp_path, "dead"), run_id, api, state=Ending.DIED) == []
    assert len(backend.requests(COMPLETE)) == 1


def test_a_run_that_is_not_to_be_completed_is_not(tmp_path: Path, api: Api, backend: Backend) -> None:
    sessions = [session(tmp_path, "a", completes=False), session(tmp_path, "b")]
    (run_id, _) = [join(each, api) for each in sessions]

    said = [leave(each, run_id, api) for each in sessions]

    assert said[1] == ["FAMACASE_TESTOPS_RUN_COMPLETE=false"]
    assert backend.requests(COMPLETE) == []


# After a run is completed


def test_a_completed_key_gets_a_new_run_that_names_the_one_before(tmp_path: Path, api: Api, backend: Backend) -> None:
    first = session(tmp_path, "a", shard=(1, 1))
    old = join(first, api)
    leave(first, old, api)

    second = session(tmp_path, "b", shard=(1, 2))
    new = join(second, api)

    assert new != old
    assert second.continues == old
    made = backend.store.run(int(str(new)))
    assert made is not None
    assert made.description == (f"All tests\nContinues run {old}, which is completed: {backend.url}/runs/{old}")
    assert leave(second, new, api) == []


def test_who_comes_back_to_a_completed_run_is_told_so(tmp_path: Path, api: Api, backend: Backend) -> None:
    """A machine that slept: the others took it for dead, and went on."""
    slept, last = session(tmp_path, "slept"), session(tmp_path, "last")
    run_id = join(slept, api)
    join(last, api)
    outbox_of(tmp_path, "slept", 0)
    die(slept)
    assert leave(last, run_id, api) == []

    assert leave(slept, run_id, api) == ["completed by another session"]
    later = session(tmp_path, "later")
    join(later, api)
    assert leave(slept, run_id, api) == ["its run key has gone on without it (famacase-xdist run complete)"]
    assert len(backend.requests(COMPLETE)) == 1


# A number


def test_sessions_of_a_number_complete_the_run_together(tmp_path: Path, api: Api, backend: Backend) -> None:
    number = api.create_run(request())
    sessions = [session(tmp_path, name, key=str(number), run_id=number) for name in "ab"]

    assert [join(each, api) for each in sessions] == [number, number]
    assert len(backend.requests(RUNS)) == 1
    assert leave(sessions[0], number, api) != []
    assert leave(sessions[1], number, api) == []
    again = session(tmp_path, "c", key=str(number), run_id=number)
    assert join(again, api) == number


def test_a_number_that_is_not_there_is_refused(tmp_path: Path, api: Api, backend: Backend) -> None:
    with pytest.raises(Refused) as caught:
        join(session(tmp_path, key="99", run_id=99), api)

    assert caught.value.status == 404
    assert backend.requests(RUNS) == []


# On disk


def test_the_directory_holds_no_more_than_it_says(tmp_path: Path, api: Api) -> None:
    only = session(tmp_path)
    run_id = join(only, api)
    leave(only, run_id, api)

    names = sorted(path.name for path in only._files.path.iterdir())
    assert names == ["holder", "leases", "lock", "record.json"]
    assert list(only._files.leases.iterdir()) == []
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("state", ["/proc/nowhere", __file__], ids=["missing", "file"])
def test_a_state_directory_that_cannot_be_made_is_named(state: str, api: Api, backend: Backend) -> None:
    with pytest.raises(SharingError, match=f"{state}/runs: "):
        join(session(Path(state)), api)

    assert backend.requests(RUNS) == []


def test_a_damaged_record_is_named_and_makes_no_run(tmp_path: Path, api: Api, backend: Backend) -> None:
    first = session(tmp_path, "a")
    join(first, api)
    (first._files.record).write_text("{")

    with pytest.raises(SharingError, match="its record is damaged"):
        join(session(tmp_path, "b"), api)
    assert len(backend.requests(RUNS)) == 1


def age(shared: SharedRun, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(shared._files.record, (then, then))


def test_keys_that_nobody_used_for_a_week_are_swept(state: Path, api: Api) -> None:
    stale, fresh, lively = (session(state, name, key=name) for name in ("stale", "fresh", "lively"))
    for each in (stale, fresh):
        leave(each, join(each, api), api)
    join(lively, api)
    age(stale, KEPT_SECONDS + 60)
    age(lively, KEPT_SECONDS + 60)
    age(fresh, KEPT_SECONDS - 3600)

    join(session(state, "new", key="new"), api)

    assert not stale._files.path.exists()
    assert fresh._files.record.exists()
    assert lively._files.record.exists()


def test_what_a_killed_sweeper_left_is_swept_too(state: Path, api: Api) -> None:
    half = state / "runs" / "0123"
    (half / "leases").mkdir(parents=True)
    (half / "lock").touch()
    # The lease of a machine that is gone, and not a word more since.
    marker = "4711\ngone-host\n" if (state / "runs" / "locks").read_text() == LEASE else ""
    (half / "leases" / "dead").write_text(marker)
    then = time.time() - KEPT_SECONDS - 60
    for path in (half / "leases" / "dead", half / "lock", half):
        os.utime(path, (then, then))

    join(session(state, "new", key="new"), api)

    assert not half.exists()


@pytest.mark.process
def test_a_lease_is_watched_from_the_start(tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease of another machine is dead if it is not refreshed, which only a process that watches it can see."""
    monkeypatch.setattr("famacase_xdist.state.locks.LEASE_SECONDS", 0.5)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "locks").write_text(LEASE)
    code = (
        "import os, pathlib, socket, sys\nsocket.gethostname = lambda: 'other'\n"
        "from famacase_xdist.state import locks\nlocks.LEASE_SECONDS = 0.5\n"
        "lease = locks.Lease(pathlib.Path(sys.argv[1]), 'lease')\nlease.hold()\nos._exit(0)\n"
    )
    dead, last = session(tmp_path, "dead"), session(tmp_path, "last")
    run_id = join(dead, api)
    dead._leases["dead"].drop()
    outbox_of(tmp_path, "dead", 0)
    subprocess.run([sys.executable, "-c", code, str(dead._files.lease("dead"))], check=True)
    join(last, api)
    threading.Event().wait(0.7)

    assert leave(last, run_id, api) == []


def test_who_leaves_a_key_that_was_swept_is_told(tmp_path: Path, api: Api, backend: Backend) -> None:
    stale = session(tmp_path, "stale", key="stale")
    run_id = join(stale, api)
    die(stale)
    age(stale, KEPT_SECONDS + 60)
    join(session(tmp_path, "new", key="new"), api)

    assert leave(stale, run_id, api) == ["its run key has gone on without it (famacase-xdist run complete)"]
