"""pytest-bdd: a scenario as it stands in its feature file, each step once, in order.

Upstream's own bridge adds steps for backgrounds, repeats the step that failed and ends the session at an ignored
scenario. Of it, only the functions that read a tag and a step are used here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from qase.commons.models.result import Result
from qase.pytest.bdd import build_step, parse_scenario_tags

from famacase_xdist.recording.guard import Guard
from famacase_xdist.recording.item import nodeid_of, relation_of
from famacase_xdist.recording.runtime import StepRuntime
from famacase_xdist.results.node_ids import signature_of
from famacase_xdist.results.status import FAILED, INVALID, PASSED, SKIPPED
from famacase_xdist.results.text import text_of

if TYPE_CHECKING:
    from pytest_bdd.parser import Feature, Scenario, ScenarioTemplate, Step

#: The param that holds a row of a scenario outline's examples, column by column.
_ROW = "_pytest_bdd_example"
#: A tag that pytest can register as a marker; in the ini line a marker's name ends at a colon or a bracket.
_MARKER = re.compile(r"qase\.[^:(]+", re.IGNORECASE)


class Scenarios:
    """pytest-bdd's hooks. None of them raises, because pytest-bdd would fail the scenario.

    Args:
        config: pytest's config, of the process that runs the tests.
        runtime: Has the running result and its steps.
        guard: Keeps our own errors from the test.
        drop: Drops the running result, and tells the controller.
    """

    def __init__(self, config: pytest.Config, runtime: StepRuntime, guard: Guard, drop: Callable[[], None]) -> None:
        self._config = config
        self._runtime = runtime
        self._guard = guard
        self._drop = drop
        self._is_described = False
        self._waiting: list[Step] = []
        self._step_id = ""
        # pytest-bdd makes markers of the tags of an Examples table without calling a hook.
        config.addinivalue_line(
            "filterwarnings", r"ignore:Unknown pytest\.mark\.qase\.:pytest.PytestUnknownMarkWarning"
        )

    def describe(self, item: pytest.Item, result: Result) -> bool:
        """Put the text of the feature file into a test's new result. Return whether the test is a scenario.

        Called before the set-up, because that may fail, skip the scenario or end the process.
        """
        row = _row_of(item)
        if _ROW in result.params:
            ids = result.testops_ids
            result.params = dict(_expanded(result.params, row))
            result.signature = signature_of(nodeid_of(item), ids, result.params)
        self._waiting = []
        template = _template_of(item)
        self._is_described = template is not None
        if template is not None:
            _describe(result, template.render(row), template.feature, _tags_of_examples(item))
        return self._is_described

    def pytest_bdd_apply_tag(self, tag: str) -> None:
        """Register a tag of ours before pytest-bdd makes a marker of it; --strict-markers refuses unknown ones."""
        if _MARKER.fullmatch(tag):
            self._config.addinivalue_line("markers", f"{tag}: tag of a feature file")

    def pytest_bdd_before_scenario(self, request: pytest.FixtureRequest, feature: Feature, scenario: Scenario) -> None:
        """Keep the steps of the scenario, because some may not be reached."""
        with self._guard:
            result = self._runtime.result
            if result is None:
                return
            if not self._is_described:
                _describe(result, scenario, feature, _tags_of_examples(request.node))
            if result.ignore:
                self._drop()
            else:
                self._waiting = list(scenario.steps)

    def pytest_bdd_before_step(self, step: Step) -> None:
        """Begin a step."""
        with self._guard:
            self._begin(step)

    def pytest_bdd_after_step(self) -> None:
        """End the step that passed."""
        with self._guard:
            self._end(PASSED)

    def pytest_bdd_step_error(self) -> None:
        """End the step that failed."""
        with self._guard:
            self._end(FAILED)

    def pytest_bdd_step_func_lookup_error(self, step: Step) -> None:
        """Add a step that has no definition; pytest-bdd has not begun it."""
        with self._guard:
            self._begin(step)
            self._end(INVALID)

    def pytest_bdd_after_scenario(self) -> None:
        """Add the steps that were not reached. A step that pytest.skip ended is still open here."""
        with self._guard:
            waiting, self._waiting = self._waiting, []
            if self._runtime.result is None:
                return
            for each in waiting:
                step = build_step(each)
                step.execution.set_status(SKIPPED)
                step.execution.complete()
                self._runtime.steps[step.id] = step

    def _begin(self, step: Step) -> None:
        self._waiting = [each for each in self._waiting if each is not step]
        if self._runtime.result is not None:
            built = build_step(step)
            self._step_id = built.id
            self._runtime.add_step(built)

    def _end(self, status: str) -> None:
        """End the running step, and the steps inside it that one of pytest's exceptions left open."""
        if self._runtime.result is None or self._step_id not in self._runtime.steps:
            return
        while (open_ := self._runtime.step_id) is not None and open_ in self._runtime.steps:
            self._runtime.finish_step(open_, status)
            if open_ == self._step_id:
                return


def _describe(result: Result, scenario: Scenario, feature: Feature, of_examples: Iterable[str]) -> None:
    rule = getattr(scenario, "rule", None)
    nodes = [node for node in (feature, rule, scenario) if node is not None]
    result.title = text_of(scenario.name or result.title)
    descriptions = [dedent(node.description or "").strip() for node in nodes]
    if any(descriptions):
        result.fields["description"] = "\n\n".join(filter(None, descriptions))
    suites = [node.name for node in nodes[:-1] if node.name]
    existing = result.relations.suite.data if result.relations is not None else ()
    result.relations = relation_of((*suites, *(suite.title for suite in existing)))
    result.tags = list(result.tags)
    result.ignore = False
    for tags in (*(node.tags for node in nodes), of_examples):
        _tag(result, sorted(tags))


def _tag(result: Result, tags: Iterable[str]) -> None:
    """Apply the tags of one level, after those of the levels around it: it wins over them, but free tags add up."""
    parsed = [parse_scenario_tags([tag]) for tag in tags]
    ids = [id_ for each in parsed for id_ in each["testops_ids"] or ()]
    if ids:
        result.testops_ids = ids
    for each in parsed:
        for code, project_ids in (each["testops_project_mapping"] or {}).items():
            result.set_testops_project_mapping(code, project_ids)
        if each["suite"]:
            result.relations = relation_of(tuple(each["suite"]))
        result.fields.update(each["fields"])
        result.ignore = result.ignore or each["ignore"]
        result.muted = result.muted or each["muted"]
        result.add_tags([tag for tag in each["tags"] if tag not in result.tags])


def _row_of(item: pytest.Item) -> dict[str, str]:
    row: dict[str, str] = getattr(getattr(item, "callspec", None), "params", {}).get(_ROW, {})
    return row


def _expanded(params: dict[str, str], row: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the params, with one for each column in the place of the row."""
    for name, value in params.items():
        if name == _ROW:
            yield from ((text_of(column), text_of(cell)) for column, cell in row.items())
        else:
            yield name, value


def _tags_of_examples(item: pytest.Item) -> list[str]:
    """Return the tags of the Examples table that a row is in: pytest-bdd turns them into marks of the row."""
    marks = getattr(getattr(item, "callspec", None), "marks", ()) if _row_of(item) else ()
    return [mark.name for mark in marks if not mark.args and not mark.kwargs]


def _template_of(item: pytest.Item) -> ScenarioTemplate | None:
    """Return a scenario as pytest-bdd parsed it; None if it is not found: the hooks give it later."""
    function = getattr(item, "function", None)
    registry = getattr(sys.modules.get("pytest_bdd.scenario"), "scenario_wrapper_template_registry", None)
    try:
        return registry.get(function) if registry is not None else getattr(function, "__scenario__", None)
    except TypeError:  # no function, or one that has no weak reference
        return None
