"""`FAMACASE_MODE=testops_multi`: a run in each project, each result in each of its projects, and none stops another."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness.server import COMPLETE, RUNS, Backend, answer, running
from harness.suites import Ran, Suite

SUITE = """
    import os

    import pytest
    from qase.pytest import qase

    @qase.project_id("ONE", [1, 2])
    @qase.project_id("TWO", 3)
    def test_both():
        qase.attach((b"same", "text/plain", "note.txt"))

    @qase.project_id("TWO", 4)
    @pytest.mark.parametrize("number", range(4))
    def test_two(number):
        pass

    def test_plain():
        pass

    @qase.id(9)
    def test_default():
        pass

    @qase.project_id("GONE", 5)
    def test_gone():
        pass

    @qase.project_id("TWO", 6)
    @qase.project_id("ONE", 7)
    def test_dies():
        if "DIES" in os.environ:
            os._exit(3)
"""
#: Titles and test case ids.
IN_ONE = [("test_both", [1, 2]), ("test_default", [9]), ("test_dies", [7]), ("test_gone", None), ("test_plain", None)]
IN_TWO = [("test_both", [3]), ("test_dies", [6]), *[("test_two", [4])] * 4]
PROCESSES = {"no-xdist": ("-p", "no:xdist"), "n2": ("-n2",)}


@pytest.fixture
def several(suite: Suite, backend: Backend) -> Suite:
    suite.write("test_several.py", SUITE)
    projects = [{"code": "TWO", "run": {"title": "Second"}}, {"code": "ONE", "environment": "staging"}]
    content = {"mode": "testops_multi", "testops_multi": {"default_project": "ONE", "projects": projects}}
    suite.write("famacase.config.json", json.dumps(content))
    suite.env.update(
        backend.environment(), FAMACASE_MODE="testops_multi", FAMACASE_TESTOPS_PROJECT="", FAMACASE_RETRY_ATTEMPTS="1"
    )
    return suite


def of_project(backend: Backend, code: str) -> list[dict[str, Any]]:
    """Return all results of a project."""
    return [each for run in backend.store.runs() if run.project == code for each in backend.store.results(run.id)]


def told(results: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return sorted(((each["title"], each["testops_ids"]) for each in results), key=lambda pair: pair[0])


def section(ran: Ran) -> list[str]:
    """Return the lines of the section at the end."""
    return ran.stdout.partition(" Famacase ")[2].partition("short test summary")[0].splitlines()[1:]


def at(backend: Backend) -> dict[str, str]:
    return {"FAMACASE_API_URL": backend.url}


@pytest.mark.parametrize("args", PROCESSES.values(), ids=PROCESSES)
def test_each_project_has_one_run_with_its_results(args: tuple[str, ...], several: Suite, backend: Backend) -> None:
    ran = several.run(*args)

    assert told(of_project(backend, "ONE")) == IN_ONE, ran.text
    assert told(of_project(backend, "TWO")) == IN_TWO, ran.text
    assert [run.status for run in backend.store.runs()] == ["completed", "completed"]
    assert {run.project: run.title for run in backend.store.runs()}["TWO"] == "Second"
    assert len({each["id"] for each in backend.results()}) == len(IN_ONE) + len(IN_TWO)
    for code in ("ONE", "TWO"):
        (both,) = [each for each in of_project(backend, code) if each["title"] == "test_both"]
        assert [each["file_name"] for each in both["attachments"]] == ["note.txt"]
        assert len(backend.requests(rf"POST .*/projects/{code}/attachments")) == 1
    assert len({seen.pid for seen in backend.seen}) == 1
    assert several.leftovers() == []
    lines = section(ran)
    for code, count in (("ONE", len(IN_ONE)), ("TWO", len(IN_TWO))):
        (line,) = [line for line in lines if line.startswith(f"{code}: ")]
        assert re.fullmatch(rf"{code}: run \d+: http://\S+ \(completed\), delivered {count}, undelivered 0", line)
        assert f"famacase: project {code}, run " in ran.stdout
    assert "problem: 1 results name project GONE, which is not in testops_multi" in lines


def test_a_worker_that_dies_loses_no_project_a_result(several: Suite, backend: Backend) -> None:
    ran = several.run("-n2", DIES="yes")

    assert told(of_project(backend, "ONE")) == IN_ONE, ran.text
    assert told(of_project(backend, "TWO")) == IN_TWO, ran.text
    statuses = [each["execution"]["status"] for each in backend.results() if each["title"] == "test_dies"]
    assert statuses == ["invalid", "invalid"]


def test_of_the_only_process_that_dies_each_project_gets_what_it_is_to_get(several: Suite, backend: Backend) -> None:
    several.run("-p", "no:xdist", DIES="yes")

    several.await_couriers()

    assert told(of_project(backend, "ONE")) == IN_ONE
    assert told(of_project(backend, "TWO")) == IN_TWO
    ended = [each for each in backend.results() if each["execution"]["status"] == "invalid"]
    assert [(each["title"], each["message"]) for each in ended] == [
        ("test_dies", "the process ended while this test was running")
    ] * 2
    assert several.leftovers() == []


def test_a_project_that_is_not_there_stops_no_other_and_is_sent_later(several: Suite, tmp_path: Path) -> None:
    with running(tmp_path / "one.sqlite3", projects=["ONE"]) as backend:
        ran = several.run("-p", "no:xdist", FAMACASE_FALLBACK="report", **at(backend))

        assert told(of_project(backend, "ONE")) == IN_ONE, ran.text
        assert len(backend.requests(COMPLETE)) == 1
    lines = section(ran)
    assert "TWO: no run was opened, delivered 0, undelivered 6" in lines
    assert "TWO: instead, 6 results are in the report: build/qase-report/TWO (FAMACASE_FALLBACK)" in lines
    assert any(line.startswith("undelivered 6: there is no project TWO") for line in lines)
    assert len(list((several.path / "build/qase-report/TWO/results").iterdir())) == 6

    with running(tmp_path / "both.sqlite3", port=int(backend.url.rpartition(":")[2])) as late:
        sent = several.resend(**at(late))

        assert told(of_project(late, "TWO")) == IN_TWO, sent
        assert of_project(late, "ONE") == []
        assert [run.status for run in late.store.runs()] == ["completed"]
        assert several.leftovers() == []


def test_a_run_key_is_one_run_in_each_project(several: Suite, backend: Backend) -> None:
    for _ in range(2):
        several.run("-p", "no:xdist", FAMACASE_TESTOPS_RUN_ID="nightly", FAMACASE_TESTOPS_RUN_COMPLETE="false")

    assert sorted(run.project for run in backend.store.runs()) == ["ONE", "TWO"]
    assert len(of_project(backend, "ONE")) == 2 * len(IN_ONE)


def test_a_server_that_fails_for_one_project_keeps_only_its_results(several: Suite, backend: Backend) -> None:
    backend.inject(r"POST .*/projects/TWO/.*/results", answer(500), times=float("inf"))

    ran = several.run("-p", "no:xdist", FAMACASE_FLUSH_TIMEOUT="5")

    assert told(of_project(backend, "ONE")) == IN_ONE, ran.text
    assert of_project(backend, "TWO") == []
    assert len(backend.requests(COMPLETE)) == 1
    assert len(backend.requests(RUNS)) == 2
    assert len(several.leftovers()) == 1
    assert sum(line.startswith("kept in ") for line in section(ran)) == 1
