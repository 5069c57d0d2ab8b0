"""Every call of `docs/reporter-api.md` over real HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

UNKNOWN_RUN = "/projects/DEMO/runs/999"


def test_project_is_made_at_first_use(live: Any) -> None:
    assert live.store.project("DEMO") is None
    answer = live.get("/projects/DEMO")
    assert answer.status_code == 200
    assert answer.json() == {"id": 1, "code": "DEMO", "title": "DEMO"}
    assert live.get("/projects/DEMO").json()["id"] == 1


@pytest.mark.parametrize("code", ["-x", "a" * 33, "a.b", "a b", "ä"])
def test_code_that_is_none_is_404(shared: Any, code: str) -> None:
    answer = shared.get(f"/projects/{code}")
    assert answer.status_code == 404
    assert code in answer.json()["detail"]


def test_only_listed_projects(serve: Any) -> None:
    live = serve(projects=["ONE", "TWO"])
    live.store.add_project("OLD")
    assert live.get("/projects/TWO").json()["code"] == "TWO"
    for code in ("OLD", "DEMO"):
        assert live.get(f"/projects/{code}").status_code == 404
        assert live.post(f"/projects/{code}/runs", {"title": "t"}).status_code == 404
    assert live.get("/projects/ONE/environments", params={"slug": "stage"}).json() == []


def test_environment_is_made_at_first_use(live: Any) -> None:
    first = live.get("/projects/DEMO/environments", params={"slug": "stage"}).json()
    assert [environment["slug"] for environment in first] == ["stage"]
    assert live.get("/projects/DEMO/environments", params={"slug": "stage"}).json() == first
    other = live.get("/projects/DEMO/environments", params={"slug": "prod"}).json()
    assert other[0]["id"] != first[0]["id"]
    assert live.get("/projects/DEMO/environments").json() == first + other


def test_environment_of_a_listed_project(serve: Any) -> None:
    live = serve(projects=["ONE"])
    known = live.store.add_environment("ONE", "stage")
    answer = live.get("/projects/ONE/environments", params={"slug": "stage"}).json()
    assert answer == [{"id": known.id, "slug": "stage", "title": "stage"}]


def test_plan(live: Any) -> None:
    live.get("/projects/DEMO")
    plan = live.store.add_plan("DEMO", [3, 1, 2])
    assert live.get(f"/projects/DEMO/plans/{plan}/cases").json() == {"case_ids": [3, 1, 2]}
    for unknown in (plan + 1, 2**80):
        answer = live.get(f"/projects/DEMO/plans/{unknown}/cases")
        assert answer.status_code == 404
        assert str(unknown) in answer.json()["detail"]
    assert live.get(f"/projects/OTHER/plans/{plan}/cases").status_code == 404


def test_run_as_it_stands(live: Any, result: Any) -> None:
    live.get("/projects/DEMO")
    plan = live.store.add_plan("DEMO", [1])
    environment = live.store.add_environment("DEMO", "stage").id
    run = live.new_run(title="Nightly", description="All", tags=["a", "b"], plan_id=plan, environment_id=environment)
    live.post(f"/projects/DEMO/runs/{run}/results", {"results": [result(), result(status="failed")]})
    shown = live.get(f"/projects/DEMO/runs/{run}").json()
    assert shown.pop("created_at") > 1_700_000_000
    counts = shown.pop("counts")
    assert counts == {**dict.fromkeys(counts, 0), "passed": 1, "failed": 1}
    assert len(counts) == 7
    assert shown == {
        "id": run,
        "project": "DEMO",
        "title": "Nightly",
        "description": "All",
        "is_autotest": True,
        "plan_id": plan,
        "environment_id": environment,
        "tags": ["a", "b"],
        "is_public": False,
        "completed_at": None,
        "complete_requests": 0,
        "status": "active",
        "url": f"{live.url}/runs/{run}",
    }


@pytest.mark.parametrize("link", [{"plan_id": 5}, {"environment_id": 6}, {"plan_id": 2**70}])
def test_run_with_unknown_links_is_404(live: Any, link: dict[str, int]) -> None:
    answer = live.post("/projects/DEMO/runs", {"title": "t", **link})
    assert answer.status_code == 404
    assert str(next(iter(link.values()))) in answer.json()["detail"]
    assert live.store.runs() == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "t", "plan_id": "5"}, "plan_id"),
        ({"title": "t", "x": 1}, "x"),
    ],
)
def test_run_that_is_no_run_is_422(shared: Any, body: dict[str, Any], named: str) -> None:
    answer = shared.post("/projects/DEMO/runs", body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{named}: ")


def test_unknown_run_is_404_that_names_it(live: Any, result: Any) -> None:
    bodies = {"results": {"results": [result()]}, "complete": None, "public": {"status": True}}
    answers = [live.get(UNKNOWN_RUN)]
    answers += [live.post(f"{UNKNOWN_RUN}/{call}", body) for call, body in bodies.items()]
    for answer in answers:
        assert answer.status_code == 404
        assert "999" in answer.json()["detail"]
    assert live.get(f"/projects/DEMO/runs/{2**80}").status_code == 404


def test_run_of_another_project_is_404(live: Any) -> None:
    run = live.new_run("ONE")
    assert live.get(f"/projects/TWO/runs/{run}").status_code == 404
    assert live.get(f"/projects/ONE/runs/{run}").status_code == 200


def test_idempotency_key_gives_the_same_run(live: Any) -> None:
    body, key = {"title": "t", "tags": ["a"]}, {"Idempotency-Key": "k1"}
    first = live.post("/projects/DEMO/runs", body, headers=key).json()["id"]
    assert live.post("/projects/DEMO/runs", body, headers=key).json()["id"] == first
    assert live.post("/projects/OTHER/runs", body, headers=key).json()["id"] != first
    assert live.post("/projects/DEMO/runs", body, headers={"Idempotency-Key": "k2"}).json()["id"] != first
    assert live.post("/projects/DEMO/runs", body).json()["id"] != live.post("/projects/DEMO/runs", body).json()["id"]
    assert len(live.store.runs()) == 5


def test_idempotency_key_with_another_body_is_422(live: Any) -> None:
    key = {"Idempotency-Key": "k1"}
    run = live.post("/projects/DEMO/runs", {"title": "t"}, headers=key).json()["id"]
    answer = live.post("/projects/DEMO/runs", {"title": "u"}, headers=key)
    assert answer.status_code == 422
    assert "k1" in answer.json()["detail"]
    assert [stored.id for stored in live.store.runs()] == [run]


def test_twenty_at_once_with_one_key_make_one_run(live: Any) -> None:
    def create(_: int) -> int:
        headers = {"Authorization": f"Token {live.token}", "Idempotency-Key": "one"}
        import requests

        url = f"{live.url}/api/v1/reporter/v1/projects/DEMO/runs"
        answer = requests.post(url, json={"title": "t"}, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])

    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(create, range(20)))
    assert len(ids) == 1
    assert {run.id for run in live.store.runs()} == ids


def test_results_are_kept_as_they_were_sent(live: Any, result: Any, step: Any) -> None:
    run = live.new_run()
    inner = step("inner", step_type="request", data={"request_method": "GET", "status_code": 200, "h": {"a": [1.5]}})
    sent = [result("a", steps=[step("outer", inner)]), result("b", "Broken", execution={"start_time": None})]
    sent.append({"id": result()["id"], "title": "bare", "execution": {"status": "passed"}})
    answer = live.post(f"/projects/DEMO/runs/{run}/results", {"results": sent})
    assert answer.status_code == 200, answer.text
    assert live.store.results(run) == sent
    assert [stored.status for stored in live.store.stored_results(run)] == ["passed", "invalid", "passed"]


def test_same_id_twice_is_one_result(live: Any, result: Any) -> None:
    run, other = live.new_run(), live.new_run()
    first, second = result("first"), result("second")
    live.post(f"/projects/DEMO/runs/{run}/results", {"results": [first, second]})
    changed = {**first, "title": "changed", "execution": {**first["execution"], "status": "failed"}}
    live.post(f"/projects/DEMO/runs/{run}/results", {"results": [changed]})
    live.post(f"/projects/DEMO/runs/{other}/results", {"results": [first]})
    rows = live.store.stored_results(run)
    assert [(row.title, row.status, row.times_received) for row in rows] == [
        ("changed", "failed", 2),
        ("second", "passed", 1),
    ]
    assert live.store.results(other) == [first]
    assert live.get(f"/projects/DEMO/runs/{run}").json()["counts"]["failed"] == 1


@pytest.mark.parametrize(
    ("status", "means"),
    [(s, s) for s in ("passed", "failed", "invalid", "skipped", "blocked", "untested", "disabled")]
    + [("PASSED", "passed"), ("broken", "invalid"), ("Error", "invalid")],
)
def test_statuses(shared: Any, result: Any, status: str, means: str) -> None:
    run = shared.new_run()
    answer = shared.post(f"/projects/DEMO/runs/{run}/results", {"results": [result(status=status)]})
    assert answer.status_code == 200
    assert shared.store.run(run).counts[means] == 1


def broken(result: Any, step: Any) -> dict[str, tuple[dict[str, Any], str]]:
    bad_step = {"bad": step("s", execution={"status": "nope"})}
    return {
        "status": (result(status="green"), "execution.status"),
        "unknown key": (result(colour="red"), "colour"),
        "unknown key of execution": (result(execution={"host": "h"}), "execution.host"),
        "id": (result(id="7"), "id"),
        "title": (result(title=None), "title"),
        "empty title": (result(title=""), "title"),
        "text as number": (result(execution={"duration": "5"}), "execution.duration"),
        "fraction of a millisecond": (result(execution={"duration": 1.5}), "execution.duration"),
        "not a number": (result(execution={"start_time": float("nan")}), "execution.start_time"),
        "param that is no text": (result(params={"n": 5}), "params.n"),
        "attachment without id": (result(attachments=[{"file_name": "a"}]), "attachments.0.id"),
        "step status": (result(steps=[step("o", bad_step["bad"])]), "steps.0.steps.0.execution.status"),
        "step type": (result(steps=[step(step_type="dance")]), "steps.0.step_type"),
        "step key": (result(steps=[step(parent_id="p")]), "steps.0.parent_id"),
        "surrogate in a name": (
            result(fields={"\ud800": "x"}),
            "fields.\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.[key]",
        ),
        "lone surrogate": (result(message="\ud800"), "message"),
        "lone surrogate in step data": (result(steps=[step(data={"a": "\ud800"})]), "steps.0.data"),
    }


CASES = [
    *("status", "unknown key", "unknown key of execution", "id", "title", "empty title", "text as number"),
    *("fraction of a millisecond", "not a number", "param that is no text", "attachment without id"),
    *(
        "step status",
        "step type",
        "step key",
        "lone surrogate",
        "surrogate in a name",
        "lone surrogate in step data",
    ),
]


@pytest.mark.parametrize("case", CASES)
def test_422_names_result_and_field(shared: Any, result: Any, step: Any, case: str) -> None:
    run = shared.new_run()
    bad, field = broken(result, step)[case]
    body = json.dumps({"results": [result(), result(), bad]})
    answer = shared.post(f"/projects/DEMO/runs/{run}/results", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"results[2].{field}: ")
    assert [(e["index"], e["field"]) for e in answer.json()["errors"]] == [(2, field)]
    assert shared.store.results(run) == []


def test_422_tells_some_of_many(live: Any, result: Any) -> None:
    run = live.new_run()
    body = {"results": [result(status="green") for _ in range(9)]}
    answer = live.post(f"/projects/DEMO/runs/{run}/results", body)
    assert answer.json()["detail"].endswith("; and 4 more")
    assert [error["index"] for error in answer.json()["errors"]] == list(range(9))


@pytest.mark.parametrize("body", ["{", "[]", '{"results": 5}', '"\\ud800"', '{"\\ud800": 1}', "\xff", "[" * 100_000])
def test_body_that_is_none_is_4xx(shared: Any, body: str) -> None:
    run = shared.new_run()
    answer = shared.post(
        f"/projects/DEMO/runs/{run}/results",
        data=body.encode("latin-1"),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_complete_twice(live: Any) -> None:
    run = live.new_run()
    for _ in range(2):
        assert live.post(f"/projects/DEMO/runs/{run}/complete").status_code == 200
    first = live.get(f"/projects/DEMO/runs/{run}").json()
    assert (first["status"], first["complete_requests"]) == ("completed", 2)
    live.post(f"/projects/DEMO/runs/{run}/complete")
    assert live.get(f"/projects/DEMO/runs/{run}").json()["completed_at"] == first["completed_at"]


def test_late_results_are_kept_and_known_as_late(live: Any, result: Any) -> None:
    run = live.new_run()
    early, late = result("early"), result("late")
    live.post(f"/projects/DEMO/runs/{run}/results", {"results": [early]})
    live.post(f"/projects/DEMO/runs/{run}/complete")
    assert live.post(f"/projects/DEMO/runs/{run}/results", {"results": [late, early]}).status_code == 200
    completed = live.store.run(run).completed_at
    rows = live.store.stored_results(run)
    assert [(row.title, row.received_at > completed) for row in rows] == [("early", False), ("late", True)]


def test_public_link(live: Any) -> None:
    run = live.new_run()
    answer = live.post(f"/projects/DEMO/runs/{run}/public", {"status": True})
    assert answer.json() == {"url": f"{live.url}/runs/{run}"}
    assert live.page(f"/runs/{run}").status_code == 200
    assert live.store.run(run).is_public is True


def test_openapi_lists_every_call(live: Any) -> None:
    paths = live.page("/openapi.json").json()["paths"]
    assert len(paths) == 9
    assert sum(len(methods) for methods in paths.values()) == 9
