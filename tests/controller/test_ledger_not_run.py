"""What never became a test: modules that cannot be collected or are skipped, and tests that never began."""

from __future__ import annotations

import pytest
from harness.ledgers import CALL, SETUP, TEARDOWN, TEST, Kept, crashed, recorded

from famacase_xdist.controller.events import NotCollected
from famacase_xdist.controller.ledger import Ledger


def test_a_module_that_cannot_be_collected_is_one_result_for_all_workers(
    broken_module: pytest.CollectReport, kept: Kept
) -> None:
    kept.enter(*[NotCollected(broken_module)] * 4).close()

    assert kept.results == [("test_broken.py", "invalid", 1)]


def test_a_module_that_cannot_be_collected_says_why(broken_module: pytest.CollectReport, kept: Kept) -> None:
    kept.enter(NotCollected(broken_module))

    assert kept.content["title"] == "test_broken.py"
    assert kept.content["message"] == "collection error: ModuleNotFoundError: No module named 'no_such_module'"
    assert "import no_such_module" in kept.content["execution"]["stacktrace"]


def test_each_module_that_cannot_be_collected_has_its_result(kept: Kept) -> None:
    for name in ("a.py", "b.py"):
        kept.enter(NotCollected(pytest.CollectReport(name, "failed", "E   SyntaxError: x", None)))

    assert [nodeid for nodeid, _, _ in kept.results] == ["a.py", "b.py"]


def test_collection_errors_are_left_out_where_so_set(broken_module: pytest.CollectReport) -> None:
    kept = Kept(Ledger(collection_errors=False)).enter(NotCollected(broken_module)).close()

    assert (kept.results, kept.ledger.not_collected) == ([], 0)


@pytest.mark.parametrize("collection_errors", [True, False])
def test_a_module_that_is_skipped_is_one_result_for_all_workers_with_its_reason(collection_errors: bool) -> None:
    skip = pytest.CollectReport("test_whole.py", "skipped", ("test_whole.py", 2, "Skipped: JIRA-9: not here"), None)  # type: ignore[arg-type]
    kept = Kept(Ledger(collection_errors=collection_errors)).enter(*[NotCollected(skip)] * 2).close()

    assert kept.results == [("test_whole.py", "skipped", 1)]
    assert kept.content["message"] == "JIRA-9: not here"
    assert kept.ledger.not_collected == 0


def test_tests_that_never_began_are_untested_where_asked_for() -> None:
    kept = Kept(Ledger(keep_nodeids=True))
    kept.ledger.collect([TEST, "t.py::test_b", "t.py::test_c"])

    kept.enter(SETUP, CALL, TEARDOWN, recorded(), crashed("t.py::test_b")).close(report_not_run=True)

    assert kept.results[2:] == [("t.py::test_c", "untested", 1)]
    assert kept.contents[2]["message"] == "the session ended before this test began"


@pytest.mark.parametrize(("keep", "report_not_run"), [(True, False), (False, True), (False, False)])
def test_tests_that_never_began_are_left_out_where_not_asked_for(keep: bool, report_not_run: bool) -> None:
    kept = Kept(Ledger(keep_nodeids=keep))
    kept.ledger.collect([TEST])

    assert kept.close(report_not_run=report_not_run).results == []
