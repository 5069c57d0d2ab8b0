"""Classes and folders: what a test inherits, and the suites that its place makes."""

import pytest
from qase.pytest import qase


class TestPlain:
    def test_in_a_class(self):
        pass

    class TestInner:
        def test_in_an_inner_class(self):
            pass


@qase.suite("Of the class")
@qase.severity("major")
@qase.fields(("custom_field", "of the class"), ("other", "of the class"))
@qase.tags("class")
class TestDescribed:
    def test_inherits(self):
        pass

    @qase.suite("Of the method")
    @qase.severity("minor")
    @qase.fields(("custom_field", "of the method"))
    @qase.tags("method")
    def test_says_more(self):
        pass


@pytest.mark.parametrize("size", ["small", "large"])
class TestParametrized:
    @pytest.mark.parametrize("colour", ["red"])
    def test_each(self, size, colour):
        pass


@pytest.fixture(scope="class")
def opened():
    with qase.step("open"):
        pass


@pytest.mark.usefixtures("opened")
class TestFixtures:
    def test_first(self):
        pass

    def test_second(self):
        pass
