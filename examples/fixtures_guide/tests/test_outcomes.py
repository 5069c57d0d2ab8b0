"""Set-up that skips or xfails: for one test, and for all that share a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def opened() -> Iterator[str]:
    yield "open"


@pytest.fixture
def skipping(opened: str) -> None:
    pytest.skip("needs: a licence")


@pytest.fixture
def xfailing(opened: str) -> None:
    pytest.xfail("not: yet")


@pytest.fixture(scope="module")
def skipping_module() -> None:
    pytest.skip("no database here")


@pytest.fixture
def broken() -> None:
    raise RuntimeError("known to break")


def test_skip_in_set_up(skipping: None) -> None:
    raise NotImplementedError


def test_xfail_in_set_up(xfailing: None) -> None:
    raise NotImplementedError


def test_one_that_shares_a_skip(skipping_module: None) -> None:
    raise NotImplementedError


def test_another_that_shares_the_skip(skipping_module: None) -> None:
    raise NotImplementedError


@pytest.mark.xfail(reason="the fixture is broken")
def test_xfail_mark_with_an_error_in_set_up(broken: None) -> None:
    raise NotImplementedError


@pytest.mark.skip(reason="no set-up for a skipped test")
def test_skip_mark_sets_nothing_up(opened: str) -> None:
    raise NotImplementedError
