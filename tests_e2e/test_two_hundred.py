"""Two hundred processes with one run key: one run, one request that creates it, one that completes it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness.server import COMPLETE, RUNS, App, Backend, Send, delay
from harness.sessions import Session
from harness.suites import Suite

SESSIONS = 200
#: Seconds that the server takes to create a run.
SLOW = 1.0


@pytest.fixture
def quick(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A server that does not look for the process behind each of some thousand connections."""
    monkeypatch.setattr("harness.server.pid_of_port", lambda port: None)
    return backend


@contextmanager
def started(envs: list[dict[str, str]]) -> Iterator[list[Session]]:
    """Sessions, each of which waits to be told to join."""
    sessions: list[Session] = []
    try:
        sessions.extend(map(Session.start, envs))
        for each in sessions:
            each.ready()
        yield sessions
    finally:
        for each in sessions:
            each.kill()


@pytest.fixture
def env(suite: Suite, backend: Backend) -> dict[str, str]:
    return suite.environment(**backend.environment(), FAMACASE_TESTOPS_RUN_ID="nightly", FAMACASE_LOCK_TIMEOUT="120")


@pytest.fixture
def crowd(env: dict[str, str]) -> Iterator[list[Session]]:
    with started([env] * SESSIONS) as sessions:
        yield sessions


@pytest.fixture
def shards(env: dict[str, str]) -> Iterator[list[Session]]:
    with started([{**env, "FAMACASE_SHARD": f"{index}/{SESSIONS}"} for index in range(1, SESSIONS + 1)]) as sessions:
        yield sessions


def assert_one_complete_run(backend: Backend, results: int) -> None:
    (run,) = backend.store.runs()
    assert run.status == "completed"
    assert len(backend.requests(COMPLETE)) == 1
    stored = backend.store.stored_results(run.id)
    assert len(stored) == results
    assert {each.times_received for each in stored} == {1}


@pytest.mark.timeout(600)
def test_two_hundred_shards_make_one_run_that_the_last_one_completes(shards: list[Session], quick: Backend) -> None:
    *most, last = shards
    quick.inject(RUNS, delay(SLOW))
    for each in most:
        each.join()
    joined = [each.joined() for each in most]
    for each in most:
        each.leave()
    left = [each.left() for each in most]
    why_open = [each["why_open"] for each in left]
    completions = len(quick.requests(COMPLETE))
    last.join()
    joined.append(last.joined())
    last.leave()
    left.append(last.left())

    assert len(quick.requests(RUNS)) == 1
    assert completions == 0
    # Who left last of these found that nobody else was missing.
    assert why_open.count("shard 200/200 has not come") == 1
    assert all(each.endswith("shard 200/200 has not come") for each in why_open)
    assert_one_complete_run(quick, SESSIONS)
    (run,) = quick.store.runs()
    assert {each["run"] for each in joined} == {run.id}
    assert [each["completed"] for each in left] == [False] * (SESSIONS - 1) + [True]
    assert [each for each in left if each["undelivered"] or each["problems"]] == []


@pytest.mark.timeout(600)
def test_two_hundred_sessions_whose_creators_are_killed_make_one_run(
    crowd: list[Session], quick: Backend, suite: Suite
) -> None:
    """Each of the first ten holders is killed while the server creates the run that he asked for."""
    killed: list[int] = []

    async def kill(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        (holder,) = suite.state.glob("runs/*/holder")
        killed.append(json.loads(holder.read_text())["pid"])
        os.kill(killed[-1], signal.SIGKILL)
        await app(scope, receive, send)

    quick.inject(RUNS, kill, times=10)
    for each in crowd:
        each.join()
    survivors = []
    for each in crowd:
        try:
            survivors.append((each, each.joined()["run"]))
        except AssertionError:
            assert each.process.wait(20) == -signal.SIGKILL
    for each, _ in survivors:
        each.leave()
    left = [each.left() for each, _ in survivors]

    assert len(set(killed)) == 10
    assert len(survivors) == SESSIONS - 10
    creations = quick.requests(RUNS)
    assert len(creations) == 11
    assert len({each.headers["idempotency-key"] for each in creations}) == 1
    assert_one_complete_run(quick, len(survivors))
    assert len({run for _, run in survivors}) == 1
    assert [each["completed"] for each in left].count(True) == 1
