"""What a test does to HTTP in its own process does not reach the transport, where the courier is a thread of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest import mock

import pytest
import requests
import requests_mock
import responses
from harness.server import RESULTS, TOKEN, Backend

from famacase_xdist.client.api import Api
from famacase_xdist.client.transport import HttpTransport

URL = "http://mocked.invalid/"
DEADLINE = 10.0


@contextmanager
def all_responses() -> Iterator[None]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        mocked.add(responses.GET, re.compile(".*"), json={"id": "mocked"})
        mocked.add(responses.POST, re.compile(".*"), json={"id": "mocked"})
        yield
        assert [call.request.url for call in mocked.calls] == [URL]


@contextmanager
def any_requests_mock() -> Iterator[None]:
    with requests_mock.Mocker() as mocked:
        mocked.register_uri(requests_mock.ANY, requests_mock.ANY, json={"id": "mocked"})
        yield
        assert [request.url for request in mocked.request_history] == [URL]


@contextmanager
def patched(name: str) -> Iterator[None]:
    answer = requests.Response()
    answer.status_code = 200
    answer._content = b'{"id": "mocked"}'
    with mock.patch(name, return_value=answer) as mocked:
        yield
        assert len(mocked.mock_calls) == 1


MOCKS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "responses": all_responses,
    "requests-mock": any_requests_mock,
    "Session.request": lambda: patched("requests.Session.request"),
    "Session.send": lambda: patched("requests.Session.send"),
    "HTTPAdapter.send": lambda: patched("requests.adapters.HTTPAdapter.send"),
}


@pytest.mark.parametrize("mocked", MOCKS.values(), ids=MOCKS)
@pytest.mark.parametrize("is_new", [True, False], ids=["first-request", "next-request"])
def test_a_mock_answers_the_test_and_not_the_transport(
    mocked: Callable[[], AbstractContextManager[None]], is_new: bool, backend: Backend
) -> None:
    transport = HttpTransport(TOKEN, "reporter=test")
    api = Api(transport, backend.url, "DEMO", timeout=DEADLINE)
    if not is_new:
        api.check_project()

    with mocked():
        requests.get(URL, timeout=DEADLINE)
        before = len(backend.seen)
        with pytest.raises(Exception, match="HTTP 404"):
            api.send_results(99, [b"{}"])  # type: ignore[arg-type]
    transport.close()

    assert len(backend.seen) - before == len(backend.requests(RESULTS)) == 1
