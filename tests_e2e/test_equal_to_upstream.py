"""Results are those of qase-pytest's own report, field by field, but for the differences of docs/differences.md."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Suite

EXAMPLES = Path(__file__).parent / "upstream_examples"
DIFFERENCES = Path(__file__).parents[1] / "docs" / "differences.md"
WAYS = {"no-xdist": ("-p", "no:xdist"), "n2": ("-n2",)}

#: A cell that says which values there are, and not in words.
LITERALS = re.compile(r"`[^`]*`( and `[^`]*`)*")

#: A result in the form that is compared, by the node id of its test.
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: tests by pattern, a field, and what both make of it, as JSON or in words."""

    patterns: tuple[str, ...]
    field: str
    theirs: str
    ours: str

    def covers(self, test: str, field: str) -> bool:
        """Return whether this line speaks of this field of this test."""
        return field == self.field and any(is_named(test, pattern) for pattern in self.patterns)

    def contradicts(self, theirs: object, ours: object) -> bool:
        """Return whether a value that the table writes down is another one."""
        return any(
            LITERALS.fullmatch(cell) and f"`{json.dumps(value, ensure_ascii=False)}`" not in cell.split(" and ")
            for cell, value in ((self.theirs, theirs), (self.ours, ours))
        )


def is_named(test: str, pattern: str) -> bool:
    """Return whether a pattern is for a test, params left out; signatures have node ids in their own way."""
    return fnmatchcase(test.partition("[")[0], pattern.replace("/", "::").lower())


def table() -> list[Row]:
    """Read the table: | tests | field | qase-pytest | famacase-xdist | why |."""
    text = DIFFERENCES.read_text(encoding="utf-8").partition("\n## The file report")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = []
    for line in lines:
        tests, field, theirs, ours, why = (cell.strip() for cell in line.strip("|").split(" | "))
        assert why
        rows.append(Row(tuple(re.findall(r"`([^`]+)`", tests)), field.strip("`"), theirs, ours))
    return rows


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """A copy of the examples, with no settings but those of their qase.config.json."""
    place = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES, place / "suite")
    return Suite(place / "suite", place / "state")


@pytest.fixture(scope="module")
def theirs(examples: Suite) -> Results:
    """What qase-pytest reports; -n0 because without xdist's options it ends the session (9.0)."""
    ran = examples.run("-n0", "-p", "no:famacase_xdist.plugin", FAMACASE_STATE_DIR="")

    report = examples.path / "build" / "qase-report"
    results = [json.loads(file.read_text()) for file in (report / "results").iterdir()]
    assert results, ran.text
    return by_test(_of_report(each, examples.path) for each in results)


@pytest.fixture(params=WAYS)
def ours(request: pytest.FixtureRequest, examples: Suite, backend: Backend) -> Results:
    """What the server got from us."""
    ran = examples.run(*WAYS[request.param], **backend.environment())

    assert "undelivered 0" in ran.stdout, ran.text
    return by_test(_of_server(each, backend) for each in backend.results())


def by_test(results: Iterator[dict[str, Any]]) -> Results:
    """Sort results by the node id that is in each signature, between ids and params."""
    found: Results = {}
    for result in results:
        test = re.sub(r"^[\d-]+::|::\{.*$", "", result["signature"], flags=re.DOTALL)
        assert test not in found
        found[test] = result
    return found


def _of_report(result: dict[str, Any], directory: Path) -> dict[str, Any]:
    def attachment(entry: dict[str, Any]) -> dict[str, Any]:
        content = entry["content"]
        if content is None:
            content = (directory / entry["file_path"]).read_bytes().decode("latin-1")
        return {"name": entry["file_name"], "mime": entry["mime_type"], "content": content}

    return _common(result, attachment) | {"projects": result["testops_project_mapping"]}


def _of_server(result: dict[str, Any], backend: Backend) -> dict[str, Any]:
    def attachment(entry: dict[str, Any]) -> dict[str, Any]:
        file = backend.store.attachment(entry["id"])
        assert file is not None
        return {"name": entry["file_name"], "mime": file.mime_type, "content": file.content.decode("latin-1")}

    return _common(result, attachment) | {"projects": None}


def _common(result: dict[str, Any], attachment: Any) -> dict[str, Any]:
    """Return what both forms have under the same name; ids, times and threads differ in any two runs."""

    def step(entry: dict[str, Any]) -> dict[str, Any]:
        data = entry["data"]
        return {
            "type": entry["step_type"],
            **{name: data.get(name) for name in ("action", "expected_result", "input_data")},
            "status": entry["execution"]["status"],
            "attachments": [attachment(each) for each in entry["execution"]["attachments"]],
            "steps": [step(each) for each in entry["steps"]],
        }

    same = ("title", "signature", "testops_ids", "message", "fields", "tags", "params", "param_groups", "muted")
    return {
        **{name: result[name] for name in same},
        "status": result["execution"]["status"],
        "stacktrace": steady(result["execution"]["stacktrace"]),
        "suites": [each["title"] for each in result["relations"]["suite"]["data"]],
        "attachments": [attachment(each) for each in result["attachments"]],
        "steps": [step(each) for each in result["steps"]],
    }


def steady(text: str | None) -> str | None:
    """Return a text without the addresses of objects."""
    return re.sub(r"0x[0-9a-f]+", "0x", text) if text else text


def differing(theirs: Any, ours: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields that differ, with both values; a field of a step is "steps.status"."""
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for one, other in zip(theirs, ours, strict=True):
            yield from differing(one, other, path)
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        for name in {**theirs, **ours}:
            yield from differing(theirs.get(name), ours.get(name), f"{path}.{name}" if path else name)
    elif theirs != ours:
        yield path, theirs, ours


def test_the_examples_say_the_same_but_for_what_the_table_names(theirs: Results, ours: Results) -> None:
    assert set(ours) == set(theirs)
    rows = table()
    found = [(test, *each) for test in theirs for each in differing(theirs[test], ours[test])]

    def covering(test: str, field: str) -> list[Row]:
        return [row for row in rows if row.covers(test, field)]

    unnamed = [each for each in found if not covering(each[0], each[1])]
    assert not unnamed, "docs/differences.md does not name:\n" + "\n".join(map(str, unnamed))
    wrong = [each for each in found if all(row.contradicts(*each[2:]) for row in covering(each[0], each[1]))]
    assert not wrong, "values that docs/differences.md gives otherwise"
    idle = [
        (pattern, row.field)
        for row in rows
        for pattern in row.patterns
        if not any(is_named(test, pattern) and field == row.field for test, field, *_ in found)
    ]
    assert not idle, "lines of docs/differences.md without a difference"


def test_the_comparison_sees_every_kind_of_difference() -> None:
    one = {"status": "passed", "fields": {"a": "1"}, "steps": [{"status": "passed", "steps": []}]}
    other = {"status": "failed", "fields": {"b": "1"}, "steps": [{"status": "failed", "steps": [{}]}]}

    assert list(differing(one, one)) == []
    fields = [field for field, *_ in differing(one, other)]
    assert fields == ["status", "fields.a", "fields.b", "steps.status", "steps.steps"]


def test_the_examples_use_every_decorator() -> None:
    from qase.pytest import qase

    text = "".join(file.read_text() for file in EXAMPLES.rglob("test_*.py"))
    decorators = {name for name in vars(qase) if not name.startswith("_")}

    assert {name for name in decorators if f"qase.{name}(" not in text} == set()
