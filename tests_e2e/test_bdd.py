"""pytest-bdd: scenarios are reported as their feature files have them, beside what upstream makes of the same files."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Suite

FEATURE = """\
    @shop @qase.severity=critical @qase.priority=low
    Feature: Shopping
      What customers do.

      Background:
        Given a cart

      @qase.id=11,12 @qase.priority=high @smoke
      Scenario: Buys books
        With money.

        When I add 2 books
        And I add these:
          | name | price |
          | a\\|b | 3     |
        Then the note says
          \"\"\"
          thanks
            a lot
          \"\"\"

      Scenario: Fails in the middle
        When I add 2 books
        And it breaks
        Then I have 2 books
        And I have 2 books

      Scenario: Skips in the middle
        When I add 2 books
        And it is not for today
        Then I have 2 books

      Scenario: Fails within a step of its own
        When it gives up inside a step
        Then I have 2 books

      Scenario: Has an unknown step
        When nobody knows this
        Then I have 2 books

      @qase.muted
      Scenario: Is muted
        When it breaks

      @qase.suite=Other.Place @qase.description=Short
      Scenario: Is elsewhere
        When I add 1 books

      @skip @qase.id=13
      Scenario: Is skipped
        When I add 1 books

      @qase.id=14
      Scenario: Has a broken fixture
        When I add 1 books

      Scenario Outline: Adds <count>
        When I add <count> books
        Then I have <count> books

        Examples:
          | count | currency |
          | 1     | EUR      |

        @qase.id=15 @wholesale
        Examples:
          | count | currency |
          | 100   | US-D     |

      Scenario Outline: Has one column
        When I add <count> books

        Examples:
          | count |
          | 1     |

      @members @qase.layer=api
      Rule: Members pay less

        Background:
          Given a member

        Scenario: Gets a discount
          When I add 1 books
"""
IGNORED = """\
    Feature: Not reported

      @qase.ignore
      Scenario: Is ignored
        Given a cart
        When it breaks

      @qase.ignore
      Scenario: Is ignored though its set-up fails
        Given a cart

      Scenario: Is reported after it
        Given a cart
"""
STEPS = """
    import pytest
    from pytest_bdd import given, parsers, scenario, then, when
    from qase.pytest import qase

    @given("a cart", target_fixture="cart")
    def _():
        return {"books": 0}

    @given("a member")
    def _():
        pass

    @when(parsers.parse("I add {count:d} books"))
    def _(cart, count):
        cart["books"] += count

    @when("I add these:")
    def _(datatable):
        assert datatable == [["name", "price"], ["a|b", "3"]]
        with qase.step("inner"):
            qase.attach(("receipt", "text/plain", "receipt.txt"))

    @then("the note says")
    def _(docstring):
        assert docstring == "thanks\\n  a lot"

    @when("it breaks")
    def _():
        assert False, "broken"

    @when("it is not for today")
    def _():
        pytest.skip("not today")

    @when("it gives up inside a step")
    def _():
        with qase.step("gives up"):
            pytest.fail("no more")

    @then(parsers.parse("I have {count:d} books"))
    def _(cart, count):
        assert cart["books"] == count

    @pytest.fixture
    def broken():
        raise OSError("no shop")
"""
MODULE = """
    from pytest_bdd import scenario, scenarios

    @scenario("shop.feature", "Has a broken fixture")
    def test_broken(broken):
        pass

    scenarios("shop.feature")
"""
IGNORED_MODULE = """
    from pytest_bdd import scenario, scenarios

    @scenario("ignored.feature", "Is ignored though its set-up fails")
    def test_broken(broken):
        pass

    scenarios("ignored.feature")
"""


@pytest.fixture
def shop(suite: Suite) -> Suite:
    suite.write("shop.feature", FEATURE)
    suite.write("conftest.py", STEPS)
    suite.write("test_shop.py", MODULE)
    return suite


def told(step: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a reader sees of a step: action and status, and the same of the steps below it."""
    return (step["data"]["action"], step["execution"]["status"], *map(told, step["steps"]))


def by_title(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {result["title"]: result for result in results}
    assert len(found) == len(results), sorted(result["title"] for result in results)
    return found


def suites(result: dict[str, Any]) -> list[str]:
    return [each["title"] for each in result["relations"]["suite"]["data"]]


@pytest.mark.parametrize("args", [("-p", "no:xdist"), ("-n2",)], ids=["no-xdist", "n2"])
def test_a_scenario_is_reported_as_its_feature_file_has_it(
    args: tuple[str, ...], shop: Suite, backend: Backend
) -> None:
    shop.write("ignored.feature", IGNORED)
    shop.write("test_ignored.py", IGNORED_MODULE)

    ran = shop.run(*args, "--strict-markers", "-m", "not nothing", "-o", "markers=" + MARKERS, **backend.environment())

    assert ran.status == 1, ran.text
    found = by_title(backend.results())
    assert {title: result["execution"]["status"] for title, result in found.items()} == {
        "Buys books": "passed",
        "Fails in the middle": "failed",
        "Skips in the middle": "skipped",
        "Fails within a step of its own": "invalid",
        "Has an unknown step": "invalid",
        "Is muted": "blocked",
        "Is elsewhere": "passed",
        "Is skipped": "skipped",
        "Has a broken fixture": "invalid",
        "Adds 1": "passed",
        "Adds 100": "passed",
        "Has one column": "passed",
        "Gets a discount": "passed",
        "Is reported after it": "passed",
    }, ran.text
    cart = ("Given a cart", "passed")
    assert {title: list(map(told, result["steps"])) for title, result in found.items()} == {
        "Buys books": [
            cart,
            ("When I add 2 books", "passed"),
            ("And I add these:", "passed", ("inner", "passed")),
            ("Then the note says", "passed"),
        ],
        "Fails in the middle": [
            cart,
            ("When I add 2 books", "passed"),
            ("And it breaks", "failed"),
            ("Then I have 2 books", "skipped"),
            ("And I have 2 books", "skipped"),
        ],
        "Skips in the middle": [
            cart,
            ("When I add 2 books", "passed"),
            ("And it is not for today", "skipped"),
            ("Then I have 2 books", "skipped"),
        ],
        "Fails within a step of its own": [
            cart,
            ("When it gives up inside a step", "failed", ("gives up", "failed")),
            ("Then I have 2 books", "skipped"),
        ],
        "Has an unknown step": [
            cart,
            ("When nobody knows this", "invalid"),
            ("Then I have 2 books", "skipped"),
        ],
        "Is muted": [cart, ("When it breaks", "failed")],
        "Is elsewhere": [cart, ("When I add 1 books", "passed")],
        "Is skipped": [],
        "Has a broken fixture": [("setup: broken (function, conftest.py)", "failed")],
        "Adds 1": [cart, ("When I add 1 books", "passed"), ("Then I have 1 books", "passed")],
        "Adds 100": [cart, ("When I add 100 books", "passed"), ("Then I have 100 books", "passed")],
        "Has one column": [cart, ("When I add 1 books", "passed")],
        "Gets a discount": [cart, ("Given a member", "passed"), ("When I add 1 books", "passed")],
        "Is reported after it": [cart],
    }
    check_what_tags_say(found)
    check_what_steps_hold(found["Buys books"], backend)


def check_what_tags_say(found: dict[str, dict[str, Any]]) -> None:
    buys, elsewhere, discount = found["Buys books"], found["Is elsewhere"], found["Gets a discount"]
    assert {title: result["testops_ids"] for title, result in found.items() if result["testops_ids"]} == {
        "Buys books": [11, 12],
        "Is skipped": [13],
        "Has a broken fixture": [14],
        "Adds 100": [15],
    }
    assert {title: result["params"] for title, result in found.items() if result["params"]} == {
        "Adds 1": {"count": "1", "currency": "EUR"},
        "Adds 100": {"count": "100", "currency": "US-D"},
        "Has one column": {"count": "1"},
    }
    assert (buys["fields"]["severity"], buys["fields"]["priority"]) == ("critical", "high")
    assert buys["fields"]["description"] == "What customers do.\n\nWith money."
    assert elsewhere["fields"]["description"] == "Short"
    assert buys["tags"] == ["shop", "smoke"]
    assert found["Adds 100"]["tags"] == ["shop", "wholesale"]
    assert (discount["tags"], discount["fields"]["layer"]) == (["shop", "members"], "api")
    assert suites(buys) == ["Shopping", "test_shop"]
    assert suites(discount) == ["Shopping", "Members pay less", "test_shop"]
    assert suites(elsewhere) == ["Other", "Place"]
    assert found["Is muted"]["muted"] is True
    assert not found["Is reported after it"]["muted"]


def check_what_steps_hold(result: dict[str, Any], backend: Backend) -> None:
    given, when, table, note = result["steps"]
    times = [
        time
        for step in (given, when, table, note)
        for time in (step["execution"][k] for k in ("start_time", "end_time"))
    ]
    assert times == sorted(times)
    assert {step["step_type"] for step in result["steps"]} == {"gherkin"}
    assert (given["data"]["keyword"], given["data"]["name"], given["data"]["line"]) == ("Given", "a cart", "6")
    assert table["data"]["data"] == "| name | price |\n| --- | --- |\n| a\\|b | 3 |"
    assert note["data"]["data"] == "```\nthanks\n  a lot\n```"
    (entry,) = table["steps"][0]["attachments"]
    file = backend.store.attachment(entry["id"])
    assert file is not None
    assert file.content == b"receipt"


def test_what_upstream_makes_of_the_same_file(shop: Suite) -> None:
    """The reasons for a bridge of our own; when one of these fails, upstream has mended it."""
    ran = shop.run(*UPSTREAM, QASE_MODE="report")

    results = [json.loads(path.read_text()) for path in shop.path.glob("build/qase-report/results/*.json")]
    found = by_title(results)
    cart = ("Given a cart", "passed")
    assert [told(step) for step in found["Is elsewhere"]["steps"]] == [
        cart,
        ("When I add 1 books", "passed"),
        ("When I add 1 books", "skipped"),  # a phantom, for the background is counted twice
    ], ran.text
    assert [told(step) for step in found["Fails in the middle"]["steps"]] == [
        cart,
        ("When I add 2 books", "passed"),
        ("And it breaks", "failed"),
        ("And it breaks", "skipped"),  # the failed step again
        ("Then I have 2 books", "skipped"),
        ("And I have 2 books", "skipped"),
    ]
    assert [told(step) for step in found["Has an unknown step"]["steps"]] == [
        cart,
        ("When nobody knows this", "invalid"),
        ("Given a cart", "skipped"),
        ("When nobody knows this", "skipped"),
        ("Then I have 2 books", "skipped"),
    ]
    assert told(found["Fails within a step of its own"]["steps"][1])[2] == ("gives up", "untested")
    assert found["Buys books"]["tags"] == ["smoke"]  # of the feature: nothing
    assert "severity" not in found["Buys books"]["fields"]
    assert suites(found["Gets a discount"]) == ["Shopping", "test_shop"]  # of the rule: nothing
    assert found["Gets a discount"]["tags"] == []
    assert found["Adds 100"]["testops_ids"] is None  # of the examples: nothing
    assert found["Has one column"]["params"] == {"_pytest_bdd_example": "1"}
    assert found["Is muted"]["execution"]["status"] == "failed"
    assert found["test_is_skipped"]["testops_ids"] is None  # of a scenario that does not begin: nothing
    assert found["test_broken"]["testops_ids"] is None


def test_an_ignored_scenario_ends_upstreams_session(shop: Suite) -> None:
    shop.write("ignored.feature", IGNORED)
    shop.write("test_shop.py", IGNORED_MODULE)

    ran = shop.run(*UPSTREAM, QASE_MODE="report")

    assert "INTERNALERROR> AttributeError: 'NoneType' object has no attribute 'execution'" in ran.text
    assert "3 passed" not in ran.stdout


def test_a_scenario_that_only_its_hooks_tell_of_is_described_by_them(shop: Suite, backend: Backend) -> None:
    """Another pytest-bdd may keep its scenarios elsewhere."""
    shop.write("ignored.feature", IGNORED)
    shop.write("test_ignored.py", IGNORED_MODULE)
    shop.write("conftest.py", f"{textwrap.dedent(STEPS)}\n{textwrap.dedent(FORGETTING)}")

    ran = shop.run("-pno:xdist", "-k", "not broken and (buys or adds or ignored or discount)", **backend.environment())

    found = by_title(backend.results())
    assert set(found) == {"Buys books", "Adds 1", "Adds 100", "Gets a discount", "Is reported after it"}, ran.text
    assert found["Buys books"]["testops_ids"] == [11, 12]
    assert found["Adds 100"]["params"] == {"count": "100", "currency": "US-D"}
    assert found["Adds 100"]["testops_ids"] == [15]
    assert suites(found["Gets a discount"]) == ["Shopping", "Members pay less", "test_shop"]


def test_the_worker_dies_in_a_scenario(shop: Suite, backend: Backend) -> None:
    shop.write(
        "shop.feature", "Feature: Shop\n  @qase.id=7\n  Scenario: Ends the process\n    When the light goes out\n"
    )
    shop.write("test_shop.py", "from pytest_bdd import scenarios\nscenarios('shop.feature')\n")
    shop.write(
        "conftest.py", "import os\nfrom pytest_bdd import when\nwhen('the light goes out')(lambda: os._exit(3))\n"
    )

    ran = shop.run("-n2", **backend.environment())

    (result,) = backend.results()
    assert (result["title"], result["testops_ids"]) == ("Ends the process", [7]), ran.text
    assert result["execution"]["status"] == "invalid"
    assert suites(result) == ["Shop", "test_shop"]


def test_nothing_is_loaded_for_what_a_suite_does_not_use(suite: Suite, backend: Backend) -> None:
    suite.write("test_plain.py", NAMES_MODULES)

    ran = suite.run("-n1", "-pno:pytest-bdd", **backend.environment())

    assert ran.status == 0, ran.text
    assert [result["execution"]["status"] for result in backend.results()] == ["passed"]


NAMES_MODULES = """
    import sys

    def test_plain():
        assert "famacase_xdist.recording.recorder" in sys.modules
        unused = {"pytest_bdd", "qase.pytest.bdd", "qase.commons.profilers", "sqlite3", "playwright"}
        unused |= {f"famacase_xdist.recording.integrations.{name}" for name in ("pytest_bdd", "profilers", "database")}
        assert unused & set(sys.modules) == set()
"""
UPSTREAM = ("-pno:famacase_xdist.plugin",)
FORGETTING = """
    def pytest_collection_modifyitems():
        from pytest_bdd.scenario import scenario_wrapper_template_registry as registry
        assert len(registry) > 0
        registry.clear()
"""
MARKERS = "\n".join(["shop", "smoke", "members", "wholesale", "nothing", "qase.id=15"])
