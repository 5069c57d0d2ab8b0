"""Outcomes: passed, failed, errors of every phase, skipped in every way, xfail in every way."""

import unittest

import pytest


def test_passes():
    pass


def test_fails():
    assert 1 == 2, "one is not two"


def test_fails_without_a_word():
    assert False


def test_raises():
    raise RuntimeError("boom")


def test_gives_up():
    pytest.fail("given up")


def test_gives_up_without_a_trace():
    pytest.fail("given up", pytrace=False)


def test_raises_from_another():
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise RuntimeError("the effect") from error


def test_misses_an_exception():
    with pytest.raises(ValueError, match="never"):
        pass


@pytest.mark.skip(reason="not yet")
def test_skipped():
    pass


@pytest.mark.skip(reason="SHOP-1: not yet: really")
def test_skipped_with_colons():
    pass


@pytest.mark.skip
def test_skipped_without_a_reason():
    pass


@pytest.mark.skipif(True, reason="always")
def test_skipped_on_a_condition():
    pass


def test_skips_itself():
    pytest.skip("not here")


def test_import_or_skip():
    pytest.importorskip("a_module_that_is_not_there")


@pytest.mark.xfail(reason="known")
def test_xfails():
    assert False


@pytest.mark.xfail
def test_xfails_without_a_reason():
    assert False


@pytest.mark.xfail(reason="known")
def test_xpasses():
    pass


@pytest.mark.xfail(reason="known", strict=True)
def test_xpasses_strictly():
    pass


@pytest.mark.xfail(reason="hangs", run=False)
def test_xfails_without_running():
    pass


@pytest.mark.xfail(raises=ValueError, reason="only this")
def test_xfails_otherwise():
    raise TypeError("another")


def test_xfails_while_it_runs():
    pytest.xfail("seen now")


@pytest.fixture
def broken():
    raise OSError("no database")


@pytest.fixture
def leaking():
    yield
    raise OSError("cannot close")


@pytest.fixture
def skipping():
    pytest.skip("no device")


def test_setup_error(broken):
    pass


def test_teardown_error(leaking):
    pass


def test_fails_and_teardown_error(leaking):
    assert False, "first"


def test_skips_and_teardown_error(leaking):
    pytest.skip("not here")


def test_skipped_by_a_fixture(skipping):
    pass


@pytest.mark.xfail(reason="known")
def test_xfail_and_setup_error(broken):
    pass


class TestUnit(unittest.TestCase):
    def test_passes(self):
        pass

    def test_fails(self):
        self.assertEqual(1, 2)

    @unittest.skip("not in this suite")
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_fails_as_expected(self):
        self.fail("as expected")
