"""Each decorator that says something about a test."""

import pytest
from qase.pytest import qase


@qase.id(1)
def test_id():
    pass


@qase.id([2, 3])
def test_ids():
    pass


@qase.title("Signs up with a name and a password")
def test_title():
    pass


@qase.title("Grüße, 緑茶 & <b>")
def test_title_beyond_ascii():
    pass


@qase.suite("Accounts")
def test_suite():
    pass


@qase.suite("Accounts.Sign up.By mail", "how people sign up by mail")
def test_nested_suite():
    pass


@qase.author("Ada Lovelace")
def test_author():
    pass


@qase.description("Signs up.\n\n- with **Markdown**\n")
@qase.preconditions("*The shop* is open")
@qase.postconditions("*The shop* is closed")
def test_texts():
    pass


@qase.severity("critical")
@qase.priority("high")
@qase.layer("e2e")
def test_rank():
    pass


@qase.fields(("severity", "minor"), ("priority", "low"), ("custom_field", "own value"))
def test_fields():
    pass


@qase.severity("critical")
@qase.fields(("severity", "minor"))
def test_fields_win_over_the_old_decorators():
    pass


@qase.tags("smoke", "slow")
@qase.tags("smoke", "nightly")
def test_tags():
    pass


@qase.tags("api")
@qase.fields(("tags", "written as a field"))
def test_tags_and_a_field_of_that_name():
    pass


@qase.ignore()
def test_ignored():
    pass


@qase.muted()
def test_muted():
    pass


@qase.muted()
def test_muted_that_fails():
    assert False


@qase.project_id("DEMO", 11)
@qase.project_id("SHOP", [12, 13])
def test_project_ids():
    pass


@qase.id(21)
@qase.title("All at once")
@qase.suite("Accounts")
@qase.author("Grace Hopper")
@qase.description("everything")
@qase.preconditions("before")
@qase.postconditions("after")
@qase.severity("trivial")
@qase.priority("low")
@qase.layer("unit")
@qase.tags("all")
@qase.fields(("custom_field", "own value"))
@pytest.mark.parametrize("channel", ["web", "app"])
def test_all_at_once(channel):
    pass
