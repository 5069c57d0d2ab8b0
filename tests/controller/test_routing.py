"""Which project keeps a frame, and in which form, whatever order the news come in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.results import attachment, begun, described, result

from famacase_xdist.controller.routing import OneProject, Routes, SeveralProjects, routes
from famacase_xdist.results import synthetic
from famacase_xdist.results.body import reference
from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead, is_result
from famacase_xdist.settings.projects import Projects
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

NODEID = "t.py::test_a"
IGNORED = Frame(IgnoredHead(NODEID))
BEGAN = begun(NODEID)
PROJECTS = Projects("ONE", ({"testops_project": "ONE"}, {"testops_project": "TWO"}))


@pytest.fixture
def two() -> SeveralProjects:
    """Routes to the projects ONE, the default, and TWO."""
    return SeveralProjects(["ONE", "TWO"], "ONE")


def routed(routes: Routes, *frames: AnyFrame) -> dict[str, list[AnyFrame]]:
    """Return the frames that each project keeps."""
    kept: dict[str, list[AnyFrame]] = {code: [] for code in routes.codes}
    for frame in frames:
        for code, own in routes.of(frame):
            kept[code].append(own)
    return kept


def results(routes: Routes, *frames: AnyFrame) -> dict[str, list[dict[str, Any]]]:
    """Return the results that each project keeps, decoded."""
    kept = routed(routes, *frames)
    return {code: [json.loads(each.body) for each in own if is_result(each)] for code, own in kept.items()}


def running(routes: Routes, *frames: AnyFrame) -> dict[str, list[tuple[str, bytes]]]:
    """Return the tests that still run, as the outbox of each project has them."""
    found = {}
    for code, own in routed(routes, *frames).items():
        outbox = Outbox(None)
        outbox.accept(own, "a test")
        found[code] = outbox.running()
        outbox.close()
    return found


# The modes


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        (Settings(mode="testops", testops_project="DEMO"), ["DEMO"]),
        (Settings(mode="testops", testops_project="DEMO", testops_multi=PROJECTS), ["DEMO"]),
        (Settings(mode="embedded"), ["LOCAL"]),
        (Settings(mode="report", testops_project="DEMO"), [""]),
        (Settings(mode="testops_multi", testops_multi=PROJECTS), ["ONE", "TWO"]),
    ],
    ids=["testops", "testops although several are set", "embedded", "report", "several"],
)
def test_the_mode_says_which_projects_there_are(settings: Settings, codes: list[str]) -> None:
    assert list(routes(settings).codes) == codes


# One project


def test_one_project_keeps_each_frame_as_it_is() -> None:
    frames = [BEGAN, *attachment(b"abc")[1], result(testops_ids=[9]), IGNORED]

    assert routed(OneProject("DEMO"), *frames) == {"DEMO": frames}


@pytest.mark.parametrize(("code", "ids"), [("DEMO", [3]), ("", None), ("OTHER", None)])
def test_one_project_keeps_the_case_ids_that_a_test_names_for_it(code: str, ids: list[int] | None) -> None:
    (kept,) = results(OneProject(code), result(projects={"DEMO": [3]}))[code]

    assert kept["testops_ids"] == ids
    assert list(OneProject(code).problems()) == []


# Several projects


def test_a_result_without_projects_goes_to_the_default_one_as_it_is(two: SeveralProjects) -> None:
    frame = result(testops_ids=[9])

    assert results(two, frame) == {"ONE": [json.loads(frame.body)], "TWO": []}


def test_a_result_of_two_projects_has_an_id_and_case_ids_in_each(two: SeveralProjects) -> None:
    frame = result(projects={"ONE": [1, 2], "TWO": [3]})

    found = results(two, frame)

    assert {code: [each["testops_ids"] for each in own] for code, own in found.items()} == {
        "ONE": [[1, 2]],
        "TWO": [[3]],
    }
    assert len({frame.head.id, *(each["id"] for own in found.values() for each in own)}) == 3
    # The same result has the same copies, which each server knows by their ids.
    assert results(two, frame) == found


def test_a_content_is_kept_for_each_project_because_its_results_come_later(two: SeveralProjects) -> None:
    _, frames = attachment(b"abc")

    assert routed(two, *frames) == {"ONE": frames, "TWO": frames}


def test_references_to_attachments_are_the_copys_own(two: SeveralProjects) -> None:
    digest, _ = attachment(b"abc")

    (copy,) = results(two, result(projects={"TWO": [3]}, attached={"a.txt": digest}))["TWO"]

    assert copy["attachments"] == [{"id": reference(copy["id"], digest), "file_name": "a.txt"}]


def test_a_project_that_nobody_has_set_up_is_named_and_the_result_is_not_lost(two: SeveralProjects) -> None:
    found = results(two, result(projects={"GONE": [5]}), result(projects={"GONE": [5], "TWO": [6]}))

    assert [each["testops_ids"] for each in found["ONE"]] == [None]
    assert [each["testops_ids"] for each in found["TWO"]] == [[6]]
    assert list(two.problems()) == ["2 results name project GONE, which is not in testops_multi"]


def test_a_test_that_begins_and_names_an_unknown_project_is_not_counted_twice(two: SeveralProjects) -> None:
    routed(two, described(NODEID, projects={"GONE": [5]}), result(projects={"GONE": [5]}))

    assert list(two.problems()) == ["1 results name project GONE, which is not in testops_multi"]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([BEGAN], {"ONE": 1, "TWO": 0}),
        ([BEGAN, described(NODEID, projects={"TWO": [3]})], {"ONE": 0, "TWO": 1}),
        ([described(NODEID, projects={"TWO": [3]}), BEGAN], {"ONE": 0, "TWO": 1}),
        ([described(NODEID, projects={"ONE": [1], "TWO": [3]}), BEGAN], {"ONE": 1, "TWO": 1}),
        ([described(NODEID), BEGAN], {"ONE": 1, "TWO": 0}),
        ([described(NODEID, projects={"ONE": [1], "TWO": [3]}), result(projects={"TWO": [3]})], {"ONE": 0, "TWO": 0}),
        ([BEGAN, result(projects={"TWO": [3]})], {"ONE": 0, "TWO": 0}),
        ([described(NODEID, projects={"ONE": [1], "TWO": [3]}), IGNORED], {"ONE": 0, "TWO": 0}),
    ],
)
def test_a_test_runs_in_its_projects_only(
    frames: list[AnyFrame], expected: dict[str, int], two: SeveralProjects
) -> None:
    assert {code: len(found) for code, found in running(two, *frames).items()} == expected


def test_what_is_rebuilt_of_a_running_test_has_the_id_that_its_result_would_have(two: SeveralProjects) -> None:
    frame = described(NODEID, projects={"TWO": [3]})

    (sent,) = results(two, synthetic.result(NODEID, "invalid", "died", described=frame.body))["TWO"]
    ((_, body),) = running(SeveralProjects(["ONE", "TWO"], "ONE"), frame)["TWO"]

    assert sent["id"] == json.loads(body)["id"]
    assert (sent["testops_ids"], json.loads(body)["testops_ids"]) == ([3], [3])
    assert "testops_project_mapping" not in sent.keys() | json.loads(body).keys()
