"""The run, and the calls of the contract: what is asked for is what the settings say, and it is made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness.outboxes import files_at
from harness.server import COMPLETE, RUNS, TOKEN, Action, Backend, answer, cut_off, lost, running

from famacase_xdist.client.api import Api, RunRequest
from famacase_xdist.client.transport import File, HttpTransport
from famacase_xdist.errors import DeliveryError, NoAnswer, Refused
from famacase_xdist.runs.record import Ending
from famacase_xdist.runs.run import Home, Run, run_request
from famacase_xdist.settings.settings import Settings

DEADLINE = 10.0
PID = 4711
HOST = "https://famacase.example.com"
BASE = f"{HOST}/api/v1/reporter/v1/projects/DEMO"
REQUEST = RunRequest("Title", "Description", "key")


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    made = HttpTransport(TOKEN, "reporter=test")
    yield made
    made.close()


@pytest.fixture
def api(backend: Backend, transport: HttpTransport) -> Api:
    return Api(transport, backend.url, "DEMO", timeout=DEADLINE)


def planned(**settings: Any) -> Run:
    """Plan the run of these settings."""
    return Run.from_settings(Settings(mode="testops", testops_project="DEMO", **settings))


# The calls


@dataclass
class Answers:
    """A transport that keeps what it is given, and answers with what it was made with."""

    given: list[Any]
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        files: Sequence[File] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> Any:
        """Keep the call, and give the next answer."""
        rest = {"body": body, "files": files, "headers": headers, "timeout": timeout}
        self.calls.append((method, url, {name: value for name, value in rest.items() if value is not None}))
        return self.given.pop(0)

    def close(self) -> None:
        """Do nothing."""


def asking(*given: Any, project: str = "DEMO") -> tuple[Api, Answers]:
    """Make an api over a transport that gives these answers."""
    answers = Answers(list(given))
    return Api(answers, HOST, project, timeout=30.0), answers


CALLS: dict[str, tuple[Callable[[Api], Any], Any, tuple[str, str, dict[str, Any]]]] = {
    "project": (lambda api: api.check_project(), {}, ("GET", BASE, {})),
    "run": (lambda api: api.check_run(7), {}, ("GET", f"{BASE}/runs/7", {})),
    "environment": (
        lambda api: api.environment_id("stag&e 1"),
        [{"id": 3}],
        ("GET", f"{BASE}/environments?slug=stag%26e+1", {}),
    ),
    "results": (
        lambda api: api.send_results(7, [b'{"id":"a"}', b'{"id":"b"}']),
        None,
        ("POST", f"{BASE}/runs/7/results", {"body": b'{"results":[{"id":"a"},{"id":"b"}]}'}),
    ),
    "complete": (lambda api: api.complete_run(7), None, ("POST", f"{BASE}/runs/7/complete", {})),
    "odd-run-id": (lambda api: api.check_run("a/b?c"), {}, ("GET", f"{BASE}/runs/a%2Fb%3Fc", {})),
    "create": (
        lambda api: api.create_run(REQUEST),
        {"id": 7},
        (
            "POST",
            f"{BASE}/runs",
            {
                "body": b'{"title":"Title","description":"Description","is_autotest":true}',
                "headers": {"Idempotency-Key": "key"},
            },
        ),
    ),
    "create-with-tags": (
        lambda api: api.create_run(RunRequest("T", "D", "key", tags=("a", "b"))),
        {"id": 7},
        (
            "POST",
            f"{BASE}/runs",
            {
                "body": b'{"title":"T","description":"D","is_autotest":true,"tags":["a","b"]}',
                "headers": {"Idempotency-Key": "key"},
            },
        ),
    ),
}


@pytest.mark.parametrize(("call", "given", "sent"), CALLS.values(), ids=CALLS)
def test_each_call_is_that_of_the_contract(
    call: Callable[[Api], Any], given: Any, sent: tuple[str, str, dict[str, Any]]
) -> None:
    api, answers = asking(given)

    call(api)

    method, url, rest = sent
    assert answers.calls == [(method, url, {"timeout": 30.0, **rest})]


def test_a_project_code_cannot_change_the_path() -> None:
    api, answers = asking({}, project="../DE MO")

    api.check_project()

    assert answers.calls[0][1] == f"{HOST}/api/v1/reporter/v1/projects/..%2FDE%20MO"


@pytest.mark.parametrize(
    ("run_id", "url"), [(7, f"{HOST}/runs/7"), ("a/b", f"{HOST}/runs/a%2Fb"), (7.5, f"{HOST}/runs/7.5")]
)
def test_a_runs_page_is_that_of_the_contract(run_id: object, url: str) -> None:
    assert asking()[0].run_url(run_id) == url


def test_the_environment_is_sent_by_its_id() -> None:
    api, answers = asking([{"id": 3, "slug": "stage"}], {"id": 7})

    api.create_run(RunRequest("T", "D", "key", environment="stage"))

    assert json.loads(answers.calls[1][2]["body"])["environment_id"] == 3


def test_an_environment_that_the_server_does_not_know_is_left_out() -> None:
    api, answers = asking([], {"id": 7})

    api.create_run(RunRequest("T", "D", "key", environment="stage"))

    assert "environment_id" not in json.loads(answers.calls[1][2]["body"])


@pytest.mark.parametrize("run_id", [7, "7", "a-uuid", {"odd": 1}], ids=str)
def test_a_runs_id_is_whatever_the_server_gives(run_id: object) -> None:
    assert asking({"id": run_id})[0].create_run(REQUEST) == run_id


@pytest.mark.parametrize("given", [None, [], {}, "text", 7, [{"id": 1}], {"id": None}], ids=str)
def test_an_answer_without_the_runs_id_is_an_error_that_asks_for_the_address(given: object) -> None:
    with pytest.raises(NoAnswer, match="is the address right") as caught:
        asking(given)[0].create_run(REQUEST)
    assert caught.value.cause == "answer"


@pytest.mark.parametrize("given", [{"items": []}, "text", 7, [7], [{}], [{"slug": "stage"}], True], ids=str)
def test_an_answer_without_the_environments_id_is_an_error_of_ours(given: object) -> None:
    with pytest.raises(NoAnswer):
        asking(given)[0].environment_id("stage")


@pytest.mark.parametrize("given", [[], None], ids=str)
def test_an_unknown_environment_has_no_id(given: object) -> None:
    assert asking(given)[0].environment_id("stage") is None


# The plan of a run


def test_a_run_is_planned_as_the_settings_say() -> None:
    run = planned(
        testops_run_title="Nightly", testops_run_description="All", testops_run_tags=("a",), environment="stage"
    )

    request = run.request
    assert (request.title, request.description, request.tags, request.environment) == (
        "Nightly",
        "All",
        ("a",),
        "stage",
    )
    assert (run.join_id, run.is_open, run.url) == (None, False, "")


def test_a_run_without_a_title_says_when_it_was_made() -> None:
    request = planned().request

    assert request.title.startswith("Automated run 20")
    assert request.description == request.title


def test_each_session_has_a_key_of_its_own() -> None:
    assert len({planned().request.key for _ in range(100)}) == 100


FACTS = [
    planned(testops_run_title="\N{SNOWMAN}", testops_run_tags=("a", "b"), environment="stage"),
    planned(testops_run_id="7"),
]


@pytest.mark.parametrize("run", FACTS, ids=["new", "joined"])
@pytest.mark.parametrize("run_id", [None, 7, "seven"])
def test_a_run_goes_on_in_another_process_as_it_was(run: Run, run_id: object) -> None:
    facts = json.loads(json.dumps({**run.facts(), "run_id": run_id}))

    again = Run.from_facts(facts, Home(files_at(Path("/state/outbox/a")), ("host", "DEMO"), PID), 120.0)

    assert (again.request, again.join_id, again.id) == (run.request, run.join_id, run_id)
    assert again.is_open == (run_id is not None)


# Opening


def test_a_new_run_is_on_the_server_as_it_was_planned(api: Api, backend: Backend) -> None:
    run = planned(testops_run_title="Nightly", testops_run_description="All", testops_run_tags=("a", "b"))

    run.open(api)

    (made,) = backend.store.runs()
    assert (run.id, made.title, made.description, made.tags) == (made.id, "Nightly", "All", ("a", "b"))
    assert run.url == f"{backend.url}/runs/{made.id}"


def test_a_run_in_an_environment_is_made_in_it(api: Api, backend: Backend) -> None:
    planned(environment="stage").open(api)

    assert backend.store.runs()[0].environment_id == backend.store.environments("DEMO", "stage")[0].id


@pytest.mark.parametrize(
    "fault", [lost(), lost(answer(500)), cut_off(), answer(503)], ids=["lost", "500", "cut", "503"]
)
def test_a_run_that_is_opened_again_after_a_fault_is_made_once(fault: Action, api: Api, backend: Backend) -> None:
    run = planned()
    backend.inject(RUNS, fault)
    with pytest.raises(DeliveryError):
        run.open(api)

    run.open(api)

    assert [made.id for made in backend.store.runs()] == [run.id]
    first, second = backend.requests(RUNS)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == run.request.key


def test_a_run_that_is_joined_is_looked_up_and_none_is_made(api: Api, backend: Backend) -> None:
    first = planned()
    first.open(api)
    backend.seen.clear()
    second = planned(testops_run_id=str(first.id))

    second.open(api)

    assert (second.id, second.url) == (first.id, first.url)
    assert backend.requests(RUNS) == []
    assert len(backend.store.runs()) == 1


def test_a_run_that_is_not_there_is_named_with_its_setting(api: Api, backend: Backend) -> None:
    with pytest.raises(Refused) as caught:
        planned(testops_run_id="99").open(api)

    assert str(caught.value) == "there is no run 99 in project DEMO (FAMACASE_TESTOPS_RUN_ID)"
    assert (caught.value.status, caught.value.retryable) == (404, False)
    assert backend.store.runs() == []


def test_a_project_that_is_not_there_is_named_with_its_host(tmp_path: Path, transport: HttpTransport) -> None:
    with running(tmp_path / "other", projects=["OTHER"]) as other:
        api = Api(transport, other.url, "DEMO", timeout=DEADLINE)
        with pytest.raises(Refused, match=f"there is no project DEMO at {other.url}"):
            planned().open(api)
        assert other.requests(RUNS) == []


@pytest.mark.parametrize("pattern", ["GET .*/projects/DEMO", "GET .*/runs/7", RUNS])
@pytest.mark.parametrize("status", [401, 403, 422, 500])
def test_another_refusal_keeps_its_status_and_the_servers_words(
    pattern: str, status: int, api: Api, backend: Backend
) -> None:
    backend.inject(pattern, answer(status, b'{"detail": "no"}'))
    run = planned(testops_run_id="7" if "7" in pattern else None)

    with pytest.raises(Refused, match=f"HTTP {status}: no") as caught:
        run.open(api)
    assert caught.value.status == status


def test_who_waits_for_the_run_goes_on_when_it_is_open(api: Api) -> None:
    run = planned()
    assert not run.settled.is_set()

    run.open(api)

    assert run.settled.is_set()
    assert (run.is_open, run.trouble) == (True, "")


def test_who_waits_for_the_run_goes_on_when_it_could_not_be_opened(api: Api, backend: Backend) -> None:
    run = planned()
    backend.inject(".*", answer(503, b'{"detail": "later"}'))

    with pytest.raises(Refused):
        run.open(api)

    assert run.settled.is_set()
    assert (run.is_open, run.trouble) == (False, "HTTP 503: later")


def test_the_trouble_is_over_when_the_run_is_open(api: Api, backend: Backend) -> None:
    run = planned()
    backend.inject(".*", answer(503))
    with pytest.raises(Refused):
        run.open(api)

    run.open(api)

    assert run.trouble == ""


# Completing


def test_a_run_is_completed_on_the_server(api: Api, backend: Backend) -> None:
    run = planned()
    run.open(api)
    assert not run.completed

    run.leave(api, undelivered=0, ending=Ending.FINISHED)

    assert (run.completed, run.why_open, run.is_owed) == (True, "", False)
    assert [made.status for made in backend.store.runs()] == ["completed"]


@pytest.mark.parametrize("fault", [answer(500), cut_off()], ids=["500", "cut"])
def test_a_run_that_could_not_be_completed_is_not_said_to_be(fault: Action, api: Api, backend: Backend) -> None:
    run = planned()
    run.open(api)
    backend.inject(COMPLETE, fault)

    with pytest.raises(DeliveryError):
        run.leave(api, undelivered=0, ending=Ending.FINISHED)

    assert not run.completed
    assert run.is_owed


@pytest.mark.parametrize(
    ("settings", "undelivered", "why"),
    [
        ({}, 3, "3 results are undelivered"),
        ({"testops_run_complete": False}, 0, "FAMACASE_TESTOPS_RUN_COMPLETE=false"),
        ({"testops_run_id": "{id}"}, 0, "it was joined by its number (famacase-xdist run complete {id})"),
    ],
    ids=["undelivered", "not asked for", "joined"],
)
def test_a_run_that_is_not_completed_says_why(
    settings: dict[str, Any], undelivered: int, why: str, api: Api, backend: Backend
) -> None:
    there = planned()
    there.open(api)
    named = {name: v.format(id=there.id) if isinstance(v, str) else v for name, v in settings.items()}
    run = planned(**named)
    run.open(api)

    run.leave(api, undelivered=undelivered, ending=Ending.FINISHED)

    assert (run.completed, run.why_open, run.is_owed) == (False, why.format(id=there.id), False)
    assert backend.requests(COMPLETE) == []


def test_a_number_is_completed_where_that_is_asked_for(api: Api, backend: Backend, tmp_path: Path) -> None:
    there = planned()
    there.open(api)
    settings = Settings(testops_run_id=str(there.id), sources={"testops_run_complete": "FAMACASE_TESTOPS_RUN_COMPLETE"})
    run = Run.from_settings(settings, Home(files_at(tmp_path / "outbox" / "a"), ("host", "DEMO"), PID))
    run.open(api)

    run.leave(api, undelivered=0, ending=Ending.FINISHED)

    assert run.completed
    assert [made.status for made in backend.store.runs()] == ["completed"]


# Sharing


def shared(path: Path, **settings: Any) -> Run:
    """Plan the run of a session that shares a key in this directory."""
    home = Home(files_at(path / "outbox" / f"{len(list(path.iterdir()))}"), ("host", "DEMO"), PID)
    return Run.from_settings(Settings(mode="testops", testops_project="DEMO", **settings), home)


def test_a_key_is_shared_and_a_number_is_not_unless_it_is_to_be_completed(tmp_path: Path) -> None:
    assert shared(tmp_path, testops_run_id="nightly").shared is not None
    assert shared(tmp_path).shared is None
    assert shared(tmp_path, testops_run_id="12").shared is None
    assert shared(tmp_path, testops_run_id="12", sources={"testops_run_complete": "x"}).shared is not None


def test_what_is_shared_goes_on_in_another_process(tmp_path: Path, api: Api, backend: Backend) -> None:
    run = shared(tmp_path, testops_run_id="nightly", shard=(1, 1))
    run.open(api)
    facts = json.loads(json.dumps(run.facts()))

    again = Run.from_facts(facts, Home(files_at(tmp_path / "outbox" / "0"), ("host", "DEMO"), PID), 5.0)
    again.leave(api, undelivered=0, ending=Ending.FINISHED)

    assert again.shared is not None
    assert run.shared is not None
    assert again.shared.member == run.shared.member
    assert again.completed
    assert len(backend.requests(COMPLETE)) == 1


def test_a_key_that_cannot_be_shared_still_has_a_run_and_says_so(api: Api, backend: Backend) -> None:
    home = Home(files_at(Path("/proc/nowhere/outbox/a")), ("host", "DEMO"), PID)
    run = Run.from_settings(Settings(testops_run_id="nightly"), home)

    run.open(api)
    run.leave(api, undelivered=0, ending=Ending.FINISHED)

    assert run.completed
    (note,) = run.notes
    assert note.startswith("run key 'nightly' could not be shared (/proc/nowhere/runs: ")
    assert note.endswith("): this session reports to a run of its own")


def test_a_number_that_cannot_be_shared_is_left_open(api: Api, backend: Backend) -> None:
    there = planned()
    there.open(api)
    settings = Settings(testops_run_id=str(there.id), sources={"testops_run_complete": "x"})
    run = Run.from_settings(settings, Home(files_at(Path("/proc/nowhere/outbox/a")), ("host", "DEMO"), PID))

    run.open(api)
    run.leave(api, undelivered=0, ending=Ending.FINISHED)

    assert run.id == there.id
    assert not run.completed
    assert run.notes[0].endswith("so it is not completed")


# What the run is made from


def test_a_ci_system_gives_title_and_description() -> None:
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "1234",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_REF_NAME": "main",
        "GITHUB_SHA": "1a2b3c4d5e6f",
        "GITHUB_SERVER_URL": "https://github.example.com",
        "GITHUB_REPOSITORY": "shop/tests",
    }

    request = run_request(Settings(testops_run_tags=("a",)), environ)
    assert "main" in request.title
    for word in ("main", "1a2b3c4d", "https://github.example.com/shop/tests/actions/runs/1234"):
        assert word in request.description
    assert request.tags == ("a",)

    own = run_request(Settings(testops_run_title="Mine", testops_run_description="About it"), environ)
    assert own.title == "Mine"
    assert own.description.startswith("About it\n")
    assert "https://github.example.com/shop/tests/actions/runs/1234" in own.description
