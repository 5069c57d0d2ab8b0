"""The sources of settings, and their order.

Command line, environment, pytest's ini file, famacase.config.json, qase.config.json, for the shard the CI system,
default: the first one that has a value wins. On the command line ``--qase-*`` wins over ``--famacase-*``; in the
environment the FAMACASE form wins over the QASE form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from famacase_xdist.errors import SettingsError

from . import ci, files
from .settings import BY_NAME, SETTINGS, Settings
from .table import Setting


class Found(NamedTuple):
    """A value before it is parsed, and its source."""

    value: object
    source: str
    is_ours: bool


class Invocation(Protocol):
    """The circumstances of the start, as far as `Sources` needs them."""

    @property
    def dir(self) -> Path:
        """The directory in which the process was started."""


class Place(Protocol):
    """The part of pytest's config that `Sources` needs."""

    @property
    def rootpath(self) -> Path:
        """The directory that has the project's files."""

    @property
    def inipath(self) -> Path | None:
        """The ini file, for messages."""

    @property
    def invocation_params(self) -> Invocation:
        """The circumstances of the start."""

    def getini(self, name: str) -> object:
        """Return a value of the ini file."""


class _StartedIn(NamedTuple):
    dir: Path


class Directory:
    """A place without pytest: a command of our own reads the environment, and the files of a directory."""

    inipath = None

    def __init__(self, path: Path) -> None:
        self.rootpath = path
        self.invocation_params = _StartedIn(path)

    def getini(self, name: str) -> None:
        """Return None, because there is no ini file."""


class Sources:
    """All sources of settings of one process.

    Args:
        config: pytest's config, or a `Directory`.
        options: The parsed command line, with the destinations of `add_options` as its attributes.
        environ: The environment.

    Raises:
        SettingsError: A configuration file cannot be read.
    """

    def __init__(self, config: Place, options: object, environ: Mapping[str, str] = os.environ) -> None:
        self._config = config
        self._options = options
        self._environ = environ
        folders = (config.invocation_params.dir, config.rootpath)
        self._own = files.read(files.OWN_FILE, folders)
        self._upstream = files.read(files.UPSTREAM_FILE, folders)

    def mode(self) -> str:
        """Return the effective mode, which is off unless a FAMACASE form, or our file, turns us on.

        QASE_MODE alone never turns us on. It turns us off if its source is the stronger one.

        Raises:
            SettingsError: A value is not a mode.
        """
        found = list(self._found(BY_NAME["mode"]))
        switch = next((each for each in found if each.is_ours), None)
        if switch is None or _parsed(BY_NAME["mode"], switch) == "off":
            return "off"
        return str(_parsed(BY_NAME["mode"], found[0]))

    def settings(self) -> Settings:
        """Return all settings.

        Raises:
            SettingsError: Some values are not allowed; one line for each, with its source and the allowed values.
        """
        values: dict[str, object] = {}
        sources: dict[str, str] = {}
        problems = list(files.unknown_keys(self._own))
        for row in SETTINGS:
            found = next(self._found(row), None)
            if found is None:
                continue
            try:
                values[row.name] = _parsed(row, found)
                sources[row.name] = found.source
            except SettingsError as error:
                problems.append(str(error))
        if values.get("testops_run_id") == "auto":
            try:
                values["testops_run_id"] = self._run_key_of_ci(sources["testops_run_id"])
            except SettingsError as error:
                problems.append(str(error))
        if problems:
            raise SettingsError("\n".join(problems))
        return Settings.of({**values, "sources": sources})

    def _run_key_of_ci(self, source: str) -> str:
        """Return the run key that ``auto`` means; `source` is where ``auto`` comes from."""
        found = ci.detect(self._environ)
        if found is None or not found.key:
            raise SettingsError(
                f"{source}: 'auto' is not allowed, because the variables of no CI system are set;"
                " allowed: the number of a run, or a run key"
            )
        return found.key

    def _found(self, row: Setting) -> Iterator[Found]:
        """Yield the values of one row, the strongest first; empty text is no value."""
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
        yield files.value_at(self._own, row.path), f"{row.path} in {files.OWN_FILE}", True
        if row.qase:
            yield files.value_at(self._upstream, row.path), f"{row.path} in {files.UPSTREAM_FILE}", False
        if row.name == "shard" and (shard := ci.shard(self._environ)):
            yield "{}/{}".format(*shard), "the CI system", False

    def _ini(self, row: Setting) -> object:
        try:
            return self._config.getini(f"famacase_{row.name}")
        except (TypeError, ValueError) as error:
            raise SettingsError(f"famacase_{row.name}: {error}") from None


def _parsed(row: Setting, found: Found) -> object:
    try:
        return row.parse(found.value)
    except ValueError as error:
        # The part of an address before an @ may be a password.
        shown = "the value" if row.secret else re.sub(r"^(['\"]?(\w+://)?).*@", r"\1***@", repr(found.value))
        raise SettingsError(f"{found.source}: {shown} is not allowed; allowed: {error}") from None
