"""What has no effect is said, a public link is given where it is asked for, and DEBUG tells what was done."""

from __future__ import annotations

import re
import stat

import pytest
from harness.server import RESULTS, Backend, answer, hang
from harness.suites import Suite

PUBLIC = r"POST .*/public"
BOTH = pytest.mark.parametrize("args", [("-p", "no:xdist"), ("-n2",)], ids=["no-xdist", "n2"])
SUITE = """
    import logging, logging.config

    def test_one(caplog):
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("mine").debug("mine")
        logging.config.dictConfig({"version": 1, "root": {"level": "DEBUG"}})
        assert [record.name for record in caplog.records] == ["mine"]
"""


@pytest.fixture
def reporting(suite: Suite, backend: Backend) -> Suite:
    suite.write("test_it.py", SUITE)
    suite.env.update(backend.environment())
    return suite


def test_what_famacase_has_no_call_for_is_said_in_one_line(reporting: Suite) -> None:
    reporting.write(
        "qase.config.json", '{"testops": {"run": {"externalLink": {"type": "jiraCloud", "link": "SHOP-1"}}}}'
    )

    ran = reporting.run(
        *("-n2", "--qase-testops-configurations-values=os=linux"),
        QASE_TESTOPS_DEFECT="true",
        FAMACASE_EXECUTION_PLAN_PATH="x.json",
        FAMACASE_TESTOPS_CONFIGURATIONS_CREATE_IF_NOT_EXISTS="no",
    )

    assert ran.status == 0, ran.text
    (line,) = [line for line in ran.stdout.splitlines() if "no call" in line]
    assert line == (
        "famacase: Famacase has no call for QASE_TESTOPS_DEFECT, --qase-testops-configurations-values,"
        " testops.run.externalLink.type in qase.config.json, testops.run.externalLink.link in qase.config.json,"
        " FAMACASE_EXECUTION_PLAN_PATH: they have no effect"
    )


@BOTH
def test_the_public_link_is_made_after_the_run_is_left(
    args: tuple[str, ...], reporting: Suite, backend: Backend
) -> None:
    backend.inject(PUBLIC, answer(503))

    ran = reporting.run(*args, QASE_TESTOPS_SHOW_PUBLIC_REPORT_LINK="true")

    (run,) = backend.store.runs()
    assert run.is_public
    assert f"public link: {backend.url}/runs/{run.id}" in ran.stdout
    assert [seen.line.rpartition("/")[2] for seen in backend.seen[-3:]] == ["complete", "public", "public"]
    assert "no call" not in ran.stdout
    assert "Famacase log" not in ran.stdout, "DEBUG is off"


@pytest.mark.parametrize("case", ["refused", "hung"])
def test_a_public_link_that_cannot_be_had_is_one_line(case: str, reporting: Suite, backend: Backend) -> None:
    backend.inject(PUBLIC, answer(403) if case == "refused" else hang(backend))

    ran = reporting.run("-p", "no:xdist", "--famacase-testops-show-public-report-link=true", FAMACASE_FLUSH_TIMEOUT="3")

    assert ran.status == 0, ran.text
    silent = f"{backend.url} has not answered for "
    reason = "the token was refused: HTTP 403: injected" if case == "refused" else silent
    assert ran.stdout.count(f"problem: the run has no public link: {reason}") == 1, ran.text
    assert "problem: the run could not" not in ran.stdout
    assert "\npublic link: " not in ran.stdout
    assert [run.status for run in backend.store.runs()] == ["completed"]
    assert reporting.leftovers() == []


def test_without_the_setting_the_run_stays_private(reporting: Suite, backend: Backend) -> None:
    ran = reporting.run("-p", "no:xdist")

    assert ran.status == 0, ran.text
    assert backend.requests(PUBLIC) == []
    assert not (reporting.state / "log").exists()


@BOTH
def test_debug_tells_what_was_done_without_the_token(args: tuple[str, ...], reporting: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(500, f'{{"detail": "you sent {backend.token}"}}'.encode()))

    ran = reporting.run(*args, FAMACASE_DEBUG="true", QASE_LOGGING_FILE="yes", FAMACASE_TESTOPS_RUN_ID="nightly")

    assert ran.status == 0, ran.text
    (run,) = backend.store.runs()
    section = ran.stdout.partition(" Famacase log ")[2]
    (path,) = (reporting.state / "log").iterdir()
    for text in (section, path.read_text()):
        assert re.search(rf"POST {backend.url}/api/v1/reporter/v1/projects/DEMO/runs: 200, \d+ ms", text), ran.text
        assert f"run {run.id} is open: {backend.url}/runs/{run.id}" in text
        assert re.search(r"lock /.*/runs/[0-9a-f]+ after \d+ ms", text)
        assert re.search(r"try 1 of 3 failed, again in [\d.]+ s: HTTP 500: you sent \*+", text)
        assert "a batch of 1 results is delivered" in text
        assert "setting testops_api_token = *** (FAMACASE_TESTOPS_API_TOKEN)" in text
        assert f"run {run.id} is left: completed" in text
    assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{12}\.log", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert backend.token not in ran.text + path.read_text()
    assert reporting.files() == {"test_it.py"}


@pytest.mark.parametrize(
    ("env", "is_shown", "is_written"),
    [
        ({"FAMACASE_DEBUG": "true"}, True, False),
        ({"FAMACASE_DEBUG": "true", "FAMACASE_LOGGING_CONSOLE": "false"}, False, False),
        ({"FAMACASE_LOGGING_FILE": "true"}, False, True),
    ],
    ids=str,
)
def test_where_the_log_goes(env: dict[str, str], is_shown: bool, is_written: bool, reporting: Suite) -> None:
    ran = reporting.run("-p", "no:xdist", **env)

    assert ran.status == 0, ran.text
    assert ("Famacase log" in ran.stdout) == is_shown
    assert (reporting.state / "log").exists() == is_written


def test_a_log_that_cannot_be_written_costs_nothing(reporting: Suite, backend: Backend) -> None:
    reporting.state.mkdir()
    (reporting.state / "log").write_text("a file where the directory should be")

    ran = reporting.run("-p", "no:xdist", FAMACASE_LOGGING_FILE="true")

    assert ran.status == 0, ran.text
    assert backend.titles() == ["test_one"]
    assert f"problem: no log file: {reporting.state / 'log'}" in ran.stdout
    assert "Traceback" not in ran.text
