"""`pytest -n auto` and its kin report to a run: every result once, from one process."""

from __future__ import annotations

import re

import pytest
from harness.server import COMPLETE, RUNS, Backend
from harness.suites import Suite

SUITE = """
    import pytest
    from qase.pytest import qase

    @qase.id([7, 8])
    @qase.title("Buys a book")
    @qase.suite("Shop.Cart")
    @qase.fields(("severity", "critical"), ("custom", "x"))
    @qase.author("Ada")
    @qase.tags("smoke", "cart")
    @pytest.mark.parametrize(("amount", "currency"), [(1, "EUR")])
    @pytest.mark.parametrize("channel", ["web-shop"])
    def test_everything(amount, currency, channel, tmp_path):
        receipt = tmp_path / "receipt.txt"
        receipt.write_text("thanks")
        with qase.step("outer"):
            qase.attach((b"\\x00\\xff", "application/octet-stream", "raw.bin"))
            with qase.step("inner", "is there"):
                qase.attach((str(receipt), "text/plain"))
        qase.attach(("text", "text/plain", "note.txt"))
        qase.attach(str(receipt))
        receipt.write_text("overwritten later")
        qase.param("extra", "value")

    def test_fails():
        with qase.step("breaks"):
            assert 1 == 2, "one is not two"

    def test_errs():
        raise RuntimeError("boom")

    @pytest.mark.skip(reason="SHOP-1: not yet")
    def test_skips():
        pass

    @pytest.mark.xfail(reason="known bug")
    def test_xfails():
        assert False

    @pytest.mark.xfail
    def test_xpasses():
        pass

    @qase.muted()
    def test_muted():
        assert False

    @qase.ignore()
    def test_ignored():
        with qase.step("must not appear anywhere"):
            pass

    @pytest.fixture
    def broken():
        raise OSError("no database")

    def test_setup_error(broken):
        pass

    @pytest.fixture
    def leaking():
        yield
        raise OSError("cannot close")

    def test_teardown_error(leaking):
        pass

    class TestGroup:
        def test_in_class(self):
            pass
"""

STATUSES = {
    "Buys a book": "passed",
    "test_fails": "failed",
    "test_errs": "invalid",
    "test_skips": "skipped",
    "test_xfails": "skipped",
    "test_xpasses": "passed",
    "test_muted": "blocked",
    "test_setup_error": "invalid",
    "test_teardown_error": "invalid",
    "test_in_class": "passed",
}


@pytest.fixture
def reporting(suite: Suite, backend: Backend) -> Suite:
    suite.write("test_shop.py", SUITE)
    suite.env.update(backend.environment())
    return suite


DISTRIBUTIONS = {
    "no-xdist": ("-p", "no:xdist"),
    "n0": ("-n0",),
    "n1": ("-n1",),
    "auto": ("-n", "auto"),
    "loadscope": ("-n2", "--dist", "loadscope"),
    "loadfile": ("-n2", "--dist", "loadfile"),
    "loadgroup": ("-n2", "--dist", "loadgroup"),
    "worksteal": ("-n2", "--dist", "worksteal"),
    "tx": ("--dist", "load", "--tx", "2*popen"),
    "chdir": ("--dist", "load", "--tx", "popen//chdir=/tmp/famacase-xdist-elsewhere", "--rsyncdir=."),
}


@pytest.mark.parametrize("args", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_each_way_to_run_makes_one_complete_run_with_every_result_once(
    args: tuple[str, ...], reporting: Suite, backend: Backend
) -> None:
    ran = reporting.run(*args)

    assert ran.status == 1, ran.text
    assert len(backend.requests(RUNS)) == 1
    assert len(backend.requests(COMPLETE)) == 1
    (run,) = backend.store.runs()
    assert run.status == "completed"
    results = backend.store.results(run.id)
    assert {each["title"]: each["execution"]["status"] for each in results} == STATUSES, ran.text
    assert len(results) == len(STATUSES)
    assert all(stored.times_received == 1 for stored in backend.store.stored_results(run.id))
    worker = r"main" if args in (("-p", "no:xdist"), ("-n0",)) else r"gw\d"
    assert all(re.fullmatch(worker, each["execution"]["thread"]) for each in results)
    assert reporting.leftovers() == []


def test_dist_each_reports_every_test_of_every_worker(reporting: Suite, backend: Backend) -> None:
    reporting.run("-n2", "--dist", "each")

    threads = {title: set() for title in STATUSES}
    for result in backend.results():
        threads[result["title"]].add(result["execution"]["thread"])
    assert threads == {title: {"gw0", "gw1"} for title in STATUSES}
    assert len(backend.results()) == 2 * len(STATUSES)


def test_a_result_has_all_that_the_test_said(mode: tuple[str, ...], reporting: Suite, backend: Backend) -> None:
    reporting.run(*mode)

    by_title = {result["title"]: result for result in backend.results()}
    book = by_title["Buys a book"]
    assert book["testops_ids"] == [7, 8]
    assert [each["title"] for each in book["relations"]["suite"]["data"]] == ["Shop", "Cart"]
    assert book["fields"] == {"severity": "critical", "custom": "x", "author": "Ada", "tags": "smoke,cart"}
    assert sorted(book["tags"]) == ["cart", "smoke"]
    assert book["params"] == {"channel": "web-shop", "amount": "1", "currency": "EUR", "extra": "value"}
    assert book["param_groups"] == [["amount", "currency"]]
    assert book["execution"]["duration"] >= 0
    assert book["execution"]["start_time"] < book["execution"]["end_time"]
    assert book["message"] is None
    assert contents(backend, book["attachments"]) == {"note.txt": b"text", "receipt.txt": b"thanks"}
    (outer,) = book["steps"]
    (inner,) = outer["steps"]
    assert (outer["data"]["action"], outer["execution"]["status"]) == ("outer", "passed")
    assert inner["data"] == {"action": "inner", "expected_result": "is there"}
    assert contents(backend, outer["attachments"]) == {"raw.bin": b"\x00\xff"}
    assert contents(backend, inner["execution"]["attachments"]) == {"receipt.txt": b"thanks"}

    failed = by_title["test_fails"]
    assert failed["message"].startswith("AssertionError: one is not two")
    assert "assert 1 == 2" in failed["execution"]["stacktrace"]
    assert [step["execution"]["status"] for step in failed["steps"]] == ["failed"]
    assert by_title["test_errs"]["message"] == "RuntimeError: boom"
    assert by_title["test_skips"]["message"] == "SHOP-1: not yet"
    assert by_title["test_xfails"]["message"] == "known bug"
    assert by_title["test_setup_error"]["message"] == (
        "OSError: no database\nin the set-up of fixture broken (function, test_shop.py)"
    )
    assert by_title["test_teardown_error"]["message"] == (
        "OSError: cannot close\nin the teardown of fixture leaking (function, test_shop.py)"
    )
    assert by_title["test_muted"]["muted"] is True
    assert not any("must not appear" in str(result) for result in backend.results())


def contents(backend: Backend, attachments: list[dict[str, str]]) -> dict[str, bytes]:
    """Return the stored bytes of attachments by their names."""
    found = {}
    for entry in attachments:
        file = backend.store.attachment(entry["id"])
        assert file is not None
        found[entry["file_name"]] = file.content
    return found


def test_only_the_courier_opens_connections(reporting: Suite, backend: Backend) -> None:
    reporting.write(
        "conftest.py",
        """
        import os, pathlib

        PROC = pathlib.Path("/proc")

        def pytest_sessionfinish():
            commands = {path.parent.name: path.read_text() for path in PROC.glob("[0-9]*/cmdline")}
            couriers = [pid for pid, command in commands.items() if "famacase_xdist.courier" in command]
            ours = [pid for pid in couriers if f"PPid:\\t{os.getpid()}\\n" in (PROC / pid / "status").read_text()]
            if ours:
                pathlib.Path("courier").write_text(*ours)
        """,
    )

    reporting.run("-n2")

    assert {str(seen.pid) for seen in backend.seen} == {(reporting.path / "courier").read_text()}


def test_header_and_summary_name_run_and_counts(mode: tuple[str, ...], reporting: Suite, backend: Backend) -> None:
    ran = reporting.run(*mode)

    (run,) = backend.store.runs()
    link = f"{backend.url}/runs/{run.id}"
    assert f"famacase: project DEMO, run {run.id}: {link}" in ran.stdout
    assert f"run {run.id}: {link} (completed)" in ran.stdout
    counts = "3 invalid, 3 passed, 2 skipped"
    assert f"collected 11, delivered 10 (1 blocked, 1 failed, {counts}), undelivered 0" in ran.stdout, ran.text


def test_the_run_stays_open_where_it_is_not_to_be_completed(reporting: Suite, backend: Backend) -> None:
    ran = reporting.run("--famacase-testops-run-complete=false")

    assert backend.requests(COMPLETE) == []
    assert [run.status for run in backend.store.runs()] == ["active"]
    assert "(not completed: FAMACASE_TESTOPS_RUN_COMPLETE=false)" in ran.stdout


def test_an_existing_run_is_joined_by_its_number(reporting: Suite, backend: Backend) -> None:
    reporting.run("-k", "in_class")
    (run,) = backend.store.runs()

    reporting.run("-k", "skips", FAMACASE_TESTOPS_RUN_ID=str(run.id))

    assert len(backend.store.runs()) == 1
    assert backend.titles() == ["test_in_class", "test_skips"]


def test_finished_tests_of_a_worker_that_dies_are_there(suite: Suite, backend: Backend) -> None:
    suite.write(
        "test_crash.py",
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(30))
        def test_before(number):
            pass

        def test_dies():
            os._exit(3)

        @pytest.mark.parametrize("number", range(30))
        def test_after(number):
            pass
        """,
    )
    ran = suite.run("-n2", **backend.environment())

    reported = [(result["title"], result["params"]["number"]) for result in backend.results() if result["params"]]
    assert len(reported) == 60, ran.text
    assert len(set(reported)) == 60
    assert {seen.pid for seen in backend.seen if seen.pid} != set()


def test_results_go_in_batches_of_200(suite: Suite, backend: Backend) -> None:
    suite.write(
        "test_many.py",
        """
        import pytest

        @pytest.mark.parametrize("number", range(450))
        def test_one(number):
            pass
        """,
    )
    suite.run("-n2", **backend.environment())

    assert len(backend.results()) == 450
    assert len(backend.requests(r"/results")) <= 450 / 200 + 4


def test_nothing_is_written_where_the_tests_run(mode: tuple[str, ...], reporting: Suite) -> None:
    before = reporting.files()

    reporting.run(*mode)

    assert reporting.files() == before


def test_collect_only_makes_no_run(reporting: Suite, backend: Backend) -> None:
    ran = reporting.run("--collect-only", "-q", "--strict-markers")

    assert ran.status == 0, ran.text
    assert backend.seen == []
