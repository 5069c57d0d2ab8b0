"""The sources of settings: real pytest configurations, with every source that exists."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.suites import Suite

from famacase_xdist.errors import SettingsError
from famacase_xdist.settings.projects import Projects
from famacase_xdist.settings.run_reference import parse_run, reference_of, run_id_of
from famacase_xdist.settings.settings import BY_NAME, SETTINGS, Settings
from famacase_xdist.settings.sources import Sources

#: For each setting a text for the source under test, a text for the weaker ones, and what the first one means.
SAMPLES: dict[str, tuple[str, str, object]] = {
    "mode": ("embedded", "testops", "embedded"),
    "api_url": ("strong.example.com", "weak.example.com", "https://strong.example.com"),
    "reporter_token": ("rep_strong", "rep_weak", "rep_strong"),
    "testops_api_token": ("rep_strong", "rep_weak", "rep_strong"),
    "testops_api_host": ("strong.example.com", "weak.example.com", "https://strong.example.com"),
    "testops_project": ("STRONG", "WEAK", "STRONG"),
    "testops_run_id": ("7", "nightly", "7"),
    "testops_run_title": ("Strong", "Weak", "Strong"),
    "testops_run_description": ("Strong", "Weak", "Strong"),
    "testops_run_complete": ("no", "yes", False),
    "testops_run_tags": ("a, b", "c", ("a", "b")),
    "testops_batch_size": ("10", "20", 10),
    "environment": ("strong", "weak", "strong"),
    "testops_multi": (
        '{"projects": [{"code": "ONE"}]}',
        '{"projects": [{"code": "TWO"}]}',
        Projects("ONE", ({"testops_project": "ONE"},)),
    ),
    "root_suite": ("Strong", "Weak", "Strong"),
    "exclude_params": ("a, b", "c", ("a", "b")),
    "status_mapping": ("invalid=failed", "invalid=passed", {"invalid": "failed"}),
    "pytest_capture_logs": ("yes", "no", True),
    "pytest_xfail_status_xfail": ("blocked", "invalid", "blocked"),
    "pytest_xfail_status_xpass": ("blocked", "invalid", "blocked"),
    "timeout": ("5", "6", 5.0),
    "retry_attempts": ("5", "6", 5),
    "attachment_workers": ("5", "6", 5),
    "flush_timeout": ("5", "6", 5.0),
    "undelivered": ("fail", "ignore", "fail"),
    "collection_errors": ("false", "true", False),
    "not_run": ("true", "false", True),
    "fallback": ("report", "off", "report"),
    "debug": ("yes", "no", True),
    "testops_plan_id": ("7", "8", 7),
    "testops_status_filter": ("passed, skipped", "failed", ("passed", "skipped")),
    "testops_show_public_report_link": ("yes", "no", True),
    "testops_defect": ("yes", "no", True),
    "testops_configurations_values": ("os=linux, db=pg", "os=mac", {"os": "linux", "db": "pg"}),
    "testops_configurations_create_if_not_exists": ("yes", "no", True),
    "testops_run_external_link_type": ("jiraCloud", "jiraServer", "jiraCloud"),
    "testops_run_external_link_url": ("SHOP-1", "SHOP-2", "SHOP-1"),
    "profilers": ("network, sleep", "db", ("network", "sleep")),
    "profiler_network_exclude_hosts": ("a.test, b.test", "c.test", ("a.test", "b.test")),
    "execution_plan_path": ("strong.json", "weak.json", "strong.json"),
    "report_driver": ("local", "local", "local"),
    "report_connection_path": ("/strong", "/weak", Path("/strong")),
    "report_connection_format": ("jsonp", "json", "jsonp"),
    "logging_console": ("no", "yes", False),
    "logging_file": ("yes", "no", True),
    "fixture_steps": ("all", "off", "all"),
    "status_policy": ("upstream", "famacase", "upstream"),
    "state_dir": ("/strong", "/weak", Path("/strong")),
    "courier": ("thread", "process", "thread"),
    "lock_timeout": ("5", "6", 5.0),
    "shard": ("2/4", "1/4", (2, 4)),
}
#: The sources, the strongest first.
SOURCES = ("--qase", "--famacase", "FAMACASE_", "QASE_", "ini", "famacase.config.json", "qase.config.json")
OF_UPSTREAM = ("--qase", "QASE_", "qase.config.json")

Texts = dict[str, str]
#: Takes texts by setting for each source, and writes, sets and passes them.
Configure = Callable[[dict[str, Texts]], Sources]


class _Caught:
    """A plugin that keeps pytest's configuration and ends pytest before it does anything else."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        self.config = config
        return 0


def sources_in(directory: Path, given: dict[str, Texts], patch: pytest.MonkeyPatch) -> Sources:
    """Return the sources of a pytest configuration in `directory` whose only settings are these texts."""
    for name in [name for name in os.environ if name.startswith(("FAMACASE_", "QASE_", "PYTEST_"))]:
        patch.delenv(name)
    patch.chdir(directory)
    for prefix in ("FAMACASE_", "QASE_"):
        for name, text in given.get(prefix, {}).items():
            patch.setenv(prefix + name.upper(), text)
    ini = [f"famacase_{name} = {text}" for name, text in given.get("ini", {}).items()]
    Path("pytest.ini").write_text("\n".join(["[pytest]", *ini]))
    for file in ("famacase.config.json", "qase.config.json"):
        if file in given:
            Path(file).write_text(json.dumps(_nested(given[file])))
    upstream = [f"{BY_NAME[name].upstream_flag}={text}" for name, text in given.get("--qase", {}).items()]
    ours = [f"{BY_NAME[name].flag}={text}" for name, text in given.get("--famacase", {}).items()]
    return _parsed(*upstream, *ours)


def _parsed(*args: str) -> Sources:
    caught = _Caught()
    # The last argument changes nothing, but it has our name in it, and so the plugin adds its options.
    plugins = ("-p", "famacase_xdist.plugin", *("-pno:xdist", "-pno:cacheprovider", "-pno:famacase_pytest"))
    assert pytest.main([*plugins, *args], plugins=[caught]) == 0
    return Sources(caught.config, caught.config.option)


def _nested(texts: Texts) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, text in texts.items():
        *branches, leaf = BY_NAME[name].path.split(".")
        level = content
        for branch in branches:
            level = level.setdefault(branch, {})
        level[leaf] = text
    return content


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    return lambda given: sources_in(tmp_path, given, monkeypatch)


def _names_of(source: str) -> list[str]:
    return [row.name for row in SETTINGS if row.qase or source not in OF_UPSTREAM]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Settings]:
    """A function that returns the settings if a source has one text for each setting, and all weaker sources another.

    Each source is read once for the file, because pytest would set up a fixture with a parameter again for each name.
    """

    @functools.cache
    def settings_of(strongest: str) -> Settings:
        given = {
            source: {name: SAMPLES[name][0 if source == strongest else 1] for name in _names_of(source)}
            for source in SOURCES[SOURCES.index(strongest) :]
        }
        with pytest.MonkeyPatch.context() as patch:
            return sources_in(tmp_path_factory.mktemp("ranked"), given, patch).settings()

    return settings_of


def test_each_setting_has_a_sample() -> None:
    assert set(SAMPLES) == set(BY_NAME)


@pytest.mark.parametrize(("source", "name"), [(source, name) for source in SOURCES for name in _names_of(source)])
def test_a_source_wins_over_all_weaker_ones(source: str, name: str, ranked: Callable[[str], Settings]) -> None:
    settings = ranked(source)

    assert getattr(settings, name) == SAMPLES[name][2]
    assert source in settings.sources[name]


@pytest.fixture(scope="module")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        return sources_in(tmp_path_factory.mktemp("defaults"), {}, patch).settings()


@pytest.mark.parametrize("name", SAMPLES)
def test_without_any_source_there_is_the_default(name: str, defaults: Settings) -> None:
    assert getattr(defaults, name) == BY_NAME[name].default
    assert name not in defaults.sources


def test_keys_come_from_different_sources_side_by_side(configure: Configure) -> None:
    settings = configure(
        {
            "--famacase": {"testops_project": "LINE"},
            "QASE_": {"testops_project": "QASE", "testops_run_title": "Title"},
            "ini": {"timeout": "5", "testops_run_title": "ini"},
            "qase.config.json": {"root_suite": "Root"},
        }
    ).settings()

    assert (settings.testops_project, settings.testops_run_title) == ("LINE", "Title")
    assert (settings.timeout, settings.root_suite) == (5.0, "Root")


@pytest.mark.parametrize("source", ["FAMACASE_", "--famacase", "ini", "famacase.config.json"])
def test_empty_text_is_no_setting(source: str, configure: Configure) -> None:
    given = {source: {"root_suite": ""}, "qase.config.json": {"root_suite": "Root"}}

    assert configure(given).settings().root_suite == "Root"


def test_files_may_hold_json_values_of_their_own_type(configure: Configure, tmp_path: Path) -> None:
    content = {
        "testops": {"run": {"complete": False, "tags": ["a", "b"], "id": 7}, "batch": {"size": 10}},
        "statusMapping": {"invalid": "failed"},
        "timeout": 2.5,
        "environment": None,
    }
    (tmp_path / "famacase.config.json").write_text(json.dumps(content))

    settings = configure({"qase.config.json": {"environment": "upstream"}}).settings()

    assert (settings.testops_run_complete, settings.testops_run_tags) == (False, ("a", "b"))
    assert (settings.testops_run_id, settings.testops_batch_size) == ("7", 10)
    assert (settings.status_mapping, settings.timeout) == ({"invalid": "failed"}, 2.5)
    assert settings.environment == "upstream"


UPSTREAMS_SHAPES: list[tuple[dict[str, Any], str, object]] = [
    ({"testops": {"statusFilter": ["passed", "skipped"]}}, "testops_status_filter", ("passed", "skipped")),
    ({"testops": {"statusFilter": "passed, skipped"}}, "testops_status_filter", ("passed", "skipped")),
    ({"profilers": ["network", {"name": "db"}]}, "profilers", ("network", "db")),
    ({"profilers": [{"name": "network", "excludeHosts": ["example.com"]}]}, "profilers", ("network",)),
    (
        {"testops": {"configurations": {"values": [{"name": "os", "value": "linux"}, {"name": "db", "value": "pg"}]}}},
        "testops_configurations_values",
        {"os": "linux", "db": "pg"},
    ),
    (
        {"testops": {"run": {"externalLink": {"type": "jiraCloud", "link": "SHOP-1"}}}},
        "testops_run_external_link_type",
        "jiraCloud",
    ),
    (
        {"testops": {"run": {"externalLink": {"type": "jiraCloud", "link": "SHOP-1"}}}},
        "testops_run_external_link_url",
        "SHOP-1",
    ),
    ({"testops": {"run": {"tags": [" a ", "b"]}}}, "testops_run_tags", ("a", "b")),
    ({"excludeParams": ["a", "b"]}, "exclude_params", ("a", "b")),
    ({"statusMapping": {"invalid": "failed"}}, "status_mapping", {"invalid": "failed"}),
    ({"testops": {"plan": {"id": 7}}}, "testops_plan_id", 7),
    ({"logging": {"console": False, "file": True}}, "logging_console", False),
    ({"debug": True}, "debug", True),
    ({"executionPlan": {"path": "plan.json"}}, "execution_plan_path", "plan.json"),
]


@pytest.mark.parametrize("file", ["qase.config.json", "famacase.config.json"])
@pytest.mark.parametrize(("content", "name", "value"), UPSTREAMS_SHAPES, ids=[str(row[0]) for row in UPSTREAMS_SHAPES])
def test_a_file_may_have_upstreams_shapes(
    content: dict[str, Any], name: str, value: object, file: str, configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(json.dumps(content))

    assert getattr(configure({}).settings(), name) == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"testops": {"statusFilter": ["pass"]}}, "testops.statusFilter in qase.config.json: ['pass'] is not allowed"),
        ({"profilers": [{"nme": "db"}]}, "profilers in qase.config.json: [{'nme': 'db'}] is not allowed; allowed:"),
        (
            {"testops": {"configurations": {"values": [{"name": "os"}]}}},
            "testops.configurations.values in qase.config.json: [{'name': 'os'}] is not allowed; allowed: name=value",
        ),
    ],
    ids=str,
)
def test_a_bad_value_in_upstreams_shape_is_named(
    content: dict[str, Any], said: str, configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "qase.config.json").write_text(json.dumps(content))

    with pytest.raises(SettingsError) as caught:
        configure({}).settings()
    assert said in str(caught.value)


def test_the_ini_option_of_the_command_line_is_a_source(configure: Configure) -> None:
    configure({})

    assert _parsed("-o", "famacase_root_suite=Root").settings().root_suite == "Root"


def test_flags_that_come_from_addopts_count(configure: Configure) -> None:
    configure({})
    Path("pytest.ini").write_text("[pytest]\naddopts = --famacase-root-suite=Root\n")

    assert _parsed().settings().root_suite == "Root"


def test_the_file_beside_the_ini_file_is_found_from_below(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure({"famacase.config.json": {"root_suite": "Root"}})
    Path("below").mkdir()
    monkeypatch.chdir("below")

    assert _parsed().settings().root_suite == "Root"


ACTIVATION: list[tuple[dict[str, str], str]] = [
    ({}, "off"),
    ({"FAMACASE_": "testops"}, "testops"),
    ({"--famacase": "testops"}, "testops"),
    ({"ini": "testops"}, "testops"),
    ({"famacase.config.json": "embedded"}, "embedded"),
    ({"QASE_": "testops"}, "off"),
    ({"--qase": "testops"}, "off"),
    ({"qase.config.json": "testops"}, "off"),
    ({"--qase": "testops", "QASE_": "testops", "qase.config.json": "testops"}, "off"),
    ({"FAMACASE_": "off", "QASE_": "testops"}, "off"),
    ({"FAMACASE_": "off", "--qase": "testops"}, "off"),
    ({"FAMACASE_": "off", "ini": "testops"}, "off"),
    ({"--famacase": "off", "FAMACASE_": "testops"}, "off"),
    ({"--qase": "off", "FAMACASE_": "testops"}, "off"),
    ({"--qase": "off", "--famacase": "testops"}, "off"),
    ({"QASE_": "off", "FAMACASE_": "testops"}, "testops"),
    ({"QASE_": "report", "FAMACASE_": "testops"}, "testops"),
    ({"qase.config.json": "off", "FAMACASE_": "testops"}, "testops"),
    ({"qase.config.json": "off", "famacase.config.json": "testops"}, "testops"),
    ({"QASE_": "off", "ini": "testops"}, "off"),
    ({"--famacase": "embedded", "FAMACASE_": "testops"}, "embedded"),
    ({"--qase": "embedded", "FAMACASE_": "testops"}, "embedded"),
    ({"FAMACASE_": "", "QASE_": "testops"}, "off"),
    ({"FAMACASE_": " OFF ", "ini": "testops"}, "off"),
]


@pytest.mark.parametrize(
    ("modes", "mode"), ACTIVATION, ids=[" ".join(f"{s}={m}" for s, m in row[0].items()) for row in ACTIVATION]
)
def test_only_our_own_forms_turn_us_on(modes: dict[str, str], mode: str, configure: Configure) -> None:
    assert configure({source: {"mode": text} for source, text in modes.items()}).mode() == mode


def test_a_mode_that_is_none_is_named_with_source_and_what_is_allowed(configure: Configure) -> None:
    with pytest.raises(SettingsError) as caught:
        configure({"FAMACASE_": {"mode": "testop"}}).mode()
    assert (
        str(caught.value)
        == "FAMACASE_MODE: 'testop' is not allowed; allowed: off, report, testops, testops_multi, embedded"
    )


BAD = {
    "--qase": (
        "testops_batch_size",
        "0",
        "--qase-testops-batch-size: '0' is not allowed; allowed: a number from 1 to",
    ),
    "--famacase": ("timeout", "soon", "--famacase-timeout: 'soon' is not allowed; allowed: a number of 0.1 or more"),
    "FAMACASE_": ("api_url", "https://", "FAMACASE_API_URL: 'https://' is not allowed; allowed: the address of a"),
    "QASE_": ("testops_run_id", "0", "QASE_TESTOPS_RUN_ID: '0' is not allowed; allowed: the number of a run, a"),
    "ini": ("attachment_workers", "99", "pytest.ini: '99' is not allowed; allowed: a number from 1 to 32"),
    "famacase.config.json": (
        "testops_run_complete",
        "maybe",
        "testops.run.complete in famacase.config.json: 'maybe' is not allowed; allowed: true or false",
    ),
    "qase.config.json": (
        "status_mapping",
        "red",
        "statusMapping in qase.config.json: 'red' is not allowed; allowed: source=target pairs",
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_bad_value_is_named_with_its_source_and_what_is_allowed(source: str, configure: Configure) -> None:
    name, text, said = BAD[source]

    with pytest.raises(SettingsError) as caught:
        configure({source: {name: text}}).settings()
    assert said in str(caught.value)


def test_each_of_several_bad_values_has_one_line(configure: Configure) -> None:
    given = {source: {name: text} for source, (name, text, _) in BAD.items()}

    with pytest.raises(SettingsError) as caught:
        configure(given).settings()
    lines = str(caught.value).splitlines()
    assert len(lines) == len(BAD)
    assert all(any(said in line for line in lines) for _, _, said in BAD.values())


def test_a_bad_value_that_a_stronger_source_covers_is_no_error(configure: Configure) -> None:
    given = {"FAMACASE_": {"timeout": "5"}, "ini": {"timeout": "soon"}}

    assert configure(given).settings().timeout == 5


# What a CI system says

GITLAB = {"GITLAB_CI": "true", "CI_PIPELINE_ID": "77", "CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "4"}


def gitlab(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GITLAB.items():
        monkeypatch.setenv(name, value)


def test_auto_is_the_run_key_of_the_ci_run(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    gitlab(monkeypatch)

    key = configure({"FAMACASE_": {"testops_run_id": "auto"}}).settings().testops_run_id

    assert key is not None
    assert key.startswith("gitlab-")
    assert "77" in key


def test_auto_is_an_error_where_no_ci_system_is_known(configure: Configure) -> None:
    with pytest.raises(SettingsError, match="FAMACASE_TESTOPS_RUN_ID: 'auto' is not allowed, because"):
        configure({"FAMACASE_": {"testops_run_id": "auto"}}).settings()


def test_the_shard_is_read_from_the_ci_system_and_ours_wins(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    gitlab(monkeypatch)

    assert configure({}).settings().shard == (2, 4)
    assert configure({}).settings().sources["shard"] == "the CI system"
    assert configure({"FAMACASE_": {"shard": "1/3"}}).settings().shard == (1, 3)


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "2/", "/4", "a/b", "-1/4", "1.5/2", "1/0"])
def test_a_shard_that_is_none_is_refused(text: str, configure: Configure) -> None:
    with pytest.raises(SettingsError, match=r"allowed: a shard and how many there are, such as 2/4"):
        configure({"FAMACASE_": {"shard": text}}).settings()


@pytest.mark.parametrize(
    ("text", "kept", "run_id"),
    [
        ("12", "12", 12),
        (" 0012 ", "12", 12),
        ("id:5f0c-a", "id:5f0c-a", "5f0c-a"),
        ("id:12", "id:12", "12"),
        ("nightly", "nightly", None),
        ("12.0", "12.0", None),
        ("-3", "-3", None),
        ("PR #7, unit", "PR #7, unit", None),
        ("\u00fcbung", "\u00fcbung", None),
    ],
)
def test_a_number_is_a_run_and_other_text_is_a_key(text: str, kept: str, run_id: object, configure: Configure) -> None:
    assert configure({"FAMACASE_": {"testops_run_id": text}}).settings().testops_run_id == kept
    assert run_id_of(kept) == run_id


@pytest.mark.parametrize("text", ["0", "id:", "x" * 201, "a\nb", "a\x00b"])
def test_what_names_no_run_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the number of a run, a run key of at most 200 characters, or auto"):
        parse_run(text)


@pytest.mark.parametrize("raw", [True, 1.5, ["a"], {}, None])
def test_a_json_value_that_names_no_run_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="the number of a run"):
        parse_run(raw)


@pytest.mark.parametrize("run_id", [7, "7a", "5f0c-a/b", 10**20])
def test_what_is_printed_for_a_run_names_it(run_id: object) -> None:
    assert str(run_id_of(parse_run(reference_of(run_id)))) == str(run_id)


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="before pytest 9 ini values are texts only")
def test_a_bad_type_in_pytests_own_toml_table_is_an_error_that_names_it(configure: Configure) -> None:
    configure({})
    Path("pytest.ini").unlink()
    Path("pytest.toml").write_text("[pytest]\nfamacase_timeout = 30\n")

    with pytest.raises((SettingsError, pytest.UsageError), match="famacase_timeout"):
        _parsed().settings()


def _refused(content: object, configure: Configure) -> str:
    """Return the error about a famacase.config.json."""
    configure({})
    Path("famacase.config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SettingsError) as caught:
        _parsed().settings()
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"flushTimeot": 3}, "flushTimeot is not a setting; did you mean flushTimeout?"),
        ({"testops": {"api": {"tokn": "x"}}}, "testops.api.tokn is not a setting; did you mean testops.api.token?"),
        ({"testops": {"run": {"titel": "x"}}}, "testops.run.titel is not a setting; did you mean testops.run.title?"),
        ({"testops": "DEMO"}, "testops is not a setting"),
        ({"framework": {"pytest": {"captureLog": True}}}, "did you mean framework.pytest.captureLogs?"),
        ({"reporter_token": "x"}, "reporter_token is not a setting; did you mean reporterToken?"),
    ],
)
def test_an_unknown_key_of_our_file_is_named_with_the_likely_one(
    content: dict[str, Any], said: str, configure: Configure
) -> None:
    assert f"famacase.config.json: {said}" in _refused(content, configure).replace(
        "framework.pytest.captureLog is not a setting; ", ""
    )


def test_a_key_unlike_any_other_gets_no_suggestion(configure: Configure) -> None:
    assert _refused({"zzzzzzzz": 1}, configure) == "famacase.config.json: zzzzzzzz is not a setting"


def test_a_mapping_of_statuses_is_a_value_and_not_a_branch(configure: Configure) -> None:
    configure({})
    Path("famacase.config.json").write_text('{"statusMapping": {"skipped": "blocked"}}')

    assert _parsed().settings().status_mapping == {"skipped": "blocked"}


def test_the_projects_of_our_file_replace_all_of_upstreams(configure: Configure, tmp_path: Path) -> None:
    projects = [{"code": "ONE", "run": {"title": "First", "id": ""}, "plan": {"id": 3}}, {"code": "TWO"}]
    for name, content in {
        "famacase.config.json": {"default_project": "TWO", "projects": projects},
        "qase.config.json": {"default_project": "ONE", "projects": [{"code": "ONE", "environment": "staging"}]},
    }.items():
        (tmp_path / name).write_text(json.dumps({"testops_multi": content}))

    found = configure({}).settings().testops_multi

    one = {"testops_project": "ONE", "testops_run_title": "First", "testops_plan_id": 3}
    assert found == Projects("TWO", (one, {"testops_project": "TWO"}))


def test_an_unknown_key_of_upstreams_file_is_upstreams_affair(configure: Configure) -> None:
    configure({})
    Path("qase.config.json").write_text('{"testops": {"plan": {"id": 3}}, "zzz": 1, "rootSuite": "Root"}')

    assert _parsed().settings().root_suite == "Root"


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"text"', "\ufeff{}"])
def test_a_file_that_is_no_json_object_is_named(content: str, configure: Configure) -> None:
    assert "famacase.config.json" in _refused(content, configure)


@pytest.mark.parametrize(
    ("name", "path"), [("reporter_token", "reporterToken"), ("testops_api_token", "testops.api.token")]
)
def test_a_secret_is_not_repeated(name: str, path: str, configure: Configure) -> None:
    content: object = ["rep_secret"]
    for key in reversed(path.split(".")):
        content = {key: content}

    said = _refused(content, configure)

    assert said == f"{path} in famacase.config.json: the value is not allowed; allowed: a text"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:word@famacase.example.com", "'https://***@famacase.example.com'"),
        ("https://:word@famacase.example.com", "'https://***@famacase.example.com'"),
        ("https://user:wo/rd@famacase.example.com", "'https://***@famacase.example.com'"),
        ("user:word@famacase.example.com", "'***@famacase.example.com'"),
    ],
)
def test_credentials_in_an_address_are_not_repeated(address: str, shown: str, configure: Configure) -> None:
    said = _refused({"apiUrl": address}, configure)

    assert said.startswith(f"apiUrl in famacase.config.json: {shown} is not allowed; allowed: the address")


def _usage_errors(suite: Suite, *args: str, **env: str) -> str:
    """Return the words of a pytest run, which has to stop with a usage error and without a traceback."""
    suite.write("test_it.py", "def test_it(): print('ran')")
    ran = suite.run("-p", "no:xdist", *args, **env)
    assert ran.status == pytest.ExitCode.USAGE_ERROR, ran.text
    assert "Traceback" not in ran.text
    assert "collected" not in ran.stdout
    return ran.stderr


@pytest.mark.process
def test_bad_values_stop_pytest_before_collection_with_one_error(suite: Suite) -> None:
    suite.write("famacase.config.json", '{"retryAttempts": "x", "flushTimeot": 3, "reporterToken": ["rep_secret"]}')

    said = _usage_errors(suite, "--famacase-testops-batch-size=0", FAMACASE_MODE="testops", FAMACASE_TIMEOUT="soon")

    assert said.count("ERROR: famacase: ") == 1
    for source in (
        "retryAttempts",
        "flushTimeot",
        "reporterToken",
        "--famacase-testops-batch-size",
        "FAMACASE_TIMEOUT",
    ):
        assert sum(source in line for line in said.splitlines()) == 1, said
    assert "rep_secret" not in said


@pytest.mark.process
def test_a_mode_that_is_none_stops_pytest(suite: Suite) -> None:
    said = _usage_errors(suite, FAMACASE_MODE="testop")

    assert "FAMACASE_MODE: 'testop' is not allowed; allowed: off, report, testops, testops_multi, embedded" in said


@pytest.mark.process
def test_missing_settings_stop_pytest(suite: Suite) -> None:
    said = _usage_errors(suite, FAMACASE_MODE="testops", FAMACASE_TESTOPS_PROJECT="DEMO")

    assert "mode testops (from FAMACASE_MODE) also needs FAMACASE_API_URL, FAMACASE_TESTOPS_API_TOKEN" in said


@pytest.mark.process
def test_a_file_that_is_no_json_stops_pytest(suite: Suite) -> None:
    suite.write("famacase.config.json", "{")

    assert "famacase.config.json: not readable as JSON" in _usage_errors(suite, FAMACASE_MODE="testops")


@pytest.mark.process
def test_a_home_that_nobody_has_stops_pytest(suite: Suite) -> None:
    said = _usage_errors(suite, FAMACASE_MODE="embedded", FAMACASE_STATE_DIR="~no-such-user-anywhere/state")

    assert "FAMACASE_STATE_DIR" in said
