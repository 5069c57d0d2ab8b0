"""``famacase-xdist run``: stdout is for scripts, a run is made once, and an error is one clear line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.server import COMPLETE, RUNS, TOKEN, Action, App, Backend, Send, answer, cut_off, lost, running
from harness.suites import NOT_INHERITED

from famacase_xdist.cli.main import main

PROJECT = "GET .*/projects/DEMO"
ENVIRONMENTS = "GET .*/environments"
RUN = r"GET .*/runs/\w+"
FOREVER = float("inf")
UUID = "5f0c1f2e-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Said:
    """The exit status of a command, and what it wrote."""

    status: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """One server for all tests of this file. It has one project, with what a test has put into it."""
    database = tmp_path_factory.mktemp("server") / "server.sqlite3"
    with pytest.MonkeyPatch.context() as patch, running(database, projects=["DEMO"]) as server:
        patch.setattr("harness.server.pid_of_port", lambda port: None)
        server.store.add_project("DEMO")
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between tries, which no test waits."""
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    return waits


@pytest.fixture
def command(
    backend: Backend,
    waits: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Return a function that runs ``famacase-xdist run`` in an empty directory, with the settings of the backend."""
    for name in list(os.environ):
        if name.startswith(NOT_INHERITED) and not name.startswith("PYTEST_"):
            monkeypatch.delenv(name)
    for name, value in backend.environment().items():
        if name != "FAMACASE_MODE":
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*args: str, **env: str) -> Said:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as caught:
            main(["run", *args], prog_name="famacase-xdist")
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        return Said(int(caught.value.code or 0), out, err)

    return call


def error(said: Said) -> str:
    """Return the one line that a failed command has printed."""
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("Error: ").rstrip("\n")


def body_of_next(pattern: str, backend: Backend) -> dict[str, Any]:
    """Keep the body of the next request that matches; the application answers the request."""
    kept: dict[str, Any] = {}

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        async def keeping() -> Any:
            message = await receive()
            if message.get("body"):
                kept.update(json.loads(message["body"]))
            return message

        await app(scope, keeping, send)

    backend.inject(pattern, act)
    return kept


# create


def test_stdout_is_the_number_alone_and_the_link_is_on_stderr(command: Command, backend: Backend) -> None:
    said = command("create")

    (run,) = backend.store.runs()
    assert said == Said(0, f"{run.id}\n", f"run {run.id}: {backend.url}/runs/{run.id}\n")


def test_the_forms_for_scripts(command: Command, backend: Backend) -> None:
    env, as_json = command("create", "--format", "env"), command("create", "--format", "json")

    second, first = backend.store.runs()
    assert env.out == f"FAMACASE_TESTOPS_RUN_ID={first.id}\n"
    url = f"{backend.url}/runs/{second.id}"
    assert json.loads(as_json.out) == {"id": second.id, "url": url, "reference": str(second.id)}
    assert as_json.out.count("\n") == 1


@pytest.mark.parametrize(
    ("run_id", "reference"), [(UUID, f"id:{UUID}"), ("77", "77"), (10**20, f"id:{10**20}"), ("a/b", "id:a/b")]
)
def test_an_id_is_whatever_the_server_gives(run_id: object, reference: str, command: Command, backend: Backend) -> None:
    backend.inject(RUNS, answer(200, json.dumps({"id": run_id}).encode()), times=3)

    assert command("create").out == f"{reference}\n"
    assert command("create", "--format", "env").out == f"FAMACASE_TESTOPS_RUN_ID={reference}\n"
    assert json.loads(command("create", "--format", "json").out)["id"] == run_id


def test_an_id_that_a_shell_would_take_apart_is_quoted_in_an_assignment(command: Command, backend: Backend) -> None:
    backend.inject(RUNS, answer(200, b'{"id": "a b;c"}'))

    assert command("create", "--format", "env").out == "FAMACASE_TESTOPS_RUN_ID='id:a b;c'\n"


@pytest.mark.parametrize("run_id", ["7\nPATH=/tmp", "007", "x" * 300, 0], ids=["line-break", "zeros", "long", "zero"])
def test_an_id_that_nobody_can_join_by_is_no_output(run_id: object, command: Command, backend: Backend) -> None:
    backend.inject(RUNS, answer(200, json.dumps({"id": run_id}).encode()))

    assert repr(run_id) in error(command("create"))


def test_a_run_is_made_from_the_settings(command: Command, backend: Backend, tmp_path: Path) -> None:
    stage = backend.store.add_environment("DEMO", "stage")
    run = {"title": "Nightly", "description": "All of it", "tags": ["a", "b"]}
    content = {"testops": {"run": run}, "environment": "stage"}
    (tmp_path / "famacase.config.json").write_text(json.dumps(content))

    assert command("create").status == 0

    (made,) = backend.store.runs()
    assert (made.title, made.description, made.tags) == ("Nightly", "All of it", ("a", "b"))
    assert (made.environment_id, made.plan_id) == (stage.id, None)


SET = {
    "FAMACASE_TESTOPS_RUN_TITLE": "Nightly",
    "FAMACASE_TESTOPS_RUN_DESCRIPTION": "All of it",
    "FAMACASE_TESTOPS_RUN_TAGS": "a,b",
    "FAMACASE_ENVIRONMENT": "stage",
}


def test_options_win_over_the_settings(command: Command, backend: Backend) -> None:
    backend.store.add_environment("DEMO", "stage")
    live = backend.store.add_environment("DEMO", "live")
    plan = backend.store.add_plan("DEMO", [1, 2])
    options = ("--title", "Release", "--description", "Some", "--tag", "c", "--tag", "d, e", "--environment", "live")

    assert command("create", *options, "--plan", str(plan), **SET).status == 0

    (made,) = backend.store.runs()
    assert (made.title, made.description, made.tags) == ("Release", "Some", ("c", "d, e"))
    assert (made.environment_id, made.plan_id) == (live.id, plan)


def test_an_option_of_a_variable_that_is_not_set_does_not_count(command: Command, backend: Backend) -> None:
    backend.store.add_environment("DEMO", "stage")

    said = command("create", "--title", "", "--description", " ", "--tag", "", "--environment", "", **SET)

    assert said.status == 0
    (made,) = backend.store.runs()
    assert (made.title, made.description, made.tags) == ("Nightly", "All of it", ("a", "b"))
    assert made.environment_id is not None


def test_what_is_not_given_is_not_sent(command: Command, backend: Backend) -> None:
    sent = body_of_next(RUNS, backend)

    command("create", "--title", "T", "--description", "D")

    assert sent == {"title": "T", "description": "D", "is_autotest": True}


@pytest.mark.parametrize(
    "fault", [lost(), lost(answer(502)), answer(503), cut_off()], ids=["lost", "lost-502", "503", "cut"]
)
def test_a_fault_makes_no_second_run(fault: Action, command: Command, backend: Backend, waits: list[float]) -> None:
    backend.inject(RUNS, fault, times=2)

    said = command("create")

    (run,) = backend.store.runs()
    assert (said.status, said.out) == (0, f"{run.id}\n")
    assert len({seen.headers["idempotency-key"] for seen in backend.requests(RUNS)}) == 1
    assert len(backend.requests(RUNS)) == 3
    assert len(waits) == 2


def test_two_commands_make_two_runs(command: Command, backend: Backend) -> None:
    assert command("create").out != command("create").out
    assert len(backend.store.runs()) == 2


def test_the_server_is_given_the_time_that_it_asks_for(command: Command, backend: Backend, waits: list[float]) -> None:
    backend.inject(RUNS, answer(429, retry_after="7"))

    assert command("create").status == 0
    assert waits == [7]


def test_a_request_is_tried_as_often_as_set(command: Command, backend: Backend) -> None:
    backend.inject(RUNS, answer(503), times=FOREVER)

    said = error(command("create", FAMACASE_RETRY_ATTEMPTS="4"))

    assert said == "HTTP 503: injected"
    assert len(backend.requests(RUNS)) == 4


def test_an_environment_that_is_not_there_is_named_before_anything_is_made(command: Command, backend: Backend) -> None:
    said = error(command("create", "--environment", "nowhere"))

    assert said == "there is no environment nowhere in project DEMO"
    assert len(backend.requests(ENVIRONMENTS)) == 1
    assert backend.requests(RUNS) == []


def test_a_plan_that_is_not_there_is_refused_in_the_servers_words(command: Command, backend: Backend) -> None:
    assert error(command("create", "--plan", "5")) == "HTTP 404: no plan 5 in project 'DEMO'"
    assert backend.store.runs() == []


@pytest.mark.parametrize("plan", ["0", "-1", "five", ""])
def test_a_plan_is_a_number(plan: str, command: Command, backend: Backend) -> None:
    assert command("create", "--plan", plan).status == 2
    assert backend.seen == []


# show


def test_a_run_is_shown(command: Command, backend: Backend) -> None:
    number = command("create", "--title", "Nightly").out.strip()
    execution = {"status": "passed", "start_time": 0.0, "end_time": 1.0, "duration": 1000}
    results = [{"id": f"{UUID[:-1]}{n}", "title": f"t{n}", "execution": execution} for n in (1, 2)]
    results.append({**results[0], "id": f"{UUID[:-1]}3", "execution": {**execution, "status": "failed"}})
    backend.store.add_results(int(number), results)

    shown = command("show", number)

    assert shown.out.splitlines() == [
        f"id: {number}",
        "title: Nightly",
        "status: active",
        f"link: {backend.url}/runs/{number}",
        "results: 2 passed, 1 failed",
    ]
    assert (shown.status, shown.err) == (0, "")


def test_a_run_without_results_has_none(command: Command) -> None:
    assert "results: none\n" in command("show", command("create").out.strip()).out


def test_json_is_what_the_server_says(command: Command, backend: Backend) -> None:
    given = {"id": UUID, "odd": {"deep": [1, None]}, "title": "Ünï"}
    backend.inject(RUN, answer(200, json.dumps(given).encode()))

    said = command("show", "7", "--format", "json")

    assert json.loads(said.out) == given
    assert (said.status, said.err) == (0, "")


@pytest.mark.parametrize("given", [b'{"id": 7}', b"{}", b"", b"[]", b'{"id": 7, "title": null, "counts": [1]}'])
def test_nothing_but_200_is_promised(given: bytes, command: Command, backend: Backend) -> None:
    backend.inject(RUN, answer(200, given))

    assert command("show", "7") == Said(0, f"id: 7\nlink: {backend.url}/runs/7\n", "")


def test_what_a_server_says_commands_no_terminal_and_repeats_no_token(command: Command, backend: Backend) -> None:
    given = {"id": 7, "title": f"a\x1b[2J\nb {TOKEN}"}
    backend.inject(RUN, answer(200, json.dumps(given).encode()), times=2)

    plain, as_json = command("show", "7"), command("show", "7", "--format", "json")

    assert plain.out.splitlines()[1] == f"title: a [2J b {'*' * len(TOKEN)}"
    assert json.loads(as_json.out)["title"] == f"a\x1b[2J\nb {'*' * len(TOKEN)}"


# complete


def test_a_run_is_completed_and_again_is_fine(command: Command, backend: Backend) -> None:
    number = command("create").out.strip()
    line = f"run {number} is complete: {backend.url}/runs/{number}\n"

    assert command("complete", number) == Said(0, line, "")
    (run,) = backend.store.runs()
    assert (run.status, run.complete_requests) == ("completed", 1)

    assert command("complete", number) == Said(0, line, "")
    assert [run.status for run in backend.store.runs()] == ["completed"]


@pytest.mark.parametrize("fault", [lost(), answer(503)], ids=["lost", "503"])
def test_a_fault_of_the_completion_is_tried_again(fault: Action, command: Command, backend: Backend) -> None:
    number = command("create").out.strip()
    backend.inject(COMPLETE, fault)

    assert command("complete", number).status == 0
    assert [run.status for run in backend.store.runs()] == ["completed"]
    assert len(backend.requests(COMPLETE)) == 2


@pytest.mark.parametrize(
    ("named", "path"), [(f"id:{UUID}", UUID), (UUID, UUID), ("id:12", "12"), ("0012", "12")], ids=str
)
def test_a_run_is_named_by_its_reference_or_its_id(named: str, path: str, command: Command, backend: Backend) -> None:
    backend.inject(COMPLETE, answer(200, b""))

    assert command("complete", named).out.endswith(f": {backend.url}/runs/{path}\n")
    assert len(backend.requests(f"POST .*/runs/{path}/complete")) == 1


@pytest.mark.parametrize("verb", ["show", "complete"])
@pytest.mark.parametrize("named", ["", " ", "0", "id:", "a\nb"], ids=repr)
def test_what_names_no_run_is_not_asked_for(named: str, verb: str, command: Command, backend: Backend) -> None:
    said = command(verb, named)

    assert (said.status, said.out) == (2, "")
    assert f"{named!r} names no run" in said.err
    assert backend.seen == []


# What is wrong


@pytest.mark.parametrize("verb", ["show", "complete"])
def test_a_run_that_is_not_there_is_named(verb: str, command: Command) -> None:
    assert error(command(verb, "99")) == "there is no run 99 in project DEMO"


VERBS = pytest.mark.parametrize("args", [("create",), ("show", "7"), ("complete", "7")], ids=lambda args: args[0])


@VERBS
def test_a_project_that_is_not_there_is_named(args: tuple[str, ...], command: Command, backend: Backend) -> None:
    said = error(command(*args, FAMACASE_TESTOPS_PROJECT="OTHER"))

    assert said == f"there is no project OTHER at {backend.url}"
    assert len(backend.seen) == 1


@VERBS
def test_a_token_that_is_refused_is_said_once_and_not_repeated(
    args: tuple[str, ...], command: Command, backend: Backend
) -> None:
    wrong = "rep_of-another-project"
    said = error(command(*args, FAMACASE_TESTOPS_API_TOKEN=wrong))

    assert said.startswith("the token was refused: HTTP 403: ")
    assert wrong not in said
    assert len(backend.seen) == 1


@VERBS
def test_a_server_that_repeats_the_token_does_not_put_it_into_the_log(
    args: tuple[str, ...], command: Command, backend: Backend
) -> None:
    backend.inject(PROJECT, answer(403, json.dumps({"detail": f"bad {TOKEN}"}).encode()))

    assert error(command(*args)) == f"the token was refused: HTTP 403: bad {'*' * len(TOKEN)}"


@VERBS
def test_without_settings_all_that_is_missing_is_named(
    args: tuple[str, ...], command: Command, monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    for name in backend.environment():
        monkeypatch.delenv(name, raising=False)

    assert error(command(*args)) == (
        "famacase-xdist run needs FAMACASE_API_URL, FAMACASE_TESTOPS_API_TOKEN, FAMACASE_TESTOPS_PROJECT"
    )
    assert backend.seen == []


@VERBS
def test_a_setting_that_is_not_allowed_is_named_with_its_source(args: tuple[str, ...], command: Command) -> None:
    assert error(command(*args, FAMACASE_TIMEOUT="soon")).startswith("FAMACASE_TIMEOUT: 'soon' is not allowed")


@VERBS
def test_a_server_that_is_not_there(args: tuple[str, ...], command: Command, waits: list[float]) -> None:
    assert error(command(*args, FAMACASE_API_URL="http://127.0.0.1:1")) == "no connection (Connection refused)"
    assert len(waits) == 2


# As a process


@pytest.mark.process
def test_the_output_of_a_process_goes_into_a_variable(command: Command, backend: Backend, tmp_path: Path) -> None:
    # `command` has prepared environment and directory.
    script = f'number=$("{sys.executable}" -m famacase_xdist run create --title T 2>notes) && printf %s "$number"'

    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)

    (run,) = backend.store.runs()
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, str(run.id), "")
    assert (tmp_path / "notes").read_text() == f"run {run.id}: {backend.url}/runs/{run.id}\n"


@pytest.mark.process
@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["run", "create", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    heavy = ("requests", "tenacity", "sqlite3", "rich", "platformdirs", "pytest", "execnet")
    code = f"""
import sys
from famacase_xdist.cli.main import main
main({args}, standalone_mode=False)
print([name for name in {heavy} if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert f"{' '.join(args[:-1])} [OPTIONS]" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"
