"""`FAMACASE_FALLBACK=report`: where no run can be opened, a report is there at the end, and the outbox keeps all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.server import Backend, answer, running
from harness.suites import Suite

SUITE = """
    import pytest
    from qase.pytest import qase

    @pytest.mark.parametrize("number", range(5))
    def test_quick(number):
        qase.attach((b"%d" % number, "text/plain", "number.txt"))
        with qase.step("same everywhere"):
            qase.attach((b"x" * 3_000_000, "text/plain", "large.txt"))

    def test_fails():
        assert False
"""
PROCESSES = {"no-xdist": ("-p", "no:xdist"), "n2": ("-n2",)}
REPORT = "build/qase-report"


def nobody(backend: Backend) -> dict[str, str]:
    return {"FAMACASE_API_URL": "http://127.0.0.1:9"}


def refused_token(backend: Backend) -> dict[str, str]:
    backend.inject(".*", answer(401, b""), times=float("inf"))
    return {}


@pytest.fixture
def quick(suite: Suite, backend: Backend) -> Suite:
    suite.write("test_quick.py", SUITE)
    suite.env.update(
        backend.environment(), FAMACASE_FALLBACK="report", FAMACASE_RETRY_ATTEMPTS="1", FAMACASE_FLUSH_TIMEOUT="3"
    )
    return suite


def reported(suite: Suite) -> list[dict[str, Any]]:
    """Return the results of the report, after a look whether its attachments are what the tests attached."""
    results = [json.loads(file.read_text()) for file in (suite.path / REPORT / "results").iterdir()]
    for result in results:
        if result["params"]:
            (own,) = result["attachments"]
            (shared,) = result["steps"][0]["execution"]["attachments"]
            assert (suite.path / own["file_path"]).read_text() == result["params"]["number"]
            assert (suite.path / shared["file_path"]).stat().st_size == 3_000_000
    run = json.loads((suite.path / REPORT / "run.json").read_text())
    assert run["stats"]["total"] == len(results)
    assert run["execution"]["start_time"] <= min(result["execution"]["start_time"] for result in results)
    return results


@pytest.mark.parametrize("args", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize(("trouble", "words"), [(nobody, "refused"), (refused_token, "HTTP 401")])
def test_where_no_run_can_be_opened_there_is_a_report_and_resend_has_all(
    trouble: Callable[[Backend], dict[str, str]], words: str, args: tuple[str, ...], quick: Suite, backend: Backend
) -> None:
    ran = quick.run(*args, **trouble(backend))

    assert len(reported(quick)) == 6, ran.text
    assert words in ran.stdout
    assert f"no run was opened\ninstead, 6 results are in the report: {REPORT} (FAMACASE_FALLBACK)" in ran.stdout
    assert "undelivered 6" in ran.stdout
    assert len(quick.leftovers()) == 1


def test_an_unknown_project_makes_a_report_of_a_session_that_can_be_resent(quick: Suite, tmp_path: Path) -> None:
    with running(tmp_path / "other.sqlite3", projects=["OTHER"]) as backend:
        quick.run("-p", "no:xdist", **backend.environment())
    assert len(reported(quick)) == 6

    with running(tmp_path / "late.sqlite3", port=int(backend.url.rpartition(":")[2])) as late:
        sent = quick.resend(**late.environment())
        assert len(late.results()) == 6, sent


@pytest.mark.parametrize("fallback", ["report", "off"])
def test_where_a_run_is_open_or_none_is_asked_for_there_is_no_report(
    fallback: str, quick: Suite, backend: Backend
) -> None:
    address = {} if fallback == "report" else nobody(backend)

    ran = quick.run("-p", "no:xdist", FAMACASE_FALLBACK=fallback, **address)

    assert not (quick.path / "build").exists(), ran.text


def test_a_report_that_cannot_be_written_either_is_said(quick: Suite, backend: Backend) -> None:
    quick.write("build", "in the way")

    ran = quick.run("-p", "no:xdist", **nobody(backend))

    assert f"no report was written instead: the report in {REPORT} cannot be written: Not a directory" in ran.stdout
    assert "kept in" in ran.stdout
