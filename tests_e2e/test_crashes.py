"""A worker dies: every finished test is reported, and the one that died is one `invalid` result that says so."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Ran, Suite

NUMBERS = 40
BODY = f"""
    import os, signal, ctypes, time
    import pytest
    from qase.pytest import qase

    @pytest.mark.parametrize("number", range({NUMBERS}))
    def test_before(number):
        pass

    DEATH

    @pytest.mark.parametrize("number", range({NUMBERS}))
    def test_after(number):
        pass
"""
DEATHS = {
    "exit": ("os._exit(3)", "exit status 3"),
    "sigkill": ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL, out of memory?"),
    "segfault": ("ctypes.string_at(0)", "signal SIGSEGV"),
    "timeout": ("time.sleep(60)", "exit status 1"),
}


def suite_with(suite: Suite, death: str) -> None:
    suite.write("test_it.py", textwrap.dedent(BODY).replace("DEATH", textwrap.dedent(death)))


def run(suite: Suite, backend: Backend, *args: str) -> Ran:
    return suite.run(*args, **backend.environment())


def numbered(backend: Backend) -> list[tuple[str, str]]:
    return sorted((each["title"], each["params"]["number"]) for each in backend.results() if "number" in each["params"])


def the(backend: Backend, title: str) -> dict[str, Any]:
    (found,) = [each for each in backend.results() if each["title"] == title]
    return found


def attempts(backend: Backend, title: str) -> list[tuple[int, bool, str]]:
    executions = [each["execution"] for each in backend.results() if each["title"] == title]
    return sorted((each["attempt_index"], each["is_rerun"], each["status"]) for each in executions)


DIES_ONCE = """
import pathlib

def test_dies():
    flag = pathlib.Path(__file__).with_name("once")
    if not flag.exists():
        flag.touch()
        os._exit(3)
"""
ALL = sorted((title, str(number)) for title in ("test_before", "test_after") for number in range(NUMBERS))


@pytest.mark.parametrize(("code", "exit"), DEATHS.values(), ids=DEATHS)
def test_a_worker_that_dies_costs_no_result(code: str, exit: str, suite: Suite, backend: Backend) -> None:
    mark = "@pytest.mark.timeout(0.5, method='thread')\n" if code.startswith("time") else ""
    suite_with(suite, f'{mark}@qase.id(77)\n@qase.title("The one that dies")\ndef test_dies():\n    {code}')

    ran = run(suite, backend, "-n2", "-p", "no:faulthandler")

    assert numbered(backend) == ALL, ran.text
    died = the(backend, "The one that dies")
    assert died["execution"]["status"] == "invalid"
    assert died["testops_ids"] == [77]
    assert died["execution"]["thread"] in ("gw0", "gw1")
    thread = died["execution"]["thread"]
    assert died["message"] == f"worker {thread} crashed ({exit}) while running test_it.py::test_dies, in its call"
    assert ran.status == 1
    assert "undelivered 0, not run 0, crashed 1" in ran.stdout, ran.text
    assert [each.status for each in backend.store.runs()] == ["completed"]


PHASES = {
    "set-up": "@pytest.fixture\ndef bad():\n    os._exit(3)\ndef test_dies(bad):\n    pass",
    "tear-down": "@pytest.fixture\ndef bad():\n    yield\n    os._exit(3)\ndef test_dies(bad):\n    pass",
}


@pytest.mark.parametrize(("phase", "code"), PHASES.items(), ids=PHASES)
def test_the_phase_is_named(phase: str, code: str, suite: Suite, backend: Backend) -> None:
    suite_with(suite, code)

    run(suite, backend, "-n2")

    assert numbered(backend) == ALL
    assert the(backend, "test_dies")["message"].endswith(f"in its {phase}")


def test_no_restart_means_not_run_is_counted(suite: Suite, backend: Backend) -> None:
    suite_with(suite, "def test_dies():\n    os._exit(3)")

    ran = run(suite, backend, "-n2", "--max-worker-restart=0")

    reported = numbered(backend)
    assert len(reported) == len(set(reported))
    assert the(backend, "test_dies")["execution"]["status"] == "invalid"
    missing = len(ALL) - len(reported)
    assert f"collected {len(ALL) + 1}, delivered {len(reported) + 1} " in ran.stdout, ran.text
    assert f"undelivered 0, not run {missing}, crashed 1" in ran.stdout


def test_what_never_ran_is_untested_if_asked_for(suite: Suite, backend: Backend) -> None:
    suite_with(suite, "def test_dies():\n    os._exit(3)")

    run(suite, backend, "-n1", "--max-worker-restart=0", "--famacase-not-run=true")

    results = backend.results()
    assert len(results) == len(ALL) + 1
    statuses = {each["title"]: each["execution"]["status"] for each in results}
    assert statuses == {"test_before": "passed", "test_dies": "invalid", "test_after": "untested"}


@pytest.mark.parametrize("dist", ["load", "worksteal"])
def test_several_crashes(dist: str, suite: Suite, backend: Backend) -> None:
    suite_with(
        suite,
        """
        @pytest.mark.parametrize("which", range(3))
        def test_dies(which):
            os._exit(3)
        """,
    )

    ran = run(suite, backend, "-n2", "--dist", dist)

    assert numbered(backend) == ALL, ran.text
    died = [each for each in backend.results() if each["title"] == "test_dies"]
    assert sorted(each["params"]["which"] for each in died) == ["0", "1", "2"], ran.text
    assert {each["execution"]["status"] for each in died} == {"invalid"}


@pytest.mark.parametrize("dist", ["loadscope", "loadfile"])
def test_a_scope_that_is_run_again_is_two_attempts(dist: str, suite: Suite, backend: Backend) -> None:
    """With a scope at a time, xdist gives what was left of it, the crashed test first, to another worker.

    A test that dies each time there, and any crash under loadgroup, make xdist 3.8 itself hang.
    """
    suite_with(suite, DIES_ONCE)
    for letter in "abcdef":
        suite.write(f"test_{letter}.py", "import time\n\ndef test_other():\n    time.sleep(0.5)\n")

    ran = run(suite, backend, "-n2", "--dist", dist)

    assert numbered(backend) == ALL, ran.text
    assert attempts(backend, "test_dies") == [(1, False, "invalid"), (2, True, "passed")], ran.text
    assert len([each for each in backend.results() if each["title"] == "test_other"]) == 6


def test_each_worker_of_dist_each_may_die(suite: Suite, backend: Backend) -> None:
    suite_with(suite, "def test_dies():\n    if os.environ['PYTEST_XDIST_WORKER'] == 'gw0': os._exit(3)")

    ran = run(suite, backend, "-n2", "--dist", "each", "--max-worker-restart=0")

    by_thread = {
        each["execution"]["thread"]: each["execution"]["status"]
        for each in backend.results()
        if each["title"] == "test_dies"
    }
    assert by_thread["gw0"] == "invalid", ran.text


def test_a_crash_that_rerunfailures_runs_again_is_an_attempt(suite: Suite, backend: Backend) -> None:
    suite_with(suite, DIES_ONCE)

    ran = run(suite, backend, "-n2", "--reruns", "2")

    assert attempts(backend, "test_dies") == [(1, False, "invalid"), (2, True, "passed")], ran.text
    assert numbered(backend) == ALL
    assert ran.status == 0


def test_a_crash_in_a_rerun_is_the_next_attempt(suite: Suite, backend: Backend) -> None:
    suite_with(
        suite,
        """
        import pathlib

        def test_dies():
            tries = [path for path in (pathlib.Path("first"), pathlib.Path("second")) if path.exists()]
            pathlib.Path("second" if tries else "first").touch()
            assert tries
            if len(tries) == 1:
                os._exit(3)
        """,
    )

    ran = run(suite, backend, "-n2", "--reruns", "3")

    assert attempts(backend, "test_dies") == [(1, False, "failed"), (2, True, "invalid"), (3, True, "passed")], ran.text
    assert numbered(backend) == ALL
    assert ran.status == 0


def test_reruns_are_attempts(mode: tuple[str, ...], suite: Suite, backend: Backend) -> None:
    suite.write(
        "test_it.py",
        """
        from qase.pytest import qase
        tries = []

        def test_flaky():
            tries.append(1)
            qase.attach((f"try {len(tries)}", "text/plain", "try.txt"))
            assert len(tries) == 3
        """,
    )

    ran = run(suite, backend, *mode, "--reruns", "2")

    tries = sorted(
        (each["execution"]["attempt_index"], each["execution"]["status"], len(each["attachments"]))
        for each in backend.results()
    )
    assert tries == [(1, "failed", 1), (2, "failed", 1), (3, "passed", 1)], ran.text
    assert ran.status == 0


def test_a_module_that_does_not_import_is_one_result(mode: tuple[str, ...], suite: Suite, backend: Backend) -> None:
    suite.write("tests/test_broken.py", "import no_such_module\n")
    suite.write("tests/test_fine.py", "def test_fine():\n    pass\n")

    ran = run(suite, backend, *mode)

    broken = the(backend, "tests/test_broken.py")
    assert broken["execution"]["status"] == "invalid"
    assert broken["message"] == "collection error: ModuleNotFoundError: No module named 'no_such_module'"
    assert "modules not collected 1" in ran.stdout, ran.text


def test_collection_errors_can_be_left_out(suite: Suite, backend: Backend) -> None:
    suite.write("test_broken.py", "import no_such_module\n")

    run(suite, backend, "-n0", "--famacase-collection-errors=false")

    assert backend.results() == []
