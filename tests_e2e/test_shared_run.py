"""Jobs that share a run by its key: real sessions of pytest, one state directory, the server as the witness."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.server import COMPLETE, RESULTS, RUNS, Backend, answer, delay
from harness.sessions import Session
from harness.suites import Ran, Suite

TESTS = 24
SUITE = f"""
    import os, pathlib, time
    import pytest

    SHARD, TOTAL = map(int, os.environ.get("PART", "0/1").split("/"))

    @pytest.mark.parametrize("number", [n for n in range({TESTS}) if n % TOTAL == SHARD % TOTAL])
    def test_one(number):
        if os.environ.get("DEATH") and number >= int(os.environ["DEATH"]):
            os._exit(3)
        assert os.environ.get("FAIL") != str(number)
        if os.environ.get("EXIT") == str(number):
            pytest.exit("enough", returncode=7)
"""
KEY = {"FAMACASE_TESTOPS_RUN_ID": "nightly"}


@pytest.fixture
def jobs(suite: Suite, backend: Backend) -> Suite:
    """A suite whose sessions share a run key."""
    suite.write("test_it.py", SUITE)
    suite.env.update(**backend.environment(), **KEY)
    return suite


def numbers(backend: Backend) -> list[int]:
    """Return which tests are reported, sorted, each as often as it is there."""
    return sorted(int(each["params"]["number"]) for each in backend.results())


def shard(index: int, total: int) -> dict[str, str]:
    return {"FAMACASE_SHARD": f"{index}/{total}", "PART": f"{index}/{total}"}


def ended(process: subprocess.Popen[str]) -> Ran:
    stdout, stderr = process.communicate(timeout=120)
    return Ran(process.returncode, stdout, stderr)


@pytest.mark.parametrize("args", [("-p", "no:xdist"), ("-n2",)], ids=["no-xdist", "n2"])
def test_eight_jobs_with_one_key_make_one_run_that_the_last_completes(
    args: tuple[str, ...], jobs: Suite, backend: Backend
) -> None:
    backend.inject(RUNS, delay(1.0))
    processes = [jobs.start(*args, **shard(index, 8)) for index in range(1, 9)]
    ran = [ended(each) for each in processes]

    assert [each.status for each in ran] == [0] * 8, ran[0].text
    (run,) = backend.store.runs()
    assert (run.status, len(backend.requests(RUNS)), len(backend.requests(COMPLETE))) == ("completed", 1, 1)
    assert numbers(backend) == list(range(TESTS))
    said = [re.search(r"^run \d+: \S+ \((.*)\)$", each.stdout, re.MULTILINE) for each in ran]
    words = [each[1] for each in said if each]
    assert len(words) == 8
    assert words.count("completed") == 1
    assert all(re.match(r"completed|not completed: shards? \d/8", each) for each in words), words
    assert jobs.leftovers() == []


def test_the_summary_names_the_shards_that_are_missing(jobs: Suite, backend: Backend) -> None:
    ran = jobs.run("-n2", **shard(2, 4))

    assert "(run key nightly, shard 2/4)" in ran.stdout
    assert "(not completed: shards 1/4, 3/4, 4/4 have not come)" in ran.stdout, ran.text
    assert backend.requests(COMPLETE) == []


def test_gitlabs_own_variables_name_key_and_shard(jobs: Suite, backend: Backend) -> None:
    gitlab = {
        "FAMACASE_TESTOPS_RUN_ID": "auto",
        "GITLAB_CI": "true",
        "CI_PIPELINE_ID": "4711",
        "CI_PIPELINE_URL": "https://gitlab.example.com/shop/tests/-/pipelines/4711",
        "CI_COMMIT_REF_NAME": "feature/cart",
        "CI_COMMIT_SHA": "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d",
        "CI_NODE_TOTAL": "2",
        "FAMACASE_TESTOPS_RUN_TAGS": "smoke, nightly",
    }
    for index in (1, 2):
        jobs.run("-p", "no:xdist", CI_NODE_INDEX=str(index), PART=f"{index}/2", **gitlab)

    (run,) = backend.store.runs()
    assert run.status == "completed"
    assert run.tags == ("smoke", "nightly")
    assert run.description is not None
    for word in ("feature/cart", "1a2b3c4d", gitlab["CI_PIPELINE_URL"]):
        assert word in f"{run.title} {run.description}"
    assert numbers(backend) == list(range(TESTS))


def test_two_sessions_of_one_directory_without_a_key_do_not_mix(jobs: Suite, backend: Backend) -> None:
    processes = [jobs.start("-p", "no:xdist", FAMACASE_TESTOPS_RUN_ID="", PART=f"{n}/2") for n in (1, 2)]
    for each in processes:
        ended(each)

    first, second = backend.store.runs()
    parts = [
        sorted(int(each["params"]["number"]) % 2 for each in backend.store.results(run.id)) for run in (first, second)
    ]
    assert sorted(parts) == [[0] * (TESTS // 2), [1] * (TESTS // 2)]


def test_two_containers_with_one_state_directory_share_the_run(jobs: Suite, backend: Backend, tmp_path: Path) -> None:
    """Each has its own home and its own process ids, so that a pid says nothing; the directory is all they share."""
    isolated = ("unshare", "--pid", "--fork", "--mount-proc")
    env = jobs.environment()
    sessions = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sessions.append(Session.start({**env, "HOME": str(tmp_path / name)}, results=3, prefix=isolated))
    try:
        for each in sessions:
            each.ready()
            each.join()
            assert each.joined()["pid"] < 100
        for each in sessions:
            each.leave()
        left = [each.left() for each in sessions]
    finally:
        for each in sessions:
            each.kill()

    (run,) = backend.store.runs()
    assert (run.status, run.counts["passed"]) == ("completed", 6)
    assert len(backend.requests(RUNS)) == len(backend.requests(COMPLETE)) == 1
    assert sorted(each["completed"] for each in left) == [False, True]
    assert list(tmp_path.glob("one/*")) == list(tmp_path.glob("two/*")) == []


# Death and what mends it


def test_a_shard_that_dies_is_named_and_its_second_run_completes(jobs: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503), times=float("inf"))
    dead = jobs.run("-p", "no:xdist", DEATH="13", FAMACASE_FLUSH_TIMEOUT="1", **shard(1, 2))
    assert dead.status == 3
    jobs.await_couriers()
    backend.faults.clear()
    second = jobs.run("-p", "no:xdist", **shard(2, 2))
    assert re.search(r"not completed: \d+ results of shard 1/2 are undelivered", second.stdout)
    sent = jobs.resend()
    assert sent.status == 0, sent.text
    assert "(not completed: shard 1/2 died)" in sent.stdout
    assert backend.requests(COMPLETE) == []

    again = jobs.run("-p", "no:xdist", **shard(1, 2))

    assert "(completed)" in again.stdout, again.text
    (run,) = backend.store.runs()
    assert run.status == "completed"
    assert set(numbers(backend)) == set(range(TESTS))


def test_a_shard_whose_results_the_server_refused_is_mended_by_resend(jobs: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503), times=float("inf"))
    jobs.run("-p", "no:xdist", FAMACASE_RETRY_ATTEMPTS="1", **shard(1, 2))
    backend.faults.clear()
    second = jobs.run("-p", "no:xdist", **shard(2, 2))
    assert f"not completed: {TESTS // 2} results of shard 1/2 are undelivered (famacase-xdist resend)" in second.stdout

    sent = jobs.resend()

    assert "(completed)" in sent.stdout, sent.text
    assert numbers(backend) == list(range(TESTS))
    assert [run.status for run in backend.store.runs()] == ["completed"]
    assert {each.times_received for each in backend.store.stored_results(backend.store.runs()[0].id)} == {1}
    assert jobs.leftovers() == []


def test_a_session_that_never_reached_the_server_joins_the_key_by_resend(jobs: Suite, backend: Backend) -> None:
    backend.inject(".*", answer(503), times=float("inf"))
    jobs.run("-p", "no:xdist", FAMACASE_RETRY_ATTEMPTS="1", **shard(1, 2))
    backend.faults.clear()
    jobs.run("-p", "no:xdist", **shard(2, 2))
    assert len(backend.store.runs()) == 1

    sent = jobs.resend()

    assert "(completed)" in sent.stdout, sent.text
    assert [run.status for run in backend.store.runs()] == ["completed"]
    assert numbers(backend) == list(range(TESTS))


def test_a_shard_that_is_cancelled_is_waited_for(jobs: Suite, backend: Backend) -> None:
    jobs.write("test_wait.py", "import pathlib, time\ndef test_z():\n    pathlib.Path('on').touch(); time.sleep(60)\n")
    process = jobs.start("-p", "no:xdist", **shard(1, 1))
    while not (jobs.path / "on").exists():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    ended(process)
    jobs.await_couriers()
    assert [run.status for run in backend.store.runs()] == ["active"]
    (jobs.path / "test_wait.py").unlink()

    again = jobs.run("-p", "no:xdist", **shard(1, 1))

    assert "(completed)" in again.stdout
    assert len(backend.store.runs()) == len(backend.requests(COMPLETE)) == 1


@pytest.mark.parametrize(
    ("args", "env", "status"),
    [
        (("-p", "no:xdist", "not_there.py"), {}, 4),
        (("-p", "no:xdist", "-x"), {"FAIL": "3"}, 1),
        (("-p", "no:xdist"), {"EXIT": "3"}, 7),
        (("-n2", "--max-worker-restart=0"), {"DEATH": "3"}, 1),
    ],
    ids=["usage error", "-x", "pytest.exit", "crashes without restart"],
)
def test_a_shard_that_left_tests_undone_is_waited_for(
    args: tuple[str, ...], env: dict[str, str], status: int, jobs: Suite, backend: Backend
) -> None:
    ran = jobs.run(*args, **env, **shard(1, 1))

    assert ran.status == status, ran.text
    assert "(not completed: shard 1/1 did not run all of its tests)" in ran.stdout, ran.text
    assert backend.requests(COMPLETE) == []


def test_a_shard_that_ran_out_of_time_still_says_what_it_leaves_behind(jobs: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503, retry_after="30"), times=float("inf"))
    first = jobs.run("-p", "no:xdist", FAMACASE_FLUSH_TIMEOUT="2", **shard(1, 2))
    words = f"{TESTS // 2} results of shard 1/2 are undelivered (famacase-xdist resend)"
    assert f"(not completed: {words}; shard 2/2 has not come)" in first.stdout, first.text
    backend.faults.clear()

    second = jobs.run("-p", "no:xdist", **shard(2, 2))

    assert f"(not completed: {words})" in second.stdout, second.text


def test_a_completed_key_gets_a_new_run_that_names_the_one_before(jobs: Suite, backend: Backend) -> None:
    jobs.run("-p", "no:xdist")
    ran = jobs.run("-p", "no:xdist")

    first, second = sorted(backend.store.runs(), key=lambda run: run.id)
    assert second.description is not None
    assert f"Continues run {first.id}, which is completed: {backend.url}/runs/{first.id}" in second.description
    assert f"continues run {first.id}" in ran.stdout
    assert [first.status, second.status] == ["completed", "completed"]


# A lock that does not come


@pytest.fixture
def creator(jobs: Suite, backend: Backend) -> Iterator[Session]:
    """A session that holds the key's lock, because the server does not answer."""
    arrived = Path(jobs.path / "arrived")

    async def hold(app: object, scope: object, receive: object, send: object) -> None:
        arrived.touch()
        import asyncio

        await asyncio.to_thread(backend.released.wait)

    backend.inject(RUNS, hold)
    session = Session.start(jobs.environment())
    session.ready()
    session.join()
    while not arrived.exists():
        assert session.process.poll() is None
    arrived.unlink()
    yield session
    session.kill()


def test_who_waits_says_for_whom_and_gives_up_with_a_clear_word(
    jobs: Suite, backend: Backend, creator: Session
) -> None:
    ran = jobs.run("-p", "no:xdist", FAMACASE_LOCK_TIMEOUT="3")

    holder = rf"pid {creator.process.pid} on {os.uname().nodename}, which has had the lock since 20[\d :-]+"
    assert re.search(rf"famacase: waiting for the run key's lock: {holder}", ran.stdout), ran.text
    assert re.search(rf"undelivered {TESTS}: run key 'nightly': waited 3 s for {holder}", ran.stdout), ran.text
    assert "to send what was kept: famacase-xdist resend" in ran.stdout
    assert ran.status == 0
    assert len(backend.requests(RUNS)) == 1


def test_a_holder_that_is_killed_lets_the_others_go_on(jobs: Suite, backend: Backend, creator: Session) -> None:
    process = jobs.start("-p", "no:xdist")
    holder = re.compile(f"pid {creator.process.pid} ")
    assert process.stdout is not None
    for line in process.stdout:
        if holder.search(line):
            break
    creator.kill()
    ran = ended(process)

    assert ran.status == 0, ran.text
    assert len(backend.store.runs()) == 1
    assert numbers(backend) == list(range(TESTS))


# A state directory that cannot be used


def test_a_state_directory_that_is_read_only_costs_the_sharing_and_no_result(jobs: Suite, backend: Backend) -> None:
    """A mount that is read-only, because no mode of a directory stops root."""
    jobs.state.mkdir()
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    command = jobs.command("-p", "no:xdist")
    process = subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(jobs.state), *command],
        cwd=jobs.path,
        env=jobs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ran = ended(process)

    assert ran.status == 0, ran.text
    assert f"run key 'nightly' could not be shared ({jobs.state}/runs: Read-only file system)" in ran.stdout, ran.text
    assert "this session reports to a run of its own" in ran.stdout
    assert numbers(backend) == list(range(TESTS))
    assert [run.status for run in backend.store.runs()] == ["completed"]


def test_a_state_directory_that_is_missing_is_made(jobs: Suite, backend: Backend, tmp_path: Path) -> None:
    deep = tmp_path / "not" / "there" / "yet"

    ran = jobs.run("-p", "no:xdist", FAMACASE_STATE_DIR=str(deep))

    assert "(completed)" in ran.stdout, ran.text
    assert (deep / "runs").is_dir()
