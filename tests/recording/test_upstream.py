"""Upstream's place: taken and given back, with each version of upstream."""

from __future__ import annotations

import uuid
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from qase.commons.models import attachment, result, step
from qase.commons.utils import QaseUtils
from qase.pytest import decorators
from qase.pytest.plugin import QasePytestPluginSingleton

from famacase_xdist import clock
from famacase_xdist.recording.recorder import Recorder
from famacase_xdist.recording.upstream import Place
from famacase_xdist.results.sinks import ListSink
from famacase_xdist.settings.settings import Settings

MODULES = (attachment, decorators, result, step)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(Settings(mode="testops"), ListSink(), "gw1")


def made() -> list[str]:
    """Return ids that upstream makes."""
    step_id = step.Step(step.StepType.TEXT, None).id
    return [result.Result("", "").id, step_id, attachment.Attachment("a", "b", "c").id, str(decorators.uuid.uuid4())]


def test_ids_of_upstream_are_ours_until_the_place_is_given_back(recorder: Recorder) -> None:
    with mock.patch("uuid.uuid4", return_value="theirs") as uuid4:
        place = Place(recorder)
        ours = made()
        calls_of_ours = uuid4.call_count
        place.give_back()
        theirs = made()

    assert len({uuid.UUID(each) for each in ours}) == 4
    assert calls_of_ours == 0
    assert theirs == ["theirs"] * 4


def test_the_singleton_and_the_clock_are_ours_until_the_place_is_given_back(recorder: Recorder) -> None:
    before = vars(QasePytestPluginSingleton)["_instance"], vars(QaseUtils)["get_real_time"]

    place = Place(recorder)

    assert QasePytestPluginSingleton.get_instance() is recorder
    assert QaseUtils.get_real_time is clock.now
    place.give_back()
    assert (vars(QasePytestPluginSingleton)["_instance"], vars(QaseUtils)["get_real_time"]) == before
    assert all(module.uuid is uuid for module in MODULES)


def test_a_session_in_a_session_gives_back_what_it_found(recorder: Recorder) -> None:
    inner = Recorder(Settings(mode="testops"), ListSink(), "main")
    outer_place = Place(recorder)
    Place(inner).give_back()

    assert QasePytestPluginSingleton.get_instance() is recorder
    assert all(module.uuid is not uuid for module in MODULES)
    outer_place.give_back()
    assert all(module.uuid is uuid for module in MODULES)


@pytest.mark.parametrize(("owner", "name"), [(QaseUtils, "get_real_time"), *((module, "uuid") for module in MODULES)])
def test_a_name_that_upstream_lacks_is_not_made(
    owner: type | ModuleType, name: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)

    place = Place(recorder)
    found: Any = vars(owner).get(name)
    place.give_back()

    assert found is None
    assert name not in vars(owner)
