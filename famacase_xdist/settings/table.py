"""What a row of the table of settings is: the names of a setting, its type, its default and its meaning.

The fields of `settings.Settings` are the table. It feeds the command line, the ini file, the environment, the
configuration files and the README; `sources` has where the values come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")

#: In the help of a setting that is taken and has no effect.
NO_CALL = "Famacase has no call for it"

_ROW = "row"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes:
        name: ``testops_project`` is FAMACASE_TESTOPS_PROJECT, --famacase-testops-project, ini famacase_testops_project.
        parse: Takes text or a value from JSON; raises ValueError with what is allowed.
        help: One sentence, for --help and the README.
        path: The setting's dotted path in famacase.config.json.
        default: The value where no source has one.
        qase: Whether the QASE_ and --qase- forms count too.
        qase_flag: Upstream's flag where it differs from the name.
        qase_dest: Upstream's argparse destination where it differs from its flag.
        worker: Whether workers need it; a secret never does.
        secret: Whether its value is never shown.
        is_idle: Whether it has no effect, because Famacase has no call for it; that is said where it is set.
    """

    name: str
    parse: Callable[[object], object]
    help: str
    path: str
    default: object = None
    qase: bool = False
    qase_flag: str = ""
    qase_dest: str = ""
    worker: bool = False
    secret: bool = False
    is_idle: bool = False

    @property
    def flag(self) -> str:
        """The command line's form."""
        return "--famacase-" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """All of our forms: the twin of upstream's flag is one, where that flag has another name."""
        twin = self.upstream_flag.replace("--qase-", "--famacase-", 1)
        return (self.flag, twin) if self.qase and twin != self.flag else (self.flag,)

    @property
    def upstream_flag(self) -> str:
        """Upstream's form on the command line."""
        return self.qase_flag or "--qase-" + self.name.replace("_", "-")

    @property
    def upstream_dest(self) -> str:
        """Where argparse keeps the value of `upstream_flag`."""
        return self.qase_dest or "qase_" + self.name


def setting(
    default: T,
    parse: Callable[[object], T],
    help: str,
    path: str,
    *,
    qase: bool = False,
    qase_flag: str = "",
    qase_dest: str = "",
    worker: bool = False,
    secret: bool = False,
    is_idle: bool = False,
) -> T:
    """Return the dataclass field that declares one setting; the arguments are the attributes of `Setting`."""
    row = Setting("", parse, help, path, default, qase, qase_flag, qase_dest, worker, secret, is_idle)
    # To type checkers it is the default, as `dataclasses.field` is.
    if isinstance(default, dict):
        return cast("T", field(default_factory=default.copy, metadata={_ROW: row}))
    return field(default=default, repr=not secret, metadata={_ROW: row})


def rows_of(declared: type[Any]) -> tuple[Setting, ...]:
    """Return the rows that a dataclass declares, in its order; its other fields are no settings."""
    fields = dataclasses.fields(declared)
    return tuple(dataclasses.replace(each.metadata[_ROW], name=each.name) for each in fields if _ROW in each.metadata)
