"""Results that earlier sessions left are delivered once, by the first process that asks; no live session is touched."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.outboxes import HOLDING, Child, files_at, left_behind
from harness.results import attachment, begun, described, result
from harness.server import COMPLETE, RESULTS, RUNS, TOKEN, Backend, answer, lost
from harness.suites import Suite

from famacase_xdist.client.api import Api
from famacase_xdist.client.transport import HttpTransport
from famacase_xdist.delivery import resend
from famacase_xdist.delivery import sender as sender_module
from famacase_xdist.delivery.resend import Leftover, Resent
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.results.text import to_json
from famacase_xdist.runs.run import Run
from famacase_xdist.server.store import Store
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.state.records import pack

DEADLINE = 20.0
FOREVER = float("inf")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between two tries."""
    monkeypatch.setattr(sender_module, "sleep_using_event", lambda event: lambda seconds: None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of the process that resends: the token, and where the outboxes are."""
    return Settings(testops_api_token=TOKEN, state_dir=tmp_path / "state")


def run_on(backend: Backend, run: Run) -> Run:
    """Create a run as a session does that dies before it can note the answer."""
    transport = HttpTransport(TOKEN, "reporter=test")
    run.open(Api(transport, backend.url, "DEMO", timeout=DEADLINE))
    transport.close()
    return run


Leave = Callable[..., Path]


@pytest.fixture
def leave(backend: Backend, settings: Settings) -> Leave:
    """Leave an outbox, as a session does that died or could not deliver."""

    def leave(*frames: AnyFrame, name: str = "20260101T000000-a", run: Run | None = None, **facts: Any) -> Path:
        run = run or run_on(backend, Run.from_settings(Settings()))
        files = StateDirectory.of(settings).outbox(name)
        known = {"host": backend.url, "project": "DEMO", "database": None, "pid": 1}
        left_behind(files, frames, **{**known, **run.facts(), **facts})
        return files.path

    return leave


def send_all(settings: Settings) -> list[Resent]:
    """Send all that there is."""
    return [resend.send(each, settings, lambda sent, total: None) for each in resend.leftovers(settings)]


def send(settings: Settings) -> Resent:
    """Send the only outbox that there is."""
    (resent,) = send_all(settings)
    return resent


def times_received(backend: Backend) -> dict[str, int]:
    """Return how often each result came, by its title."""
    runs = backend.store.runs()
    return {each.title: each.times_received for run in runs for each in backend.store.stored_results(run.id)}


def files_in(path: Path) -> dict[str, bytes]:
    """Return the contents of all files of an outbox."""
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def without(path: Path, fact: str) -> None:
    """Take a fact away from an outbox behind its back."""
    with contextlib.closing(Outbox(files_at(path))) as outbox:
        facts = outbox.session()
    (path / "notes").write_bytes(
        pack([to_json({"facts": {**facts, fact: None}}).replace(b'"%s":' % fact.encode(), b'"x":')])
    )


# What there is


def test_where_no_session_ever_was_there_is_nothing(settings: Settings) -> None:
    assert resend.leftovers(settings) == []


def test_an_outbox_is_described_the_oldest_first(leave: Leave, settings: Settings, backend: Backend) -> None:
    second = leave(result("test_a"), result("test_b"), begun("t.py::test_c"), name="20260102T000000-b")
    first = leave(result("test_a"), name="20260101T000000-c", run=Run.from_settings(Settings()))

    assert resend.leftovers(settings) == [
        Leftover(files_at(first), backend.url, "DEMO", None, 1),
        Leftover(files_at(second), backend.url, "DEMO", backend.store.runs()[0].id, 3),
    ]


def test_looking_changes_nothing(leave: Leave, settings: Settings) -> None:
    path = leave(result(), begun("t.py::test_b"))
    before = files_in(path)

    resend.leftovers(settings)

    assert files_in(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_outbox_is_left_as_it_is(settings: Settings) -> None:
    outboxes = StateDirectory.of(settings).outboxes
    (outboxes / "folder").mkdir(parents=True)
    (outboxes / "20260101T000000-0123456789ab").mkdir()
    (outboxes / "file").write_text("text")

    assert resend.leftovers(settings) == []
    assert len(list(outboxes.rglob("*"))) == 3

    assert resend.leftovers(settings, 1.0) == []
    assert sorted(path.name for path in outboxes.rglob("*")) == ["file", "folder"]


def test_looking_twice_finds_the_same(leave: Leave, settings: Settings) -> None:
    leave(result(), begun("t.py::test_b"))

    assert resend.leftovers(settings) == resend.leftovers(settings)


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """A function that starts a child and waits until it is ready."""
    children: list[Child] = []

    def start(code: str, *args: object) -> Child:
        children.append(Child(code, *args))
        assert children[-1].line() == "ready"
        return children[-1]

    yield start
    for child in children:
        child.close()


@pytest.fixture
def live(settings: Settings, start: Callable[..., Child]) -> Path:
    """The outbox of a session that lives, in another process."""
    path = StateDirectory.of(settings).outbox("20260101T000000-live").path
    start(HOLDING, path)
    return path


@pytest.mark.process
@pytest.mark.parametrize("patience", [0.0, 600.0], ids=["look", "resend"])
def test_an_outbox_of_a_live_session_is_left_alone_at_once(
    patience: float, live: Path, settings: Settings, backend: Backend
) -> None:
    before = files_in(live)

    (leftover,) = resend.leftovers(settings, patience)
    resent = resend.send(leftover, settings, lambda sent, total: None)

    assert leftover.problem.endswith("a session has it")
    assert resent.problem == leftover.problem
    assert (files_in(live), backend.requests(RESULTS)) == (before, [])


#: A process that delivers what a session left that died, until it is told to go, and then has delivered all.
DELIVERING = """
    outbox = Outbox(files_at(Path(sys.argv[1])), beside_writer=True)
    outbox.add([numbered(1)])
    ready()
    outbox.acknowledge(outbox.take(99, 10**9))
    outbox.close(delete=len(sys.argv) > 2)
"""


@pytest.mark.process
@pytest.mark.parametrize("deletes", [False, True], ids=["stays", "deleted"])
def test_the_courier_of_a_session_that_died_is_waited_for(
    deletes: bool,
    leave: Leave,
    settings: Settings,
    start: Callable[..., Child],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = leave(result())
    courier = start(DELIVERING, path, *(["deletes"] if deletes else []))

    def open_outbox(files: OutboxFiles, patience: float) -> Outbox:
        courier.go()
        return Outbox(files, patience=patience)

    monkeypatch.setattr(resend, "Outbox", open_outbox)

    found = resend.leftovers(settings, resend.patience_of(settings))

    assert [(each.results, each.problem) for each in found] == ([] if deletes else [(0, "")])


@pytest.mark.process
def test_the_look_of_the_next_session_waits_for_no_courier(
    leave: Leave, settings: Settings, start: Callable[..., Child]
) -> None:
    path = leave(result())
    start(DELIVERING, path)

    assert resend.leftover_line(settings) == ""
    (leftover,) = resend.leftovers(settings)
    assert leftover.problem.endswith("a session has it")


@pytest.mark.process
def test_an_outbox_that_another_process_sends_after_the_look_is_left_alone(
    leave: Leave, settings: Settings, backend: Backend, start: Callable[..., Child]
) -> None:
    path = leave(result())
    (leftover,) = resend.leftovers(settings)
    start("outbox = Outbox(files_at(Path(sys.argv[1])))\nready()", path)

    resent = resend.send(leftover, settings, lambda sent, total: None)

    assert resent.problem.endswith("a session has it")
    assert (resent.left, path.exists(), backend.requests(RESULTS)) == (1, True, [])


def test_an_outbox_that_is_gone_after_the_look_is_no_problem(leave: Leave, settings: Settings) -> None:
    path = leave(result())
    (leftover,) = resend.leftovers(settings)
    shutil.rmtree(path)

    assert resend.send(leftover, settings, lambda sent, total: None) == Resent(leftover, is_gone=True)
    assert not path.exists()


def overwrite(path: Path, name: str) -> None:
    """Put something else into the place of a file of an outbox."""
    (path / name).write_bytes(b"garbage" * 1000)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "garbage": lambda path: overwrite(path, "00000001.journal"),
    "garbage-in-the-notes": lambda path: overwrite(path, "notes"),
    "no-json": lambda path: (path / "notes").write_bytes(pack([b'{"facts": x}'])) and None,
    "no-journal": lambda path: (path / "00000001.journal").unlink() or (path / "00000001.journal").mkdir(),
    "no-host": lambda path: without(path, "host"),
    "no-request": lambda path: without(path, "request"),
    "no-notes": lambda path: (path / "notes").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_outbox_is_left_alone_with_a_word_and_the_others_are_sent(
    damage: Callable[[Path], None], leave: Leave, settings: Settings, backend: Backend
) -> None:
    path = leave(result("test_damaged"))
    leave(result("test_whole"), name="20260102T000000-b")
    damage(path)

    damaged, whole = send_all(settings)

    assert damaged.problem
    assert path.exists()
    assert (whole.delivered, whole.problem, backend.titles()) == (1, "", ["test_whole"])


def test_an_outbox_without_any_result_is_removed(settings: Settings) -> None:
    files = StateDirectory.of(settings).outbox("20260101T000000-a")
    left_behind(files)
    assert files.path.exists()

    assert send(settings).problem == ""
    assert not files.path.exists()


def test_results_of_a_session_that_did_not_say_where_it_reports_are_kept(settings: Settings) -> None:
    files = StateDirectory.of(settings).outbox("20260101T000000-a")
    left_behind(files, [result(), begun("t.py::test_b")])

    resent = send(settings)

    assert (resent.left, resent.problem) == (2, "its session did not say where it reports")
    assert files.path.exists()


def test_what_can_be_read_of_a_damaged_outbox_is_sent_and_the_rest_is_told_and_kept(
    leave: Leave, settings: Settings, backend: Backend
) -> None:
    path = leave(result("test_a"), result("test_DAMAGED"), result("test_c"))
    journal = path / "00000001.journal"
    journal.write_bytes(journal.read_bytes().replace(b'::test_DAMAGED"', b'::TEST_damaged"'))

    first, second = send(settings), send(settings)

    assert (first.delivered, first.left, first.problem) == (2, 1, "damaged record")
    assert (second.delivered, second.left, second.problem) == (0, 1, "damaged record")
    assert (backend.titles(), times_received(backend)) == (["test_a", "test_c"], {"test_a": 1, "test_c": 1})
    assert (first.completed, backend.requests(COMPLETE), journal.exists()) == (False, [], True)


# Sending


def test_what_was_left_is_delivered_and_the_file_is_gone(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result("test_a"), result("test_b"))

    resent = send(settings)

    assert (resent.delivered, resent.left, resent.problem) == (2, 0, "")
    assert backend.titles() == ["test_a", "test_b"]
    assert list(path.parent.iterdir()) == []


def test_a_second_time_there_is_nothing(leave: Leave, settings: Settings, backend: Backend) -> None:
    leave(result())
    send(settings)

    assert send_all(settings) == []
    assert times_received(backend) == {"test_a": 1}


def test_what_the_server_has_already_is_there_once(
    leave: Leave, settings: Settings, backend: Backend, tmp_path: Path
) -> None:
    path = leave(result())
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    send(settings)
    copy.rename(path)

    send(settings)

    assert backend.titles() == ["test_a"]
    assert len(backend.store.runs()) == 1


def test_a_run_still_to_be_created_is_created(leave: Leave, settings: Settings, backend: Backend) -> None:
    leave(result(), run=Run.from_settings(Settings(testops_run_title="Nightly", testops_run_tags=("a",))))

    resent = send(settings)

    (run,) = backend.store.runs()
    assert (run.title, run.tags, run.counts["passed"]) == ("Nightly", ("a",), 1)
    assert resent.run_url == f"{backend.url}/runs/{run.id}"


def test_a_run_whose_answer_the_session_never_saw_is_not_created_again(
    leave: Leave, settings: Settings, backend: Backend
) -> None:
    run = Run.from_settings(Settings())
    leave(result(), run=run)
    run_on(backend, run)

    send(settings)

    assert [each.counts["passed"] for each in backend.store.runs()] == [1]
    assert {seen.headers["idempotency-key"] for seen in backend.requests(RUNS)} == {run.request.key}


def test_a_run_to_join_is_joined(leave: Leave, settings: Settings, backend: Backend) -> None:
    existing = run_on(backend, Run.from_settings(Settings()))
    leave(result(), run=Run.from_settings(Settings(testops_run_id=str(existing.id))))

    send(settings)

    assert [each.counts["passed"] for each in backend.store.runs()] == [1]


def test_a_test_that_was_running_when_its_session_died_is_invalid_and_says_so(
    leave: Leave, settings: Settings, backend: Backend
) -> None:
    leave(begun("t.py::test_plain"), described("t.py::test_described", title="Described"))

    resent = send(settings)

    results = {each["title"]: each for each in backend.results()}
    assert set(results) == {"test_plain", "Described"}
    assert {each["execution"]["status"] for each in results.values()} == {"invalid"}
    assert {each["message"] for each in results.values()} == {"the process ended while this test was running"}
    assert (resent.delivered, resent.left) == (2, 0)


def test_a_test_that_was_running_is_below_the_root_suite(leave: Leave, settings: Settings, backend: Backend) -> None:
    leave(begun("t.py::test_plain"))

    send(dataclasses.replace(settings, root_suite="Root"))

    (result,) = backend.results()
    assert result["relations"]["suite"]["data"][0]["title"] == "Root"


def test_a_test_that_was_running_is_filtered_as_any_other(leave: Leave, settings: Settings, backend: Backend) -> None:
    leave(begun("t.py::test_plain"))

    resent = send(dataclasses.replace(settings, testops_status_filter=("invalid",)))

    assert backend.results() == []
    assert (resent.delivered, resent.left) == (0, 0)


def test_a_test_that_was_running_is_one_result_however_often_it_is_sent(
    leave: Leave, settings: Settings, backend: Backend
) -> None:
    leave(begun("t.py::test_plain"), run=Run.from_settings(Settings()))
    backend.inject(RESULTS, answer(503), FOREVER)
    send(settings)
    backend.faults.clear()
    backend.inject(RESULTS, lost())

    send(settings)

    assert len(backend.results()) == 1


def test_attachments_are_delivered_too(leave: Leave, settings: Settings, backend: Backend) -> None:
    digest, frames = attachment(b"attached")
    leave(*frames, result(attached={"a.txt": digest}))

    send(settings)

    ((link,),) = [each["attachments"] for each in backend.results()]
    kept = backend.store.attachment(link["id"])
    assert kept is not None
    assert kept.content == b"attached"


def test_progress_is_told_up_to_the_end(leave: Leave, settings: Settings) -> None:
    leave(*[result(f"test_{number}") for number in range(3)])
    told: list[tuple[int, int]] = []
    (leftover,) = resend.leftovers(settings)

    resend.send(leftover, settings, lambda sent, total: told.append((sent, total)))

    assert told[-1] == (3, 3)
    assert told == sorted(told)


# What stays


def test_what_was_refused_is_tried_again(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result())
    outbox = Outbox(files_at(path))
    outbox.refuse(outbox.take(1, 1)[0], "HTTP 422: full moon")
    outbox.close()

    assert send(settings).delivered == 1
    assert backend.titles() == ["test_a"]


def test_what_is_refused_again_stays_with_the_servers_words(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result("test_a"), result("test_b", unknown=1))

    resent = send(settings)

    assert (resent.delivered, resent.left, path.exists()) == (1, 1, True)
    assert "results[0].unknown" in resent.problem
    assert backend.titles() == ["test_a"]


def test_what_a_dead_server_did_not_take_stays(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result(), begun("t.py::test_b"))
    backend.inject(".*", answer(503, b'{"detail": "later"}'), FOREVER)

    resent = send(settings)

    assert (resent.delivered, resent.left, resent.problem) == (0, 2, "HTTP 503: later")
    assert path.exists()
    assert [each.results for each in resend.leftovers(settings)] == [2]


def test_a_run_that_is_gone_is_said_and_all_stays(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result())
    backend.store._write("DELETE FROM runs")

    resent = send(settings)

    assert "404" in resent.problem
    assert (resent.left, path.exists()) == (1, True)


# Completing


def test_a_run_of_which_all_is_delivered_is_completed(leave: Leave, settings: Settings, backend: Backend) -> None:
    leave(result())

    assert send(settings).completed
    assert [run.status for run in backend.store.runs()] == ["completed"]


def test_a_run_that_is_not_to_be_completed_stays_open(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result(), stays_open="it is not asked for")

    resent = send(settings)

    assert (resent.completed, resent.problem, path.exists()) == (False, "", False)
    assert backend.requests(COMPLETE) == []


@pytest.mark.parametrize("fault", ["refused", "down"])
def test_a_run_of_which_something_is_missing_stays_open(
    fault: str, leave: Leave, settings: Settings, backend: Backend
) -> None:
    leave(result("test_a"), result("test_b", unknown=1))
    if fault == "down":
        backend.inject(RESULTS, answer(503), FOREVER)

    assert not send(settings).completed
    assert backend.requests(COMPLETE) == []


@pytest.mark.parametrize("date", ["Wed, 21 Oct 99999999999999999999 07:28:00 GMT"])
def test_a_run_of_which_something_is_missing_stays_open_whatever_went_wrong(
    date: str, leave: Leave, settings: Settings, backend: Backend
) -> None:
    leave(result())
    backend.inject(RESULTS, answer(503, retry_after=date), FOREVER)

    resent = send(settings)

    assert (resent.left, resent.completed) == (1, False)
    assert resent.problem


def test_a_run_that_could_not_be_completed_is_said_and_tried_again_the_next_time(
    leave: Leave, settings: Settings, backend: Backend
) -> None:
    leave(result())
    backend.inject(COMPLETE, answer(500, b'{"detail": "later"}'), FOREVER)

    first = send(settings)
    backend.faults.clear()
    second = send(settings)

    assert first.problem == "the run could not be completed: HTTP 500: later"
    assert (second.completed, second.problem) == (True, "")
    assert times_received(backend) == {"test_a": 1}


# Whose server


def test_results_of_another_host_are_not_sent_to_this_one(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result(), host="https://other.example.com")
    here = dataclasses.replace(settings, api_url=backend.url, sources={"api_url": "FAMACASE_API_URL"})
    backend.seen.clear()

    resent = send(here)

    assert resent.problem == "it belongs to https://other.example.com, and FAMACASE_API_URL says otherwise"
    assert (resent.left, path.exists(), backend.seen) == (1, True, [])


def test_the_token_of_another_host_is_not_sent_to_the_one_of_the_results(
    leave: Leave, settings: Settings, backend: Backend
) -> None:
    leave(result())
    elsewhere = dataclasses.replace(settings, api_url="https://other.example.com")
    backend.seen.clear()

    resent = send(elsewhere)

    assert f"it belongs to {backend.url}" in resent.problem
    assert backend.seen == []


def test_without_a_token_it_is_said_which_to_set(leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result())
    backend.seen.clear()

    resent = send(dataclasses.replace(settings, testops_api_token=None))

    assert resent.problem == "FAMACASE_TESTOPS_API_TOKEN is not set"
    assert (resent.left, path.exists(), backend.seen) == (1, True, [])


@pytest.mark.parametrize("token", ["rep_wrong", "rep_\N{EN DASH}"], ids=ascii)
def test_a_wrong_token_is_said_and_all_stays(token: str, leave: Leave, settings: Settings, backend: Backend) -> None:
    path = leave(result())

    resent = send(dataclasses.replace(settings, testops_api_token=token))

    assert resent.problem
    assert token not in resent.problem
    assert (resent.left, path.exists()) == (1, True)


@pytest.mark.process
def test_results_of_the_embedded_server_go_into_its_database(leave: Leave, settings: Settings, tmp_path: Path) -> None:
    database = tmp_path / ".famacase" / "famacase.sqlite3"
    run = Run.from_settings(Settings())
    path = leave(result(), host="http://127.0.0.1:1", project="LOCAL", database=str(database), run=run)

    resent = send(dataclasses.replace(settings, testops_api_token=None, api_url="https://other.example.com"))

    assert (resent.delivered, resent.problem, path.exists()) == (1, "", False)
    with Store(database) as store:
        (made,) = store.runs()
        assert [each["title"] for each in store.results(made.id)] == ["test_a"]


# Two at once


@pytest.mark.process
def test_two_that_resend_at_once_deliver_each_result_once(
    leave: Leave, settings: Settings, backend: Backend, suite: Suite
) -> None:
    for number in range(4):
        names = [f"test_{number}_{each}" for each in range(50)]
        run = Run.from_settings(Settings())
        leave(*[result(name) for name in names], begun(f"t.py::test_{number}_x"), name=f"2026010{number + 1}", run=run)
    suite.env["FAMACASE_TESTOPS_API_TOKEN"] = TOKEN

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(suite.resend, "--state-dir", str(settings.state_dir)) for _ in range(2)]
    said = [each.result().text for each in both]

    assert "Traceback" not in "".join(said)
    assert len(backend.results()) == 4 * 51, said
    assert set(times_received(backend).values()) == {1}
    assert [run.status for run in backend.store.runs()] == ["completed"] * 4
    assert resend.leftovers(settings) == []


# The line of the next session


def test_the_next_session_says_what_was_left_and_how_to_send_it(leave: Leave, settings: Settings) -> None:
    leave(result("test_a"), result("test_b"))
    leave(begun("t.py::test_c"), name="20260102T000000-b")

    assert resend.leftover_line(settings) == (
        "famacase: 3 results of 2 earlier sessions were not delivered;"
        f" to send them: famacase-xdist resend --state-dir {settings.state_dir}"
    )


def test_the_next_session_says_nothing_where_nothing_was_left(settings: Settings) -> None:
    assert resend.leftover_line(settings) == ""


@pytest.mark.process
def test_the_next_session_says_nothing_of_a_live_one(live: Path, settings: Settings) -> None:
    assert resend.leftover_line(settings) == ""
