"""Selects the tests of a test plan: the same in every process, by the case ids that the controller has loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from famacase_xdist.results.text import Encoder, from_json

from .marks import Marks

NAME = "famacase-selection"

_encode = Encoder().encode


def given(project: str, cases: Iterable[int]) -> str:
    """Return the argument of `install`: text, so that it can travel to a worker."""
    return _encode([project, sorted(cases)])


def install(config: pytest.Config, text: str) -> None:
    """Run only the tests that a text of `given` names."""
    project, cases = from_json(text)
    config.pluginmanager.register(Selection(project, cases), NAME)


class Selection:
    """Deselects every test that belongs to none of the given cases of a project."""

    def __init__(self, project: str, cases: Iterable[int]) -> None:
        self._project = project
        self._cases = frozenset(cases)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect tests, before pytest-split and similar plugins divide the rest."""
        selected = [item for item in items if not self._cases.isdisjoint(case_ids(item, self._project))]
        if len(selected) < len(items):
            kept = set(map(id, selected))
            config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
            items[:] = selected


def case_ids(item: pytest.Item, project: str) -> Iterator[int]:
    """Yield the ids of a test's cases in a project, from its marks and from the tags of a scenario."""
    marks = Marks(item)
    yield from marks.ids or ()
    yield from marks.project_ids.get(project, ())
    for marker in item.iter_markers():
        # pytest-bdd makes a marker of each tag: @qase.id=1,2
        name, _, value = marker.name.partition("=")
        if name.lower() in ("qase.id", f"qase.project_id.{project}".lower()):
            yield from (int(each) for each in value.split(",") if each.strip().isdecimal())
