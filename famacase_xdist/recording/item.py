"""The title, suites, node id and params of a test, read from its pytest item: any kind of item, not only functions."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import pytest
from qase.commons.models.relation import Relation, SuiteData

from famacase_xdist.results.node_ids import path_of
from famacase_xdist.results.text import text_of

from .marks import Marks

_PRIMITIVES = (str, int, float, bool, complex, type(None), enum.Enum)
_ParameterSet = type(pytest.param())
#: The id of values that are hidden in a test's name; pytest has it since 8.4.
_HIDDEN = getattr(pytest, "HIDDEN_PARAM", object())
#: pytest's option that leaves ids as they are written.
_RAW_IDS = "disable_test_id_escaping_and_forfeit_all_rights_to_community_support"
_ESCAPE = re.compile(r"\\(?:[\\tnr]|x[\da-f]{2}|u[\da-f]{4}|U[\da-f]{8})")


def title_of(item: pytest.Item, marks: Marks) -> str:
    """Return the title that the test is marked with, else its name without params."""
    return marks.title or text_of(getattr(item, "originalname", None) or item.name)


def suites_of(nodeid: str, marks: Marks) -> Sequence[str]:
    """Return the suites that the test is marked with, else those of its path."""
    path, _, rest = nodeid.partition("::")
    return marks.suites or _suites_in(path, rest.partition("[")[0].rpartition("::")[0])


@lru_cache(maxsize=64)
def _suites_in(path: str, classes: str) -> Sequence[str]:
    """Return the suites of all tests in a module, or in a class of it."""
    return path_of(f"{path}::{classes}::test")[0]


@lru_cache(maxsize=64)
def relation_of(titles: tuple[str, ...], description: str | None = None) -> Relation:
    """Return upstream's model of suites; the description is the innermost suite's, which upstream forgets.

    Results share what is returned, so it must not be changed.
    """
    relation = Relation()
    for title in titles:
        relation.add_suite(SuiteData(title=title))
    if description is not None and relation.suite.data:
        relation.suite.data[-1].description = description
    return relation


def nodeid_of(item: pytest.Item) -> str:
    """Return the node id without the ``@group`` that ``--dist loadgroup`` appends in a worker."""
    if getattr(item.config.option, "loadgroup", False):
        groups = {str(_argument(marker, 0, "name", "default")) for marker in item.iter_markers("xdist_group")}
        if groups:
            return item.nodeid.removesuffix("@" + "_".join(sorted(groups)))
    return item.nodeid


def params_of(item: pytest.Item) -> tuple[dict[str, str], list[list[str]]]:
    """Return the params by name, each with the id that pytest shows, and the names that were parametrized together."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}, []
    marks = list(item.iter_markers())
    ignored = _ignored(marks)
    params = {
        name: value
        for name, value in shown_params(item, marks).items()
        if name not in ignored and not name.startswith("__pytest")
    }
    groups = [_argnames(mark) for mark in marks if mark.name == "parametrize"]
    return params, [names for names in groups if len(names) > 1 and not ignored.intersection(names)]


def _argument(marker: pytest.Mark, position: int, name: str, default: object = None) -> Any:
    return marker.args[position] if len(marker.args) > position else marker.kwargs.get(name, default)


def _argnames(marker: pytest.Mark) -> list[str]:
    names = _argument(marker, 0, "argnames", ())
    parts = names.split(",") if isinstance(names, str) else names
    return [str(name).strip() for name in parts if str(name).strip()]


def _ignored(marks: Iterable[pytest.Mark]) -> set[str]:
    """Return the names in @qase.parametrize_ignore and @qase.ignore_parameters."""
    names: set[str] = set()
    for mark in marks:
        if mark.name == "qase_parametrize_ignore":
            names.update(_argnames(mark))
        elif mark.name == "qase_ignore_parameters":
            names.update(mark.kwargs.get("parameters", ()))
    return names


class _CallSpec(Protocol):
    """The attributes that are used of pytest's `callspec`, whose class is private."""

    @property
    def params(self) -> Mapping[str, object]: ...

    @property
    def indices(self) -> Mapping[str, int]: ...


class _Parametrization(NamedTuple):
    """Params that were parametrized together, by a mark or by a fixture's own params.

    `values` and `ids` are as they were written; both are None if a hook parametrized the test.
    """

    names: list[str]
    values: object = None
    ids: object = None

    def given_id(self, callspec: _CallSpec) -> object:
        """Return the id that was written for these values; None if pytest made one."""
        index = callspec.indices[self.names[0]]
        values = _at(self.values, index)
        own = values.id if isinstance(values, _ParameterSet) else None
        return _at(self.ids, index) if own is None else own


def _at(entries: object, index: int) -> object:
    return entries[index] if isinstance(entries, Sequence) and index < len(entries) else None


def shown_params(item: pytest.Item, marks: Iterable[pytest.Mark] | None = None) -> dict[str, str]:
    """Return the text of each param, by name.

    pytest keeps one id for each parametrization, in the order in which the params were added, but none for a
    hidden one. If the numbers of both differ, the texts are made from the values.

    Args:
        item: A test that has params.
        marks: All marks of the item, if the caller has them already.
    """
    marks = item.iter_markers("parametrize") if marks is None else marks
    callspec: _CallSpec = item.callspec  # type: ignore[attr-defined]
    parametrizations = list(_parametrizations(item, marks, list(callspec.params)))
    shown = [each for each in parametrizations if each.given_id(callspec) is not _HIDDEN]
    ids: Sequence[str] = getattr(callspec, "_idlist", ())
    if not item.config.getini(_RAW_IDS):
        ids = [_unescaped(text) for text in ids]
    id_of = dict(zip((each.names[0] for each in shown), ids, strict=True)) if len(shown) == len(ids) else {}
    texts: dict[str, str] = {}
    for each in parametrizations:
        texts.update(_texts(each, id_of.get(each.names[0]), callspec))
    return texts


def _parametrizations(item: pytest.Item, marks: Iterable[pytest.Mark], names: list[str]) -> Iterator[_Parametrization]:
    """Yield the params in groups that were parametrized together."""
    marked = [
        _Parametrization(_argnames(mark), _argument(mark, 1, "argvalues"), _argument(mark, 3, "ids"))
        for mark in marks
        if mark.name == "parametrize"
    ]
    while names:
        fitting = (each for each in marked if each.names and names[: len(each.names)] == each.names)
        found = next(fitting, None) or _of_fixture(item, names[0])
        yield found
        names = names[len(found.names) :]


def _of_fixture(item: pytest.Item, name: str) -> _Parametrization:
    fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {}).get(name, ())
    found = next((fixture for fixture in reversed(fixtures) if fixture.params is not None), None)
    return _Parametrization([name], found.params, found.ids) if found else _Parametrization([name])


def _texts(parametrization: _Parametrization, text: str | None, callspec: _CallSpec) -> dict[str, str]:
    """Return the texts of one parametrization's params; `text` is its id, None if it has none to show."""
    names, ids = parametrization.names, parametrization.ids
    own = _pieces(names, callspec, lambda value: value)
    is_made = parametrization.given_id(callspec) is None
    if text is None or (is_made and _is_id_of(text, own.values())):
        return own
    if len(names) == 1:
        return {names[0]: text}
    if is_made and callable(ids):
        pieces = _pieces(names, callspec, ids)
        return pieces if _is_id_of(text, pieces.values()) else own
    return own


def _pieces(names: list[str], callspec: _CallSpec, ids: Callable[[object], object]) -> dict[str, str]:
    """Return each param's piece of an id that pytest makes: of its value, or of its name and its values' index."""
    return {name: _piece(callspec.params[name], ids, f"{name}{callspec.indices[name]}") for name in names}


def _piece(value: object, ids: Callable[[object], object], otherwise: str) -> str:
    try:
        text = _text_in_id(ids(value))
    except Exception:  # the function and the value are the test's own, and may never have been called before
        text = None
    return otherwise if text is None else text


def _text_in_id(value: object) -> str | None:
    """Return the text of a value that pytest can make an id of; None for others, whose text may contain an address."""
    if isinstance(value, _PRIMITIVES):
        return text_of(value)
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    if isinstance(value, re.Pattern):
        return text_of(value.pattern)
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else None


def _is_id_of(text: str, pieces: Iterable[str]) -> bool:
    """Return whether pytest made an id of these pieces, perhaps with a number because it made the same id twice."""
    joined, text = _unescaped("-".join(pieces)), _unescaped(text)
    if not text.startswith(joined):
        return False
    number = text[len(joined) :]
    if joined[-1:].isdigit() and number:
        return number[0] == "_" and number[1:].isdecimal()
    return not number or number.isdecimal()


def _unescaped(text: str) -> str:
    """Return an id in a readable form: pytest escapes all characters but those of ASCII."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: found[0].encode().decode("unicode_escape", "replace"), text)
