"""Which hosts and tokens are let in, and how much one request may hold."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from famacase_xdist.server.records import Limits

API = "/api/v1/reporter/v1"


@pytest.mark.parametrize("header", [None, "", "Token", "Token ", "Bearer rep_test", "rep_test", "Basic cmVwX3Rlc3Q="])
def test_missing_or_malformed_token_is_401(live: Any, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = live.page(f"{API}/projects/DEMO", headers=headers)
    assert answer.status_code == 401
    assert "Token" in answer.json()["detail"]
    assert live.store.project("DEMO") is None


def test_wrong_token_is_403(live: Any) -> None:
    for wrong in ("rep_tes", "rep_test2", "REP_TEST"):
        answer = live.page(f"{API}/projects/DEMO", headers={"Authorization": f"Token {wrong}"})
        assert answer.status_code == 403
        assert answer.json()["detail"]


def test_every_call_wants_the_token(live: Any) -> None:
    paths = live.page("/openapi.json").json()["paths"]
    calls = [(method, path) for path, methods in paths.items() for method in methods]
    assert calls
    for method, path in calls:
        url = live.url + path.format(code="DEMO", plan_id=1, run_id=1)
        assert requests.request(method, url, timeout=20).status_code == 401
        assert requests.request(method, url, headers={"Authorization": "Token x"}, timeout=20).status_code == 403


def test_unknown_call_is_json_404(live: Any) -> None:
    answer = live.get("/nothing")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.1", "[::2]", "["]
)
def test_foreign_host_is_refused(shared: Any, host: str) -> None:
    for path in ("/", f"{API}/projects/DEMO", "/docs", "/style.css"):
        headers = {"Host": host, "Authorization": f"Token {shared.token}"}
        answer = shared.page(path, headers=headers)
        assert answer.status_code == 400
        assert "Famacase" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:5", "[::1]:80", "testserver"])
def test_loopback_host_is_answered(shared: Any, host: str) -> None:
    assert shared.page("/", headers={"Host": host}).status_code == 200


def test_wider_than_loopback_pages_want_the_token(serve: Any) -> None:
    live = serve(loopback=False)
    run, kept = live.new_run(), live.upload(("a.txt", b"a", "text/plain")).json()["attachments"][0]
    for path in ("/", f"/runs/{run}", f"/attachments/{kept['id']}", "/docs", "/openapi.json", "/style.css"):
        refused = live.page(path)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert live.page(path, auth=("me", "wrong")).status_code == 401
        assert live.page(path, headers={"Authorization": "Basic !"}).status_code == 401
        assert live.page(path, auth=("me", live.token)).status_code == 200


def test_wider_than_loopback_any_host_is_answered(serve: Any) -> None:
    live = serve(loopback=False)
    answer = live.get("/projects/DEMO", headers={"Host": "ci.example"})
    assert answer.status_code == 200


@pytest.fixture
def small(serve: Any) -> Any:
    return serve(limits=Limits(results=3, files=2, file_bytes=1000, request_bytes=4000))


def test_too_many_results(small: Any, result: Any) -> None:
    run = small.new_run()
    answer = small.post(f"/projects/DEMO/runs/{run}/results", {"results": [minimal(result) for _ in range(4)]})
    assert answer.status_code == 413
    assert "4 results" in answer.json()["detail"]
    assert "3" in answer.json()["detail"]
    assert small.store.results(run) == []
    fits = {"results": [minimal(result) for _ in range(3)]}
    assert small.post(f"/projects/DEMO/runs/{run}/results", fits).status_code == 200


def minimal(result: Any) -> dict[str, Any]:
    return {"id": result()["id"], "title": "t", "execution": {"status": "passed"}}


@pytest.mark.parametrize("count", [3, 4, 9])
def test_too_many_files(small: Any, count: int) -> None:
    answer = small.upload(*[("f", b"x", "text/plain")] * count)
    assert answer.status_code == 413
    assert "2 files" in answer.json()["detail"]
    assert small.store.count_contents() == 0
    assert small.upload(*[("f", b"x", "text/plain")] * 2).status_code == 200


def test_too_large_a_file(small: Any) -> None:
    answer = small.upload(("ok", b"x" * 1000, "text/plain"), ("big", b"x" * 1001, "text/plain"))
    assert answer.status_code == 413
    assert "files[1]" in answer.json()["detail"]
    assert small.store.count_contents() == 0


def test_too_large_a_request_by_content_length(small: Any) -> None:
    answer = small.post("/projects/DEMO/runs", {"title": "x" * 4000})
    assert answer.status_code == 413
    assert "4000 bytes" in answer.json()["detail"]
    assert small.store.runs() == []


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("runs", "application/json"),
        ("runs", "multipart/form-data; boundary=b"),
        ("attachments", "multipart/form-data; boundary=b"),
    ],
)
def test_too_large_a_chunked_request(small: Any, call: str, kind: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n'
        for _ in range(50):
            yield b"x" * 100

    headers = {"Content-Type": kind}
    answer = small.post(f"/projects/DEMO/{call}", data=chunks(), headers=headers)
    assert answer.status_code == 413
    assert "4000 bytes" in answer.json()["detail"]


def test_the_limit_ends_a_body_that_does_not_end(small: Any) -> None:
    """The refusal comes while the client is still sending, because nothing waits for the end of the body."""
    head = (
        f"POST {API}/projects/DEMO/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {small.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        for _ in range(5):
            connection.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_stranger_is_refused_before_the_body(live: Any) -> None:
    head = f"POST {API}/projects/DEMO/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_large_content_length_is_refused_before_the_body(small: Any) -> None:
    head = (
        f"POST {API}/projects/DEMO/runs HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Token {small.token}\r\nContent-Length: 4001\r\n\r\n"
    )
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_limits_of_the_contract() -> None:
    mebibyte = 1024 * 1024
    assert Limits() == Limits(200, 20, 32 * mebibyte, 128 * mebibyte)
