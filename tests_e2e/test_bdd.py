"""pytest-bdd: scenarios are reported as their feature files have them, beside what upstream makes of the same files."""

from __future__ import annotations

import json
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
    suite.plugins = ("pytest-bdd",)
    suite.write("shop.feature", FEATURE)
    suite.write("conftest.py", STEPS)
    suite.write("test_shop.py", MODULE)
    return suite


def told(step: dict[str, Any]) -> tuple[Any, ...]:
    """Give what a reader sees of a step: action and status, and the same of the steps below it."""
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
        "Has a broken fixture": [],
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
    times = [time for step in (given, when, table, note) for time in (step["execution"][k] for k in ("start_time", "end_time"))]
    assert times == sorted(times)
    assert {step["step_type"] for step in result["steps"]} == {"gherkin"}
    assert (given["data"]["keyword"], given["data"]["name"], given["data"]["line"]) == ("Given", "a cart", "6")
    assert table["data"]["data"] == "| name | price |\n| --- | --- |\n| a\\|b | 3 |"
    assert note["data"]["data"] == "```\nthanks\n  a lot\n```"
    (entry,) = table["steps"][0]["attachments"]
    file = backend.store.attachment(entry["id"])
    assert file is not None
    assert file.content == b"receipt"


MARKERS = "\n".join(["shop", "smoke", "members", "wholesale", "nothing", "qase.id=15"])
