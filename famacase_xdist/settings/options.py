"""The command line and the ini file: the flags and names of all settings, as pytest registers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .settings import SETTINGS

if TYPE_CHECKING:
    import pytest


def add_options(parser: pytest.Parser) -> None:
    """Register flags and an ini name for each row of the table, and upstream's flags if upstream has not done it."""
    ours = parser.getgroup("famacase", "Famacase")
    upstream = parser.getgroup("qase")
    for row in SETTINGS:
        for flag in row.flags:
            _add_flag(ours, flag, dest=f"famacase_{row.name}", help=row.help)
        parser.addini(f"famacase_{row.name}", row.help, default=None)
        if row.qase:
            _add_flag(upstream, row.upstream_flag, dest=row.upstream_dest, help=f"same as {row.flag}")


def _add_flag(group: pytest.OptionGroup, flag: str, *, dest: str, help: str) -> None:
    try:
        group.addoption(flag, dest=dest, default=None, help=help.replace("%", "%%"))
    except ValueError:
        # The flag is registered already: by upstream, or by us, because pytest run in a process may load us twice.
        return
