"""The two configuration files, famacase.config.json and qase.config.json: their content, and unknown keys in ours."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from famacase_xdist.errors import SettingsError

from .settings import SETTINGS

OWN_FILE = "famacase.config.json"
UPSTREAM_FILE = "qase.config.json"


def read(name: str, folders: Iterable[Path]) -> dict[str, object]:
    """Return the content of a file in the first of these folders that has it; empty if none has it.

    Raises:
        SettingsError: The file cannot be read, or is not a JSON object.
    """
    for folder in dict.fromkeys(folders):
        path = Path(folder) / name
        if path.is_file():
            return _content(path)
    return {}


def _content(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: a JSON object is needed")
    return {**_excluded_hosts(content), **content}


def _excluded_hosts(content: Mapping[str, object]) -> dict[str, object]:
    """Return upstream's ``{"profilers": [{"name": "network", "excludeHosts": [...]}]}`` at the table's path."""
    entries = content.get("profilers")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == "network" and "excludeHosts" in entry:
            return {"networkProfiler": {"excludeHosts": entry["excludeHosts"]}}
    return {}


def value_at(content: Mapping[str, object], path: str) -> object:
    """Return the value at a dotted path; None if there is none."""
    value: object = content
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def unknown_keys(content: Mapping[str, object]) -> Iterator[str]:
    """Yield a line for each value of our own file that is not a setting."""
    paths = [row.path for row in SETTINGS]
    for path in _leaves(content, {each.rpartition(".")[0] for each in paths}):
        if path not in paths:
            close = difflib.get_close_matches(path, paths, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield f"{OWN_FILE}: {path} is not a setting{hint}"


def _leaves(content: Mapping[str, object], branches: Iterable[str], prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths of all values; an object is a value unless settings lie below its path."""
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and any(f"{branch}.".startswith(f"{path}.") for branch in branches):
            yield from _leaves(value, branches, f"{path}.")
        else:
            yield path
