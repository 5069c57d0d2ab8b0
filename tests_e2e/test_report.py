"""`FAMACASE_MODE=report` beside `QASE_MODE=report`: the same report, field by field, but for what the docs list."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from harness.suites import Suite

OURS, UPSTREAM = {"FAMACASE_MODE": "report"}, {"QASE_MODE": "report"}

SUITE = """
    import pytest
    from qase.pytest import qase

    @qase.id([7, 8])
    @qase.title("Buys a book")
    @qase.suite("Shop.Cart")
    @qase.fields(("severity", "critical"), ("custom", "x"))
    @qase.author("Ada")
    @qase.tags("smoke", "cart")
    @pytest.mark.parametrize(("amount", "currency"), [(1, "EUR"), (2, "USD")])
    @pytest.mark.parametrize("channel", ["shop"])
    def test_everything(amount, currency, channel, tmp_path):
        receipt = tmp_path / "receipt.txt"
        receipt.write_text("thanks")
        with qase.step("outer", "all is well"):
            qase.attach((b"\\x00\\xff", "application/octet-stream", "raw.bin"))
            with qase.step("inner"):
                qase.attach(("in a step", "text/plain", "inner.txt"))
        qase.attach(("text", "text/plain", "note.txt"))
        qase.attach(({"a": 1}, "application/json", "data.json"))

    def test_attaches_a_file(tmp_path):
        (tmp_path / "receipt.txt").write_text("thanks")
        qase.attach(str(tmp_path / "receipt.txt"))

    def test_attaches_in_a_step_alone():
        with qase.step("outer"):
            with qase.step("inner"):
                qase.attach(("deep", "text/plain", "deep.txt"))

    @qase.project_id("ONE", [1, 2])
    @qase.project_id("TWO", 3)
    def test_of_two_projects():
        pass

    def test_fails():
        with qase.step("breaks"):
            assert 1 == 2, "one is not two"

    def test_errs():
        raise RuntimeError("boom")

    @pytest.mark.skip(reason="not yet")
    def test_skips():
        pass

    @qase.muted()
    def test_muted():
        assert False

    class TestGroup:
        def test_in_class(self):
            pass

    @qase.ignore()
    def test_ignored():
        pass
"""

#: Where xdist is installed and not used, upstream never makes the directory of its report.
WITHOUT_XDIST = "import sys; sys.modules['xdist'] = None"

#: Where ours differs from upstream's, by title and path; docs/differences.md has the reasons.
DIFFERENCES = {
    ("Buys a book 1 shop EUR", "param_groups"): ([["amount", "currency"]], []),
    ("Buys a book 2 shop USD", "param_groups"): ([["amount", "currency"]], []),
    ("test_attaches_a_file", "attachments", 0, "text"): ("thanks", "null"),
    ("test_attaches_in_a_step_alone", "steps", 0, "steps", 0, "execution", "attachments", 0, "text"): ("deep", None),
    ("test_errs", "execution", "status"): ("invalid", "failed"),
    ("test_skips", "message"): ("not yet", " not yet"),
    ("test_skips", "execution", "stacktrace"): (None, "('test_shop.py', 44, 'Skipped: not yet')"),
    ("test_muted", "execution", "status"): ("blocked", "failed"),
    ("test_muted", "muted"): (True, False),
}
#: Different in each session, or ours in addition.
NOT_COMPARED = ("id", "parent_id", "start_time", "end_time", "duration", "thread", "attempt_index", "is_rerun")


def report_of(suite: Suite, path: str = "build/qase-report") -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return a report's run, and its results by title and params."""
    files = list((suite.path / path / "results").iterdir())
    results = [read(file) for file in files]
    run = read(next((suite.path / path).glob("run.*")))
    assert sorted(each["id"] for each in run["results"]) == sorted(each["id"] for each in results)
    return run, {" ".join([each["title"], *each["params"].values()]): each for each in results}


def read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    found = re.fullmatch(r"qaseJsonp\((.*)\);", text, re.DOTALL)
    return json.loads(found[1] if found else text)


def compared(value: Any, suite: Suite) -> Any:
    """Return what is compared of a result: an attachment's content in the place of its file's name."""
    if isinstance(value, list):
        return [compared(each, suite) for each in value]
    if not isinstance(value, dict):
        return value.replace(f"{suite.path}/pkg/", "") if isinstance(value, str) else value
    kept = {name: compared(each, suite) for name, each in value.items() if name not in NOT_COMPARED}
    if "file_path" in kept:
        kept["text"] = content_of(value, suite.path)
        del kept["file_path"], kept["content"]
    return kept


def content_of(attachment: dict[str, Any], directory: Path) -> str | None:
    """Read an attachment; None where the report does not hold it in a file of its own."""
    path = directory / (attachment["file_path"] or "none")
    is_named = path == directory / f"build/qase-report/attachments/{attachment['id']}-{attachment['file_name']}"
    return path.read_bytes().decode("latin-1") if is_named else None


def differences(ours: Any, theirs: Any, *path: Any) -> dict[tuple[Any, ...], tuple[Any, Any]]:
    """Return each leaf that differs, ours and theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [*ours, *(key for key in theirs if key not in ours)]
        pairs = [(key, ours.get(key, "missing"), theirs.get(key, "missing")) for key in keys]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(index, *pair) for index, pair in enumerate(zip(ours, theirs, strict=True))]
    else:
        return {} if ours == theirs else {path: (ours, theirs)}
    found: dict[tuple[Any, ...], tuple[Any, Any]] = {}
    for key, *pair in pairs:
        found.update(differences(*pair, *path, key))
    return found


def test_our_report_is_upstreams_but_for_what_is_listed(suite: Suite, tmp_path: Path) -> None:
    suite.write("pkg/test_shop.py", SUITE)
    theirs = Suite(tmp_path / "upstream", tmp_path / "state")
    theirs.write("pkg/test_shop.py", SUITE)

    ran = suite.run("-p", "no:xdist", **OURS)
    theirs.write("without_xdist.py", WITHOUT_XDIST)
    blocked = ("-p", "without_xdist", "-p", "no:xdist", "-p", "no:xdist.looponfail")
    upstream = theirs.run(
        *blocked, PYTHONPATH=os.pathsep.join([str(theirs.path), os.environ.get("PYTHONPATH", "")]), **UPSTREAM
    )

    assert "report: build/qase-report" in ran.stdout, ran.text
    our_run, our_results = report_of(suite)
    their_run, their_results = report_of(theirs)
    assert our_results.keys() == their_results.keys(), upstream.text
    found = {}
    for title, result in our_results.items():
        found.update(differences(compared(result, suite), compared(their_results[title], theirs), title))
    assert found == DIFFERENCES
    assert our_run.keys() == their_run.keys()
    for name in ("stats", "execution"):
        assert our_run[name].keys() == their_run[name].keys()
    assert our_run["results"][0].keys() == their_run["results"][0].keys()
    assert set(our_run["suites"]) == set(their_run["suites"])
    host = differences(our_run["host_data"], their_run["host_data"])
    assert {path for path, _ in host.items()} <= {("framework",), ("reporter",), ("packageManager",)}, host


CRASHING = """
    import os
    import signal

    import pytest
    from qase.pytest import qase

    @pytest.mark.parametrize("number", range(8))
    def test_before(number, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        qase.attach((b"%d" % number, "text/plain", f"{number}.txt"))

    def test_dies():
        os._exit(3)

    @pytest.mark.parametrize("number", range(8))
    def test_after(number):
        pass
"""


def test_the_report_is_complete_after_a_worker_has_died(suite: Suite) -> None:
    suite.write("test_crash.py", CRASHING)
    # What an earlier session left, upstream's or ours.
    suite.run("-p", "no:xdist", "-k", "before", **OURS)

    ran = suite.run("-n2", "--qase-report-connection-local-format=jsonp", **OURS)

    run, results = report_of(suite)
    numbered = [f"test_{name} {number}" for name in ("before", "after") for number in range(8)]
    assert sorted(results) == sorted([*numbered, "test_dies"]), ran.text
    assert (run["stats"]["passed"], run["stats"]["invalid"], run["stats"]["total"]) == (16, 1, 17)
    assert set(run["threads"]) <= {"gw0", "gw1", "gw2"}
    assert re.match(r"worker gw\d crashed \(exit status 3\)", results["test_dies"]["message"])
    for number in range(8):
        (entry,) = results[f"test_before {number}"]["attachments"]
        assert content_of(entry, suite.path) == str(number)
    assert "written 17 (1 invalid, 16 passed), not written 0, not run 0, crashed 1" in ran.stdout
    assert suite.files() == {"test_crash.py", *(name for name in suite.files() if name.startswith("build/"))}
    assert suite.leftovers() == []


def test_the_report_is_complete_after_the_only_process_has_died(suite: Suite) -> None:
    suite.write("test_crash.py", CRASHING)

    suite.run("-p", "no:xdist", **OURS)
    suite.await_couriers()

    run, results = report_of(suite)
    assert sorted(results) == [*(f"test_before {number}" for number in range(8)), "test_dies"]
    assert (run["stats"]["passed"], run["stats"]["invalid"], run["title"]) == (8, 1, "Test run")
    assert results["test_dies"]["message"] == "the process ended while this test was running"


def test_the_report_of_an_interrupted_session_is_whole(suite: Suite) -> None:
    suite.write("test_interrupted.py", CRASHING.replace("os._exit(3)", "os.kill(os.getpid(), signal.SIGINT)"))

    ran = suite.run("-p", "no:xdist", **OURS)

    run, results = report_of(suite)
    assert sorted(results) == [*(f"test_before {number}" for number in range(8)), "test_dies"], ran.text
    assert run["stats"]["total"] == 9
    assert "not run 8" in ran.stdout


def test_a_report_that_cannot_be_written_is_said_and_the_tests_run(suite: Suite) -> None:
    suite.write("test_one.py", "def test_one(): pass")
    suite.write("build", "a file in the way")

    ran = suite.run("-p", "no:xdist", FAMACASE_UNDELIVERED="fail", **OURS)

    assert "nothing is reported: the report in build/qase-report cannot be written: Not a directory" in ran.stdout
    assert "1 passed" in ran.stdout
    assert ran.status == 1
