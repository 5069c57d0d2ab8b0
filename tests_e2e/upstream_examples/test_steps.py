"""Steps: as decorators, as context managers, nested, failing."""

import pytest
from qase.pytest import qase


@qase.step("a decorated step")
def decorated():
    return 42


@qase.step("a decorated step with a result", "it is there")
def decorated_with_result():
    pass


@qase.step("the outer step")
def outer():
    decorated()
    with qase.step("an inner step"):
        decorated()


@qase.step("a step that fails")
def failing():
    assert 1 == 2, "one is not two"


def test_decorator():
    assert decorated() == 42


def test_expected_result():
    decorated_with_result()
    with qase.step("a block with a result", "it is done"):
        pass
    with qase.step(title="by keyword", expected="as well"):
        pass


def test_blocks():
    with qase.step("first"):
        pass
    with qase.step("second"):
        pass


def test_nested():
    with qase.step("before"):
        pass
    outer()
    with qase.step("after"), qase.step("inside"), qase.step("deep inside"):
        pass


def test_the_same_step_often():
    for _ in range(3):
        decorated()


def test_beyond_ascii():
    with qase.step("Grüße, 緑茶"):
        pass


def test_fails_in_a_step():
    decorated()
    with qase.step("around"):
        failing()


def test_error_in_a_step():
    with qase.step("breaks"):
        raise ValueError("no such value")


def test_failure_that_the_test_expects():
    with pytest.raises(AssertionError):
        failing()
    with qase.step("goes on"):
        pass


def test_pytest_fail_in_a_step():
    with qase.step("gives up"):
        pytest.fail("given up")


def test_skip_in_a_step():
    with qase.step("finds nothing to do"):
        pytest.skip("nothing to do")


@pytest.fixture
def prepared():
    with qase.step("prepare"):
        pass
    yield
    with qase.step("clean up"):
        pass


def test_steps_of_a_fixture(prepared):
    with qase.step("use"):
        pass


@qase.ignore()
def test_ignored_with_steps():
    with qase.step("of an ignored test"):
        pass


def test_after_an_ignored_one():
    with qase.step("its own"):
        pass
