"""A plan's cases, from a real server: asked for patiently, and what is wrong is said before any test could run."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
from harness.server import TOKEN, Backend, answer, cut_off

from famacase_xdist.client.server import Server
from famacase_xdist.client.transport import HttpTransport
from famacase_xdist.delivery import plan
from famacase_xdist.errors import NoAnswer, PlanError, Refused
from famacase_xdist.settings.settings import Settings

PLAN = r"GET .*/plans/\d+/cases"
PROJECT = r"GET .*/projects/DEMO"
FOREVER = float("inf")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let chance choose the shortest wait between two tries, which is none."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low)


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> list[HttpTransport]:
    """The transports that were closed."""
    transports: list[HttpTransport] = []
    close = HttpTransport.close

    def noting(transport: HttpTransport) -> None:
        transports.append(transport)
        close(transport)

    monkeypatch.setattr(HttpTransport, "close", noting)
    return transports


@pytest.fixture
def number(backend: Backend) -> int:
    """The id of a plan with three cases."""
    backend.store.add_project("DEMO")
    return backend.store.add_plan("DEMO", (3, 1, 2))


class Loader:
    """Loads plans, and keeps what was said meanwhile."""

    def __init__(self, url: str) -> None:
        self._server = Server(url, TOKEN)
        self.said: list[str] = []

    def load(self, number: int, **settings: Any) -> frozenset[int]:
        """Load a plan of the project DEMO."""
        chosen: dict[str, Any] = {"testops_project": "DEMO", "retry_attempts": 3, "timeout": 10.0, **settings}
        return plan.load(Settings(mode="testops", testops_plan_id=number, **chosen), self._server, self.said.append)

    def error(self, number: int, kind: type[Exception], **settings: Any) -> str:
        """Return what is said of a plan that cannot be loaded."""
        with pytest.raises(kind) as caught:
            self.load(number, **settings)
        assert type(caught.value) is kind
        return str(caught.value)


@pytest.fixture
def loader(backend: Backend) -> Loader:
    return Loader(backend.url)


# Loaded


def test_the_cases_are_loaded_with_one_request(number: int, backend: Backend, loader: Loader) -> None:
    assert loader.load(number) == {1, 2, 3}
    assert [seen.line for seen in backend.seen] == [f"GET /api/v1/reporter/v1/projects/DEMO/plans/{number}/cases"]
    assert backend.seen[0].headers["authorization"] == f"Token {TOKEN}"
    assert loader.said == []


def test_the_plan_is_that_of_the_settings(number: int, backend: Backend, loader: Loader) -> None:
    other = backend.store.add_plan("DEMO", (7,))

    assert loader.load(number) == {1, 2, 3}
    assert loader.load(other) == {7}


def test_a_case_that_is_named_twice_counts_once(backend: Backend, loader: Loader) -> None:
    backend.inject(PLAN, answer(200, b'{"case_ids": [5, 5, 6]}'))

    assert loader.load(1) == {5, 6}


@pytest.mark.parametrize("action", [answer(503), answer(500), answer(429), cut_off()], ids=["503", "500", "429", "cut"])
def test_a_server_that_is_busy_is_asked_again(action: Any, number: int, backend: Backend, loader: Loader) -> None:
    backend.inject(PLAN, action, times=2)

    assert loader.load(number) == {1, 2, 3}
    assert len(backend.requests(PLAN)) == 3
    assert len(loader.said) == 2


def test_each_wait_is_said_with_its_reason(number: int, backend: Backend, loader: Loader) -> None:
    backend.inject(PLAN, answer(503, b'{"detail": "migrating"}'))
    backend.inject(PLAN, answer(429, b'{"detail": "too many"}'))

    loader.load(number)

    assert loader.said == [
        f"waiting for test plan {number}: HTTP 503: migrating",
        f"waiting for test plan {number}: HTTP 429: too many",
    ]


# Not loaded


def test_a_plan_without_cases_is_no_plan(backend: Backend, loader: Loader) -> None:
    """To select nothing would look like success."""
    number = backend.store.add_plan("DEMO", ())

    assert loader.error(number, PlanError) == "it has no cases"
    assert len(backend.seen) == 1


def test_a_plan_that_is_not_there_is_told_from_a_project_that_is_not(
    number: int, backend: Backend, loader: Loader
) -> None:
    assert loader.error(number + 1, PlanError) == "there is no such plan in project DEMO"
    assert [len(backend.requests(pattern)) for pattern in (PLAN, PROJECT)] == [1, 1]
    assert loader.said == []


def test_a_project_that_is_not_there_is_told_from_a_plan_that_is_not(backend: Backend, loader: Loader) -> None:
    backend.inject(PROJECT, answer(404))

    assert loader.error(1, Refused) == f"there is no project DEMO at {backend.url}"
    assert [len(backend.requests(pattern)) for pattern in (PLAN, PROJECT)] == [1, 1]


def test_the_question_for_the_project_is_as_patient(number: int, backend: Backend, loader: Loader) -> None:
    backend.inject(PROJECT, answer(503), times=2)

    assert loader.error(number + 1, PlanError) == "there is no such plan in project DEMO"
    assert len(backend.requests(PROJECT)) == 3
    assert loader.said == [f"waiting for test plan {number + 1}: HTTP 503: injected"] * 2


def test_a_project_that_cannot_be_asked_for_says_so(backend: Backend, loader: Loader) -> None:
    backend.inject(PROJECT, answer(503), FOREVER)

    assert loader.error(1, Refused) == "HTTP 503: injected"
    assert len(backend.requests(PROJECT)) == 3


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_there_are_as_many_tries_as_set(attempts: int, number: int, backend: Backend, loader: Loader) -> None:
    backend.inject(PLAN, answer(503), FOREVER)

    assert loader.error(number, Refused, retry_attempts=attempts) == "HTTP 503: injected"
    assert len(backend.requests(PLAN)) == attempts
    assert len(loader.said) == attempts - 1


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_refusal_that_is_final_is_raised_at_once(status: int, number: int, backend: Backend, loader: Loader) -> None:
    backend.inject(PLAN, answer(status), FOREVER)

    assert loader.error(number, Refused).endswith(f"HTTP {status}: injected")
    assert len(backend.seen) == 1
    assert loader.said == []


@pytest.mark.parametrize(
    "body", [b'{"case_ids": ["1"]}', b'{"case_ids": [true]}', b'{"case_ids": {}}', b"{}", b"[]", b"<html>"]
)
def test_an_answer_of_an_unknown_form_selects_nothing(
    body: bytes, number: int, backend: Backend, loader: Loader
) -> None:
    backend.inject(PLAN, answer(200, body), FOREVER)

    assert "is the address right?" in loader.error(number, NoAnswer)


def test_a_server_that_is_not_there_is_asked_again_and_named_by_its_reason() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        loader = Loader(f"http://127.0.0.1:{silent.getsockname()[1]}")

        error = loader.error(5, NoAnswer)

    assert error == "no connection (Connection refused)"
    assert loader.said == [f"waiting for test plan 5: {error}"] * 2


# Connections


def test_the_connection_is_closed_whatever_came_of_it(
    number: int, backend: Backend, loader: Loader, closed: list[HttpTransport]
) -> None:
    loader.load(number)
    loader.error(number + 1, PlanError)
    backend.inject(PLAN, answer(401))
    loader.error(number, Refused)

    assert len(set(map(id, closed))) == 3


# What the user reads


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ({}, "FAMACASE_TESTOPS_PLAN_ID"),
        ({"testops_plan_id": "--qase-testops-plan-id"}, "--qase-testops-plan-id"),
        ({"testops_plan_id": "testops.plan.id in qase.config.json"}, "testops.plan.id in qase.config.json"),
    ],
    ids=["default", "option", "file"],
)
def test_a_refusal_names_plan_source_and_reason_and_why_no_test_is_run(sources: dict[str, str], named: str) -> None:
    settings = Settings(testops_plan_id=7, sources=sources)

    assert plan.refusal(settings, PlanError("it has no cases")) == (
        f"test plan 7 ({named}): it has no cases; no test is run, for without it all would be"
    )


def test_a_refusal_of_the_server_is_a_reason_too() -> None:
    said = plan.refusal(Settings(testops_plan_id=12), Refused("HTTP 503: later", status=503))

    assert said.startswith("test plan 12 (FAMACASE_TESTOPS_PLAN_ID): HTTP 503: later; ")
