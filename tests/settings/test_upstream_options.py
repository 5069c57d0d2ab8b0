"""Every flag that the installed qase-pytest registers has a row, a twin, and the destination that we read."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from harness.suites import Suite
from qase.commons import config as upstream_config
from qase.pytest.options import QasePytestOptions

from famacase_xdist.settings import options
from famacase_xdist.settings.settings import SETTINGS

#: Upstream's variables for which features.md has no row: how its own HTTP client behaves.
NOT_OURS = {
    "QASE_TESTOPS_API_TIMEOUT",
    "QASE_TESTOPS_API_RETRIES",
    "QASE_TESTOPS_API_RETRY_BACKOFF",
}
#: What upstream reads from its file only.
OF_FILES = {"QASE_TESTOPS_MULTI"}


class _RecordingParser:
    """Registers options as pytest's parser and its groups do."""

    def __init__(self) -> None:
        self.flags: dict[str, str] = {}
        self.ini: set[str] = set()

    def getgroup(self, *names: str) -> _RecordingParser:
        return self

    def addoption(self, flag: str, *, dest: str, **_: Any) -> None:
        if flag in self.flags:
            raise ValueError(f"{flag} is there already")
        self.flags[flag] = dest

    def addini(self, name: str, *_: Any, **__: Any) -> None:
        self.ini.add(name)


def flags_of_upstream() -> dict[str, str]:
    parser = _RecordingParser()
    QasePytestOptions.addoptions(parser, parser)
    return parser.flags


def flags_of_ours() -> dict[str, str]:
    parser = _RecordingParser()
    options.add_options(parser)  # type: ignore[arg-type]
    return parser.flags


UPSTREAM = flags_of_upstream()


def test_upstream_registers_flags() -> None:
    assert len(UPSTREAM) > 30
    assert UPSTREAM["--qase-mode"] == "qase_mode"


@pytest.mark.parametrize("flag", UPSTREAM)
def test_a_flag_of_upstream_has_a_row_with_its_destination(flag: str) -> None:
    (row,) = [row for row in SETTINGS if row.qase and row.upstream_flag == flag]

    assert row.upstream_dest == UPSTREAM[flag]
    assert flags_of_ours()[flag] == UPSTREAM[flag]


@pytest.mark.parametrize("flag", UPSTREAM)
def test_a_flag_of_upstream_has_a_twin(flag: str) -> None:
    (row,) = [row for row in SETTINGS if row.qase and row.upstream_flag == flag]
    twin = flag.replace("--qase-", "--famacase-")

    assert flags_of_ours()[twin] == f"famacase_{row.name}"


def test_each_row_has_a_flag_an_ini_name_and_a_place_in_the_file() -> None:
    parser = _RecordingParser()
    options.add_options(parser)  # type: ignore[arg-type]

    assert {row.flag for row in SETTINGS} <= set(parser.flags)
    assert parser.ini == {f"famacase_{row.name}" for row in SETTINGS}
    assert len({row.path for row in SETTINGS}) == len(SETTINGS)
    assert all(row.path for row in SETTINGS)


def test_each_variable_that_upstream_reads_has_a_row() -> None:
    read = set(re.findall(r"'(QASE_[A-Z_]+)'", inspect.getsource(upstream_config)))

    assert len(read) > 30
    assert read - NOT_OURS == {f"QASE_{row.name.upper()}" for row in SETTINGS if row.qase} - OF_FILES


@pytest.mark.process
def test_help_shows_every_flag_and_ini_name_with_its_meaning(suite: Suite) -> None:
    ran = suite.run("--help", COLUMNS="400")

    assert ran.status == 0, ran.text
    text = " ".join(ran.stdout.split())
    for row in SETTINGS:
        for flag in row.flags:
            # Before Python 3.13 argparse repeats the placeholder after each flag of an option; these have one each.
            assert re.search(rf"{flag}[ =]FAMACASE_{row.name.upper()} {re.escape(row.help)}", text), flag
        assert f"famacase_{row.name} (string): {row.help}" in text
        if row.qase:
            assert re.search(rf"{row.upstream_flag}[ =]{row.upstream_dest.upper()} ", text), row.upstream_flag


@pytest.mark.process
def test_a_flag_that_is_none_is_pytests_own_usage_error(suite: Suite) -> None:
    ran = suite.run("-p", "no:xdist", "--famacase-tiemout=3")

    assert ran.status == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --famacase-tiemout=3" in ran.stderr


@pytest.mark.process
def test_an_ini_name_that_is_none_is_pytests_own_warning_or_error(suite: Suite) -> None:
    suite.write("pytest.ini", "[pytest]\nfamacase_tiemout = 3\n")
    suite.write("test_it.py", "def test_it(): pass")

    warned = suite.run("-n0", "-p", "no:qase_pytest")
    refused = suite.run("-n0", "-p", "no:qase_pytest", "--strict-config")

    assert warned.status == 0
    assert "Unknown config option: famacase_tiemout" in warned.stdout
    assert refused.status == pytest.ExitCode.USAGE_ERROR
    assert "Unknown config option: famacase_tiemout" in refused.stderr
