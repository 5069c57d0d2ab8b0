"""What a result says of its test: upstream's answer, in a report that it writes, beside ours, from a real server.

Upstream asks pip for versions six times a process, so there is no pip where it runs here.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness.server import TOKEN, Backend, running
from harness.suites import Ran, Suite

CASES = r"""
    import enum
    import unittest

    import pytest
    from qase.pytest import qase

    class Color(enum.Enum):
        RED = 1

    class Thing:
        pass

    @pytest.mark.parametrize("a, b", [(1, 2)], ids=["one-two"])
    def test_joint_id(a, b): pass

    @pytest.mark.parametrize("a, b", [("x-y", "z"), ("1", "2-3")])
    def test_dashes_in_values(a, b): pass

    @pytest.mark.parametrize("a, b", [(1, "x-y")], ids=lambda value: f"<{value}>")
    def test_ids_function(a, b): pass

    @pytest.mark.parametrize("a", [1, "two-2"], ids=lambda value: "n-1" if value == 1 else None)
    def test_ids_function_of_none(a): pass

    @pytest.mark.parametrize("a", [Thing(), 2], ids=["one-x", None])
    def test_ids_list(a): pass

    @pytest.mark.parametrize("a, b", [(1, 2), (1, 2)])
    def test_duplicates(a, b): pass

    @pytest.mark.parametrize("a, b", [("ЖЮЯ", "é")])
    def test_other_scripts(a, b): pass

    @pytest.mark.parametrize("a, b, c", [(Thing(), Color.RED, (1, 2))], ids=["an-object"])
    def test_values_that_are_no_texts(a, b, c): pass

    @pytest.mark.parametrize("a", [""])
    def test_empty_value(a): pass

    @pytest.mark.parametrize(["a", "b"], [(1, 2)])
    def test_names_as_list(a, b): pass

    @pytest.mark.parametrize(argnames="a,b", argvalues=[(1, 2)])
    def test_all_by_keyword(a, b): pass

    @pytest.fixture(params=["fast-one", Thing()], ids=["quick-one", "other"])
    def engine(request): return request.param

    def test_fixture(engine): pass

    @pytest.mark.parametrize("engine, a", [("die-sel", 1)], indirect=["engine"])
    def test_indirect(engine, a): pass

    @pytest.mark.parametrize("a", [1])
    def test_said_in_the_test(a):
        qase.param("extra", "value")
        qase.param("none", "")

    @qase.ignore_parameters("a")
    @pytest.mark.parametrize("a,b", [(1, "x-y")])
    def test_ignore_parameters(a, b): pass

    @qase.parametrize_ignore("a", [1])
    @pytest.mark.parametrize("b", ["k-1"])
    def test_parametrize_ignore(a, b): pass

    @pytest.mark.parametrize("user, secret", [("ada", "s")])
    def test_exclude_params(user, secret): pass

    @qase.fields(("severity", "minor"), ("owner", "class"))
    @qase.tags("outer")
    @qase.author("Ada")
    class TestGroup:
        @qase.fields(("severity", "critical"))
        @qase.tags("inner")
        def test_fields_of_both(self): pass

        @qase.severity("blocker")
        def test_closest_field(self): pass

        class TestInner:
            def test_nested(self): pass

    @qase.suite("Base")
    @qase.fields(("severity", "minor"))
    class TestBase:
        pass

    @qase.suite("Derived")
    @qase.fields(("severity", "major"))
    class TestDerived(TestBase):
        def test_derived_class(self): pass

    @qase.id(1)
    @qase.title("In general")
    @pytest.mark.parametrize("a", [pytest.param(1, marks=[qase.id(2), qase.title("In this case")]), 2])
    def test_marks_of_a_param(a): pass

    @qase.id(9)
    @qase.title("Same")
    class TestSame:
        def test_same_first(self): pass
        def test_same_second(self): pass

    @qase.id(10)
    class TestAlone:
        @pytest.mark.parametrize("a", [1, 2])
        def test_alone_in_its_class(self, a): pass

    @qase.id("abc")
    def test_bad_id(): pass

    @qase.id("5, abc")
    def test_half_bad_id(): pass

    @qase.id([7, "8"])
    def test_mixed_ids(): pass

    @pytest.mark.qase_id(5)
    @pytest.mark.qase_severity("critical")
    def test_positional(): pass

    @qase.id("TOKEN")
    def test_token_as_id(): pass

    @qase.suite("Shop.Cart", "what is bought")
    def test_dotted_suite(): pass

    @qase.suite("Shop v1\\.2.Cart")
    def test_escaped_suite(): pass

    @qase.id([7, 8])
    @qase.title("Buys a book")
    @qase.severity("critical")
    @qase.priority("high")
    @qase.layer("api")
    @qase.description("what")
    @qase.preconditions("before")
    @qase.postconditions("after")
    @qase.muted()
    def test_all_decorators(): pass

    @qase.ignore()
    def test_ignore(): pass

    class Unit(unittest.TestCase):
        @qase.title("Unit: one")
        def test_unit(self): pass

    @pytest.mark.xfail(reason="no plugin for it")
    async def test_async(): pass
""".replace("TOKEN", TOKEN)
HIDDEN = """
    @pytest.mark.parametrize("a", [pytest.param("v-1", id=pytest.HIDDEN_PARAM)])
    @pytest.mark.parametrize("b", ["p-q"])
    def test_hidden(a, b): pass
"""
#: pytest.HIDDEN_PARAM came with pytest 8.4.
HAS_HIDDEN = hasattr(pytest, "HIDDEN_PARAM")


@dataclass
class Answers:
    """Results by the name of their test function: upstream's, and ours without xdist and with two workers."""

    upstream: dict[str, list[dict[str, Any]]]
    alone: dict[str, list[dict[str, Any]]]
    two: dict[str, list[dict[str, Any]]]
    ran: tuple[Ran, Ran]


def by_name(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each test function; the signature has its name, and puts its params in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(results, key=lambda result: result["signature"]):
        match = re.search(r"\.\w+::(?:[a-z]+::)*([\w.]+)", result["signature"])
        assert match is not None, result["signature"]
        found.setdefault(match[1], []).append(result)
    return found


def reported_by_upstream(suite: Suite, *args: str) -> tuple[Ran, list[dict[str, Any]]]:
    """Run a suite under upstream in mode report; gives what it says and what it wrote."""
    ran = suite.run("-n0", *args, QASE_MODE="report", PATH="/nonexistent", FAMACASE_STATE_DIR="")
    files = (suite.path / "build" / "qase-report" / "results").glob("*.json")
    return ran, [json.loads(file.read_text(encoding="utf-8")) for file in files]


def empty_suite(path: Path) -> Suite:
    (path / "suite").mkdir(parents=True)
    return Suite(path / "suite", path / "state")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    path = tmp_path_factory.mktemp("cases")
    upstream, ours = empty_suite(path / "upstream"), empty_suite(path / "ours")
    for suite in (upstream, ours):
        suite.write("test_cases.py", CASES + HIDDEN * HAS_HIDDEN)
        suite.env["QASE_EXCLUDE_PARAMS"] = "secret"
    with running(path / "alone.sqlite3") as alone, running(path / "two.sqlite3") as two:
        ran = (
            ours.run("-p", "no:xdist", **alone.environment(), PYTHONHASHSEED="1"),
            ours.run("-n2", **two.environment(), PYTHONHASHSEED="2"),
        )
        written = reported_by_upstream(upstream)[1]
        return Answers(by_name(written), by_name(alone.results()), by_name(two.results()), ran)


class Row(NamedTuple):
    """What the results of one test function say, upstream's and ours; one value for each set of params."""

    test: str
    what: str
    upstream: list[Any]
    ours: list[Any]


A_GROUP = [["a", "b"]]
WRONG = [
    Row("test_joint_id", "params", [{"a": "one", "b": "two"}], [{"a": "1", "b": "2"}]),
    Row("test_ids_function", "params", [{"a": "1", "b": "x-y"}], [{"a": "<1>", "b": "<x-y>"}]),
    Row("test_ids_function_of_none", "params", [{"a": "1"}, {"a": "two-2"}], [{"a": "n-1"}, {"a": "two-2"}]),
    Row(
        "test_ids_list", "params", [{"a": "2"}, {"a": "<test_cases.Thing object at 0x>"}], [{"a": "2"}, {"a": "one-x"}]
    ),
    Row("test_duplicates", "params", [{"a": "1", "b": "2_0"}, {"a": "1", "b": "2_1"}], [{"a": "1", "b": "2"}] * 2),
    Row("test_other_scripts", "params", [{"a": r"\u0416\u042e\u042f", "b": r"\xe9"}], [{"a": "ЖЮЯ", "b": "é"}]),
    Row(
        "test_values_that_are_no_texts",
        "params",
        [{"a": "<test_cases.Thing object at 0x>", "b": "Color.RED", "c": "(1, 2)"}],
        [{"a": "a0", "b": "Color.RED", "c": "c0"}],
    ),
    Row("test_names_as_list", "param_groups", [[]], [A_GROUP]),
    Row(
        "test_fixture",
        "params",
        [{"engine": "other"}, {"engine": "fast-one"}],
        [{"engine": "other"}, {"engine": "quick-one"}],
    ),
    Row(
        "test_fields_of_both",
        "fields",
        [{"author": "Ada", "severity": "critical", "tags": "inner,outer"}],
        [{"author": "Ada", "severity": "critical", "owner": "class", "tags": "inner,outer"}],
    ),
    Row(
        "test_closest_field",
        "fields",
        [{"author": "Ada", "severity": "minor", "owner": "class", "tags": "outer"}],
        [{"author": "Ada", "severity": "blocker", "owner": "class", "tags": "outer"}],
    ),
    Row("test_nested", "suites", [["test_cases", "TestGroup"]], [["test_cases", "TestGroup", "TestInner"]]),
    Row("test_derived_class", "suites", [["Base"]], [["Derived"]]),
    Row("test_derived_class", "fields", [{"severity": "minor"}], [{"severity": "major"}]),
    Row("test_marks_of_a_param", "title", ["In general", "In general"], ["In general", "In this case"]),
    Row("test_marks_of_a_param", "testops_ids", [[1], [1]], [[1], [2]]),
    Row("test_half_bad_id", "testops_ids", [None], [[5]]),
    Row("test_mixed_ids", "testops_ids", [None], [[7, 8]]),
    Row("test_escaped_suite", "suites", [["Shop v1\\", "2", "Cart"]], [["Shop v1.2", "Cart"]]),
    Row("test_all_decorators", "muted", [False], [True]),
    Row("test_positional", "fields", [{"severity": None}], [{}]),
    *([Row("test_hidden", "params", [{"b": "p", "a": "q"}], [{"b": "p-q", "a": "v-1"}])] if HAS_HIDDEN else ()),
]
#: Upstream's client does these when it sends, so its report does not show them.
AS_SENT = [
    Row("test_empty_value", "params", [{"a": ""}], [{"a": "empty"}]),
    Row(
        "test_said_in_the_test",
        "params",
        [{"a": "1", "extra": "value", "none": ""}],
        [{"a": "1", "extra": "value", "none": "empty"}],
    ),
    Row("test_exclude_params", "params", [{"user": "ada", "secret": "s"}], [{"user": "ada"}]),
    Row("test_exclude_params", "param_groups", [[["user", "secret"]]], [[]]),
]
EVERYTHING = {
    **{"severity": "critical", "priority": "high", "layer": "api", "muted": "true"},
    **{"description": "what", "preconditions": "before", "postconditions": "after"},
}
RIGHT = [
    ("test_dashes_in_values", "params", [{"a": "1", "b": "2-3"}, {"a": "x-y", "b": "z"}]),
    ("test_all_by_keyword", "params", [{"a": "1", "b": "2"}]),
    ("test_all_by_keyword", "param_groups", [A_GROUP]),
    ("test_joint_id", "param_groups", [A_GROUP]),
    ("test_indirect", "params", [{"engine": "die-sel", "a": "1"}]),
    ("test_indirect", "param_groups", [[["engine", "a"]]]),
    ("test_ignore_parameters", "params", [{"b": "x-y"}]),
    ("test_ignore_parameters", "param_groups", [[]]),
    ("test_parametrize_ignore", "params", [{"b": "k-1"}]),
    ("test_fields_of_both", "tags", [["inner", "outer"]]),
    ("test_dotted_suite", "suites", [["Shop", "Cart"]]),
    ("test_all_decorators", "testops_ids", [[7, 8]]),
    ("test_all_decorators", "title", ["Buys a book"]),
    ("test_all_decorators", "fields", [EVERYTHING]),
    ("test_bad_id", "testops_ids", [None]),
    ("test_same_second", "title", ["Same"]),
    ("test_unit", "title", ["Unit: one"]),
    ("test_unit", "suites", [["test_cases", "Unit"]]),
    ("test_async", "title", ["test_async"]),
]


def said(results: list[dict[str, Any]], what: str) -> list[Any]:
    """Return what each result says of one thing, without addresses of objects."""
    if what == "suites":
        return [[suite["title"] for suite in result["relations"]["suite"]["data"]] for result in results]
    texts = (json.dumps(result[what], ensure_ascii=False) for result in results)
    return [json.loads(re.sub(r" at 0x[0-9a-f]+", " at 0x", text)) for text in texts]


@pytest.mark.parametrize("row", [*WRONG, *AS_SENT], ids=lambda row: f"{row.test}-{row.what}")
def test_where_upstream_is_wrong_we_are_right(row: Row, answers: Answers) -> None:
    assert said(answers.upstream[row.test], row.what) == row.upstream
    assert said(answers.alone[row.test], row.what) == row.ours


@pytest.mark.parametrize(("test", "what", "value"), RIGHT, ids=[f"{test}-{what}" for test, what, _ in RIGHT])
def test_where_upstream_is_right_we_say_the_same(test: str, what: str, value: list[Any], answers: Answers) -> None:
    assert said(answers.upstream[test], what) == value
    assert said(answers.alone[test], what) == value


def test_the_description_of_a_suite_is_the_innermost_ones(answers: Answers) -> None:
    (upstream,), (ours,) = answers.upstream["test_dotted_suite"], answers.alone["test_dotted_suite"]

    assert "what is bought" not in json.dumps(upstream)
    assert ours["relations"]["suite"]["data"] == [
        {"title": "Shop", "description": None},
        {"title": "Cart", "description": "what is bought"},
    ]


def test_ignored_tests_are_in_neither(answers: Answers) -> None:
    assert "test_ignore" not in {**answers.upstream, **answers.alone, **answers.two}
    assert "ignored 1" in answers.ran[0].stdout


def test_each_test_is_in_both(answers: Answers) -> None:
    assert answers.alone.keys() == answers.upstream.keys()


def test_what_a_result_says_of_its_test_differs_neither_between_runs_nor_between_workers(answers: Answers) -> None:
    varying = {"id", "execution", "message"}

    def steady(results: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        return {
            name: [{key: value for key, value in result.items() if key not in varying} for result in each]
            for name, each in results.items()
        }

    assert steady(answers.two) == steady(answers.alone)
    assert len({result["execution"]["thread"] for each in answers.two.values() for result in each}) == 2


NOTES = {
    "@qase.title('Same') of test_cases.py::TestSame goes to each test in it: mark the test that it is meant for",
    "@qase.id(9) of test_cases.py::TestSame goes to each test in it: mark the test that it is meant for",
    "@qase.id('abc') of test_cases.py::test_bad_id: 'abc' is left out: it is not the number of a case",
    "@qase.id('5, abc') of test_cases.py::test_half_bad_id: 'abc' is left out: it is not the number of a case",
    "@pytest.mark.qase_id(5) of test_cases.py::test_positional is left out: write @qase.id(...)",
    "@pytest.mark.qase_severity('critical') of test_cases.py::test_positional is left out: write @qase.severity(...)",
    "@qase.id('{0}') of test_cases.py::test_token_as_id: '{0}' is left out: it is not the number of a case".format(
        "*" * len(TOKEN)
    ),
}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_meant_is_said_once_and_harms_nobody(workers: int, answers: Answers) -> None:
    ran = answers.ran[1 if workers else 0]

    assert sorted(re.findall(r"^note: (.*)$", ran.stdout, re.MULTILINE)) == sorted(NOTES)
    assert ran.status == 0, ran.text


KILLERS = {
    "doctest": ("documented.py", 'def documented():\n    """\n    >>> 1\n    1\n    """\n'),
    "custom-item": ("cases.yaml", "first: 1\n"),
    "argvalues": ("test_argvalues.py", '@pytest.mark.parametrize("a", argvalues=[1])\ndef test_argvalues(a): pass\n'),
    "ignore": ("test_ignore.py", '@qase.parametrize_ignore(["a"], [(1,)])\ndef test_ignore(a): pass\n'),
    "tags": ("test_tags.py", "@qase.tags(1, 2)\ndef test_tags(): pass\n"),
    "fields": ("test_fields.py", '@qase.fields("severity", "minor")\ndef test_fields(): pass\n'),
    "suite": ("test_suite.py", "@qase.suite(None)\ndef test_suite(): pass\n"),
}
#: pytest 9.2 itself refuses a third positional argument.
if inspect.signature(pytest.Metafunc.parametrize).parameters["indirect"].kind is not inspect.Parameter.KEYWORD_ONLY:
    three = '@pytest.mark.parametrize("a", [1], False)\ndef test_three(a): pass\n'
    KILLERS["three-arguments"] = ("test_three.py", three)
COLLECTOR = """
    import pytest

    class YamlItem(pytest.Item):
        def runtest(self): pass

    class YamlFile(pytest.File):
        def collect(self):
            for line in self.path.read_text().splitlines():
                yield YamlItem.from_parent(self, name=line.partition(":")[0])

    def pytest_collect_file(parent, file_path):
        if file_path.suffix == ".yaml":
            return YamlFile.from_parent(parent, path=file_path)
"""


def write_killers(suite: Suite, *names: str) -> None:
    suite.write("conftest.py", COLLECTOR)
    for name in names:
        file, text = KILLERS[name]
        imports = "import pytest\nfrom qase.pytest import qase\n" if file.startswith("test_") else ""
        suite.write(file, imports + text)


@pytest.mark.timeout(300)  # a process for each
def test_what_kills_a_session_of_upstream_is_reported(tmp_path: Path, suite: Suite, backend: Backend) -> None:
    suites = {name: empty_suite(tmp_path / "upstream" / name) for name in KILLERS}
    for name, each in suites.items():
        write_killers(each, name)
    env = {"QASE_MODE": "report", "PATH": "/nonexistent", "FAMACASE_STATE_DIR": ""}
    processes = {name: each.start("--doctest-modules", "-n0", **env) for name, each in suites.items()}
    said_by_upstream = {name: process.communicate(timeout=100)[0] for name, process in processes.items()}
    for name, process in processes.items():
        assert "INTERNALERROR" in said_by_upstream[name], (name, said_by_upstream[name])
        assert process.returncode == pytest.ExitCode.INTERNAL_ERROR
        assert not list(suites[name].path.rglob("results/*.json"))

    write_killers(suite, *KILLERS)
    ran = suite.run("--doctest-modules", "-n2", **backend.environment())

    assert ran.status == 0, ran.text
    reported = {result["title"]: result for result in backend.results()}
    files = [file.removesuffix(".py") for file, _ in KILLERS.values() if file.startswith("test_")]
    assert sorted(reported) == sorted([*files, "documented.documented", "first"])
    assert {result["execution"]["status"] for result in reported.values()} == {"passed"}
    assert said([reported["first"], reported["documented.documented"]], "suites") == [["cases"], ["documented"]]
    assert (reported["test_argvalues"]["params"], reported["test_ignore"]["params"]) == ({"a": "1"}, {})
    assert (reported["test_tags"]["tags"], reported["test_tags"]["fields"]) == (["1", "2"], {"tags": "1,2"})
    assert said([reported["test_suite"]], "suites") == [["test_suite"]]
    assert (
        "note: @qase.fields('severity', 'minor') of test_fields.py::test_fields: 'severity' is left out" in ran.stdout
    )


DYING = """
    import os

    import pytest
    from qase.pytest import qase

    def test_passes():
        qase.attach((b"of no use", "text/plain", "seen.txt"))

    @qase.suite("Shop")
    def test_fails(): assert False

    @pytest.mark.skip
    def test_skips(): pass

    @qase.ignore()
    def test_ignored(): pass

    def test_dies(): os._exit(3)
"""


@pytest.mark.parametrize(
    ("left_out", "kept"),
    [
        ("passed,skipped", ["test_broken.py", "test_dies", "test_fails"]),
        ("invalid", ["test_fails", "test_passes", "test_skips"]),
    ],
)
def test_filtered_results_are_counted_and_all_others_are_below_the_root_suite(
    left_out: str, kept: list[str], suite: Suite, backend: Backend
) -> None:
    suite.write("test_dying.py", DYING)
    suite.write("test_broken.py", "import no_such_module")
    env = {"FAMACASE_TESTOPS_STATUS_FILTER": left_out, "FAMACASE_ROOT_SUITE": "Root"}

    ran = suite.run("-n2", "--continue-on-collection-errors", **backend.environment(), **env)

    assert backend.titles() == kept, ran.text
    assert {suites[0] for suites in said(backend.results(), "suites")} == {"Root"}
    assert "collected 5, delivered 3 (" in ran.stdout, ran.text
    assert "undelivered 0, not run 0, filtered 2, ignored 1" in ran.stdout, ran.text
    assert suite.leftovers() == []
    (run,) = backend.store.runs()
    assert run.status == "completed"


@pytest.mark.parametrize("mapping", ["{'DEMO': ['7']}", "{'DEMO': [object(), 10**5000]}", "{object(): [7]}", "7"])
def test_a_mapping_of_projects_that_makes_no_sense_costs_no_result(
    mapping: str, suite: Suite, backend: Backend, mode: tuple[str, ...]
) -> None:
    suite.write(
        "test_mapped.py",
        f"""
        from qase.pytest import qase
        from qase.pytest.plugin import QasePytestPluginSingleton

        def test_mapped():
            with qase.step("mapped"):
                pass
            QasePytestPluginSingleton.get_instance().runtime.result.testops_project_mapping = {mapping}

        def test_next():
            pass
        """,
    )

    ran = suite.run(*mode, **backend.environment())

    assert ran.status == 0, ran.text
    assert sorted((each["title"], each["execution"]["status"], len(each["steps"])) for each in backend.results()) == [
        ("test_mapped", "passed", 1),
        ("test_next", "passed", 0),
    ]
    assert suite.leftovers() == []
