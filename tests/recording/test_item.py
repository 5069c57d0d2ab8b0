"""The names and params of tests, read from the items that pytest really collects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness.collecting import collected
from hypothesis import given
from hypothesis import strategies as st
from qase.commons.utils import QaseUtils
from xdist.remote import WorkerInteractor

from famacase_xdist.recording.item import _is_id_of, nodeid_of, params_of, title_of
from famacase_xdist.recording.marks import Marks
from famacase_xdist.results.node_ids import signature_of

MODULE = r'''
import enum
import unittest

import pytest
from qase.pytest import qase


class Thing:
    pass


class Color(enum.Enum):
    RED = 1


@pytest.mark.parametrize("place", ["web-shop", "-", "a-b-c", ""])
def test_dashes(place): pass

@pytest.mark.parametrize("a, b", [("x-y", "z"), ("1", "2-3")])
def test_dashes_in_two(a, b): pass

@pytest.mark.parametrize("a", [1, 2, 3], ids=["one-x", None, "three"])
def test_ids_list(a): pass

@pytest.mark.parametrize("a", [1, "two", Thing()], ids=lambda value: f"n-{value}" if value == 1 else None)
def test_ids_function(a): pass

@pytest.mark.parametrize("a,b", [(1, "x-y")], ids=lambda value: f"<{value}>")
def test_ids_function_of_two(a, b): pass

@pytest.mark.parametrize("a,b", [(1, 2)], ids=["one-two"])
def test_joint_id(a, b): pass

@pytest.mark.parametrize("a,b", [pytest.param(1, 2, id="only"), (3, 4)])
def test_joint_id_of_one_param(a, b): pass

@pytest.mark.parametrize("a,b", [(Thing(), Thing())], ids=["left-right"])
def test_joint_id_of_objects(a, b): pass

@pytest.mark.parametrize("a,b", [("x-y", Thing())])
def test_dash_beside_object(a, b): pass

@pytest.mark.parametrize("pair", [(1, 2)])
def test_tuple(pair): pass

@pytest.mark.parametrize(["a", "b"], [(1, 2)])
def test_names_as_list(a, b): pass

@pytest.mark.parametrize(("a",), [("x-y",)])
def test_one_name_as_tuple(a): pass

@pytest.mark.parametrize("x", ["p-q"])
@pytest.mark.parametrize("a,b", [("1-1", 2)])
@pytest.mark.parametrize("y", [True])
def test_stacked(x, a, b, y): pass

@pytest.fixture(params=["fast-one", 7], ids=["quick-one", None])
def engine(request): return request.param

@pytest.fixture(params=[Thing()])
def thing(request): return request.param

@pytest.fixture(scope="module", params=["m-1"])
def wide(request): return request.param

def test_fixture(engine): pass

@pytest.mark.parametrize("a,b", [("1-2", 3)])
def test_fixtures_and_marks(a, b, wide, thing): pass

@pytest.mark.parametrize("engine", ["die-sel"], indirect=True)
def test_indirect(engine): pass

@pytest.mark.parametrize("engine,a", [("die-sel", 1)], indirect=["engine"])
def test_partly_indirect(engine, a): pass

@pytest.mark.parametrize("level", ["up-per"])
class TestClass:
    @pytest.mark.parametrize("a", ["lo-w"])
    def test_in_class(self, a, level): pass

    class TestInner:
        def test_in_inner_class(self, level): pass

@pytest.mark.parametrize(argnames="a,b", argvalues=[("k-1", "v")])
def test_keywords(a, b): pass

@pytest.mark.parametrize("a", argvalues=["k-1"])
def test_half_keywords(a): pass

@pytest.mark.parametrize("a", ["ЖЮЯ", "日本", "é-é"])
def test_other_scripts(a): pass

@pytest.mark.parametrize("a,b", [("ЖЮЯ", "日本")])
def test_other_scripts_in_two(a, b): pass

@pytest.mark.parametrize("a", [1, 2], ids=["ЖЮЯ", "日-本"])
def test_other_scripts_as_ids(a): pass

@pytest.mark.parametrize("a", [Thing(), Thing()])
def test_objects(a): pass

@pytest.mark.parametrize("a,b", [(Thing(), 1)])
def test_objects_in_two(a, b): pass

@pytest.mark.parametrize("a,b", [(Thing(), 1)], ids=["first"])
def test_object_under_joint_id(a, b): pass

@pytest.mark.parametrize("a,b", [(Thing, Color.RED)])
def test_named_values(a, b): pass

@pytest.mark.parametrize("a", ["x", "x"])
def test_duplicates(a): pass

@pytest.mark.parametrize("a,b", [(1, 2), (1, 2)])
def test_duplicates_in_two(a, b): pass

@pytest.mark.parametrize("a", ["ЖЮЯ", "ЖЮЯ"])
def test_duplicates_in_other_scripts(a): pass

@pytest.mark.parametrize("a", [None, True, 1.5, b"\xff", "{}"])
def test_plain_values(a): pass

@pytest.mark.parametrize("a", ["x", 1], ids=["x0", "1_0"])
def test_ids_that_look_like_duplicates(a): pass

@pytest.mark.parametrize("a", [pytest.param("x", id="x0")])
def test_param_id_that_looks_like_a_duplicate(a): pass

numbers = iter(range(2))

@pytest.mark.parametrize("a,b", [(1, "x-y")], ids=lambda value: next(numbers))
def test_ids_function_of_one_time(a, b): pass

@pytest.fixture(params=["x", "x"])
def twin(request): return request.param

def test_duplicates_in_fixture(twin): pass

class Proxy:
    def __getattr__(self, name): raise RuntimeError("nothing behind it")

@pytest.mark.parametrize("a,b", [(Proxy(), {"k": 1})], ids=["proxy"])
def test_value_that_must_not_be_asked(a, b): pass

@pytest.mark.parametrize("a", ["new\nline", "C:\\new"])
def test_escapes(a): pass

def pytest_generate_tests(metafunc):
    if "made" in metafunc.fixturenames:
        metafunc.parametrize("made,other", [("g-1", Thing())])

def test_generated(made, other): pass

@qase.parametrize_ignore("a,b", [(1, 2)])
@pytest.mark.parametrize("c", ["k-1"])
def test_parametrize_ignore(a, b, c): pass

@qase.parametrize_ignore(["a", "b"], [(1, 2)])
def test_parametrize_ignore_with_a_list(a, b): pass

@qase.ignore_parameters("a")
@pytest.mark.parametrize("a,b", [(1, "x-y")])
@pytest.mark.parametrize("c", [3])
def test_ignore_parameters(a, b, c): pass

@qase.ignore_parameters("engine")
def test_ignore_a_fixtures_param(engine): pass

@qase.title("Buys: a book")
@pytest.mark.parametrize("a", [1])
def test_titled(a): pass

@pytest.mark.qase_title("positional")
def test_positional_title(): pass

@qase.title("")
def test_empty_title(): pass

@qase.title("Of the class")
class TestTitled:
    @qase.title("Of the method")
    def test_own_title(self): pass

    def test_class_title(self): pass

class Unit(unittest.TestCase):
    def test_unit(self): pass

def documented():
    """
    >>> 1
    1
    """
'''

HIDDEN = r"""
@pytest.mark.parametrize("a", [pytest.param("v-1", id=pytest.HIDDEN_PARAM), "two"])
def test_hidden(a): pass

@pytest.mark.parametrize("a", [pytest.param("v-1", id=pytest.HIDDEN_PARAM)])
@pytest.mark.parametrize("b", [pytest.param(3, id="shown-id")])
def test_hidden_beside_shown(a, b): pass

@pytest.mark.parametrize("a,b", [("v-1", 2)], ids=[pytest.HIDDEN_PARAM])
@pytest.mark.parametrize("c", [3], ids=["shown-id"])
def test_hidden_in_ids(a, b, c): pass

@pytest.fixture(params=[pytest.param("v-1", id=pytest.HIDDEN_PARAM)])
def veiled(request): return request.param

def test_hidden_in_fixture(veiled, engine): pass

@pytest.mark.parametrize("a", [pytest.param(Thing(), id=pytest.HIDDEN_PARAM)])
def test_hidden_object(a): pass
"""

#: pytest.HIDDEN_PARAM came with pytest 8.4.
HAS_HIDDEN = hasattr(pytest, "HIDDEN_PARAM")

GROUPED = """
import pytest

@pytest.mark.xdist_group("db")
def test_group(): pass

@pytest.mark.xdist_group(name="db@1")
def test_group_with_at(): pass

@pytest.mark.xdist_group("db")
@pytest.mark.parametrize("mail", ["ada@example.com"])
def test_group_and_at_in_param(mail): pass

@pytest.mark.parametrize("mail", ["ada@example.com"])
def test_at_without_group(mail): pass
"""


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, pytest.Item]]:
    """The items of `MODULE` by name."""
    directory = tmp_path_factory.mktemp("rich")
    (directory / "test_rich.py").write_text(MODULE + HIDDEN * HAS_HIDDEN, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        yield {item.name: item for item in collected(directory, "--doctest-modules")}


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


PARAMS_WITH_HIDDEN: list[tuple[str, dict[str, str]]] = [
    ("test_hidden", {"a": "v-1"}),
    ("test_hidden[two]", {"a": "two"}),
    ("test_hidden_beside_shown[shown-id]", {"b": "shown-id", "a": "v-1"}),
    ("test_hidden_in_ids[shown-id]", {"c": "shown-id", "a": "v-1", "b": "2"}),
    ("test_hidden_in_fixture[quick-one]", {"veiled": "v-1", "engine": "quick-one"}),
    ("test_hidden_object", {"a": "a0"}),
]
PARAMS: list[tuple[str, dict[str, str]]] = [
    *(PARAMS_WITH_HIDDEN if HAS_HIDDEN else ()),
    ("test_dashes[web-shop]", {"place": "web-shop"}),
    ("test_dashes[-]", {"place": "-"}),
    ("test_dashes[a-b-c]", {"place": "a-b-c"}),
    ("test_dashes[]", {"place": ""}),
    ("test_dashes_in_two[x-y-z]", {"a": "x-y", "b": "z"}),
    ("test_dashes_in_two[1-2-3]", {"a": "1", "b": "2-3"}),
    ("test_ids_list[one-x]", {"a": "one-x"}),
    ("test_ids_list[2]", {"a": "2"}),
    ("test_ids_list[three]", {"a": "three"}),
    ("test_ids_function[n-1]", {"a": "n-1"}),
    ("test_ids_function[two]", {"a": "two"}),
    ("test_ids_function[a2]", {"a": "a2"}),
    ("test_ids_function_of_two[<1>-<x-y>]", {"a": "<1>", "b": "<x-y>"}),
    ("test_joint_id[one-two]", {"a": "1", "b": "2"}),
    ("test_joint_id_of_one_param[only]", {"a": "1", "b": "2"}),
    ("test_joint_id_of_one_param[3-4]", {"a": "3", "b": "4"}),
    ("test_dash_beside_object[x-y-b0]", {"a": "x-y", "b": "b0"}),
    ("test_tuple[pair0]", {"pair": "pair0"}),
    ("test_names_as_list[1-2]", {"a": "1", "b": "2"}),
    ("test_one_name_as_tuple[x-y]", {"a": "x-y"}),
    ("test_stacked[True-1-1-2-p-q]", {"y": "True", "a": "1-1", "b": "2", "x": "p-q"}),
    ("test_fixture[quick-one]", {"engine": "quick-one"}),
    ("test_fixture[7]", {"engine": "7"}),
    ("test_fixtures_and_marks[m-1-thing0-1-2-3]", {"wide": "m-1", "thing": "thing0", "a": "1-2", "b": "3"}),
    ("test_indirect[die-sel]", {"engine": "die-sel"}),
    ("test_partly_indirect[die-sel-1]", {"engine": "die-sel", "a": "1"}),
    ("test_in_class[lo-w-up-per]", {"a": "lo-w", "level": "up-per"}),
    ("test_in_inner_class[up-per]", {"level": "up-per"}),
    ("test_keywords[k-1-v]", {"a": "k-1", "b": "v"}),
    ("test_half_keywords[k-1]", {"a": "k-1"}),
    *((f"test_other_scripts[{_escaped(text)}]", {"a": text}) for text in ("ЖЮЯ", "日本", "é-é")),
    (f"test_other_scripts_in_two[{_escaped('ЖЮЯ')}-{_escaped('日本')}]", {"a": "ЖЮЯ", "b": "日本"}),
    *((f"test_other_scripts_as_ids[{_escaped(text)}]", {"a": text}) for text in ("ЖЮЯ", "日-本")),
    ("test_objects[a0]", {"a": "a0"}),
    ("test_objects[a1]", {"a": "a1"}),
    ("test_objects_in_two[a0-1]", {"a": "a0", "b": "1"}),
    ("test_named_values[Thing-Color.RED]", {"a": "Thing", "b": "Color.RED"}),
    ("test_duplicates[x0]", {"a": "x"}),
    ("test_duplicates[x1]", {"a": "x"}),
    ("test_duplicates_in_two[1-2_0]", {"a": "1", "b": "2"}),
    ("test_duplicates_in_two[1-2_1]", {"a": "1", "b": "2"}),
    (f"test_duplicates_in_other_scripts[{_escaped('ЖЮЯ')}1]", {"a": "ЖЮЯ"}),
    ("test_ids_that_look_like_duplicates[x0]", {"a": "x0"}),
    ("test_ids_that_look_like_duplicates[1_0]", {"a": "1_0"}),
    ("test_param_id_that_looks_like_a_duplicate[x0]", {"a": "x0"}),
    ("test_ids_function_of_one_time[0-1]", {"a": "1", "b": "x-y"}),
    ("test_duplicates_in_fixture[x0]", {"twin": "x"}),
    ("test_value_that_must_not_be_asked[proxy]", {"a": "a0", "b": "b0"}),
    (r"test_escapes[new\nline]", {"a": "new\nline"}),
    (r"test_escapes[C:\\new]", {"a": r"C:\new"}),
    ("test_plain_values[None]", {"a": "None"}),
    ("test_plain_values[True]", {"a": "True"}),
    ("test_plain_values[1.5]", {"a": "1.5"}),
    (r"test_plain_values[\xff]", {"a": r"\xff"}),
    ("test_plain_values[{}]", {"a": "{}"}),
    ("test_parametrize_ignore[k-1-1-2]", {"c": "k-1"}),
    ("test_parametrize_ignore_with_a_list[1-2]", {}),
    ("test_ignore_parameters[3-1-x-y]", {"c": "3", "b": "x-y"}),
    ("test_ignore_a_fixtures_param[quick-one]", {}),
    ("test_unit", {}),
    ("test_rich.documented", {}),
]


@pytest.mark.parametrize(("name", "params"), PARAMS, ids=[ascii(name) for name, _ in PARAMS])
def test_each_param_has_its_own_readable_text(name: str, params: dict[str, str], items: dict[str, pytest.Item]) -> None:
    assert params_of(items[name])[0] == params


@pytest.mark.parametrize(("name", "params"), PARAMS, ids=[ascii(name) for name, _ in PARAMS])
def test_params_keep_the_order_in_which_pytest_added_them(
    name: str, params: dict[str, str], items: dict[str, pytest.Item]
) -> None:
    assert list(params_of(items[name])[0]) == list(params)


RAW = r"""
import pytest

@pytest.mark.parametrize("a", [1, 2], ids=["C:\\new", "Ж"])
def test_one(a): pass

@pytest.mark.parametrize("a,b", [("C:\\new", "Ж")])
def test_two(a, b): pass
"""


@pytest.mark.parametrize("is_raw", [False, True])
def test_ids_are_readable_whether_pytest_escapes_them_or_not(
    is_raw: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (tmp_path / f"test_raw_{is_raw}.py").write_text(RAW, encoding="utf-8")
    option = f"disable_test_id_escaping_and_forfeit_all_rights_to_community_support={is_raw}"

    params = [params_of(item)[0] for item in collected(tmp_path, "-o", option)]

    assert params == [{"a": r"C:\new"}, {"a": "Ж"}, {"a": r"C:\new", "b": "Ж"}]


def test_objects_do_not_get_the_halves_of_an_id_that_is_for_both(items: dict[str, pytest.Item]) -> None:
    params, _ = params_of(items["test_joint_id_of_objects[left-right]"])

    assert (params["a"], params["b"]) != ("left", "right")


@pytest.mark.parametrize(
    "name",
    [
        "test_object_under_joint_id[first]",
        "test_dash_beside_object[x-y-b0]",
        *(["test_hidden_object"] if HAS_HIDDEN else ()),
        "test_generated[g-1-other0]",
        "test_joint_id_of_objects[left-right]",
    ],
)
def test_no_param_shows_where_in_memory_its_value_was(name: str, items: dict[str, pytest.Item]) -> None:
    params, _ = params_of(items[name])

    assert " at 0x" not in " ".join(params.values())


GROUPS: list[tuple[str, list[list[str]]]] = [
    ("test_dashes[-]", []),
    ("test_dashes_in_two[x-y-z]", [["a", "b"]]),
    ("test_names_as_list[1-2]", [["a", "b"]]),
    ("test_one_name_as_tuple[x-y]", []),
    ("test_stacked[True-1-1-2-p-q]", [["a", "b"]]),
    ("test_partly_indirect[die-sel-1]", [["engine", "a"]]),
    ("test_keywords[k-1-v]", [["a", "b"]]),
    ("test_in_class[lo-w-up-per]", []),
    ("test_fixture[7]", []),
    ("test_parametrize_ignore[k-1-1-2]", []),
    ("test_parametrize_ignore_with_a_list[1-2]", []),
    ("test_ignore_parameters[3-1-x-y]", []),
    ("test_unit", []),
    ("test_rich.documented", []),
]


@pytest.mark.parametrize(("name", "groups"), GROUPS, ids=[name for name, _ in GROUPS])
def test_what_was_parametrized_together_is_a_group(
    name: str, groups: list[list[str]], items: dict[str, pytest.Item]
) -> None:
    assert params_of(items[name])[1] == groups


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("test_titled[1]", "Buys: a book"),
        ("test_own_title", "Of the method"),
        ("test_class_title", "Of the class"),
        ("test_empty_title", "test_empty_title"),
        ("test_positional_title", "test_positional_title"),
        ("test_dashes[a-b-c]", "test_dashes"),
        *([("test_hidden", "test_hidden")] if HAS_HIDDEN else ()),
        ("test_in_inner_class[up-per]", "test_in_inner_class"),
        ("test_unit", "test_unit"),
        ("test_rich.documented", "test_rich.documented"),
    ],
)
def test_a_title_is_the_one_given_or_the_name_without_params(
    name: str, title: str, items: dict[str, pytest.Item]
) -> None:
    assert title_of(items[name], Marks(items[name])) == title


def _signature(item: pytest.Item) -> str:
    return signature_of(nodeid_of(item), None, params_of(item)[0])


def test_every_test_has_a_signature_of_its_own(items: dict[str, pytest.Item]) -> None:
    signatures = [_signature(item) for item in items.values()]

    assert len(set(signatures)) == len(signatures)


@pytest.mark.parametrize(
    ("nodeid", "ids", "params"),
    [
        ("test_a.py::test_a", None, {}),
        ("test_a.py::test_a", [], {}),
        ("My Tests/Sub/test_A.py::TestB::test_c[Web Shop]", [7, 8], {"Place": "Web Shop", "b": ""}),
        ("a/b/c.py::t[x/y]", [1], {"x": "x/y"}),
    ],
)
def test_a_signature_is_upstreams_so_that_histories_go_on(
    nodeid: str, ids: list[int] | None, params: dict[str, str]
) -> None:
    assert signature_of(nodeid, ids, params) == QaseUtils.get_signature(ids, nodeid.split("/"), params)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, pytest.Item]]:
    """Node ids as collected, and the items after xdist marked their groups as a worker of ``--dist loadgroup`` does."""
    directory = tmp_path_factory.mktemp("grouped")
    (directory / "test_grouped.py").write_text(GROUPED)
    found = collected(directory)
    before = [item.nodeid for item in found]
    config: Any = found[0].config
    config.option.loadgroup = True
    WorkerInteractor.pytest_collection_modifyitems(SimpleNamespace(), config, found)  # type: ignore[arg-type]
    return list(zip(before, found, strict=True))


@pytest.mark.parametrize("index", range(4))
def test_a_node_id_under_loadgroup_is_the_one_without_it(index: int, grouped: list[tuple[str, pytest.Item]]) -> None:
    nodeid, item = grouped[index]

    assert nodeid_of(item) == nodeid


class _Marked:
    """An item whose node id carries its group, as xdist leaves it under pytest versions before 9."""

    config = SimpleNamespace(option=SimpleNamespace(loadgroup=True))

    def __init__(self, nodeid: str, *groups: str) -> None:
        self.nodeid = nodeid
        self.marks = [SimpleNamespace(name="xdist_group", args=(group,), kwargs={}) for group in groups]

    def iter_markers(self, name: str) -> Iterator[SimpleNamespace]:
        return (mark for mark in self.marks if mark.name == name)


@pytest.mark.parametrize(
    ("nodeid", "groups"),
    [
        ("t.py::test_a@db", ["db"]),
        ("t.py::test_a[ada@example.com]@db", ["db"]),
        ("t.py::test_a@db@1", ["db@1"]),
        ("t.py::test_a@db_web", ["web", "db"]),
    ],
)
def test_the_group_that_xdist_appended_is_taken_off(nodeid: str, groups: list[str]) -> None:
    item: Any = _Marked(nodeid, *groups)

    assert nodeid_of(item) == nodeid.removesuffix("@" + "_".join(sorted(groups)))


def test_a_node_id_is_as_pytest_says_without_loadgroup(items: dict[str, pytest.Item]) -> None:
    item = items["test_dashes[a-b-c]"]

    assert nodeid_of(item) == item.nodeid


@given(st.lists(st.text("1a_-\u0661\\", max_size=3), min_size=1, max_size=3), st.text("1_a\u0661", max_size=3))
def test_an_id_is_of_its_pieces_if_only_pytests_number_is_behind_them(pieces: list[str], rest: str) -> None:
    joined = "-".join(pieces)
    number = r"_\d+" if joined[-1:].isdigit() else r"\d+"

    is_of = _is_id_of(joined + rest, pieces)

    assert is_of == bool(re.fullmatch(f"({number})?", rest))
