"""The README says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from famacase_xdist.settings.settings import SETTINGS
from famacase_xdist.settings.table import Setting

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def row(setting: Setting) -> str:
    """Return a setting's line in the table."""
    default = setting.default
    if default in (None, (), {}):
        shown = ""
    elif isinstance(default, bool):
        shown = str(default).lower()
    else:
        shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"| {setting.name.upper()} | {'yes' if setting.qase else ''} | `{setting.path}` | {shown} | {setting.help} |"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    section = README.partition("## Settings")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]

    assert rows == [row(setting) for setting in SETTINGS]


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci/run").read_text()
    pattern = re.search(r"grep -m1 '(.+)' README\.md", script)

    assert pattern is not None
    assert re.search(pattern[1], README, re.MULTILINE)
    assert 'eval "$command"' in script


def test_the_changelog_names_the_version() -> None:
    from famacase_xdist import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
