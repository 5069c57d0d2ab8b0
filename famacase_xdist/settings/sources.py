"""Where settings come from, and which source wins.

Command line, environment, pytest's ini file, famacase.config.json, qase.config.json, default. On the command
line ``--qase-*`` wins over ``--famacase-*``; in the environment the FAMACASE form wins over the QASE form.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from famacase_xdist.errors import SettingsError

from . import ci
from .projects import Projects
from .settings import BY_NAME, SETTINGS, Settings
from .table import Setting

if TYPE_CHECKING:
    import pytest

OWN_FILE = "famacase.config.json"
UPSTREAM_FILE = "qase.config.json"
#: How like a setting a variable's name must be to be called a misspelled one; 1 is the same.
LIKENESS = 0.75


class Found(NamedTuple):
    """A value before it is parsed, and where it stood."""

    value: object
    source: str
    is_ours: bool


def add_options(parser: pytest.Parser) -> None:
    """Register a flag and an ini name for each row, and upstream's flags where upstream is not there to do it."""
    ours = parser.getgroup("famacase", "Famacase")
    upstream = parser.getgroup("qase")
    for row in SETTINGS:
        # An in-process run may register us twice, and upstream may have been here first.
        for flag in row.flags:
            _add_flag(ours, flag, dest=f"famacase_{row.name}", help=row.help)
        parser.addini(f"famacase_{row.name}", row.help, default=None)
        if row.qase:
            _add_flag(upstream, row.upstream_flag, dest=row.upstream_dest, help=f"same as {row.flag}")


def _add_flag(group: pytest.OptionGroup, flag: str, *, dest: str, help: str) -> None:
    try:
        group.addoption(flag, dest=dest, default=None, help=help.replace("%", "%%"))
    except ValueError:
        return


class Place(Protocol):
    """What `Sources` asks of pytest's config."""

    @property
    def rootpath(self) -> Path:
        """The directory that holds the project's files."""

    @property
    def inipath(self) -> Path | None:
        """The ini file, for messages."""

    @property
    def invocation_params(self) -> Any:
        """Whose ``dir`` is the directory that we were started in."""

    def getini(self, name: str) -> Any:
        """Give a value of the ini file."""


class Directory:
    """A place without pytest: the command line of our own reads the environment and the files of a directory."""

    inipath = None

    def __init__(self, path: Path) -> None:
        self.rootpath = path
        self.invocation_params = SimpleNamespace(dir=path)

    def getini(self, name: str) -> None:
        """Give nothing: there is no ini file."""


class Sources:
    """Everything that can hold a setting for one process."""

    def __init__(self, config: Place, options: object, environ: Mapping[str, str] = os.environ) -> None:
        self._config = config
        self._options = options
        self._environ = environ
        self._own = _read_file(OWN_FILE, config)
        self._upstream = _read_file(UPSTREAM_FILE, config)

    def mode(self) -> str:
        """Give the effective mode: ours is off unless a FAMACASE form, or our file, turns it on.

        QASE_MODE alone never starts us; it may still turn us off from a stronger source.
        """
        found = list(self._found(BY_NAME["mode"]))
        switch = next((each for each in found if each.is_ours), None)
        if switch is None or _parse(BY_NAME["mode"], switch) == "off":
            return "off"
        return str(_parse(BY_NAME["mode"], found[0]))

    def settings(self) -> Settings:
        """Read every setting.

        Raises:
            SettingsError: One line for each bad value: the value, where it came from, what is allowed.
        """
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        problems = list(_unknown_keys(self._own))
        for row in SETTINGS:
            found = next(iter(self._found(row)), None)
            if found is None:
                continue
            try:
                values[row.name] = _parse(row, found)
                sources[row.name] = found.source
            except SettingsError as error:
                problems.append(str(error))
        problems += self._from_ci(values, sources)
        if problems:
            raise SettingsError("\n".join(problems))
        return Settings(**values, sources=sources)

    def _from_ci(self, values: dict[str, Any], sources: dict[str, str]) -> Iterator[str]:
        """Put in what the CI system says: the run key that ``auto`` stands for, and the shard; yield what is wrong."""
        if "shard" not in values and (shard := ci.shard(self._environ)):
            values["shard"], sources["shard"] = shard, "the CI system"
        if values.get("testops_run_id") == "auto":
            if (found := ci.detect(self._environ)) and found.key:
                values["testops_run_id"] = found.key
            else:
                yield (
                    f"{sources['testops_run_id']}: 'auto' is not allowed; allowed is, where no CI system is known by"
                    " its variables, a run's number or a run key"
                )

    def _found(self, row: Setting) -> Iterator[Found]:
        """Yield the values of one row, the strongest first; empty text counts as not set."""
        for value, source, is_ours in self._candidates(row):
            if value is not None and value != "":
                yield Found(value, source, is_ours)

    def _candidates(self, row: Setting) -> Iterator[tuple[object, str, bool]]:
        if row.qase:
            yield getattr(self._options, row.upstream_dest, None), row.upstream_flag, False
        yield getattr(self._options, f"famacase_{row.name}", None), row.flag, True
        upper = row.name.upper()
        yield self._environ.get(f"FAMACASE_{upper}"), f"FAMACASE_{upper}", True
        if row.qase:
            yield self._environ.get(f"QASE_{upper}"), f"QASE_{upper}", False
        yield self._ini(row), f"famacase_{row.name} in {self._config.inipath or 'ini'}", True
        yield _dig(self._own, row.path), f"{row.path} in {OWN_FILE}", True
        if row.qase:
            yield _dig(self._upstream, row.path), f"{row.path} in {UPSTREAM_FILE}", False

    def _ini(self, row: Setting) -> object:
        try:
            return self._config.getini(f"famacase_{row.name}")
        except (TypeError, ValueError) as error:
            raise SettingsError(f"famacase_{row.name}: {error}") from None


def misspelled(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that is none of ours, but so like one that it may be meant for us."""
    names = {f"FAMACASE_{row.name.upper()}" for row in SETTINGS}
    for name in sorted(environ):
        # The server's own, which `famacase-xdist serve` reads, is close to one of these.
        if not name.startswith("FAMACASE_") or name in names or name == "FAMACASE_SERVER_TOKEN":
            continue
        tail = name.removeprefix("FAMACASE_")
        close = difflib.get_close_matches(tail, [row.name.upper() for row in SETTINGS], n=1, cutoff=LIKENESS)
        if close:
            yield f"{name} is not a setting; did you mean FAMACASE_{close[0]}?"


def described(settings: Settings) -> dict[str, tuple[str, str]]:
    """Give the text and the source of each value that is set; tokens are masked."""
    return {
        name: ("***" if BY_NAME[name].secret else str(_shown(getattr(settings, name))), source)
        for name, source in settings.sources.items()
    }


def idle_line(settings: Settings) -> str:
    """Name what is set and has no effect; empty where nothing is."""
    each = [settings, *settings.of_each_project().values()]
    found = (one.sources.get(row.name, row.name) for one in each for row in SETTINGS if _is_idle(row, one))
    idle = list(dict.fromkeys(found))
    them = "them" if len(idle) > 1 else "it"
    return f"Famacase has no call for {', '.join(idle)}: nothing comes of {them}" if idle else ""


def _is_idle(row: Setting, settings: Settings) -> bool:
    return row.is_idle and bool(getattr(settings, row.name))


def _shown(value: object) -> object:
    if isinstance(value, tuple):
        return ("/" if value and isinstance(value[0], int) else ", ").join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, Projects):
        return ", ".join(str(own["testops_project"]) for own in value.settings)
    return value


def _parse(row: Setting, found: Found) -> Any:
    try:
        return row.parse(found.value)
    except ValueError as error:
        # What stands before an @ in an address may be a password.
        shown = "the value" if row.secret else re.sub(r"^(['\"]?(\w+://)?).*@", r"\1***@", repr(found.value))
        raise SettingsError(f"{found.source}: {shown} is not allowed; allowed is {error}") from None


def _read_file(name: str, config: Place) -> dict[str, Any]:
    for folder in dict.fromkeys((config.invocation_params.dir, config.rootpath)):
        path = Path(folder) / name
        if path.is_file():
            return _load(path)
    return {}


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: a JSON object is needed")
    return {**_excluded_hosts(content), **content}


def _excluded_hosts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Give upstream's ``{"profilers": [{"name": "network", "excludeHosts": [...]}]}`` the place of the table."""
    entries = content.get("profilers")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == "network" and "excludeHosts" in entry:
            return {"networkProfiler": {"excludeHosts": entry["excludeHosts"]}}
    return {}


def _dig(content: Mapping[str, Any], path: str) -> object:
    value: object = content
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _unknown_keys(content: Mapping[str, Any]) -> Iterator[str]:
    paths = [row.path for row in SETTINGS]
    for path in _leaves(content, {p.rpartition(".")[0] for p in paths}):
        if path not in paths:
            close = difflib.get_close_matches(path, paths, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield f"{OWN_FILE}: {path} is not a setting{hint}"


def _leaves(content: Mapping[str, Any], branches: Iterable[str], prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths of all values; an object is a value unless settings lie below its path."""
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and any(f"{branch}.".startswith(f"{path}.") for branch in branches):
            yield from _leaves(value, branches, f"{path}.")
        else:
            yield path
