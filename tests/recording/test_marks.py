"""The values that upstream's marks of a test have together, read from the items that pytest really collects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from harness.collecting import collected

from famacase_xdist.recording.marks import Marks

MODULE = r'''
import unittest

import pytest
from qase.pytest import qase

pytestmark = [qase.fields(("component", "shop"), ("owner", "module")), qase.tags("all", "twice")]

class Own:
    def __str__(self): raise RuntimeError("no text")

@qase.fields(("owner", "function"), ("severity", "minor"))
@qase.severity("critical")
def test_fields_over_severity(): pass

@qase.author("Bob")
@qase.fields(("author", "Ada"), ("owner", None))
def test_author_over_fields(): pass

@qase.tags("own", "twice", "")
@qase.fields(("tags", "given, own"))
def test_tags(): pass

@pytest.mark.qase_tags(tags="alone")
def test_one_tag(): pass

@qase.tags(Own())
def test_hostile_tag(): pass

@qase.muted()
def test_muted(): pass

@pytest.mark.qase_muted
def test_bare_mark(): pass

@qase.fields(("owner", "base"), ("base", "yes"))
@qase.suite("Base")
class TestBase:
    pytest.mark.qase_author(author="by hand")
    def test_of_base(self): pass

class TestMiddle(TestBase):
    pytestmark = qase.author("Ada")

@qase.fields(("owner", "derived"))
class TestDerived(TestMiddle):
    @qase.suite("Own.Suite")
    def test_own_suite(self): pass

    class TestInner:
        pass

@pytest.mark.parametrize("a", [pytest.param(1, marks=qase.fields(("owner", "param")), id="marked"), 2])
@qase.fields(("owner", "function"))
def test_param(a): pass

@qase.author("Unit")
class Unit(unittest.TestCase):
    @qase.id(3)
    def test_unit(self): pass

def documented():
    """
    >>> 1
    1
    """

@qase.project_id("ONE", [1, 2])
@qase.project_id("TWO", 3)
@qase.id(4)
def test_projects(): pass

@qase.project_id("ONE", 9)
@qase.project_id("THREE", 9)
class TestProjects:
    @qase.project_id("ONE", 1)
    def test_project_of_method(self): pass
'''


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Marks]:
    """The marks of the items of `MODULE`, by class and name."""
    directory = tmp_path_factory.mktemp("marked")
    (directory / "test_marked.py").write_text(MODULE, encoding="utf-8")
    return {item.nodeid.split("::", 1)[1]: Marks(item) for item in collected(directory, "--doctest-modules")}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("test_fields_over_severity", {"owner": "function", "severity": "minor", "component": "shop"}),
        ("test_author_over_fields", {"author": "Bob", "owner": "module", "component": "shop"}),
        ("TestBase::test_of_base", {"owner": "base", "base": "yes", "component": "shop"}),
        ("TestMiddle::test_of_base", {"author": "Ada", "owner": "base", "base": "yes", "component": "shop"}),
        ("TestDerived::test_of_base", {"author": "Ada", "owner": "derived", "base": "yes", "component": "shop"}),
        ("test_param[marked]", {"owner": "param", "component": "shop"}),
        ("test_param[2]", {"owner": "function", "component": "shop"}),
        ("Unit::test_unit", {"author": "Unit", "component": "shop", "owner": "module"}),
        ("test_muted", {"muted": "true", "component": "shop", "owner": "module"}),
        ("test_bare_mark", {"muted": "true", "component": "shop", "owner": "module"}),
        ("test_marked.documented", {"component": "shop", "owner": "module"}),
    ],
)
def test_of_each_field_the_closest_value_counts(name: str, fields: dict[str, str], marks: dict[str, Marks]) -> None:
    found = marks[name].fields
    found.pop("tags", None)

    assert found == fields


@pytest.mark.parametrize(
    ("name", "tags", "field"),
    [
        ("test_tags", ["own", "twice", "all"], "given,own,twice,all"),
        ("test_one_tag", ["alone", "all", "twice"], "alone,all,twice"),
        ("test_hostile_tag", ["<Own that cannot be printed>", "all", "twice"], None),
        ("test_marked.documented", ["all", "twice"], "all,twice"),
    ],
)
def test_tags_add_up(name: str, tags: list[str], field: str | None, marks: dict[str, Marks]) -> None:
    assert marks[name].tags == tags
    if field:
        assert marks[name].fields["tags"] == field


def test_the_closest_suite_counts(marks: dict[str, Marks]) -> None:
    assert marks["TestDerived::test_own_suite"].suites == ["Own", "Suite"]
    assert marks["TestDerived::test_of_base"].suites == ["Base"]
    assert marks["test_muted"].suites == []


def test_each_project_has_the_closest_ids(marks: dict[str, Marks]) -> None:
    assert marks["test_projects"].project_ids == {"ONE": [1, 2], "TWO": [3]}
    assert marks["TestProjects::test_project_of_method"].project_ids == {"ONE": [1], "THREE": [9]}


def test_ids_by_project_stand_in_the_place_of_ids(marks: dict[str, Marks]) -> None:
    assert marks["test_projects"].ids is None
    assert (marks["Unit::test_unit"].ids, marks["Unit::test_unit"].project_ids) == ([3], {})


class Item:
    """An item with one mark of its own."""

    nodeid = "t.py::test_a[1]"

    def __init__(self, **mark: object) -> None:
        self.own_markers = [SimpleNamespace(**mark)]

    def iter_parents(self) -> list[Item]:
        return [self]


def marks_of(name: str, *args: object, **kwargs: object) -> Marks:
    return Marks(Item(name=name, args=args, kwargs=kwargs))  # type: ignore[arg-type]


BIG = 10**18


@pytest.mark.parametrize(
    ("value", "ids", "left_out"),
    [
        (7, [7], ()),
        ([7, 8, 7], [7, 8], ()),
        ((7, "8"), [7, 8], ()),
        ("7, 8,", [7, 8], ()),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", [7], ()),
        ("", None, ()),
        ([], None, ()),
        (None, None, ()),
        ("abc", None, ("'abc'",)),
        ("7,abc", [7], ("'abc'",)),
        ("²", None, ("'²'",)),
        ("9" * 5000, None, (f"'{'9' * 59}...",)),
        (0, None, ("0",)),
        (-1, None, ("-1",)),
        (True, None, ("True",)),
        (1.5, None, ("1.5",)),
        (BIG, None, (str(BIG),)),
        (object(), None, ("<object>",)),
        ([[7]], None, ("[7]",)),
    ],
    ids=lambda value: ascii(value)[:20].split(" at ")[0],
)
def test_an_id_is_a_positive_number_and_what_is_none_is_named(
    value: object, ids: list[int] | None, left_out: tuple[str, ...]
) -> None:
    marks = marks_of("qase_id", id=value)

    assert marks.ids == ids
    lines = list(marks.notes(set()))
    assert [line.split("t.py::test_a: ")[1] for line in lines] == [
        f"{each} is left out: it is not the number of a case" for each in left_out
    ]


@pytest.mark.parametrize(
    ("title", "suites"),
    [
        ("Shop", ["Shop"]),
        ("Shop.Cart", ["Shop", "Cart"]),
        (r"v1\.2.Cart", ["v1.2", "Cart"]),
        (r"a\.b\.c", ["a.b.c"]),
        (r"C:\dir.x", [r"C:\dir", "x"]),
        (r"\.", ["."]),
        ("a\\", ["a\\"]),
        ("a..b.", ["a", "b"]),
        (".", []),
        ("", []),
        (None, []),
        (5, ["5"]),
        (1.5, ["1", "5"]),
    ],
)
def test_a_dot_parts_suites_unless_it_is_escaped(title: object, suites: list[str]) -> None:
    assert marks_of("qase_suite", title=title).suites == suites


@pytest.mark.parametrize(
    ("fields", "found", "left_out"),
    [
        ((("a", 1), ["b", 2]), {"a": 1, "b": 2}, []),
        ((("a", None),), {}, []),
        ((("a", 1, 2),), {}, ["['a', 1, 2]"]),
        (("ab",), {}, ["'ab'"]),
        (({"a": 1},), {}, ["<dict>"]),
        (None, {}, []),
        (7, {}, ["7"]),
    ],
)
def test_a_field_is_a_pair_and_what_is_none_is_named(
    fields: object, found: dict[str, object], left_out: list[str]
) -> None:
    marks = marks_of("qase_fields", fields=fields)

    assert marks.fields == found
    lines = list(marks.notes(set()))
    assert [line.split("t.py::test_a: ")[1] for line in lines] == [
        f"{each} is left out: a field is (name, value)" for each in left_out
    ]


@pytest.mark.parametrize("name", ["qase_id", "qase_title", "qase_suite", "qase_tags", "qase_ignore_parameters"])
def test_a_value_without_a_name_is_said(name: str) -> None:
    (line,) = marks_of(name, "x").notes(set())

    assert line == f"@pytest.mark.{name}('x') of t.py::test_a is left out: write @qase.{name[5:]}(...)"


@pytest.mark.parametrize("name", ["qase_ignore", "qase_muted"])
def test_a_mark_that_needs_no_value_may_have_one(name: str) -> None:
    assert list(marks_of(name, "because").notes(set())) == []


def test_what_was_said_is_not_said_again() -> None:
    said: set[str] = set()
    marks = marks_of("qase_id", id="abc")

    assert len(list(marks.notes(said))) == 1
    assert list(marks.notes(said)) == []


SHARED = """
import pytest
from qase.pytest import qase

@qase.id(1)
@qase.title("T")
class TestShared:
    def test_a(self): pass
    def test_b(self): pass

@qase.title("T")
class TestAlone:
    @pytest.mark.parametrize("a", [1, 2])
    def test_a(self, a): pass

@qase.title("T")
class TestOverridden:
    @qase.title("A")
    def test_a(self): pass
    @qase.title("B")
    def test_b(self): pass
"""


def test_a_title_or_id_that_several_tests_get_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (tmp_path / "test_shared.py").write_text(SHARED)
    said: set[str] = set()

    lines = [line for item in collected(tmp_path) for line in Marks(item).notes(said)]

    rest = "of test_shared.py::TestShared goes to each test in it: mark the test that it is meant for"
    assert lines == [f"@qase.title('T') {rest}", f"@qase.id(1) {rest}"]
