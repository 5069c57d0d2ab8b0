"""Fixtures of famacase-xdist itself: add to the result of the running test, know the run."""

from __future__ import annotations

import pytest

from famacase_xdist import Famacase, FamacaseRun


@pytest.fixture
def prepared(famacase: Famacase) -> None:
    with famacase.step("prepare"):
        famacase.param("machine", "stub")


def test_adds_to_its_result(famacase: Famacase) -> None:
    with famacase.step("look", "it is there"):
        famacase.param("shelf", 7)


def test_a_fixture_adds_to_the_result(prepared: None) -> None:
    assert prepared is None


def test_knows_its_run(famacase_run: FamacaseRun) -> None:
    assert famacase_run.id is None or famacase_run.url
