"""Each setting's parser, and the frozen settings that controller and workers share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.errors import SettingsError
from famacase_xdist.results.status import STATUSES
from famacase_xdist.settings import parsers, projects
from famacase_xdist.settings import settings as module
from famacase_xdist.settings.parsers import number
from famacase_xdist.settings.projects import Projects
from famacase_xdist.settings.settings import BY_NAME, SETTINGS, Settings

COMPLETE = Settings(
    mode="testops",
    api_url="https://famacase.example.com",
    reporter_token="rep_reporter",
    testops_api_token="rep_api",
    testops_api_host="https://other.example.com",
    testops_project="DEMO",
    root_suite="Root",
    exclude_params=("a", "b"),
    status_mapping={"invalid": "failed"},
    pytest_capture_logs=True,
    pytest_xfail_status_xfail="blocked",
    pytest_xfail_status_xpass="failed",
)

GOOD: list[tuple[Callable[[object], Any], object, object]] = [
    (parsers.parse_text, "  padded ", "padded"),
    (parsers.parse_text, 7, "7"),
    (parsers.parse_text, "", ""),
    *((parsers.parse_bool, word, True) for word in ("true", "TRUE", "yes", "y", "on", "1", " True ", True, 1)),
    *((parsers.parse_bool, word, False) for word in ("false", "False", "no", "n", "off", "0", False, 0)),
    (parsers.parse_mode, "off", "off"),
    (parsers.parse_mode, " TestOps ", "testops"),
    (parsers.parse_mode, "embedded", "embedded"),
    *((parsers.parse_status, status.upper(), status) for status in STATUSES),
    (projects.parse_projects, {"projects": [{"code": "A"}]}, Projects("A", ({"testops_project": "A"},))),
    (parsers.parse_list, "a, b,,c ,", ("a", "b", "c")),
    (parsers.parse_list, ["a, b", "", 3], ("a, b", "3")),
    (parsers.parse_list, "", ()),
    (parsers.parse_list, [], ()),
    (parsers.parse_mapping, "invalid=failed, Skipped = PASSED", {"invalid": "failed", "skipped": "passed"}),
    (parsers.parse_mapping, {"Invalid": "failed"}, {"invalid": "failed"}),
    (parsers.parse_mapping, ["invalid=failed"], {"invalid": "failed"}),
    (parsers.parse_mapping, "", {}),
    (parsers.parse_path, "/var/lib", Path("/var/lib")),
    (parsers.parse_path, "~/state", Path.home() / "state"),
    (parsers.parse_slug, " DEMO-1_a.b:c ", "DEMO-1_a.b:c"),
    (number(int, 1), "1", 1),
    (number(int, 1), 12, 12),
    (number(int, 1, 200), "200", 200),
    (number(float, 0.1), "0.1", 0.1),
    (number(float, 0), " 2 ", 2.0),
]

A_BOOL = "true or false (also yes, no, on, off, 1, 0)"
A_MODE = "off, report, testops, testops_multi, embedded"
A_STATUS = "passed, failed, invalid, skipped, blocked, untested, disabled"
A_MAPPING = f"source=target pairs with a comma between, of: {A_STATUS}"
A_HOST = "the address of a Famacase server, such as https://famacase.example.com"
A_SLUG = "letters, digits and . _ : -"

BAD: list[tuple[Callable[[object], Any], object, str]] = [
    (parsers.parse_text, None, "a text"),
    (parsers.parse_text, {"a": 1}, "a text"),
    (parsers.parse_text, ["a"], "a text"),
    *((parsers.parse_bool, word, A_BOOL) for word in ("", "tru", "2", None, [])),
    *((parsers.parse_mode, word, A_MODE) for word in ("", "on", "testop", None, {})),
    *((parsers.parse_status, word, A_STATUS) for word in ("", "pass", "broken", None)),
    *(
        (projects.parse_projects, raw, projects._A_PROJECT)
        for raw in (
            "",
            "{",
            {},
            [],
            {"projects": []},
            {"projects": [{}]},
            {"projects": [{"code": "A", "run": {"tilte": 1}}]},
        )
    ),
    *(
        (projects.parse_projects, raw, f"{projects._A_PROJECT}; each code once, and default_project is one of them")
        for raw in (
            {"projects": [{"code": "A"}, {"code": "A"}]},
            {"projects": [{"code": "A"}], "default_project": "B"},
            {"projects": [{"code": "A"}], "defaultProject": "A"},
        )
    ),
    (
        projects.parse_projects,
        {"projects": [{"code": "A", "plan": {"id": "x"}}]},
        "a number of 1 or more as plan.id of a project",
    ),
    (parsers.parse_list, [["a"]], "a text"),
    (parsers.parse_list, [None], "a text"),
    *(
        (parsers.parse_mapping, raw, A_MAPPING)
        for raw in ("invalid", "invalid=", "=failed", "invalid=red", "red=failed", "invalid=failed=passed", 5, None)
    ),
    (parsers.parse_mapping, {"invalid": None}, A_MAPPING),
    (parsers.parse_mapping, {"invalid": ["failed"]}, A_MAPPING),
    *(
        (parsers.parse_slug, raw, A_SLUG)
        for raw in ("", "a/b", "a b", "..", ".", "a?b", "\N{LATIN SMALL LETTER E WITH ACUTE}")
    ),
    *((number(int, 1), raw, "a number of 1 or more") for raw in ("0", "-1", "1.5", "ten", "", None, True, "9" * 5000)),
    (number(int, 1, 200), "201", "a number from 1 to 200"),
    (number(int, 1, 200), "0", "a number from 1 to 200"),
    *((number(float, 0.1), raw, "a number of 0.1 or more") for raw in ("0", "0.09", "nan", "inf", "-inf", "1,5")),
]


def _case(row: tuple[Callable[[object], Any], object, object]) -> str:
    return f"{row[0].__qualname__.split('.')[0]}-{str(row[1])[:20]}"


@pytest.mark.parametrize(("parse", "raw", "value"), GOOD, ids=map(_case, GOOD))
def test_an_allowed_value_is_taken(parse: Callable[[object], Any], raw: object, value: object) -> None:
    assert parse(raw) == value


@pytest.mark.parametrize(("parse", "raw", "allowed"), BAD, ids=map(_case, BAD))
def test_a_bad_value_is_refused_with_what_is_allowed(parse: Callable[[object], Any], raw: object, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse(raw)
    assert str(caught.value) == allowed


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("https://famacase.example.com", "https://famacase.example.com"),
        ("https://famacase.example.com/", "https://famacase.example.com"),
        ("https://famacase.example.com/api/v1/reporter/v1", "https://famacase.example.com"),
        ("https://famacase.example.com/api/v1/reporter/v1/", "https://famacase.example.com"),
        ("https://example.com/famacase/api/v1/reporter/v1", "https://example.com/famacase"),
        ("http://famacase.example.com:8080/", "http://famacase.example.com:8080"),
        (" famacase.example.com ", "https://famacase.example.com"),
        ("famacase.example.com:8443/api/v1/reporter/v1", "https://famacase.example.com:8443"),
        ("localhost", "http://localhost"),
        ("LOCALHOST:8484/", "http://LOCALHOST:8484"),
        ("localhost:8484/api/v1/reporter/v1/", "http://localhost:8484"),
        ("127.0.0.1:8484", "http://127.0.0.1:8484"),
        ("127.9.8.7", "http://127.9.8.7"),
        ("[::1]", "http://[::1]"),
        ("[::1]:8484", "http://[::1]:8484"),
        ("https://localhost:8484", "https://localhost:8484"),
        ("localhost.example.com", "https://localhost.example.com"),
        ("127.0.0.1.example.com", "https://127.0.0.1.example.com"),
        ("[2001:db8::1]:8484", "https://[2001:db8::1]:8484"),
    ],
)
def test_a_host_is_normalized(raw: str, host: str) -> None:
    assert parsers.parse_host(raw) == host


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "https://",
        "/api/v1/reporter/v1",
        "ftp://famacase.example.com",
        "https:/famacase.example.com",
        "https://fama case.example.com",
        "famacase.example.com:port",
        "famacase.example.com:0",
        "famacase.example.com:65536",
        "famacase.example.com:-1",
        "::1",
        "http://[::1",
        "https://famacase.example.com?project=DEMO",
        "https://famacase.example.com?",
        "https://famacase.example.com#runs",
        "https://famacase.example.com#",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(raw: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parsers.parse_host(raw)
    assert str(caught.value) == A_HOST


@pytest.mark.parametrize("raw", ["https://user:word@example.com", "user@example.com", "https://:word@example.com"])
def test_credentials_in_an_address_are_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="the address of a Famacase server"):
        parsers.parse_host(raw)


def test_a_home_that_nobody_has_is_refused_and_not_a_traceback() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parsers.parse_path("~no-such-user-anywhere/state")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize("name", BY_NAME)
@given(raw=JSON)
def test_a_parser_raises_nothing_but_a_value_error(name: str, raw: object) -> None:
    with suppress(ValueError):
        BY_NAME[name].parse(raw)


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.default is not None], ids=lambda row: row.name)
def test_the_table_and_the_class_have_the_same_default(row: module.Setting) -> None:
    assert getattr(Settings(), row.name) == row.default


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Settings)])
def test_settings_cannot_be_changed(name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(COMPLETE, name, None)


@pytest.mark.parametrize("secret", ["rep_reporter", "rep_api"])
def test_a_token_is_not_in_the_repr(secret: str) -> None:
    assert secret not in repr(COMPLETE)


def test_famacases_own_address_wins_over_the_one_in_upstreams_words() -> None:
    assert COMPLETE.host == "https://famacase.example.com"


def test_upstreams_address_counts_where_there_is_no_other() -> None:
    assert dataclasses.replace(COMPLETE, api_url=None).host == "https://other.example.com"


def test_the_reporter_token_wins_over_the_api_token() -> None:
    assert COMPLETE.token == "rep_reporter"


def test_the_api_token_counts_where_there_is_no_other() -> None:
    assert dataclasses.replace(COMPLETE, reporter_token=None).token == "rep_api"


def test_the_embedded_server_needs_no_project() -> None:
    assert Settings(mode="embedded").project == "LOCAL"


def test_a_real_server_gets_no_project_that_nobody_named() -> None:
    assert Settings(mode="testops").project == ""


@pytest.mark.parametrize("secret", ["rep_reporter", "rep_api", "famacase.example.com", "other.example.com"])
def test_a_worker_gets_no_secret_and_no_address(secret: str) -> None:
    assert secret not in json.dumps(COMPLETE.for_worker())


@pytest.mark.parametrize("name", [row.name for row in SETTINGS if row.worker])
def test_what_a_worker_needs_arrives_as_it_was(name: str) -> None:
    arrived = Settings.from_controller(json.loads(json.dumps(COMPLETE.for_worker())))

    assert getattr(arrived, name) == getattr(COMPLETE, name)
    assert type(getattr(arrived, name)) is type(getattr(COMPLETE, name))


@pytest.mark.parametrize("name", [row.name for row in SETTINGS if not row.worker])
def test_what_a_worker_does_not_need_stays_at_its_default(name: str) -> None:
    arrived = Settings.from_controller(json.loads(json.dumps(COMPLETE.for_worker())))

    assert getattr(arrived, name) == getattr(Settings(), name)


def test_a_worker_ignores_what_a_newer_controller_may_send() -> None:
    assert Settings.from_controller({"root_suite": "Root", "not_a_setting": 1}).root_suite == "Root"


@pytest.mark.parametrize("settings", [COMPLETE, Settings(), Settings(mode="embedded")], ids=lambda each: each.mode)
def test_complete_settings_pass(settings: Settings) -> None:
    settings.check_complete()


@pytest.mark.parametrize(
    ("without", "named"),
    [
        ({"api_url": None, "testops_api_host": None}, "FAMACASE_API_URL"),
        ({"reporter_token": None, "testops_api_token": None}, "FAMACASE_TESTOPS_API_TOKEN"),
        ({"testops_project": None}, "FAMACASE_TESTOPS_PROJECT"),
    ],
)
def test_what_is_missing_is_named_with_who_asked_for_it(without: dict[str, Any], named: str) -> None:
    settings = dataclasses.replace(COMPLETE, sources={"mode": "--famacase-mode"}, **without)

    with pytest.raises(SettingsError) as caught:
        settings.check_complete()
    assert str(caught.value) == f"mode testops (from --famacase-mode) also needs {named}"


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match="API_URL, FAMACASE_TESTOPS_API_TOKEN, FAMACASE_TESTOPS_PROJECT"):
        Settings(mode="testops").check_complete()


@pytest.mark.parametrize("host", ["https://qase.io", "https://api.qase.io", "https://QASE.io:443"])
def test_the_address_that_a_suite_still_has_from_qase_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="Qase's own server"):
        dataclasses.replace(COMPLETE, api_url=None, testops_api_host=host).check_complete()


MULTI = dataclasses.replace(
    COMPLETE,
    mode="testops_multi",
    testops_project=None,
    testops_plan_id=1,
    testops_multi=Projects(
        "ONE", ({"testops_project": "ONE", "environment": "staging"}, {"testops_project": "TWO", "testops_run_id": "7"})
    ),
    environment="production",
    sources={},
)


def test_each_project_has_its_own_settings_and_the_shared_ones() -> None:
    one, two = dataclasses.replace(MULTI, testops_run_id="nightly").of_each_project().values()

    assert (one.project, one.environment, one.testops_run_id) == ("ONE", "staging", "nightly")
    assert (two.project, two.environment, two.testops_run_id) == ("TWO", "production", "7")
    assert one.report_connection_path == Path("build/qase-report/ONE")
    assert "testops_run_id" in two.sources
    assert "testops_run_id" not in one.sources
    assert one.testops_plan_id is None


def test_the_number_of_a_run_is_no_projects_unless_it_says_so() -> None:
    assert dataclasses.replace(MULTI, testops_run_id="3").of_each_project()["ONE"].testops_run_id is None


def test_several_projects_are_complete_with_address_token_and_codes() -> None:
    MULTI.check_complete()
    with pytest.raises(SettingsError, match=r"needs testops_multi in famacase\.config\.json"):
        dataclasses.replace(MULTI, testops_multi=None).check_complete()
    with pytest.raises(SettingsError, match="needs FAMACASE_TESTOPS_API_TOKEN"):
        dataclasses.replace(MULTI, reporter_token=None, testops_api_token=None).check_complete()


def test_an_address_that_only_looks_like_qases_is_taken() -> None:
    dataclasses.replace(COMPLETE, api_url="https://notqase.io").check_complete()
