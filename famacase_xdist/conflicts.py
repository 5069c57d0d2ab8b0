"""Keeps out other plugins that would report the same tests: qase-pytest, whose place we take, and famacasepytest."""

from __future__ import annotations

import contextlib
import enum
import importlib.metadata
import os
from types import ModuleType

import pytest

#: Upstream's names: its entry point, the module that a conftest may name, and the plugins that it registers.
_UPSTREAM = ("qase_pytest", "qase.pytest.conftest", "qase-pytest", "qase-pytest-bdd")
#: The names of the other client of Famacase, which contains a copy of upstream.
RIVAL = "famacasepytest"
RIVAL_PLUGIN = "famacase_pytest"
_RIVALS = (RIVAL_PLUGIN, RIVAL, "famacase-pytest", "famacase.pytest.plugin")
_RIVAL_PACKAGES = ("famacase", RIVAL)


class _Rival(enum.Enum):
    """What has been seen of the other client in a session."""

    NOTHING = enum.auto()
    #: It was registered, and we unregistered it.
    EVICTED = enum.auto()
    #: The user keeps it out, with ``-p no:famacase_pytest``.
    BLOCKED_BY_USER = enum.auto()


_SEEN = pytest.StashKey[_Rival]()


def evict(config: pytest.Config) -> None:
    """Unregister and block these plugins. Called as early as hooks allow, and again when more may have been loaded."""
    manager = config.pluginmanager
    if _SEEN not in config.stash:  # a later call would find our own block
        config.stash[_SEEN] = _Rival.BLOCKED_BY_USER if manager.is_blocked(RIVAL_PLUGIN) else _Rival.NOTHING
    found = [name for name, plugin in manager.list_name_plugin() if plugin is not None and _is_rival(name, plugin)]
    if found and config.stash[_SEEN] is _Rival.NOTHING:
        config.stash[_SEEN] = _Rival.EVICTED
    for name in (*_UPSTREAM, *_RIVALS, *found):
        manager.set_blocked(name)


def _is_rival(name: str, plugin: object) -> bool:
    module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
    return name in _RIVALS or module.partition(".")[0] in _RIVAL_PACKAGES


def installed() -> list[str]:
    """Return the installed distributions that would report the same tests."""
    found = {RIVAL} if _is_installed(RIVAL) else set()
    for entry_point in importlib.metadata.entry_points(group="pytest11", name=RIVAL_PLUGIN):
        found.add(entry_point.dist.name.lower() if entry_point.dist else RIVAL)
    return sorted(found)


def _is_installed(name: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.distribution(name))
    return False


def header_line(config: pytest.Config) -> str:
    """Return a line on the plugin that was kept out, and on what to remove; empty if there was none."""
    seen = config.stash.get(_SEEN, _Rival.BLOCKED_BY_USER)
    if seen is _Rival.BLOCKED_BY_USER:
        return ""
    is_loaded = seen is _Rival.EVICTED
    names = installed() if is_loaded or not _is_autoload_off(config) else []
    if not names and not is_loaded:
        return ""
    return f"famacase: {advice(names or [RIVAL])}; it is kept out of this session"


def advice(names: list[str]) -> str:
    """Return why two reporters are wrong, and which one to remove."""
    return (
        f"{' and '.join(names)} would report the same tests a second time;"
        f" remove it and keep famacase-xdist: pip uninstall {' '.join(names)}"
    )


def _is_autoload_off(config: pytest.Config) -> bool:
    is_off = getattr(config.known_args_namespace, "disable_plugin_autoload", False)
    return bool(is_off or os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"))
