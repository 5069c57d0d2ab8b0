"""Settings in messages: values with their sources, settings without effect, and misspelled variables."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from harness.suites import Suite

from famacase_xdist.settings import shown
from famacase_xdist.settings.projects import Projects
from famacase_xdist.settings.settings import BY_NAME, Settings

PROJECTS = Projects("ONE", ({"testops_project": "ONE"}, {"testops_project": "TWO", "testops_run_id": "7"}))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("testops_project", "DEMO", "DEMO"),
        ("timeout", 2.5, "2.5"),
        ("shard", (2, 4), "2/4"),
        ("testops_run_tags", ("a", "b"), "a, b"),
        ("testops_run_tags", (), ""),
        ("status_mapping", {"invalid": "failed", "skipped": "passed"}, "invalid=failed, skipped=passed"),
        ("testops_multi", PROJECTS, "ONE, TWO"),
        ("state_dir", Path("/state"), "/state"),
        ("reporter_token", "rep_secret", "***"),
        ("testops_api_token", "rep_secret", "***"),
    ],
)
def test_a_value_is_shown_with_its_source_and_a_token_is_not(name: str, value: object, text: str) -> None:
    settings = Settings.of({name: value, "sources": {name: "somewhere"}})

    assert shown.effective(settings) == {name: (text, "somewhere")}


def test_a_default_is_not_shown() -> None:
    assert shown.effective(Settings()) == {}


IDLE = Settings(testops_defect=True, sources={"testops_defect": "QASE_TESTOPS_DEFECT"})


def test_a_setting_without_effect_is_named_by_its_source() -> None:
    assert shown.idle_line(IDLE) == "Famacase has no call for QASE_TESTOPS_DEFECT: it has no effect"


def test_several_settings_without_effect_are_one_line() -> None:
    both = dataclasses.replace(IDLE, execution_plan_path="plan.json")

    assert shown.idle_line(both) == (
        "Famacase has no call for QASE_TESTOPS_DEFECT, execution_plan_path: they have no effect"
    )


def test_a_setting_of_a_project_without_effect_is_named() -> None:
    own = Projects("ONE", ({"testops_project": "ONE", "testops_run_external_link_url": "SHOP-1"},))

    assert "testops_multi" in shown.idle_line(Settings(mode="testops_multi", testops_multi=own))


@pytest.mark.parametrize("settings", [Settings(), Settings(testops_defect=False, sources=IDLE.sources)])
def test_no_line_is_made_if_all_settings_have_effect(settings: Settings) -> None:
    assert shown.idle_line(settings) == ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FAMACASE_TIEMOUT", "FAMACASE_TIMEOUT"),
        ("FAMACASE_MOED", "FAMACASE_MODE"),
        ("FAMACASE_TESTOPS_PROJEKT", "FAMACASE_TESTOPS_PROJECT"),
        ("FAMACASE_TESTOPS_API_TOKENS", "FAMACASE_TESTOPS_API_TOKEN"),
        ("FAMACASE_RETRY_ATTEMPS", "FAMACASE_RETRY_ATTEMPTS"),
    ],
)
def test_a_misspelled_variable_is_named_with_the_likely_one(name: str, meant: str) -> None:
    assert list(shown.misspelled({name: "x"})) == [f"{name} is not a setting; did you mean {meant}?"]


@pytest.mark.parametrize(
    "name",
    [
        *(f"FAMACASE_{each.upper()}" for each in BY_NAME),
        # Variables of our own server, of a CI file, of a deployment.
        *("FAMACASE_SERVER_TOKEN", "FAMACASE_TOKEN", "FAMACASE_URL", "FAMACASE_VERSION", "FAMACASE_DATABASE_URL"),
        *("FAMACASE_PORT", "FAMACASE_API_KEY", "FAMACASE_HOME", "QASE_TIEMOUT", "TIEMOUT"),
    ],
)
def test_another_variable_is_nobodys_mistake(name: str) -> None:
    assert list(shown.misspelled({name: "x"})) == []


def test_a_misspelled_mode_is_said_though_nothing_turns_us_on(suite: Suite) -> None:
    suite.write("test_it.py", "def test_it(): pass")

    ran = suite.run("-n0", "-p", "no:qase_pytest", FAMACASE_MOED="testops")

    assert ran.status == 0, ran.text
    assert "famacase: FAMACASE_MOED is not a setting; did you mean FAMACASE_MODE?" in ran.stdout
    assert list(Path(suite.path).glob(".famacase")) == []
