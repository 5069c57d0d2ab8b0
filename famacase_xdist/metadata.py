"""What a test is, read off its pytest item: title, params, signature. Any kind of item, not only functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from .wire import text_of

_PRIMITIVES = (str, int, float, bool, complex, type(None))


def title_of(item: pytest.Item) -> str:
    """Give the title that the test was marked with, else its name without params."""
    marker = item.get_closest_marker("qase_title")
    title = marker.kwargs.get("title") if marker else None
    return text_of(title or getattr(item, "originalname", None) or item.name)


def nodeid_of(item: pytest.Item) -> str:
    """Give the node id without the ``@group`` that ``--dist loadgroup`` appends in a worker."""
    nodeid = item.nodeid
    if getattr(item.config.option, "loadgroup", False) and item.get_closest_marker("xdist_group"):
        return nodeid.rpartition("@")[0] or nodeid
    return nodeid


def params_of(item: pytest.Item) -> tuple[dict[str, str], list[list[str]]]:
    """Give the params by name, each with the id that pytest shows, and the names that were parametrized together."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}, []
    groups = [names for names in map(_argnames, item.iter_markers("parametrize")) if names]
    ignored = _ignored(item)
    params = {
        name: value
        for name, value in _shown(callspec, groups).items()
        if name not in ignored and not name.startswith("__pytest")
    }
    return params, [names for names in groups if len(names) > 1 and not ignored.intersection(names)]


def signature_of(nodeid: str, testops_ids: Sequence[int] | None, params: dict[str, str]) -> str:
    """Give the text by which the server knows a test again; in upstream's form, so that histories go on."""
    ids = ["-".join(map(str, testops_ids))] if testops_ids else []
    path = [part.lower().replace(" ", "_") for part in nodeid.split("/")]
    return "::".join([*ids, *path, *(f"{{{name}:{value}}}" for name, value in params.items())])


def _argnames(marker: pytest.Mark) -> list[str]:
    names = marker.args[0] if marker.args else marker.kwargs.get("argnames", ())
    parts = names.split(",") if isinstance(names, str) else names
    return [str(name).strip() for name in parts if str(name).strip()]


def _ignored(item: pytest.Item) -> set[str]:
    """Collect the names of @qase.parametrize_ignore and @qase.ignore_parameters."""
    names: set[str] = set()
    for marker in item.iter_markers("qase_parametrize_ignore"):
        names.update(_argnames(marker))
    for marker in item.iter_markers("qase_ignore_parameters"):
        names.update(marker.kwargs.get("parameters", ()))
    return names


def _shown(callspec: Any, groups: Sequence[list[str]]) -> dict[str, str]:
    """Give each param its own text.

    pytest keeps one id for each parametrization, in the order in which the params were added; a hidden id is
    not in that list, and then the values speak for themselves.
    """
    params: dict[str, Any] = callspec.params
    ids: Sequence[str] = getattr(callspec, "_idlist", ())
    spans = list(_spans(list(params), groups))
    if len(spans) != len(ids):
        return {name: text_of(value) for name, value in params.items()}
    shown: dict[str, str] = {}
    for names, text in zip(spans, ids, strict=True):
        shown.update(_split(names, str(text), params))
    return shown


def _spans(names: list[str], groups: Sequence[list[str]]) -> Iterator[list[str]]:
    """Cut the params into those that were parametrized together."""
    while names:
        group = next((each for each in groups if names[: len(each)] == each), names[:1])
        yield group
        names = names[len(group) :]


def _split(names: list[str], text: str, params: dict[str, Any]) -> dict[str, str]:
    if len(names) == 1:
        value = params[names[0]]
        # pytest escapes what is not ASCII; the value itself is readable.
        is_escaped = isinstance(value, str) and value.encode("unicode_escape").decode() == text
        return {names[0]: value if is_escaped else text}
    parts = text.split("-")
    if len(parts) != len(names):
        return {name: text_of(params[name]) for name in names}
    return {
        name: text_of(params[name]) if isinstance(params[name], _PRIMITIVES) else part
        for name, part in zip(names, parts, strict=True)
    }
