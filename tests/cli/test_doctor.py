"""``famacase-xdist doctor`` as a real process, against a real server that has faults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.outboxes import left_behind
from harness.results import result
from harness.server import Backend, answer, hang, running
from harness.suites import Ran, Suite

from famacase_xdist.cli import doctor
from famacase_xdist.cli.diagnosis import OK, PROBLEM, WARNING
from famacase_xdist.state.directory import StateDirectory

pytestmark = pytest.mark.process

PROJECT = r"GET .*/projects/DEMO"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running(tmp_path_factory.mktemp("server") / "server.sqlite3") as server:
        server.store.add_project("DEMO")
        server.store.add_plan("DEMO", (1, 2, 3), 7)
        server.store.add_plan("DEMO", (), 8)
        yield server


@pytest.fixture
def here(server: Backend, suite: Suite) -> Suite:
    """A directory whose settings are complete."""
    server.seen.clear()
    server.faults.clear()
    suite.env.update(server.environment())
    return suite


def examined(suite: Suite, *args: str, **env: str) -> Ran:
    """Run the command, and check that it ends without a traceback and without a word on stderr."""
    ran = suite.call("doctor", *args, timeout=90, **env)
    assert "Traceback" not in ran.text
    assert ran.stderr == ""
    assert ran.status in (0, 1)
    return ran


def test_all_that_is_well_is_said(here: Suite, server: Backend) -> None:
    here.write("pytest.ini", "[pytest]\naddopts = --qase-testops-plan-id=7\nfamacase_environment = stage\n")
    env = {"FAMACASE_TESTOPS_RUN_ID": "nightly", "FAMACASE_SHARD": "2/4", "QASE_STATUS_MAPPING": "invalid=failed"}

    ran = examined(here, **env)

    assert ran.status == 0, ran.stdout
    lines = ran.stdout.splitlines()
    assert all(line.startswith("ok: ") for line in lines), ran.stdout
    assert any(line.startswith("ok: versions: famacase-xdist 0.") and "qase-pytest" in line for line in lines)
    for said in (
        f"server: {server.url} answered in ",
        "token: it is accepted",
        "project: DEMO is there",
        "plan: test plan 7 has 3 cases",
        "environment: stage is there",
        "run: run key nightly, shard 2 of 4",
        "mode: testops",
        "plugins: no other one would report the same tests",
        f"state: {here.state} can be written; a run key's lock is flock",
        "outbox: nothing is left of earlier sessions",
        "setting: TESTOPS_PLAN_ID = 7 (from --qase-testops-plan-id)",
        f"setting: ENVIRONMENT = stage (from famacase_environment in {here.path}/pytest.ini)",
        "setting: STATUS_MAPPING = invalid=failed (from QASE_STATUS_MAPPING)",
        "setting: SHARD = 2/4 (from FAMACASE_SHARD)",
        "setting: TESTOPS_API_TOKEN = *** (from FAMACASE_TESTOPS_API_TOKEN)",
    ):
        assert sum(line.startswith(f"ok: {said}") for line in lines) == 1, said
    assert server.token not in ran.stdout
    assert not here.state.exists()
    assert here.files() == {"pytest.ini"}
    assert len(server.requests(PROJECT)) == 1


def test_json_is_for_scripts(here: Suite, server: Backend) -> None:
    ran = examined(here, "--format=json", FAMACASE_TESTOPS_PLAN_ID="9", FAMACASE_TESTOPS_RUN_TITLE=server.token)

    said = json.loads(ran.stdout)
    assert ran.status == 1
    assert said["ok"] is False
    assert said["settings"]["testops_project"] == {"value": "DEMO", "source": "FAMACASE_TESTOPS_PROJECT"}
    assert said["settings"]["testops_api_token"]["value"] == "***"
    assert said["versions"]["pytest"] == pytest.__version__
    assert {"level": PROBLEM, "check": "plan", "text": "there is no test plan 9 in project DEMO"} in said["findings"]
    assert {finding["level"] for finding in said["findings"]} == {OK, PROBLEM}
    assert server.token not in ran.stdout


FAULTS: list[tuple[dict[str, str], Any, str]] = [
    (
        {"FAMACASE_API_URL": "http://127.0.0.1:9"},
        None,
        "problem: server: http://127.0.0.1:9: no connection (Connection",
    ),
    ({}, answer(401), "problem: token: the token was refused: HTTP 401: injected"),
    ({}, answer(404), "problem: project: there is no project DEMO at"),
    ({}, answer(503), "problem: server: HTTP 503: injected"),
    ({}, answer(200, b"<html>"), "problem: server: "),
    ({"FAMACASE_TIMEOUT": "1"}, "hang", "problem: server: "),
]


@pytest.mark.parametrize(("env", "fault", "said"), FAULTS, ids=[str(row[2])[9:60] for row in FAULTS])
def test_what_is_wrong_with_the_server_is_said_after_one_try(
    env: dict[str, str], fault: Any, said: str, here: Suite, server: Backend
) -> None:
    if fault is not None:
        server.inject(PROJECT, hang(server) if fault == "hang" else fault, times=9)
    since = time.monotonic()

    ran = examined(here, FAMACASE_TESTOPS_PLAN_ID="7", **env)

    assert ran.status == 1
    assert sum(line.startswith(said) for line in ran.stdout.splitlines()) == 1, ran.stdout
    assert len(server.seen) == (0 if fault is None else 1)
    assert time.monotonic() - since < 60
    assert server.token not in ran.stdout


def test_what_the_settings_name_and_is_not_there(here: Suite) -> None:
    (here.state / "log").mkdir(parents=True)
    left_behind(
        StateDirectory(here.state).outbox("20260101T000000-abc"), [result()], host="h", project="DEMO", run_id=1
    )

    ran = examined(
        here,
        FAMACASE_TESTOPS_PLAN_ID="8",
        FAMACASE_TESTOPS_RUN_ID="4711",
        QASE_TESTOPS_DEFECT="yes",
        FAMACASE_TIEMOUT="3",
    )

    assert ran.status == 1
    for said in (
        "problem: plan: test plan 8 has no cases",
        "problem: run: there is no run 4711 in project DEMO",
        "warning: settings: Famacase has no call for QASE_TESTOPS_DEFECT: it has no effect",
        "warning: settings: FAMACASE_TIEMOUT is not a setting; did you mean FAMACASE_TIMEOUT?",
        "warning: outbox: 20260101T000000-abc: 1 results were not delivered; to send them: famacase-xdist",
    ):
        assert sum(line.startswith(said) for line in ran.stdout.splitlines()) == 1, ran.stdout


def test_a_bad_value_and_a_file_that_is_no_json_are_findings(here: Suite, server: Backend) -> None:
    bad = examined(here, FAMACASE_TIMEOUT="soon", FAMACASE_API_URL="https://")
    here.write("famacase.config.json", "{")
    broken = examined(here)

    assert bad.status == broken.status == 1
    assert "problem: settings: FAMACASE_TIMEOUT: 'soon' is not allowed; allowed: a number" in bad.stdout
    assert "problem: settings: FAMACASE_API_URL: 'https://' is not allowed" in bad.stdout
    assert "famacase.config.json: not readable as JSON" in broken.stdout
    assert server.seen == []


def test_without_any_setting_nothing_would_be_reported(suite: Suite) -> None:
    ran = examined(suite)

    assert ran.status == 1
    assert "problem: mode: nothing is reported: FAMACASE_MODE=testops turns reporting on" in ran.stdout
    assert "problem: server: reporting needs FAMACASE_API_URL, FAMACASE_TESTOPS_API_TOKEN, FAMACASE_TEST" in ran.stdout


def test_the_embedded_mode_needs_nothing(suite: Suite) -> None:
    ran = examined(suite, FAMACASE_MODE="embedded", FAMACASE_SHARD="1/2")

    assert ran.status == 0, ran.stdout
    assert "ok: server: mode embedded starts its own" in ran.stdout
    assert "warning: run: shard 1 of 2 makes a run of its own" in ran.stdout


def test_a_pytest_that_does_not_start_or_does_not_load_us_is_said(here: Suite) -> None:
    here.write("pytest.ini", "[pytest]\naddopts = --no-such-flag\n")
    broken = examined(here)
    here.write("pytest.ini", "[pytest]\naddopts = -p no:famacase_xdist.plugin\n")
    blocked = examined(here)

    assert broken.status == 0, broken.stdout
    assert "warning: pytest: its ini file was not read:" in broken.stdout
    assert blocked.status == 1, blocked.stdout
    assert "problem: pytest: it does not load famacase-xdist here" in blocked.stdout


def test_another_reporter_is_a_warning_that_names_what_to_remove(here: Suite) -> None:
    site = here.path.parent / "site"
    here.write(f"{site}/other-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    here.write(f"{site}/other-1.dist-info/entry_points.txt", "[pytest11]\nfamacase_pytest = json\n")

    ran = examined(here, PYTHONPATH=f"{site}:{here.environment().get('PYTHONPATH', '')}")

    assert ran.status == 0, ran.stdout
    assert "warning: plugins: other would report the same tests a second time; remove it and keep" in ran.stdout
    assert "pip uninstall other" in ran.stdout


def test_a_state_directory_that_cannot_be_written_is_a_problem_for_a_run_key(here: Suite) -> None:
    here.state.write_text("a file")

    alone = examined(here)
    shared = examined(here, FAMACASE_TESTOPS_RUN_ID="nightly")

    assert alone.status == 0, alone.stdout
    assert f"warning: state: {here.state}: Not a directory; undelivered results would be lost" in alone.stdout
    assert shared.status == 1
    assert "problem: state: " in shared.stdout


def test_a_state_directory_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    assert doctor._unwritable(tmp_path / "a" / "b") is None
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_ours_is_a_finding_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(doctor, "_versions", broken)
    monkeypatch.setattr(doctor, "_settings_and_what_they_name", lambda report, environ: None)

    report = doctor.examine({})

    assert not report.is_ok
    assert [(each.level, each.text) for each in report.findings if each.check == "doctor"] == [
        (PROBLEM, "internal error: RuntimeError('boom')")
    ]
    assert WARNING not in {each.level for each in report.findings}
