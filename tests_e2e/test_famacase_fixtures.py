"""The fixtures `famacase` and `famacase_run`: in one process, in workers, and where nothing is reported."""

from __future__ import annotations

from harness.server import Backend
from harness.suites import Suite

SUITE = """
    import pytest
    from famacase_xdist import Famacase, FamacaseRun

    @pytest.mark.parametrize("number", range(4))
    def test_adds(number: int, famacase: Famacase, famacase_run: FamacaseRun) -> None:
        famacase.param("run", famacase_run.id)
        famacase.param("url", famacase_run.url)
        with famacase.step("act"):
            famacase.attach(("text", "text/plain", "a.txt"))
"""


def test_a_test_knows_its_run_and_adds_to_its_result(suite: Suite, backend: Backend, mode: tuple[str, ...]) -> None:
    suite.write("test_it.py", SUITE)

    ran = suite.run(*mode, **backend.environment())

    assert ran.status == 0, ran.text
    (run,) = backend.store.runs()
    results = backend.results()
    assert len(results) == 4
    for result in results:
        assert result["params"] == {
            "number": result["params"]["number"],
            "run": str(run.id),
            "url": f"{backend.url}/runs/{run.id}",
        }
        assert [step["data"]["action"] for step in result["steps"]] == ["act"]
        assert [each["file_name"] for each in result["steps"][0]["attachments"]] == ["a.txt"]


def test_where_nothing_is_reported_they_do_nothing(suite: Suite) -> None:
    suite.write("test_it.py", SUITE)
    suite.write(
        "test_inactive.py",
        """
        import sys

        def test_inactive(famacase, famacase_run):
            assert (famacase_run.id, famacase_run.url) == (None, None)
            famacase.attach("no such file")
            assert "qase" not in sys.modules or "famacase_xdist.recording.recorder" not in sys.modules
        """,
    )

    ran = suite.run("-n2")

    assert ran.status == 0, ran.text
    assert "5 passed" in ran.stdout
