"""Params: of one name and of many, grouped, ignored, hidden, set while the test runs."""

import enum

import pytest
from qase.pytest import qase


class Colour(enum.Enum):
    RED = "red"


class Opaque:
    """A value without a name of its own."""


@pytest.mark.parametrize("amount", [1, 2.5, True, None])
def test_one(amount):
    pass


@pytest.mark.parametrize("name", ["web", "two words", "Straße", ""])
def test_texts(name):
    pass


@pytest.mark.parametrize("name", ["with-hyphen"])
def test_hyphen(name):
    pass


@pytest.mark.parametrize(("amount", "currency"), [(1, "EUR"), (2, "USD")])
def test_group_by_tuple(amount, currency):
    pass


@pytest.mark.parametrize("amount, currency", [(1, "EUR")])
def test_group_by_text(amount, currency):
    pass


@pytest.mark.parametrize(["amount", "currency"], [(1, "EUR")])
def test_group_by_list(amount, currency):
    pass


@pytest.mark.parametrize("channel", ["web", "app"])
@pytest.mark.parametrize("amount, currency", [(1, "EUR")])
def test_stacked(channel, amount, currency):
    pass


@pytest.mark.parametrize("from_, to", [("one-two", "three")])
def test_hyphen_in_a_group(from_, to):
    pass


@pytest.mark.parametrize("amount", [1, 2], ids=["first", "second"])
def test_own_ids(amount):
    pass


@pytest.mark.parametrize("amount", [pytest.param(1, id="of param")])
def test_own_id_of_param(amount):
    pass


@pytest.mark.parametrize("first, second", [(1, 2)], ids=["a-pair"])
def test_own_id_of_a_group(first, second):
    pass


@pytest.mark.parametrize("value", [Opaque(), Colour.RED, (1, 2), b"raw"])
def test_objects(value):
    pass


@pytest.mark.parametrize("amount", [7, 7])
def test_the_same_value_twice(amount):
    pass


@pytest.fixture(params=["chrome", "firefox"])
def browser(request):
    return request.param


def test_param_of_a_fixture(browser):
    pass


@pytest.fixture
def doubled(request):
    return 2 * request.param


@pytest.mark.parametrize("doubled", [21], indirect=True)
def test_indirect(doubled):
    pass


@qase.parametrize_ignore("amount", [1, 2])
def test_parametrize_ignore(amount):
    pass


@qase.parametrize_ignore("amount, currency", [(1, "EUR")], ids=["euro"])
@pytest.mark.parametrize("channel", ["web"])
def test_parametrize_ignore_beside_others(channel, amount, currency):
    pass


@qase.ignore_parameters("amount")
@pytest.mark.parametrize("amount, currency", [(1, "EUR")])
def test_ignore_one_of_a_group(amount, currency):
    pass


@qase.ignore_parameters("browser", "amount")
@pytest.mark.parametrize("amount", [1])
def test_ignore_all(browser, amount):
    pass


def test_set_while_it_runs():
    qase.param("weather", "rain")


@pytest.mark.parametrize("amount", [1])
def test_set_over_a_param(amount):
    qase.param("amount", "one")
    qase.param("currency", "EUR")
