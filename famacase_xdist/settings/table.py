"""The rows of the table of settings: names, type, default and meaning of each setting.

The fields of `settings.Settings` are the table. The command line, the ini file, the environment, the configuration
files and the README are made from it; the module `sources` reads the values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

#: Part of the help of a setting that is accepted and has no effect.
NO_CALL = "Famacase has no call for it"

_ROW = "row"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes:
        name: ``testops_project`` is FAMACASE_TESTOPS_PROJECT, --famacase-testops-project, ini famacase_testops_project.
        parse: Parses text or a value from JSON; the text of its ValueError says what is allowed.
        help: One sentence, for --help and the README.
        path: The setting's dotted path in famacase.config.json.
        default: The value if no source has one.
        qase: Whether the QASE_ and --qase- forms are sources too.
        qase_flag: Upstream's flag if it differs from the name.
        qase_dest: Upstream's argparse destination if it differs from its flag.
        worker: Whether workers need it; a secret never does.
        secret: Whether its value is never shown.
        is_idle: Whether it has no effect, because Famacase has no call for it; a session that sets it says so.
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
        """The flag on the command line."""
        return "--famacase-" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """All of our flags; if upstream's flag differs from the name, its twin is one of them."""
        twin = self.upstream_flag.replace("--qase-", "--famacase-", 1)
        return (self.flag, twin) if self.qase and twin != self.flag else (self.flag,)

    @property
    def upstream_flag(self) -> str:
        """Upstream's flag on the command line."""
        return self.qase_flag or "--qase-" + self.name.replace("_", "-")

    @property
    def upstream_dest(self) -> str:
        """The argparse destination of `upstream_flag`."""
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
    # For type checkers it has the type of its default, as with `dataclasses.field`.
    if isinstance(default, dict):
        return cast("T", field(default_factory=default.copy, metadata={_ROW: row}))
    return field(default=default, repr=not secret, metadata={_ROW: row})


def rows_of(declared: type[DataclassInstance]) -> tuple[Setting, ...]:
    """Return the rows that a dataclass declares, in its order; fields without a row are not settings."""
    fields = dataclasses.fields(declared)
    return tuple(dataclasses.replace(each.metadata[_ROW], name=each.name) for each in fields if _ROW in each.metadata)
