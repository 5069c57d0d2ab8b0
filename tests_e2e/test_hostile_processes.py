"""Tests that fork, end their children or wait for them, and processes that end where no test runs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from harness.compared import COMPARED_MODES, Compared
from harness.server import Backend
from harness.suites import Suite

ONE, TWO = COMPARED_MODES.values()
THE_COURIER_IS_A_CHILD = pytest.mark.xfail(
    reason="the courier is a child of the only process, and such a test finds it"
)

FORKS = """
    import concurrent.futures, json, multiprocessing, os, pathlib, signal, subprocess, sys, time
    from arrival import wait_for
    from qase.pytest import qase

    FORK = multiprocessing.get_context("fork")

    def job(number):
        with qase.step("in the child"):
            qase.attach(("child", "text/plain", "c.txt"))
        print("in the child")
        return number * number

    def waits(started, ended):
        try:
            started.set()
            time.sleep(60)
        finally:
            pathlib.Path(ended).touch()

    def test_fork():
        pid = os.fork()
        if pid == 0:
            job(1)
            os._exit(0)
        assert os.waitpid(pid, 0) == (pid, 0)

    def test_pool():
        with FORK.Pool(2) as pool:
            assert pool.map(job, [1, 2]) == [1, 4]

    def test_pool_that_is_joined():
        pool = FORK.Pool(2)
        result = pool.apply_async(job, [3])
        pool.close()
        pool.join()
        assert result.get(20) == 9

    def test_pool_that_is_terminated():
        pool = FORK.Pool(2)
        pool.apply_async(time.sleep, [60])
        pool.terminate()
        pool.join()

    def test_exit_code():
        process = FORK.Process(target=job, args=[1])
        process.start()
        process.join(20)
        assert process.exitcode == 0

    def test_terminate():
        started = FORK.Event()
        process = FORK.Process(target=waits, args=[started, "terminated"])
        process.start()
        assert started.wait(20)
        process.terminate()
        process.join(20)
        assert process.exitcode == -signal.SIGTERM
        assert not os.path.exists("terminated")

    def test_futures():
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=FORK) as pool:
            assert pool.submit(job, 3).result(20) == 9

    def test_spawn():
        process = multiprocessing.get_context("spawn").Process(target=job, args=[1])
        process.start()
        process.join(60)
        assert process.exitcode == 0

    def test_signals():
        told = {each.name: str(signal.getsignal(each)).partition(" at ")[0] for each in signal.Signals}
        told["wakeup"] = signal.set_wakeup_fd(-1)
        child = "import signal; print({each.name: str(signal.getsignal(each)) for each in signal.Signals})"
        told["child"] = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout
        told["blocked"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        with open("signals.json", "w") as file:
            json.dump(told, file)

    def test_attaches():
        wait_for("test_fork", "test_pool", "test_terminate")
        qase.attach(("parent", "text/plain", "p.txt"))

    def test_fails():
        with qase.step("in the parent"):
            wait_for("test_attaches")
            assert 0
"""


def test_children_are_forked_and_ended(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", FORKS)

    compared.run(*compared_mode)

    compared.check()
    for result in compared.backend.results():
        expected = {"test_fails": ["in the parent"]}.get(result["title"], [])
        assert [step["data"]["action"] for step in result["steps"]] == expected
        assert [each["file_name"] for each in result["attachments"]] == ["p.txt"] * (result["title"] == "test_attaches")


REAPS = """
    import os, signal, time
    import pytest
    from arrival import wait_for

    def test_before():
        pass

    def test_waits_for_all_its_children():
        wait_for("test_before")
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        reaped = []
        deadline = time.monotonic() + 5
        with pytest.raises(ChildProcessError):
            while time.monotonic() < deadline:
                found = os.waitpid(-1, os.WNOHANG)
                if found[0]:
                    reaped.append(found)
        assert reaped == [(pid, 7 << 8)]

    def test_has_no_child():
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def test_fails():
        wait_for("test_has_no_child")
        assert 0
"""


@pytest.mark.parametrize("args", [pytest.param(ONE, marks=THE_COURIER_IS_A_CHILD), TWO], ids=COMPARED_MODES)
def test_all_children_are_waited_for(args: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", REAPS)

    compared.run(*args)

    compared.check()


IGNORES = """
    import os, signal, subprocess, sys
    from arrival import wait_for

    def test_before():
        pass

    def test_ignores_the_ends_of_children():
        assert signal.signal(signal.SIGCHLD, signal.SIG_IGN) == signal.SIG_DFL
        wait_for("test_before")

    def test_fails():
        wait_for("test_ignores_the_ends_of_children")
        assert 0

    def test_is_told_of_its_own_children_only():
        told = []
        signal.signal(signal.SIGCHLD, lambda *args: told.append(args))
        subprocess.run([sys.executable, "-c", "pass"])
        wait_for("test_fails")
        assert len(told) == 1
"""


def test_signals_of_children_are_ignored_and_counted(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", IGNORES)

    compared.run(*compared_mode)

    compared.check()


KILLS = """
    import os, pathlib, signal
    from arrival import wait_for

    def test_before():
        pass

    def test_kills_its_children():
        wait_for("test_before")
        children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        for pid in map(int, children.split()):
            os.kill(pid, signal.SIGKILL)

    def test_after():
        pass

    def test_fails():
        assert 0
"""


def test_all_children_are_killed(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", KILLS)

    compared.run(*compared_mode)

    compared.check()


LEAVES = """
    import os, signal, subprocess, sys, time
    from arrival import wait_for

    def test_leaves_a_forked_child():
        if os.fork() == 0:
            os.closerange(0, 3)
            while not os.path.exists(f"{__file__}.ended"):
                time.sleep(0.1)
            os._exit(0)

    def test_leaves_a_daemon():
        wait_for("test_leaves_a_forked_child")
        wait = "import os, sys, time\\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.1)"
        null = subprocess.DEVNULL
        subprocess.Popen([sys.executable, "-c", wait, f"{__file__}.ended"], close_fds=False, stdout=null, stderr=null)
"""
#: The ways for a process to end without a word.
DEATHS = {
    "exit": ("os._exit(3)", 3),
    "sigkill": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "sigterm": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
    "segfault": ("ctypes.string_at(0)", -signal.SIGSEGV),
    "timeout": ("time.sleep(60)", 1),
}
DIES = """
    import ctypes, os, signal, sys, time
    import pytest
    from qase.pytest import qase

    def test_passes():
        qase.attach(("one", "text/plain", "1.txt"))

    def test_fails():
        assert 0

    @pytest.mark.timeout(0.5, method="thread")
    def test_is_last():
        if "test" in os.environ["WHERE"]:
            DEATH
"""
#: `WHERE` is the place where a process ends: in a test, after a test's last hook, in another plugin's last hook.
DIES_IN_HOOKS = """
    import ctypes, os, signal, time
    import pytest

    def die():
        DEATH

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(item):
        yield
        if os.environ["WHERE"] == "protocol" and item.name == "test_fails":
            die()
        return True

    def pytest_runtest_logfinish(nodeid):
        if os.environ["WHERE"] == "logfinish" and nodeid.endswith("test_fails"):
            die()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(session):
        if os.environ["WHERE"] == "sessionfinish" and not hasattr(session.config, "workerinput"):
            die()

    @pytest.fixture(scope="session", autouse=True)
    def shop():
        yield
        if os.environ["WHERE"] == "fixture":
            die()
"""
DONE = {"test_passes": "passed", "test_fails": "failed"}


def dies(where: str, how: str, suite: Suite, backend: Backend, *args: str, status: int | None = None) -> dict[str, str]:
    """Run the suite whose process ends there and so, and return the statuses that the courier has brought."""
    code, its_status = DEATHS[how]
    suite.write("test_it.py", DIES.replace("DEATH", code))
    suite.write("conftest.py", DIES_IN_HOOKS.replace("DEATH", code))

    ran = suite.run(*args, "-pno:faulthandler", WHERE=where, **backend.environment())
    suite.await_couriers()

    assert ran.status == (its_status if status is None else status), ran.text
    results = backend.results()
    assert {each["execution"]["attempt_index"] for each in results} == {1}
    assert len({each["title"] for each in results}) == len(results)
    (run,) = backend.store.runs()
    assert {each.times_received for each in backend.store.stored_results(run.id)} == {1}
    assert suite.leftovers() == []
    return {each["title"]: each["execution"]["status"] for each in results}


@pytest.mark.parametrize("how", DEATHS)
def test_the_process_ends_in_a_test(how: str, suite: Suite, backend: Backend) -> None:
    told = dies("test", how, suite, backend, "-pno:xdist")

    assert told == {**DONE, "test_is_last": "invalid"}


@pytest.mark.parametrize("where", ["protocol", "logfinish"])
@pytest.mark.parametrize("how", ["exit", "sigkill", "sigterm", "segfault"])
def test_the_process_ends_between_tests(where: str, how: str, suite: Suite, backend: Backend) -> None:
    assert dies(where, how, suite, backend, "-pno:xdist") == DONE


@pytest.mark.parametrize("how", ["exit", "sigkill"])
def test_a_worker_ends_between_tests(how: str, suite: Suite, backend: Backend) -> None:
    # xdist takes the test that has just ended for the one that ran; without a limit it would run it again and again.
    told = dies("protocol", how, suite, backend, "-n2", "--dist=loadfile", "--max-worker-restart=0", status=1)

    assert told == DONE


@pytest.mark.parametrize("how", ["exit", "sigkill"])
@pytest.mark.parametrize("args", COMPARED_MODES.values(), ids=COMPARED_MODES)
def test_the_process_ends_in_the_last_hook(how: str, args: tuple[str, ...], suite: Suite, backend: Backend) -> None:
    assert dies("sessionfinish", how, suite, backend, *args) == {**DONE, "test_is_last": "passed"}


def test_the_process_ends_in_the_last_tear_down(suite: Suite, backend: Backend) -> None:
    told = dies("fixture", "sigkill", suite, backend, "-pno:xdist")

    assert told == {**DONE, "test_is_last": "invalid"}


CONTROLLER_DIES = """
    import os, pathlib, signal, time

    def test_passes():
        pass

    def test_fails():
        assert 0

    def test_runs():
        arrived = pathlib.Path(os.environ["ARRIVED"], "test_it.py::test_fails")
        while not arrived.exists():
            time.sleep(0.02)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
"""


def test_the_controller_is_killed_while_a_test_runs(compared: Compared) -> None:
    compared.suite.write("test_it.py", CONTROLLER_DIES)

    ran = compared.run_reported("-n2", "--dist=loadfile")
    compared.suite.await_couriers()

    assert ran.status == -signal.SIGKILL
    results = {each["title"]: each["execution"]["status"] for each in compared.backend.results()}
    assert results == {**DONE, "test_runs": "invalid"}
    assert len(compared.backend.results()) == 3
    assert compared.suite.leftovers() == []


@pytest.mark.parametrize("death", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"], ids=["ends", "is-killed"])
def test_a_session_leaves_children_that_have_its_descriptors(death: str, suite: Suite, compared: Compared) -> None:
    file = suite.write("test_it.py", f"{LEAVES}\n    def test_last():\n        {death}\n")
    # The children have the pipes of the output, too.
    process = suite.start("-pno:xdist", **compared.reporting())
    try:
        process.wait(60)
        suite.await_couriers()
    finally:
        Path(f"{file}.ended").touch()
    text = "\n".join(process.communicate(timeout=60))

    results = {each["title"]: each["execution"]["status"] for each in compared.backend.results()}
    left = {"test_leaves_a_forked_child": "passed", "test_leaves_a_daemon": "passed"}
    assert results == {**left, "test_last": "passed" if death == "pass" else "invalid"}, text
    assert suite.leftovers() == []
