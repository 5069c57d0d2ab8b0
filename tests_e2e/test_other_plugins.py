"""The plugins that a suite is likely to have beside us: each real one, where it has a say on how tests run."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Suite

NO_XDIST_AND_N2 = pytest.mark.parametrize("args", [("-pno:xdist",), ("-n2",)], ids=["no-xdist", "n2"])

RERUN = """
    import pytest
    from qase.pytest import qase

    SEEN = []

    @pytest.fixture
    def place():
        qase.attach(("set up", "text/plain", f"setup-{len(SEEN)}.txt"))
        yield
        with qase.step(f"cleans up {len(SEEN)}"):
            qase.attach(("torn down", "text/plain", f"teardown-{len(SEEN)}.txt"))

    @pytest.mark.flaky(reruns=2)
    def test_third_time_lucky(place):
        SEEN.append(1)
        with qase.step(f"tries {len(SEEN)}"):
            qase.attach(("in a step", "text/plain", f"step-{len(SEEN)}.txt"))
        qase.attach(("in the test", "text/plain", f"call-{len(SEEN)}.txt"))
        assert len(SEEN) == 3

    @pytest.mark.flaky(reruns=1)
    def test_never():
        raise RuntimeError("never")

    @pytest.mark.flaky(reruns=1)
    def test_at_once():
        pass
"""
RERUN_CONFTEST = """
    import pytest
    from qase.pytest import qase

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        if report.when == "teardown":
            qase.attach(("late", "text/plain", f"late-{item.execution_count}.txt"))
        return report
"""


def attempts(backend: Backend, title: str) -> list[dict[str, Any]]:
    found = [result for result in backend.results() if result["title"] == title]
    return sorted(found, key=lambda result: result["execution"]["attempt_index"])


def names(attachments: list[dict[str, Any]]) -> list[str]:
    return [each["file_name"] for each in attachments]


@NO_XDIST_AND_N2
def test_rerunfailures_each_attempt_has_what_was_attached_in_it(
    args: tuple[str, ...], suite: Suite, backend: Backend
) -> None:
    suite.write("test_rerun.py", RERUN)
    suite.write("conftest.py", RERUN_CONFTEST)

    ran = suite.run(*args, **backend.environment())

    assert ran.status == 1, ran.text
    found = attempts(backend, "test_third_time_lucky")
    told = [
        (each["execution"]["attempt_index"], each["execution"]["is_rerun"], each["execution"]["status"])
        for each in found
    ]
    assert told == [(1, False, "failed"), (2, True, "failed"), (3, True, "passed")]
    for index, each in enumerate(found, start=1):
        assert names(each["attachments"]) == [f"setup-{index - 1}.txt", f"call-{index}.txt", f"late-{index}.txt"]
        assert [step["data"]["action"] for step in each["steps"]] == [f"tries {index}", f"cleans up {index}"]
        assert [names(step["attachments"]) for step in each["steps"]] == [
            [f"step-{index}.txt"],
            [f"teardown-{index}.txt"],
        ]
    assert [each["execution"]["status"] for each in attempts(backend, "test_never")] == ["invalid", "invalid"]
    (once,) = attempts(backend, "test_at_once")
    assert once["execution"]["is_rerun"] is False


def test_upstream_does_not_tell_attempts_apart(suite: Suite) -> None:
    suite.write("test_rerun.py", RERUN)

    ran = suite.run("-pno:famacase_xdist.plugin", "-k", "lucky", QASE_MODE="report")

    results = [json.loads(path.read_text()) for path in suite.path.glob("build/qase-report/results/*.json")]
    assert len(results) == 3, ran.text
    assert not any({"attempt_index", "is_rerun"} & set(result["execution"]) for result in results)


TIMEOUT = """
    import threading
    import pytest
    from qase.pytest import qase

    @pytest.mark.timeout(0.5, method="signal")
    def test_signal():
        with qase.step("waits"):
            with qase.step("for ever"):
                threading.Event().wait(60)

    def test_after():
        pass

    @pytest.mark.timeout(0.5, method="thread")
    def test_thread():
        with qase.step("waits"):
            threading.Event().wait(60)

    def test_last():
        pass
"""


def test_timeout_by_signal_ends_the_test_and_its_steps(suite: Suite, backend: Backend) -> None:
    suite.write("test_hangs.py", TIMEOUT)

    ran = suite.run("-pno:xdist", "-k", "not thread", **backend.environment())

    assert ran.status == 1, ran.text
    found = {result["title"]: result for result in backend.results()}
    assert {title: each["execution"]["status"] for title, each in found.items()} == {
        "test_signal": "invalid",
        "test_after": "passed",
        "test_last": "passed",
    }
    assert "Timeout" in found["test_signal"]["message"]
    (outer,) = found["test_signal"]["steps"]
    (inner,) = outer["steps"]
    assert [step["execution"]["status"] for step in (outer, inner)] == ["failed", "failed"]


def test_timeout_by_thread_ends_the_worker_and_no_result_is_lost(suite: Suite, backend: Backend) -> None:
    suite.write("test_hangs.py", TIMEOUT)

    ran = suite.run("-n2", **backend.environment())

    assert ran.status == 1, ran.text
    statuses = {result["title"]: result["execution"]["status"] for result in backend.results()}
    assert statuses == {
        "test_signal": "invalid",
        "test_after": "passed",
        "test_thread": "invalid",
        "test_last": "passed",
    }
    assert len(backend.results()) == 4
    assert suite.leftovers() == []


ASYNC = """
    import asyncio
    import pytest
    from qase.pytest import qase

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    async def buys():
        with qase.step("buys"):
            await asyncio.sleep(0.05)
            with qase.step("pays"):
                qase.attach(("receipt", "text/plain", "receipt.txt"))

    @pytest.mark.asyncio
    async def test_asyncio():
        await buys()

    @pytest.mark.anyio
    async def test_anyio():
        await buys()

    @pytest.mark.asyncio
    async def test_asyncio_fails():
        with qase.step("breaks"):
            await asyncio.sleep(0)
            assert False

    @pytest.mark.anyio
    async def test_anyio_errs():
        await asyncio.sleep(0)
        raise RuntimeError("no shop")
"""


@NO_XDIST_AND_N2
def test_async_tests_have_their_steps(args: tuple[str, ...], suite: Suite, backend: Backend) -> None:
    suite.plugins = ("asyncio",)
    suite.write("test_async.py", ASYNC)

    ran = suite.run(*args, "-o", "asyncio_default_fixture_loop_scope=function", **backend.environment())

    assert ran.status == 1, ran.text
    found = {result["title"]: result for result in backend.results()}
    assert {title: each["execution"]["status"] for title, each in found.items()} == {
        "test_asyncio": "passed",
        "test_anyio": "passed",
        "test_asyncio_fails": "failed",
        "test_anyio_errs": "invalid",
    }
    for title in ("test_asyncio", "test_anyio"):
        (bought,) = found[title]["steps"]
        (paid,) = bought["steps"]
        assert (bought["data"]["action"], paid["data"]["action"]) == ("buys", "pays")
        assert bought["execution"]["duration"] >= 50
        assert names(paid["attachments"]) == ["receipt.txt"]
    (broken,) = found["test_asyncio_fails"]["steps"]
    assert broken["execution"]["status"] == "failed"


MANY = """
    import pytest

    @pytest.mark.parametrize("number", range(12))
    def test_one(number):
        pass
"""


def test_split_groups_give_all_tests_once(suite: Suite, backend: Backend) -> None:
    suite.write("test_many.py", MANY)
    env = {**backend.environment(), "FAMACASE_TESTOPS_RUN_ID": "split-1", "FAMACASE_TESTOPS_RUN_COMPLETE": "true"}

    for group in ("1", "2"):
        ran = suite.run("-n2", "--splits=2", f"--group={group}", **env, FAMACASE_SHARD=f"{group}/2")
        assert ran.status == 0, ran.text
        assert "6 passed" in ran.stdout

    (run,) = backend.store.runs()
    assert run.status == "completed"
    assert sorted(int(result["params"]["number"]) for result in backend.results()) == list(range(12))


def test_repeat_and_randomly_every_repetition_is_a_result(suite: Suite, backend: Backend) -> None:
    suite.plugins = ("repeat", "randomly")
    suite.write("test_many.py", MANY)

    ran = suite.run("-n2", "--count=3", "-p", "randomly", **backend.environment())

    assert ran.status == 0, ran.text
    counted = Counter(result["params"]["number"] for result in backend.results())
    assert counted == {str(number): 3 for number in range(12)}
    assert {result["execution"]["attempt_index"] for result in backend.results()} == {1}
    assert len({result["signature"] for result in backend.results()}) == 36
