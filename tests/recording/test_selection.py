"""A test plan's selection: the tests of its cases are kept, pytest hears of all others, and every process agrees."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.collecting import collected

from famacase_xdist.recording.selection import case_ids, given, install

MODULE = """
import pytest
from qase.pytest import qase

def tag(name): return getattr(pytest.mark, name)

@qase.id(1)
def test_one(): pass

@qase.id([2, 3])
def test_two_and_three(): pass

@qase.id("4, 5, x")
def test_text(): pass

@qase.id(6)
@pytest.mark.parametrize("number", [1, pytest.param(2, marks=qase.id(7))])
def test_param(number): pass

@qase.project_id("DEMO", [8, 9])
@qase.project_id("OTHER", 10)
def test_projects(): pass

@qase.id(11)
@qase.project_id("OTHER", 12)
def test_id_beside_a_project(): pass

@qase.id(13)
class TestClass:
    def test_of_class(self): pass

    @qase.id(14)
    def test_closest(self): pass

@tag("qase.id=15,16")
def test_tag(): pass

@tag("qase.id=17")
@tag("QASE.ID= 18 , x,,-1,\N{SUPERSCRIPT TWO}")
def test_tags(): pass

@tag("qase.project_id.DEMO=19,20")
@tag("Qase.Project_ID.demo=21")
@tag("qase.project_id.OTHER=22")
def test_tags_of_projects(): pass

@tag("qase.id=23")
@qase.id(24)
def test_tag_beside_an_id(): pass

@tag("qase.id")
@tag("qase.ids=25")
@tag("qase.project_id=26")
@tag("qase.project_id.DEMO2=27")
@tag("myqase.id=28")
def test_other_tags(): pass

@pytest.mark.qase_id(29)
def test_mark_without_a_name(): pass

def test_without(): pass
"""
IDS = {
    "test_one": [1],
    "test_two_and_three": [2, 3],
    "test_text": [4, 5],
    "test_param[1]": [6],
    "test_param[2]": [7],
    "test_projects": [8, 9],
    "test_id_beside_a_project": [],
    "test_of_class": [13],
    "test_closest": [14],
    "test_tag": [15, 16],
    "test_tags": [17, 18],
    "test_tags_of_projects": [19, 20, 21],
    "test_tag_beside_an_id": [23, 24],
    "test_other_tags": [],
    "test_mark_without_a_name": [],
    "test_without": [],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("selected")
    (directory / "test_selected.py").write_text(MODULE, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def items(directory: Path) -> dict[str, pytest.Item]:
    """The items of `MODULE` by name."""
    return {item.name: item for item in collected(directory)}


# The cases of a test


def test_every_test_was_collected(items: dict[str, pytest.Item]) -> None:
    assert set(items) == set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_a_test_has_the_ids_of_its_marks_and_tags(name: str, items: dict[str, pytest.Item]) -> None:
    assert sorted(case_ids(items[name], "DEMO")) == IDS[name]


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_one", [1]),
        ("test_projects", [10]),
        ("test_id_beside_a_project", [12]),
        ("test_tag", [15, 16]),
        ("test_tags_of_projects", [22]),
    ],
)
def test_of_the_ids_by_project_those_of_the_plans_project_count(
    name: str, ids: list[int], items: dict[str, pytest.Item]
) -> None:
    assert sorted(case_ids(items[name], "OTHER")) == ids


# What is kept


@dataclass(eq=False)  # pytest keeps its plugins in a set
class Selected:
    """A plugin that installs a selection, and notes what came of it.

    Attributes:
        seen: How many tests a plugin that shares them out was given.
        deselected: Calls of pytest's hook, each with the names of the tests.
    """

    text: str
    kept: list[str] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    deselected: list[list[str]] = field(default_factory=list)

    def pytest_configure(self, config: pytest.Config) -> None:
        install(config, self.text)
        config.pluginmanager.register(_Sharing(self))

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.deselected.append([item.name for item in items])

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.kept = [item.name for item in session.items]


class _Sharing:
    """Stands for pytest-split and its like: registered later than the selection."""

    def __init__(self, selected: Selected) -> None:
        self._selected = selected

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._selected.seen.append(len(items))


def selected(directory: Path, text: str) -> Selected:
    """Collect a directory in this process with a selection."""
    plugin = Selected(text)
    # The last of these looks for garbage five times at the end of each session.
    absent = ("cacheprovider", "faulthandler", "unraisableexception")
    options = ["--collect-only", "-q", "-W", "ignore", "--import-mode=importlib", *(f"-pno:{name}" for name in absent)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        pytest.main([*options, str(directory)], plugins=[plugin])
    sys.modules.pop("test_selected", None)
    return plugin


NAMES = list(IDS)


@pytest.mark.parametrize(
    ("cases", "kept"),
    [
        ((1,), ["test_one"]),
        ((3, 7, 99), ["test_two_and_three", "test_param[2]"]),
        ((22, 12, 10), []),
        ((16, 14, 9, 1), ["test_one", "test_projects", "test_closest", "test_tag"]),
        ((), []),
    ],
    ids=str,
)
def test_the_tests_of_the_cases_are_kept_in_their_order(
    cases: tuple[int, ...], kept: list[str], directory: Path
) -> None:
    found = selected(directory, given("DEMO", cases))

    assert found.kept == kept
    assert found.deselected == [[name for name in NAMES if name not in kept]]


def test_pytest_hears_of_nothing_where_all_tests_are_kept(tmp_path: Path) -> None:
    (tmp_path / "test_selected.py").write_text("from qase.pytest import qase\n@qase.id(1)\ndef test_one(): pass\n")

    found = selected(tmp_path, given("DEMO", [1, 2]))

    assert (found.kept, found.deselected) == (["test_one"], [])


def test_a_plugin_that_shares_out_tests_gets_those_that_are_left(directory: Path) -> None:
    assert selected(directory, given("DEMO", [1, 2])).seen == [2]


# What travels


def test_the_text_is_the_same_whatever_order_the_cases_come_in() -> None:
    """xdist compares what its workers collect."""
    texts = {given("DEMO", cases) for cases in ([10, 9, 1], (1, 9, 10), frozenset({9, 10, 1}))}

    assert len(texts) == 1


@pytest.mark.parametrize("project", ["DEMO", "\N{SNOWMAN}", 'a"b\\', ""])
def test_a_text_travels_as_plain_ascii(project: str) -> None:
    text = given(project, [2, 1])

    assert text.isascii()
    assert json.loads(text) == [project, [1, 2]]


def test_a_project_of_any_name_selects_its_tests(tmp_path: Path) -> None:
    name = 'a"b\\\N{SNOWMAN}'
    marked = (
        f"from qase.pytest import qase\n@qase.project_id({name!r}, 1)\ndef test_one(): pass\ndef test_two(): pass\n"
    )
    (tmp_path / "test_selected.py").write_text(marked, encoding="utf-8")

    assert selected(tmp_path, given(name, [1])).kept == ["test_one"]
