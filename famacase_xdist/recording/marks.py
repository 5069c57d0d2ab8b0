"""Upstream's markers: their names, for --strict-markers, and the values that the marks of one test have together.

The closest mark wins, field by field: first the mark of a `pytest.param`, then of the function, then of each class from
the inside out, then of the module. A class's own marks are closer than those of its bases, which pytest itself puts
first.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import pytest

from famacase_xdist.results.text import text_of

if TYPE_CHECKING:
    from _pytest.nodes import Node

#: Name and meaning of each marker that upstream's decorators set.
MARKERS = {
    "qase_id": "ids of the test's cases",
    "qase_project_id": "ids of the test's cases in one project",
    "qase_title": "title of the test",
    "qase_ignore": "leave the test out of the report",
    "qase_muted": "a failure of the test is reported as blocked",
    "qase_author": "author of the test",
    "qase_fields": "fields of the test",
    "qase_suite": "suite of the test",
    "qase_description": "description of the test",
    "qase_preconditions": "preconditions of the test",
    "qase_postconditions": "postconditions of the test",
    "qase_layer": "layer of the test",
    "qase_severity": "severity of the test",
    "qase_priority": "priority of the test",
    "qase_tags": "tags of the test",
    "qase_ignore_parameters": "params of the test that are not reported",
    "qase_parametrize_ignore": "params of the test that are not reported",
}
#: Marks that set a field of their own name, in upstream's order: it counts if a function has several for one field.
_FIELD_MARKS = (
    *("qase_author", "qase_fields", "qase_description", "qase_preconditions", "qase_postconditions"),
    *("qase_layer", "qase_severity", "qase_priority"),
)
#: Marks that need no argument.
_BARE = ("qase_ignore", "qase_muted")
#: The title of one suite in a mark: all characters up to a dot that no backslash escapes.
_SUITE = re.compile(r"(?:\\\.|[^.])+")
#: Digits of the largest id that is passed on, because a server keeps 64 bits.
_MOST_DIGITS = 18


def add(config: pytest.Config) -> None:
    """Register the markers with pytest."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


class _Level(NamedTuple):
    """Marks that are equally close to a test, in pytest's order, and the node that has them."""

    node: Node
    marks: list[pytest.Mark]


class Marks:
    """Upstream's marks of one item. Values without a meaning are left out; `notes` names them."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._levels = list(_levels(item))

    def __bool__(self) -> bool:
        return bool(self._levels)

    @property
    def is_ignored(self) -> bool:
        """Whether the test is left out of the report."""
        return any(mark.name == "qase_ignore" for _, mark in self._all())

    @property
    def title(self) -> str:
        """The title of the marks; empty if they have none."""
        title = self._closest("qase_title", "title")
        return "" if title is None else text_of(title)

    @property
    def is_muted(self) -> bool:
        """Whether a failure of the test does not count."""
        return any(mark.name == "qase_muted" for _, mark in self._all())

    @property
    def tags(self) -> list[str]:
        """The tags of the test, of its classes and of its module."""
        values = (value for _, mark in self._all("qase_tags") for value in _listed(mark.kwargs.get("tags")))
        return list(dict.fromkeys(text_of(value) for value in values if value))

    @property
    def fields(self) -> dict[str, object]:
        """The fields by name; tags and muted are fields too, as in upstream."""
        fields: dict[str, object] = {}
        for level in self._levels:
            for name in _FIELD_MARKS:
                for mark in level.marks:
                    if mark.name == name:
                        _add_missing(fields, _fields_in(mark))
        if tags := self.tags:
            given = [tag.strip() for tag in text_of(fields.get("tags", "")).split(",")]
            fields["tags"] = ",".join(dict.fromkeys(tag for tag in [*given, *tags] if tag))
        if self.is_muted:
            fields["muted"] = "true"
        return fields

    @property
    def ids(self) -> list[int] | None:
        """The ids of the test's cases; None if there are none, or if each project has its own."""
        return None if self.project_ids else ids_in(self._closest("qase_id", "id"))[0] or None

    @property
    def project_ids(self) -> dict[str, list[int]]:
        """The ids of the test's cases by project, for sessions that report to several projects."""
        ids: dict[str, list[int]] = {}
        for _, mark in self._all("qase_project_id"):
            code, (found, _) = mark.kwargs.get("project_code"), ids_in(mark.kwargs.get("testops_ids"))
            if code and found:
                ids.setdefault(text_of(code), found)
        return ids

    @property
    def suites(self) -> list[str]:
        r"""The suites of the marks, outermost first: a dot separates two suites, ``\.`` is a dot in a title."""
        title = self._closest("qase_suite", "title")
        return [] if title is None else [piece.replace("\\.", ".") for piece in _SUITE.findall(text_of(title))]

    @property
    def suite_description(self) -> str | None:
        """The description of the innermost suite; None if there is none."""
        description = self._closest("qase_suite", "description")
        return None if description is None else text_of(description)

    def notes(self, said: set[str]) -> Iterator[str]:
        """Yield a line for each value that is left out, and for each mark that is surely a mistake.

        Args:
            said: The lines of earlier calls, which are not repeated; new lines are added to it.
        """
        for node, mark in self._all():
            for line in _complaints(node, mark):
                if line not in said:
                    said.add(line)
                    yield line
        for name in ("qase_title", "qase_id"):
            yield from self._shared(name, said)

    def _shared(self, name: str, said: set[str]) -> Iterator[str]:
        """Yield a line if a title or an id is in a place where several tests get it."""
        node, mark = next(((node, mark) for node, mark in self._all(name) if mark.kwargs), (self._item, None))
        if mark is None or node is self._item:
            return
        line = f"{_written(mark)} of {node.nodeid} goes to each test in it: mark the test that it is meant for"
        if line not in said:
            said.add(line)  # before the search, so that it is made once
            if _has_others(node, self._item):
                yield line

    def _all(self, name: str = "") -> Iterator[tuple[Node, pytest.Mark]]:
        for level in self._levels:
            yield from ((level.node, mark) for mark in level.marks if mark.name == (name or mark.name))

    def _closest(self, name: str, argument: str) -> object:
        if not self._levels:
            return None
        return next((mark.kwargs[argument] for _, mark in self._all(name) if argument in mark.kwargs), None)


def _levels(item: pytest.Item) -> Iterator[_Level]:
    for node in item.iter_parents():
        own = [mark for mark in node.own_markers if mark.name in MARKERS]
        if own:
            distances = _distances(node)
            marks: dict[int, list[pytest.Mark]] = {}
            for mark in own:
                marks.setdefault(distances.get(id(mark), 0), []).append(mark)
            yield from (_Level(node, marks[distance]) for distance in sorted(marks))


def _distances(node: Node) -> dict[int, int]:
    """Return the distances of the marks of one node: those of a param are closer, those of base classes farther."""
    if isinstance(node, pytest.Class):
        given = ((distance, vars(base).get("pytestmark", ())) for distance, base in enumerate(node.obj.__mro__))
        return {id(getattr(mark, "mark", mark)): distance for distance, marks in given for mark in _listed(marks)}
    return {id(mark): -1 for mark in getattr(getattr(node, "callspec", None), "marks", ())}


def _listed(value: object) -> Iterable[object]:
    """Return the values of a list, or a single value as the only one."""
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple, set, frozenset)) else (value,)


def _fields_in(mark: pytest.Mark) -> Iterator[tuple[str, object]]:
    if mark.name == "qase_fields":
        yield from ((text_of(entry[0]), entry[1]) for entry in _listed(mark.kwargs.get("fields")) if _is_pair(entry))
    else:
        name = mark.name.removeprefix("qase_")
        yield name, mark.kwargs.get(name)


def _add_missing(fields: dict[str, object], others: Iterable[tuple[str, object]]) -> None:
    """Add the fields that no closer mark has set; a value of None sets nothing."""
    for name, value in others:
        if value is not None:
            fields.setdefault(name, value)


def _is_pair(entry: object) -> TypeGuard[Sequence[object]]:
    return isinstance(entry, (tuple, list)) and len(entry) == 2


def ids_in(value: object) -> tuple[list[int], list[object]]:
    """Return the ids in the argument of a mark, and the values that are no ids."""
    values = _listed([part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value)
    ids, others = [], []
    for each in values:
        number = _id_of(each)
        if number:
            ids.append(number)
        else:
            others.append(each)
    return list(dict.fromkeys(ids)), others


def _id_of(value: object) -> int | None:
    """Return a case's id, which is a positive number or the text of one; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None
    return number if number is not None and 0 < number < 10**_MOST_DIGITS else None


def _complaints(node: Node, mark: pytest.Mark) -> Iterator[str]:
    """Yield a line for each part of a mark that is left out."""
    where = node.nodeid.split("[", 1)[0]
    if mark.args and not mark.kwargs and mark.name not in _BARE:
        decorator = f"@qase.{mark.name.removeprefix('qase_')}(...)"
        yield f"{_written(mark)} of {where} is left out: write {decorator}"
    argument = {"qase_id": "id", "qase_project_id": "testops_ids"}.get(mark.name)
    for value in ids_in(mark.kwargs.get(argument))[1] if argument else ():
        yield f"{_written(mark)} of {where}: {_shown(value)} is left out: it is not the number of a case"
    for entry in _listed(mark.kwargs.get("fields")) if mark.name == "qase_fields" else ():
        if not _is_pair(entry):
            yield f"{_written(mark)} of {where}: {_shown(entry)} is left out: a field is (name, value)"


def _written(mark: pytest.Mark) -> str:
    """Return a mark in about the form that the test has."""
    name = mark.name.removeprefix("qase_")
    if mark.args:
        return f"@pytest.mark.{mark.name}({', '.join(map(_shown, mark.args))})"
    values = _listed(mark.kwargs.get("fields")) if name == "fields" else mark.kwargs.values()
    return f"@qase.{name}({', '.join(map(_shown, values))})"


def _shown(value: object) -> str:
    """Return a short text of a value, without parts that differ between processes, such as an address."""
    text = repr(value) if type(value) in (str, int, float, bool) else None
    if isinstance(value, (list, tuple)):
        text = f"[{', '.join(map(_shown, value))}]"
    text = text or f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:60]}..."


def _has_others(node: Node, item: pytest.Item) -> bool:
    """Return whether a node contains other tests than this one; its other params do not count."""
    inside, own = f"{node.nodeid}::", item.nodeid.split("[", 1)[0]
    nodeids = (other.nodeid.split("[", 1)[0] for other in item.session.items)
    return any(nodeid.startswith(inside) and nodeid != own for nodeid in nodeids)
