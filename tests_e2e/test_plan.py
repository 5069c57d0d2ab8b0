"""A test plan selects the same tests in every process, and is asked for once."""

from __future__ import annotations

import pytest
from harness.server import RUNS, Backend, answer
from harness.suites import Suite

from famacase_xdist.server.store import Store

PLAN = r"GET .*/plans/\d+/cases"
BOTH = pytest.mark.parametrize("args", [("-p", "no:xdist"), ("-n2",)], ids=["no-xdist", "n2"])
SUITE = """
    import pytest
    from qase.pytest import qase

    @qase.id(1)
    def test_one(): pass

    @qase.id([2, 3])
    def test_two_and_three(): pass

    @qase.id(4)
    @pytest.mark.parametrize("number", [1, 2])
    def test_four(number): pass

    @qase.project_id("DEMO", [5, 6])
    @qase.project_id("OTHER", 1)
    def test_of_this_project(): pass

    @qase.project_id("OTHER", 3)
    def test_of_another_project(): pass

    @qase.id(7)
    class TestClass:
        def test_seven(self): pass

        @qase.id(3)
        def test_closest_wins(self): pass

    @qase.id(98)
    class Base:
        def test_derived(self): pass

    @qase.id(6)
    class TestDerived(Base): pass

    @pytest.mark.parametrize("number", [pytest.param(1, marks=qase.id(9)), 2])
    def test_param(number): pass

    @qase.id("7, x")
    def test_half_an_id(): pass

    @qase.id(9)
    @qase.project_id("DEMO", 98)
    def test_id_beside_one_of_this_project(): pass

    @getattr(pytest.mark, "qase.id=3,8")
    def test_scenario_tag(): pass

    @getattr(pytest.mark, "qase.project_id.DEMO=9")
    def test_scenario_tag_of_project(): pass

    @pytest.mark.qase_id(id="no number")
    def test_bad_id(): pass

    def test_without(): pass
"""
ALL = 17
CASES = (3, 4, 6, 7, 9, 99)
SELECTED = [
    *("test_closest_wins", "test_derived", "test_four", "test_four", "test_half_an_id", "test_of_this_project"),
    "test_param",
    *("test_scenario_tag", "test_scenario_tag_of_project", "test_seven", "test_two_and_three"),
]


@pytest.fixture
def planned(suite: Suite, backend: Backend) -> Suite:
    """A suite with a plan."""
    suite.write("test_plan.py", SUITE)
    suite.env.update(backend.environment())
    backend.store.add_project("DEMO")
    suite.env["FAMACASE_TESTOPS_PLAN_ID"] = str(backend.store.add_plan("DEMO", CASES))
    return suite


@BOTH
def test_the_tests_of_the_plan_are_run_and_no_other(args: tuple[str, ...], planned: Suite, backend: Backend) -> None:
    backend.inject(PLAN, answer(503), times=2)

    ran = planned.run(*args, "-W", "ignore")

    assert ran.status == 0, ran.text
    assert backend.titles() == SELECTED
    assert len(backend.requests(PLAN)) == 3, "two refused, one answered"
    assert backend.seen.index(backend.requests(PLAN)[-1]) < backend.seen.index(backend.requests(RUNS)[0])
    (run,) = backend.store.runs()
    assert run.plan_id == int(planned.env["FAMACASE_TESTOPS_PLAN_ID"])
    assert run.status == "completed"
    assert f"famacase: test plan {run.plan_id}: only tests of its 6 cases are run" in ran.stdout
    assert ran.stdout.count(f"famacase: waiting for test plan {run.plan_id}: HTTP 503: injected") == 2
    if args != ("-n2",):  # xdist's workers do not tell what they deselect
        assert f"{ALL - len(SELECTED)} deselected" in ran.stdout


REFUSED = {
    "unknown": "there is no such plan in project DEMO",
    "empty": "it has no cases",
    "down": "HTTP 503: injected",
    "refused": "the token was refused: HTTP 401: injected",
    "no-numbers": "the plan's case ids are not numbers; is the address right?",
    "project": "there is no project DEMO at",
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_test_is_run_where_nobody_knows_which(case: str, planned: Suite, backend: Backend) -> None:
    planned.env["FAMACASE_RETRY_ATTEMPTS"] = "2"
    if case in ("unknown", "project"):
        planned.env["FAMACASE_TESTOPS_PLAN_ID"] = "77"
    elif case == "empty":
        planned.env["FAMACASE_TESTOPS_PLAN_ID"] = str(backend.store.add_plan("DEMO", ()))
    if case == "project":
        backend.inject(r"GET .*/projects/DEMO", answer(404))
    answers = {"down": answer(503), "refused": answer(401), "no-numbers": answer(200, b'{"case_ids": ["a"]}')}
    if case in answers:
        backend.inject(PLAN, answers[case], times=9)

    ran = planned.run(*(("-n2",) if case in ("unknown", "down") else ("-p", "no:xdist")), "--junitxml=none.xml")

    assert ran.status == pytest.ExitCode.USAGE_ERROR, ran.text
    plan = planned.env["FAMACASE_TESTOPS_PLAN_ID"]
    said = f"ERROR: famacase: test plan {plan} (FAMACASE_TESTOPS_PLAN_ID): {REFUSED[case]}"
    assert ran.stderr.count(said) == 1, ran.text
    assert "; no test is run, for without it all would be" in ran.stderr
    assert "Traceback" not in ran.text
    assert "nothing was reported" not in ran.text
    assert backend.store.runs() == []
    assert len(backend.requests(PLAN)) == (2 if case in ("down", "no-numbers") else 1)
    assert planned.leftovers() == []


@BOTH
def test_the_embedded_server_has_plans_too(args: tuple[str, ...], suite: Suite) -> None:
    suite.write("test_plan.py", SUITE)
    (suite.path / ".famacase").mkdir()
    with Store(suite.path / ".famacase/famacase.sqlite3") as store:
        store.add_project("LOCAL")
        plan = store.add_plan("LOCAL", (1, 2))

    ran = suite.run(*args, "-W", "ignore", "--famacase-mode=embedded", f"--qase-testops-plan-id={plan}")

    assert ran.status == 0, ran.text
    with Store(suite.path / ".famacase/famacase.sqlite3") as store:
        (run,) = store.runs()
        assert run.plan_id == plan
        assert sorted(each["title"] for each in store.results(run.id)) == ["test_one", "test_two_and_three"]


def test_a_plan_that_the_embedded_server_has_not_is_said(suite: Suite) -> None:
    suite.write("test_plan.py", SUITE)

    ran = suite.run("-n2", "--famacase-mode=embedded", "--qase-testops-plan-id=5")

    assert ran.status == pytest.ExitCode.USAGE_ERROR, ran.text
    assert "test plan 5 (--qase-testops-plan-id): there is no such plan in project LOCAL" in ran.stderr


def test_a_plan_without_a_test_here_selects_nothing(planned: Suite, backend: Backend) -> None:
    planned.env["FAMACASE_TESTOPS_PLAN_ID"] = str(backend.store.add_plan("DEMO", (1234,)))

    ran = planned.run("-p", "no:xdist", "-W", "ignore")

    assert ran.status == pytest.ExitCode.NO_TESTS_COLLECTED, ran.text
    assert f"{ALL} deselected" in ran.stdout
    assert backend.results() == []


def test_split_shares_out_what_the_plan_left(planned: Suite, backend: Backend) -> None:
    for group in ("1", "2"):
        ran = planned.run("-n2", "-W", "ignore", "--splits=2", f"--group={group}")
        assert ran.status == 0, ran.text

    assert backend.titles() == SELECTED
    assert [sum(run.counts.values()) for run in backend.store.runs()] == [5, 6]


def test_collecting_asks_for_no_plan(planned: Suite, backend: Backend) -> None:
    ran = planned.run("-p", "no:xdist", "-W", "ignore", "--collect-only", "-q")

    assert ran.status == 0, ran.text
    assert backend.seen == []
