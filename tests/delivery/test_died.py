"""The results of tests that were running when their session died: settled as all others, one for each test."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.results import begun, described, result

from famacase_xdist.delivery.died import WORDS, results_of_running
from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead, ResultHead
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox


def made(*frames: AnyFrame, statuses: tuple[str, ...] = (), **settings: Any) -> list[AnyFrame]:
    """Return what is made for an outbox with these frames."""
    outbox = Outbox(None)
    outbox.accept(frames, "no disk")
    return list(results_of_running(outbox, Settings(mode="testops", **settings), statuses))


def content(frame: AnyFrame) -> dict[str, Any]:
    """Return the JSON of a result."""
    assert isinstance(frame.head, ResultHead)
    found: dict[str, Any] = json.loads(frame.body)
    return found


def test_a_test_that_ended_is_none_of_them() -> None:
    assert (
        made(begun("t.py::test_a"), result("test_a"), begun("t.py::test_b"), Frame(IgnoredHead("t.py::test_b"))) == []
    )


def test_a_test_of_which_only_the_name_is_known() -> None:
    (frame,) = made(begun("pkg/t.py::test_a"), root_suite="Root")

    found = content(frame)
    assert (found["title"], found["execution"]["status"], found["message"]) == ("test_a", "invalid", WORDS)
    assert [each["title"] for each in found["relations"]["suite"]["data"]] == ["Root", "pkg", "t"]


def test_a_test_that_described_itself_is_as_it_said() -> None:
    frame = described("t.py::test_a", title="Described", tags=["slow"])

    (made_,) = made(frame, root_suite="Root")

    found = content(made_)
    assert (found["title"], found["tags"], found["id"]) == ("Described", ["slow"], json.loads(frame.body)["id"])
    assert "Root" not in json.dumps(found["relations"])


@pytest.mark.parametrize(
    ("settings", "status"), [({"status_mapping": {"invalid": "blocked"}}, "blocked"), ({}, "invalid")]
)
def test_its_status_is_mapped_as_any_other(settings: dict[str, Any], status: str) -> None:
    (frame,) = made(begun("t.py::test_a"), **settings)

    assert content(frame)["execution"]["status"] == status


def test_a_status_that_is_not_reported_ends_the_test_all_the_same() -> None:
    (frame,) = made(begun("t.py::test_a"), statuses=("invalid",))

    assert frame.head == IgnoredHead("t.py::test_a")
