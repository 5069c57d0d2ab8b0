"""famacasepytest, installed beside us, reports nothing a second time, and it is said which one to remove."""

from __future__ import annotations

import pytest
from harness.server import Backend
from harness.suites import Suite

ADVICE = (
    "famacase: famacasepytest would report the same tests a second time; remove it and keep famacase-xdist:"
    " pip uninstall famacasepytest; it is kept out of this session"
)
#: What the real one does as far as it matters here: it registers a reporter of its own when pytest is configured.
PLUGIN = """
    import os, pathlib

    def trace(word):
        with open(os.environ["TRACE"], "a") as file:
            file.write(word + "\\n")

    class Reporter:
        def pytest_runtest_logreport(self, report):
            trace("reported")

    def pytest_addoption(parser):
        try:
            parser.getgroup("famacase").addoption("--famacase-mode", dest="famacase_mode", default=None)
        except ValueError:
            pass

    def pytest_configure(config):
        trace("configured")
        config.pluginmanager.register(Reporter(), "famacase-pytest")
"""
BOTH = pytest.mark.parametrize("args", [("-n0",), ("-n2",)], ids=["n0", "n2"])


@pytest.fixture
def rival(suite: Suite, backend: Backend) -> Suite:
    """A suite whose environment has famacasepytest installed."""
    site = suite.path.parent / "site"
    for name, text in {
        "famacase/__init__.py": "",
        "famacase/pytest/__init__.py": "",
        "famacase/pytest/plugin.py": PLUGIN,
        "famacasepytest-0.1.6.dist-info/METADATA": "Metadata-Version: 2.1\nName: FamacasePytest\nVersion: 0.1.6\n",
        "famacasepytest-0.1.6.dist-info/entry_points.txt": "[pytest11]\nfamacase_pytest = famacase.pytest.plugin\n",
    }.items():
        suite.write(str(site / name), text)
    suite.write("test_it.py", "def test_one(): pass\n\ndef test_two(): pass\n")
    suite.env.update(backend.environment())
    # Before our own place on the path, so that its entry point is found first.
    suite.env["PYTHONPATH"] = f"{site}:{suite.environment().get('PYTHONPATH', '')}"
    suite.env["TRACE"] = str(suite.path.parent / "trace")
    return suite


def trace(suite: Suite) -> list[str]:
    """Return what the other plugin did."""
    file = suite.path.parent / "trace"
    return file.read_text().split() if file.exists() else []


@BOTH
def test_the_other_reporter_is_kept_out_and_it_is_said(args: tuple[str, ...], rival: Suite, backend: Backend) -> None:
    ran = rival.run(*args)

    assert ran.status == 0, ran.text
    assert trace(rival) == []
    assert ran.stdout.count(ADVICE) == 1, ran.text
    assert backend.titles() == ["test_one", "test_two"]


@pytest.mark.parametrize(
    "loading",
    [
        {"args": "-p famacase_xdist.plugin -p famacase.pytest.plugin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        {"args": "-p famacase_xdist.plugin -p famacase_pytest", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        {"args": "", "PYTEST_PLUGINS": "famacase.pytest.plugin"},
        {"args": "", "conftest": "pytest_plugins = ['famacase.pytest.plugin']"},
    ],
    ids=lambda loading: " ".join(loading.values()).strip(),
)
def test_it_is_kept_out_however_it_is_loaded(loading: dict[str, str], rival: Suite, backend: Backend) -> None:
    env = {name: value for name, value in loading.items() if name.isupper()}
    rival.write("conftest.py", loading.get("conftest", ""))

    ran = rival.run(*loading["args"].split(), **env)

    assert ran.status == 0, ran.text
    assert trace(rival) == []
    assert ran.stdout.count(ADVICE) == 1, ran.text
    assert backend.titles() == ["test_one", "test_two"]


@pytest.mark.parametrize(
    "loading",
    [
        {"args": "-n0 -p no:famacase_pytest"},
        {"args": "-p famacase_xdist.plugin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ],
    ids=lambda loading: loading["args"],
)
def test_nothing_is_said_where_it_would_not_report(loading: dict[str, str], rival: Suite, backend: Backend) -> None:
    env = {name: value for name, value in loading.items() if name.isupper()}

    ran = rival.run(*loading["args"].split(), **env)

    assert "famacasepytest" not in ran.stdout
    assert backend.titles() == ["test_one", "test_two"]


def test_it_is_left_alone_while_we_are_off(rival: Suite, backend: Backend) -> None:
    ran = rival.run("-n0", "-p", "no:qase_pytest", FAMACASE_MODE="off")

    assert ran.status == 0, ran.text
    assert "reported" in trace(rival)
    assert "famacasepytest" not in ran.stdout
    assert backend.seen == []
