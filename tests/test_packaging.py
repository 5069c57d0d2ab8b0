"""What we say we work with is one list: pyproject's bounds, the oldest packages that tox tests, the README's table."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOX = configparser.ConfigParser()
TOX.read(ROOT / "tox.ini", encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
OF_SERVER = [Requirement(line) for line in PROJECT["optional-dependencies"]["server"]]


def bound(requirement: Requirement, operator: str) -> Version | None:
    """Return the version that a requirement names with an operator."""
    found = [Version(each.version) for each in requirement.specifier if each.operator == operator]
    assert len(found) < 2
    return found[0] if found else None


def pins() -> dict[str, Version]:
    """Return what tox pins for the oldest packages."""
    lines = TOX["testenv:oldest"]["deps"].split()
    return {pin.name: Version(str(pin.specifier).removeprefix("==")) for pin in map(Requirement, lines)}


def rows() -> dict[str, tuple[str, str]]:
    """Return the README's table: package or Python, oldest, newest."""
    section = README.partition("## What it works with")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {name: (oldest, newest) for name, oldest, newest in cells[2:]}


@pytest.mark.parametrize("requirement", NEEDED + OF_SERVER, ids=str)
def test_the_oldest_that_is_allowed_is_the_oldest_that_is_tested(requirement: Requirement) -> None:
    assert pins()[requirement.name] == bound(requirement, ">=")


def test_nothing_else_is_pinned() -> None:
    assert set(pins()) == {requirement.name for requirement in NEEDED + OF_SERVER}


def test_the_readme_names_the_bounds_of_what_is_needed() -> None:
    expected = {each.name: (bound(each, ">="), bound(each, "<")) for each in NEEDED}

    def read(oldest: str, newest: str) -> tuple[Version, Version | None]:
        below = re.fullmatch(r"below (.+)", newest)
        assert below or newest == ""
        return Version(oldest), Version(below[1]) if below else None

    assert {name: read(*cells) for name, cells in rows().items() if name != "Python"} == expected


def test_every_python_is_tested_and_named() -> None:
    prefix = "Programming Language :: Python :: "
    named = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]

    assert PROJECT["requires-python"] == f">={named[0]}"
    assert rows()["Python"] == (named[0], named[-1])
    oldest, *_ = TOX["testenv:oldest"]["base_python"].split(",")
    others = re.search(r"py31\{([\d,]+)\}", TOX["tox"]["env_list"])
    assert others
    assert [oldest.removeprefix("python"), *(f"3.1{digit}" for digit in others[1].split(","))] == named
