"""Tests that freeze or shift time are reported with the times at which they ran, and get upstream's clock back."""

from __future__ import annotations

import time

from harness.server import Backend
from harness.suites import Suite

SUITE = """
    import freezegun, time_machine
    from qase.pytest import qase

    @freezegun.freeze_time("2001-02-03")
    def test_frozen():
        with qase.step("in the past"):
            pass

    @time_machine.travel("2101-02-03", tick=False)
    def test_travelled():
        with qase.step("in the future"):
            pass

    def test_that_leaves_time_frozen():
        freezegun.freeze_time("2001-02-03").start()

    def test_plain():
        pass
"""
CONFTEST = """
    import pathlib

    def pytest_configure(config):
        worker = getattr(config, "workerinput", {}).get("workerid", "main")

        def tell():
            from qase.commons.utils import QaseUtils
            pathlib.Path(f"{worker}.clock").write_text(QaseUtils.get_real_time.__module__)

        config.add_cleanup(tell)  # after every plugin's pytest_unconfigure
"""


def test_times_are_real_and_upstreams_clock_comes_back(mode: tuple[str, ...], suite: Suite, backend: Backend) -> None:
    suite.write("test_time.py", SUITE)
    suite.write("conftest.py", CONFTEST)
    begun = time.time()

    ran = suite.run(*mode, **backend.environment())

    assert ran.status == 0, ran.text
    results = {result["title"]: result for result in backend.results()}
    assert len(results) == len(backend.results()) == 4
    steps = [step for result in results.values() for step in result["steps"]]
    assert len(steps) == 2
    for execution in (each["execution"] for each in (*results.values(), *steps)):
        assert begun - 5 < execution["start_time"] <= execution["end_time"] < time.time() + 5
        assert execution["duration"] < 60_000
    (run,) = backend.store.runs()
    assert run.status == "completed"
    clocks = list(suite.path.glob("*.clock"))
    assert clocks
    assert {clock.read_text() for clock in clocks} == {"qase.commons.utils"}
