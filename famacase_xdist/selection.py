"""Selects the tests of a test plan: in every process the same, by the case ids that the controller has loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

NAME = "famacase-selection"
_NUMBERS = re.compile(r"\d+(\s*,\s*\d+)*")


def given(project: str, cases: Iterable[int]) -> str:
    """Give what `install` takes, as text that can travel to a worker."""
    return json.dumps([project, sorted(cases)])


def install(config: pytest.Config, text: str) -> None:
    """Let only the tests run that a text of `given` names."""
    project, cases = json.loads(text)
    config.pluginmanager.register(Selection(project, cases), NAME)


class Selection:
    """Deselects every test that has none of some cases of a project."""

    def __init__(self, project: str, cases: Iterable[int]) -> None:
        self._project = project
        self._cases = frozenset(cases)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect; before pytest-split and its like share out what is left."""
        selected = [item for item in items if not self._cases.isdisjoint(case_ids(item, self._project))]
        if len(selected) < len(items):
            kept = set(map(id, selected))
            config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
            items[:] = selected


def case_ids(item: pytest.Item, project: str) -> Iterator[int]:
    """Yield the ids of a test's cases in a project: of @qase.id, of @qase.project_id, and of a scenario's tags."""
    if (marker := item.get_closest_marker("qase_id")) is not None:
        yield from _numbers(marker.kwargs.get("id"))
    for marker in item.iter_markers():
        if marker.name == "qase_project_id" and marker.kwargs.get("project_code") == project:
            yield from _numbers(marker.kwargs.get("testops_ids"))
        # pytest-bdd makes a marker of each tag: @qase.id=1,2
        name, _, value = marker.name.partition("=")
        if name.lower() == "qase.id" or name.lower() == f"qase.project_id.{project}".lower():
            yield from _numbers(value)


def _numbers(raw: Any) -> Iterator[int]:
    """Yield the numbers of what a marker holds: one, a list, or text with commas; nothing of what is none."""
    for each in raw if isinstance(raw, (list, tuple)) else [raw]:
        if _NUMBERS.fullmatch(str(each).strip()):
            yield from map(int, str(each).split(","))
