"""Without a FAMACASE setting, qase-pytest behaves as if this package were not installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from harness.suites import Suite

PROBE = """
    import json, os, sys, threading

    def pytest_unconfigure(config):
        probe = {
            "modules": sorted(name for name in sys.modules if name.startswith("famacase_xdist")),
            "threads": [t.name for t in threading.enumerate() if t.name.startswith("famacase")],
            "plugins": sorted(
                name for name, plugin in config.pluginmanager.list_name_plugin() if plugin and "qase" in name
            ),
        }
        with open(os.environ["PROBE"] + os.environ.get("PYTEST_XDIST_WORKER", ""), "w") as file:
            json.dump(probe, file)
"""
# Upstream's client, which talks to https://api-... only, told what to answer; and no pip to ask about the host.
CLIENT = """
    import json, os
    from qase.commons.client.api_v2_client import ApiV2Client
    from qase.commons.reporters import core, report

    core.get_host_info = report.get_host_info = lambda *args: {}
    ANSWERS = {"get_project": None, "create_test_run": 7, "check_test_run": True, "complete_run": None}

    def note(*call):
        with open(os.environ["CALLS"] + str(os.getpid()), "a") as file:
            print(json.dumps(call), file=file)

    def answering(name, value):
        def call(self, *args, **kwargs):
            note(name, args, kwargs)
            return value
        return call

    for name, value in ANSWERS.items():
        setattr(ApiV2Client, name, answering(name, value))

    def send_results(self, project, run, results):
        for result in results:
            note("send_results", project, run, json.loads(str(result)))

    ApiV2Client.send_results = send_results
"""
TESTOPS = {
    "QASE_TESTOPS_API_TOKEN": "token",
    "QASE_TESTOPS_PROJECT": "DEMO",
    "QASE_TESTOPS_RUN_TITLE": "a run",
    "QASE_TESTOPS_RUN_DESCRIPTION": "of tests",
}
TESTS = """
    import pytest
    from qase.pytest import qase

    @qase.id(1)
    @qase.title("One")
    @pytest.mark.parametrize("a", [1, 2])
    def test_one(a):
        with qase.step("step"):
            qase.attach((b"x", "text/plain", "x.txt"))

    def test_two():
        assert False

    @pytest.mark.skip(reason="why: this")
    def test_three():
        pass
"""
# The ids that upstream makes up, and what depends on clock, process and machine load.
VARYING = {"id", "start_time", "end_time", "duration", "cumulative_duration", "parent_id", "thread", "threads"}


@pytest.fixture
def probed(suite: Suite) -> Suite:
    suite.write("conftest.py", PROBE)
    suite.write("test_upstream.py", TESTS)
    suite.env["PROBE"] = str(suite.state) + "-probe"
    return suite


def probes(suite: Suite) -> list[dict[str, list[str]]]:
    return [json.loads(path.read_text()) for path in suite.state.parent.glob("state-probe*")]


@pytest.mark.parametrize("named", ["", "-p famacase_xdist.plugin"], ids=["as an entry point", "named first"])
def test_nothing_of_ours_is_loaded(named: str, mode: tuple[str, ...], probed: Suite) -> None:
    options = f'[tool.pytest.ini_options]\naddopts = "{named}"\n'
    probed.write("pyproject.toml", f'[project]\nname = "shop"\ndependencies = ["famacase-xdist"]\n{options}')

    probed.run(*mode, "-p", "no:qase_pytest", *named.split(), FAMACASE_STATE_DIR="")

    assert probes(probed)
    for probe in probes(probed):
        assert probe["modules"] == ["famacase_xdist", "famacase_xdist.plugin"]
        assert probe["threads"] == []


def test_mode_off_leaves_upstream_in_place(probed: Suite) -> None:
    probed.run("-n0", FAMACASE_MODE="off")

    (probe,) = probes(probed)
    assert probe["plugins"] == ["qase-pytest", "qase-pytest-bdd", "qase_pytest"]


def steady(value: object) -> object:
    """Copy a decoded report without what differs between any two runs; upstream lists results as the disk does."""
    if isinstance(value, dict):
        return {key: steady(each) for key, each in value.items() if key not in VARYING}
    return sorted(map(steady, value), key=json.dumps) if isinstance(value, list) else value


def report(suite: Suite) -> list[str]:
    """Return what upstream wrote, as sorted texts, and remove it."""
    directory = suite.path / "build"
    files = [path for path in directory.rglob("*") if path.is_file()]
    texts = [json.dumps(steady(json.loads(path.read_text()))) for path in files if path.suffix == ".json"]
    attachments = [path.read_text() for path in files if path.suffix != ".json"]
    shutil.rmtree(directory, ignore_errors=True)
    return sorted(re.sub(r"[0-9a-f-]{36}", "ID", text) for text in texts + attachments)


def calls(suite: Suite) -> list[str]:
    """Return what upstream's client was told to send, as sorted texts, and forget it."""
    texts = []
    for path in suite.state.parent.glob("state-calls-*"):
        texts += [json.dumps(steady(json.loads(line))) for line in path.read_text().splitlines()]
        path.unlink()
    return sorted(texts)


@pytest.mark.parametrize(
    ("upstream_mode", "workers"), [("off", "-n0"), ("report", "-n0"), ("report", "-n2"), ("testops", "-n2")]
)
def test_upstream_does_the_same_with_and_without_us(upstream_mode: str, workers: str, probed: Suite) -> None:
    probed.write("conftest.py", CLIENT)
    probed.env.update(CALLS=f"{probed.state}-calls-", QASE_MODE=upstream_mode, **TESTOPS)

    def outcome(*args: str) -> tuple[int, list[str], list[str], list[str]]:
        ran = probed.run(workers, *args, "-q", "-rA", FAMACASE_STATE_DIR="")
        tests = re.findall(r"^(?:PASSED|FAILED|SKIPPED|ERROR) .*", ran.stdout, re.MULTILINE)
        return ran.status, sorted(tests), report(probed), calls(probed)

    alone = outcome("-p", "no:famacase_xdist.plugin")
    beside = outcome()

    assert beside == alone
    status, tests, files, told = beside
    assert status == 1
    assert len(tests) == 4
    assert len(files) == (7 if upstream_mode == "report" else 0)
    assert sum("send_results" in call for call in told) == (4 if upstream_mode == "testops" else 0)
    assert sum("complete_run" in call for call in told) == (1 if upstream_mode == "testops" else 0)


def test_upstreams_plugin_is_kept_out_while_we_are_active(mode: tuple[str, ...], probed: Suite) -> None:
    probed.run(*mode, "--famacase-mode=embedded")

    kept_out = {"qase-pytest", "qase_pytest", "qase.pytest.conftest", "qase-pytest-bdd"}
    assert probes(probed)
    for probe in probes(probed):
        assert not kept_out.intersection(probe["plugins"])
    assert probed.files() == {
        "conftest.py",
        "test_upstream.py",
        ".famacase/.gitignore",
        ".famacase/famacase.sqlite3",
    }


@pytest.mark.parametrize(
    "loading",
    [
        {"args": ("-p", "qase_pytest")},
        {"args": ("-p", "famacase_xdist.plugin", "-p", "qase_pytest")},
        {"args": ("-p", "famacase_xdist.plugin"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        {"args": ("-p", "famacase_xdist.plugin", "-p", "xdist.plugin", "-n2"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        {"args": (), "PYTEST_PLUGINS": "qase.pytest.conftest"},
        {"args": ("-p", "no:terminal")},
        {"args": ("-n2", "-p", "qase_pytest")},
    ],
    ids=lambda loading: " ".join([*loading["args"], *(f"{k}={v}" for k, v in loading.items() if k != "args")]) or "-",
)
def test_upstream_is_kept_out_however_it_is_loaded(loading: dict[str, object], probed: Suite) -> None:
    env = {name: str(value) for name, value in loading.items() if name != "args"}

    probed.run(*loading["args"], FAMACASE_MODE="embedded", **env)  # type: ignore[misc]

    assert probes(probed)
    for probe in probes(probed):
        assert "qase-pytest" not in probe["plugins"]
    assert not (probed.path / "src.run").exists()
    assert not (probed.path / "qase.lock").exists()


def test_a_conftest_that_names_upstream_does_not_bring_it_back(probed: Suite) -> None:
    probed.write("conftest.py", f'    pytest_plugins = ["qase.pytest.conftest"]\n{PROBE}')

    ran = probed.run("-n0", FAMACASE_MODE="embedded")

    (probe,) = probes(probed)
    assert "qase-pytest" not in probe["plugins"]
    assert "delivered 4" in ran.stdout, ran.text


def test_sessions_in_one_process_follow_each_other(suite: Suite) -> None:
    suite.write("test_inner.py", TESTS)
    suite.write(
        "twice.py",
        """
        import pytest
        from qase.pytest.plugin import QasePytestPluginSingleton

        for _ in range(2):
            pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", "test_inner.py"])
            assert QasePytestPluginSingleton._instance is None
        """,
    )

    done = subprocess.run(
        [suite.python, "twice.py"],
        cwd=suite.path,
        env=suite.environment(FAMACASE_MODE="embedded"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("delivered 4") == 2
    assert "run 2:" in done.stdout
