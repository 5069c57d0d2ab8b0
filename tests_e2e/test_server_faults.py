"""The server is not there, slow, wrong or unwilling: the tests run as without us, nothing twice, nothing lost."""

from __future__ import annotations

import email.utils
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.server import (
    COMPLETE,
    RESULTS,
    RUNS,
    TOKEN,
    Action,
    App,
    Backend,
    Send,
    answer,
    cut_off,
    lost,
    running,
)
from harness.suites import Ran, Suite

TESTS = 30
QUICK = f"""
    import pytest

    @pytest.mark.parametrize("number", range({TESTS}))
    def test_quick(number):
        pass
"""
ONE_PROCESS = ("-p", "no:xdist")
TWO_WORKERS = ("-n2",)
FOR_EVER = float("inf")
PROJECT = r"GET .*/projects/\w+"
HTML = answer(200, b"<html>Please log in</html>", content_type="text/html")


@pytest.fixture
def quick(suite: Suite) -> Suite:
    """Return 30 quick tests, and little patience with the server."""
    suite.write("test_quick.py", QUICK)
    suite.env.update(FAMACASE_RETRY_ATTEMPTS="2", FAMACASE_TIMEOUT="5", FAMACASE_FLUSH_TIMEOUT="15")
    return suite


@contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port that refuses connections and that nobody else gets."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def reporting_to(url: str) -> dict[str, str]:
    return {
        "FAMACASE_MODE": "testops",
        "FAMACASE_API_URL": url,
        "FAMACASE_TESTOPS_API_TOKEN": TOKEN,
        "FAMACASE_TESTOPS_PROJECT": "DEMO",
    }


def header(ran: Ran) -> str:
    """Return our lines of the header."""
    return "\n".join(line for line in ran.stdout.splitlines() if line.startswith("famacase:"))


def section(ran: Ran) -> str:
    """Return our section at the end."""
    _, found, rest = ran.stdout.partition("= Famacase =")
    assert found, ran.text
    lines = rest.splitlines()[1:]
    end = next((number for number, line in enumerate(lines) if line.startswith("===")), len(lines))
    return "\n".join(lines[:end])


def kept_file(ran: Ran) -> Path:
    """Return the outbox file that the summary names."""
    (line,) = [line for line in section(ran).splitlines() if line.startswith("kept in ")]
    return Path(line.removeprefix("kept in "))


def numbers(backend: Backend) -> list[int]:
    """Return the numbers of the quick tests that the server has, one for each stored result id; -1 for any other."""
    return sorted(int(result["params"].get("number", -1)) for result in backend.results())


def all_arrived(backend: Backend, tests: int = TESTS) -> bool:
    """Say whether one complete run has each quick test once."""
    return numbers(backend) == list(range(tests)) and [run.status for run in backend.store.runs()] == ["completed"]


def all_kept(ran: Ran, suite: Suite, tests: int = TESTS) -> bool:
    """Say whether nothing was delivered, and the summary says so and names what to do."""
    said = section(ran)
    return (
        f"collected {tests}, delivered 0, undelivered {tests}, not run 0" in said
        and suite.leftovers() == [kept_file(ran).name]
        and "famacase-xdist resend" in said
        and "(completed)" not in said
    )


def passed_on() -> Action:
    """Let the application answer: for the place between two faults."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await app(scope, receive, send)

    return act


def refusing(status: int, detail: str, marker: bytes = b"", most_results: int = 200) -> Action:
    """Refuse a request with the marker in its body, or with too many results; let the application take all others."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        is_marked = bool(marker) and marker in body
        if is_marked or len(json.loads(body)["results"]) > most_results:
            await answer(status, json.dumps({"detail": detail}).encode())(app, scope, again, send)
        else:
            await app(scope, again, send)

    return act


def timed(times: list[float], action: Action) -> Action:
    """Note when a request comes."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        times.append(time.monotonic())
        await action(app, scope, receive, send)

    return act


def retry_at(seconds: int) -> Action:
    """Answer 429, and ask with a date to come back after `seconds` or a little less."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        date = email.utils.formatdate(time.time() + seconds, usegmt=True)
        await answer(429, retry_after=date)(app, scope, receive, send)

    return act


# Not there


@pytest.mark.parametrize("args", [ONE_PROCESS, TWO_WORKERS], ids=["no-xdist", "n2"])
def test_a_server_that_is_not_there_costs_nothing_and_resend_delivers_once(
    args: tuple[str, ...], quick: Suite, tmp_path: Path
) -> None:
    with closed_port() as port:
        env = reporting_to(f"http://127.0.0.1:{port}")
        ran = quick.run(*args, **env)

        assert ran.status == 0, ran.text
        assert "no run yet: no connection (Connection refused); results are kept" in header(ran)
        assert all_kept(ran, quick), ran.text
        assert "no run was opened" in section(ran)
        assert f"undelivered {TESTS}: no connection (Connection refused)" in section(ran)
        assert f"--state-dir {quick.state}" in section(ran)
        listed = quick.resend("--list", **env)
        assert f"{TESTS} results for a run still to be created, project DEMO" in listed.stdout, listed.stderr
        failed = quick.resend(**env)
        assert failed.status == 1
        assert f"delivered 0, left {TESTS}; problem: no connection (Connection refused)" in failed.stdout
        assert quick.leftovers() == [kept_file(ran).name]

    with running(tmp_path / "late.sqlite3", port=port) as backend:
        first = quick.resend(**env)
        second = quick.resend(**env)

        assert first.status == 0, first.text
        assert f"delivered {TESTS}, left 0" in first.stdout
        assert "(completed)" in first.stdout
        assert second.status == 0, second.text
        assert "nothing to send" in second.stdout
        assert all_arrived(backend)
        assert quick.leftovers() == []
        (run,) = backend.store.runs()
        assert {stored.times_received for stored in backend.store.stored_results(run.id)} == {1}


def test_the_next_session_says_what_an_earlier_one_left(quick: Suite, backend: Backend) -> None:
    with closed_port() as port:
        quick.run(*ONE_PROCESS, **reporting_to(f"http://127.0.0.1:{port}"))

    ran = quick.run(*ONE_PROCESS, **backend.environment())

    assert f"{TESTS} results of 1 earlier sessions were not delivered" in header(ran)
    assert all_arrived(backend)
    assert len(quick.leftovers()) == 1


def test_a_server_that_comes_back_during_the_session_gets_everything(suite: Suite, tmp_path: Path) -> None:
    suite.write(
        "test_quick.py",
        f"""
        import pathlib, time
        import pytest

        @pytest.mark.parametrize("number", range({TESTS}))
        def test_quick(number):
            if number == 15:
                pathlib.Path("half").touch()
                deadline = time.monotonic() + 60
                while not pathlib.Path("go").exists():
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
        """,
    )
    suite.env.update(FAMACASE_RETRY_ATTEMPTS="2", FAMACASE_FLUSH_TIMEOUT="30")
    with closed_port() as port:
        process = suite.start(*TWO_WORKERS, **reporting_to(f"http://127.0.0.1:{port}"))
        wait_for(suite.path / "half")

    with running(tmp_path / "late.sqlite3", port=port) as backend:
        (suite.path / "go").touch()
        stdout, stderr = process.communicate(timeout=60)

        assert process.returncode == 0, stdout + stderr
        assert "Connection refused" in header(Ran(0, stdout, stderr))
        assert all_arrived(backend), stdout
        assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in stdout
        assert suite.leftovers() == []


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_a_host_that_has_no_address_is_named_and_results_kept(quick: Suite) -> None:
    ran = quick.run(*ONE_PROCESS, **reporting_to("https://nowhere.invalid"))

    assert ran.status == 0, ran.text
    assert all_kept(ran, quick), ran.text
    # What the resolver says differs between machines.
    assert f"undelivered {TESTS}: no connection (" in section(ran)
    assert "(Connection refused)" not in section(ran)


def test_a_plain_port_behind_https_is_a_tls_error_and_hears_no_token(quick: Suite, backend: Backend) -> None:
    ran = quick.run(*ONE_PROCESS, **reporting_to(backend.url.replace("http://", "https://")))

    assert ran.status == 0, ran.text
    assert all_kept(ran, quick), ran.text
    assert f"undelivered {TESTS}: no trusted TLS connection (" in section(ran)
    assert backend.seen == []


# There, with trouble


def test_each_trouble_of_one_request_is_overcome_by_another_try(suite: Suite, backend: Backend) -> None:
    troubles = [*(answer(status) for status in (408, 429, 500, 502, 503, 504)), cut_off(), HTML]
    tests = 4 * len(troubles)
    suite.write("test_quick.py", QUICK.replace(f"range({TESTS})", f"range({tests})"))
    for trouble in troubles:
        backend.inject(RESULTS, trouble)
        backend.inject(RESULTS, passed_on())

    # Batches go side by side, so that one may meet several troubles, but not more than there are.
    settings = {"FAMACASE_TESTOPS_BATCH_SIZE": "4", "FAMACASE_RETRY_ATTEMPTS": str(len(troubles) + 1)}
    ran = suite.run(*ONE_PROCESS, **settings, **backend.environment())

    assert ran.status == 0, ran.text
    assert all(fault.times == 0 for fault in backend.faults)
    assert all_arrived(backend, tests), ran.text
    (run,) = backend.store.runs()
    assert {stored.times_received for stored in backend.store.stored_results(run.id)} == {1}
    assert f"delivered {tests} ({tests} passed), undelivered 0" in section(ran)
    assert suite.leftovers() == []


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        *((answer(status), f"HTTP {status}: injected") for status in (408, 429, 500, 502, 503, 504)),
        (cut_off(), "no "),
        (HTML, "the answer is not JSON"),
    ],
    ids=["408", "429", "500", "502", "503", "504", "cut-off", "html"],
)
def test_a_trouble_that_stays_keeps_results_and_leaves_the_run_open(
    trouble: Action, words: str, quick: Suite, backend: Backend
) -> None:
    backend.inject(RESULTS, trouble, times=FOR_EVER)

    ran = quick.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    assert all_kept(ran, quick), ran.text
    assert f"undelivered {TESTS}: {words}" in section(ran)
    assert "(not completed: " in section(ran)
    assert backend.requests(COMPLETE) == []
    assert [run.status for run in backend.store.runs()] == ["active"]
    assert 2 <= len(backend.requests(RESULTS)) <= 6


def test_retry_after_is_honoured_as_seconds_and_as_a_date(quick: Suite, backend: Backend) -> None:
    created: list[float] = []
    sent: list[float] = []
    backend.inject(RUNS, timed(created, answer(429, retry_after="2")))
    backend.inject(RUNS, timed(created, passed_on()))
    backend.inject(RESULTS, timed(sent, retry_at(4)))
    backend.inject(RESULTS, timed(sent, passed_on()))

    ran = quick.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    assert all_arrived(backend), ran.text
    assert created[1] - created[0] >= 1.9
    assert sent[1] - sent[0] >= 2.9  # a date has whole seconds


def test_a_retry_after_beyond_the_flush_timeout_does_not_hold_the_session(quick: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503, retry_after="3600"), times=FOR_EVER)

    started = time.monotonic()
    ran = quick.run(*ONE_PROCESS, FAMACASE_FLUSH_TIMEOUT="2", **backend.environment())

    assert time.monotonic() - started < 30
    assert ran.status == 0, ran.text
    assert all_kept(ran, quick), ran.text


@pytest.mark.parametrize("args", [ONE_PROCESS, TWO_WORKERS], ids=["no-xdist", "n2"])
def test_answers_lost_after_the_server_did_its_work_make_nothing_twice(
    args: tuple[str, ...], quick: Suite, backend: Backend
) -> None:
    backend.inject(RUNS, lost())
    backend.inject(RESULTS, lost())

    ran = quick.run(*args, **backend.environment())

    assert ran.status == 0, ran.text
    assert len(backend.requests(RUNS)) == 2
    assert all_arrived(backend), ran.text
    (run,) = backend.store.runs()
    assert max(stored.times_received for stored in backend.store.stored_results(run.id)) == 2
    assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in section(ran)
    assert quick.leftovers() == []


@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_a_controller_that_lags_behind_its_workers_reports_nothing_twice(
    phase: str, quick: Suite, backend: Backend
) -> None:
    # pytest's reports wait for xdist's loop, our results do not: then they come first.
    quick.write(
        "conftest.py",
        f"""
        import time
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_logreport(report):
            if hasattr(report, "node") and report.when == "{phase}":
                time.sleep(0.05)
        """,
    )
    ran = quick.run(*TWO_WORKERS, **backend.environment())

    assert ran.status == 0, ran.text
    assert len(backend.results()) == TESTS, section(ran)
    assert all_arrived(backend)
    assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in section(ran)
    assert "rebuilt" not in section(ran)


@pytest.mark.parametrize("trouble", [answer(503), answer(429), cut_off()], ids=["503", "429", "cut-off"])
def test_one_trouble_when_the_run_is_completed_does_not_leave_it_open(
    trouble: Action, quick: Suite, backend: Backend
) -> None:
    backend.inject(COMPLETE, trouble)

    ran = quick.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    assert all_arrived(backend), ran.text
    assert "(completed)" in section(ran)


def test_a_run_that_cannot_be_completed_is_said_and_costs_no_result(quick: Suite, backend: Backend) -> None:
    backend.inject(COMPLETE, answer(500), times=FOR_EVER)

    ran = quick.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    assert numbers(backend) == list(range(TESTS))
    assert "(not completed: " in section(ran)
    assert "the run could not be completed: HTTP 500: injected" in section(ran)


# Unwilling


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (answer(401, b""), "401"),
        (answer(403, b"<html>Forbidden</html>", content_type="text/html"), "403"),
        (passed_on(), "403: this token is not valid here"),
    ],
    ids=["401-silent", "403-html", "403-wrong-token"],
)
def test_a_refused_token_is_said_at_once_after_exactly_one_request(
    refusal: Action, words: str, quick: Suite, backend: Backend
) -> None:
    backend.inject(".*", refusal, times=FOR_EVER)

    ran = quick.run(*ONE_PROCESS, **{**backend.environment(), "FAMACASE_TESTOPS_API_TOKEN": "rep_wrong"})

    assert ran.status == 0, ran.text
    assert len(backend.seen) == 1
    assert all_kept(ran, quick), ran.text
    for said in (header(ran), section(ran)):
        assert words in said
        assert "token" in said, said


def test_a_token_that_is_refused_later_stops_all_sending(quick: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(401, b'{"detail": "token expired"}'), times=FOR_EVER)

    ran = quick.run(*TWO_WORKERS, FAMACASE_TESTOPS_BATCH_SIZE="5", **backend.environment())

    assert ran.status == 0, ran.text
    assert len(backend.requests(RESULTS)) == 1
    assert backend.requests(COMPLETE) == []
    assert all_kept(ran, quick), ran.text
    assert f"undelivered {TESTS}: the token was refused: HTTP 401: token expired" in section(ran)


def test_an_unknown_project_is_named_at_once(quick: Suite, tmp_path: Path) -> None:
    with running(tmp_path / "strict.sqlite3", projects=["DEMO"]) as backend:
        ran = quick.run(*ONE_PROCESS, **backend.environment(project="NOPE"))

        assert ran.status == 0, ran.text
        assert len(backend.seen) == 1
        for said in (header(ran), section(ran)):
            assert f"there is no project NOPE at {backend.url}" in said
        assert all_kept(ran, quick), ran.text


def test_an_unknown_run_is_named_at_once_and_no_other_is_made(quick: Suite, backend: Backend) -> None:
    ran = quick.run(*ONE_PROCESS, FAMACASE_TESTOPS_RUN_ID="99", **backend.environment())

    assert ran.status == 0, ran.text
    assert len(backend.requests(r"GET .*/runs/99")) == 1
    assert not [seen for seen in backend.seen if seen.line.startswith("POST")]
    for said in (header(ran), section(ran)):
        assert "there is no run 99 in project DEMO" in said
    assert all_kept(ran, quick), ran.text
    assert backend.store.runs() == []


def test_bad_results_are_kept_and_named_while_the_others_arrive(quick: Suite, backend: Backend) -> None:
    quick.write(
        "test_bad.py",
        """
        from qase.pytest import qase

        @qase.title("poisonous title")
        def test_poison():
            pass

        @qase.title("oversized title")
        def test_giant():
            pass
        """,
    )
    backend.inject(RESULTS, first_that_refuses(), times=FOR_EVER)

    ran = quick.run(*TWO_WORKERS, **backend.environment())

    assert ran.status == 0, ran.text
    assert numbers(backend) == list(range(TESTS))
    assert len(backend.results()) == TESTS
    assert backend.requests(COMPLETE) == []
    said = section(ran)
    assert f"collected {TESTS + 2}, delivered {TESTS} ({TESTS} passed), undelivered 2" in said
    assert "HTTP 422: the server has its own taste" in said
    assert "HTTP 413: more than fits" in said
    assert "(not completed: " in said
    assert quick.leftovers() == [kept_file(ran).name]
    assert "test_poison" in said, said
    assert "test_giant" in said, said


def first_that_refuses() -> Action:
    """Refuse two results, each with a status and words of its own."""
    giant = refusing(413, "more than fits", b"oversized title")

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        async def other(scope: dict[str, Any], receive: Any, send: Send) -> None:
            await giant(app, scope, receive, send)

        await refusing(422, "the server has its own taste", b"poisonous title")(other, scope, receive, send)

    return act


def test_resend_tries_a_refused_result_once_more_and_completes_the_run(quick: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, refusing(422, "not today", b'"number":"7"'), times=FOR_EVER)
    env = backend.environment()
    quick.run(*ONE_PROCESS, **env)
    assert len(backend.results()) == TESTS - 1

    still_refused = quick.resend(**env)
    backend.faults.clear()
    accepted = quick.resend(**env)

    assert still_refused.status == 1
    assert "delivered 0, left 1" in still_refused.stdout
    assert "HTTP 422: not today" in still_refused.stdout
    assert accepted.status == 0, accepted.text
    assert "delivered 1, left 0" in accepted.stdout
    assert all_arrived(backend)
    assert quick.leftovers() == []


def test_a_body_that_is_too_large_is_split_until_it_fits(quick: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, refusing(413, "too large", most_results=4), times=FOR_EVER)

    ran = quick.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    assert all_arrived(backend), ran.text
    assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in section(ran)
    assert quick.leftovers() == []


@pytest.mark.parametrize("status", [204, 302, 304], ids=["204-taken", "302-nowhere", "304"])
def test_only_a_2xx_is_an_acknowledgement(status: int, quick: Suite, backend: Backend) -> None:
    backend.inject(RESULTS, answer(status, b""), times=FOR_EVER)

    ran = quick.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    if status == 204:
        assert f"delivered {TESTS} ({TESTS} passed), undelivered 0" in section(ran)
    else:
        assert all_kept(ran, quick), section(ran)
        assert f"HTTP {status}" in section(ran)


# The exit status


FAILING = """
    def test_fails():
        assert False
"""


def test_undelivered_fail_makes_a_passing_session_fail(quick: Suite) -> None:
    with closed_port() as port:
        ran = quick.run(*TWO_WORKERS, FAMACASE_UNDELIVERED="fail", **reporting_to(f"http://127.0.0.1:{port}"))

    assert ran.status == 1, ran.text
    assert f"{TESTS} passed" in ran.stdout
    assert all_kept(ran, quick), ran.text


def test_undelivered_fail_changes_nothing_where_all_was_delivered(quick: Suite, backend: Backend) -> None:
    ran = quick.run(*ONE_PROCESS, FAMACASE_UNDELIVERED="fail", **backend.environment())

    assert ran.status == 0, ran.text
    assert all_arrived(backend)


def test_undelivered_fail_leaves_an_exit_status_that_says_more(quick: Suite) -> None:
    with closed_port() as port:
        env = {"FAMACASE_UNDELIVERED": "fail", **reporting_to(f"http://127.0.0.1:{port}")}
        quick.write("test_broken.py", "import nothing_of_that_name")
        ran = quick.run(*ONE_PROCESS, **env)

    assert ran.status == 2, ran.text  # pytest's own, for what could not be collected
    assert "undelivered 1:" in section(ran)


@pytest.mark.parametrize(("policy", "is_said"), [("warn", True), ("ignore", False)])
def test_undelivered_warns_or_is_silent_and_failed_tests_keep_their_status(
    policy: str, is_said: bool, quick: Suite
) -> None:
    quick.write("test_failing.py", FAILING)
    with closed_port() as port:
        env = reporting_to(f"http://127.0.0.1:{port}")
        ran = quick.run(*ONE_PROCESS, FAMACASE_UNDELIVERED=policy, **env)

    assert ran.status == 1, ran.text
    assert f"delivered 0, undelivered {TESTS + 1}" in section(ran)
    assert (f"undelivered {TESTS + 1}: no connection" in section(ran)) is is_said
    assert len(quick.leftovers()) == 1
