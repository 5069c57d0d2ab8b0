"""One request: every outcome is an answer or an error of ours, and the token goes nowhere else."""

from __future__ import annotations

import email.utils
import shutil
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from harness.server import TOKEN, Action, Backend, answer, cut_off, hang

from famacase_xdist.client import transport as module
from famacase_xdist.client.server import Server
from famacase_xdist.client.transport import HttpTransport, TokenAuth
from famacase_xdist.errors import DeliveryError, NoAnswer, Refused

DEADLINE = 10.0
ANY = ".*"


@dataclass
class Recorded:
    """A small server of another host: its requests, and its address."""

    port: int = 0
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def url(self, scheme: str = "http") -> str:
        """Return its address."""
        return f"{scheme}://127.0.0.1:{self.port}"


@contextmanager
def recording(context: ssl.SSLContext | None = None, status: int = 200) -> Iterator[Recorded]:
    """Run a server, or a proxy, that answers any request and records it."""
    recorded = Recorded()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            recorded.seen.append((self.command, self.path, headers))
            self.rfile.read(int(headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_CONNECT = _answer

        def log_message(self, format: str, *args: object) -> None:
            return None

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            return None

    server = Quiet(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    recorded.port = server.server_address[1]
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield recorded
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove everything of this machine that sets proxies, certificates or passwords."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    made = HttpTransport(TOKEN, "reporter=test;framework=pytest;transport=famacase")
    yield made
    made.close()


def project(backend: Backend) -> str:
    """Return the address of a call that is always answered."""
    return f"{backend.url}/api/v1/reporter/v1/projects/DEMO"


def get(transport: HttpTransport, url: str, timeout: float = DEADLINE) -> Any:
    """Send a request without a body."""
    return transport.send("GET", url, timeout=timeout)


def refused(transport: HttpTransport, backend: Backend, action: Action) -> Refused:
    """Return the refusal that a server's answer becomes."""
    backend.inject(ANY, action)
    with pytest.raises(Refused) as caught:
        get(transport, project(backend))
    return caught.value


# What is sent


def test_a_request_has_the_headers_of_the_contract(backend: Backend, transport: HttpTransport) -> None:
    get(transport, project(backend))

    headers = backend.seen[0].headers
    assert headers["authorization"] == f"Token {TOKEN}"
    assert headers["x-client"] == "reporter=test;framework=pytest;transport=famacase"
    assert "content-type" not in headers


def test_a_body_is_sent_as_json(backend: Backend, transport: HttpTransport) -> None:
    url = f"{project(backend)}/runs"

    answered = transport.send("POST", url, body=b'{"title": "x"}', headers={"Idempotency-Key": "k"}, timeout=DEADLINE)

    assert set(answered) == {"id"}
    assert backend.seen[0].headers["content-type"] == "application/json"
    assert backend.seen[0].headers["idempotency-key"] == "k"


def test_a_connection_is_used_again(backend: Backend, transport: HttpTransport) -> None:
    for _ in range(3):
        get(transport, project(backend))

    assert len({seen.port for seen in backend.seen}) == 1


def test_each_thread_has_a_connection_of_its_own(backend: Backend, transport: HttpTransport) -> None:
    get(transport, project(backend))
    thread = threading.Thread(target=get, args=(transport, project(backend)))
    thread.start()
    thread.join(DEADLINE)

    assert len({seen.port for seen in backend.seen}) == 2


def test_after_close_a_new_connection_is_opened(backend: Backend, transport: HttpTransport) -> None:
    get(transport, project(backend))
    transport.close()
    get(transport, project(backend))

    assert len({seen.port for seen in backend.seen}) == 2


# Errors


#: The cause of the `NoAnswer` that each error of `requests` becomes.
CAUSES = {
    "RequestException": "answer",
    "ChunkedEncodingError": "answer",
    "ConnectTimeout": "timeout",
    "ConnectionError": "connection",
    "ContentDecodingError": "answer",
    "HTTPError": "answer",
    "InvalidHeader": "answer",
    "InvalidJSONError": "answer",
    "InvalidProxyURL": "answer",
    "InvalidSchema": "answer",
    "InvalidURL": "answer",
    "JSONDecodeError": "answer",
    "MissingSchema": "answer",
    "ProxyError": "connection",
    "ReadTimeout": "timeout",
    "RetryError": "answer",
    "SSLError": "tls",
    "StreamConsumedError": "answer",
    "Timeout": "timeout",
    "TooManyRedirects": "answer",
    "URLRequired": "answer",
    "UnrewindableBodyError": "answer",
}
ERRORS: dict[str, type[requests.RequestException]] = {
    name: found
    for name, found in vars(requests.exceptions).items()
    if isinstance(found, type) and issubclass(found, requests.RequestException)
}


def raising(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Let `requests` raise one of its errors."""
    made = ERRORS[name](text, "doc", 0) if name == "JSONDecodeError" else ERRORS[name](text)

    def request(*args: object, **kwargs: object) -> None:
        raise made

    monkeypatch.setattr(module._Session, "request", request)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_each_error_of_requests_is_one_of_ours_with_its_cause(
    name: str, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, name, "text")

    with pytest.raises(NoAnswer) as caught:
        get(transport, "http://famacase.invalid")
    assert name in CAUSES, f"say in CAUSES what becomes of {name}"
    assert caught.value.cause == CAUSES[name]


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_no_error_of_requests_brings_the_credentials_of_a_proxy_along(
    name: str, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, name, f"http://user:pass-word@proxy {TOKEN}")

    with pytest.raises(NoAnswer) as caught:
        get(transport, "http://famacase.invalid")
    shown = "".join(traceback.format_exception(caught.value))
    assert "pass-word" not in shown
    assert TOKEN not in shown


NO_ANSWERS: dict[str, tuple[Callable[[Backend], Action], str, str]] = {
    "cut-off": (lambda backend: cut_off(), "answer", "no usable answer"),
    "html": (lambda backend: answer(200, b"<html>"), "answer", "the answer is not JSON; is the address right?"),
    "no-utf-8": (lambda backend: answer(200, b"\xff\xfe\xfd"), "answer", "the answer is not JSON"),
    "hang": (hang, "timeout", "no answer in time"),
}


@pytest.mark.parametrize(("make", "cause", "words"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_has_its_cause_and_may_be_tried_again(
    make: Callable[[Backend], Action], cause: str, words: str, backend: Backend, transport: HttpTransport
) -> None:
    backend.inject(ANY, make(backend))

    with pytest.raises(NoAnswer, match=words) as caught:
        get(transport, project(backend), timeout=0.3)
    assert (caught.value.cause, caught.value.retryable) == (cause, True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://famacase.invalid", "no connection"),
        ("http://[::1", "no usable answer"),
        ("nonsense", "no usable answer"),
    ],
)
def test_an_address_that_leads_nowhere_is_said_in_a_few_words(url: str, words: str, transport: HttpTransport) -> None:
    with pytest.raises(NoAnswer, match=words) as caught:
        get(transport, url)
    assert len(str(caught.value)) < 100


REFUSALS: dict[str, tuple[Action, str]] = {
    "detail": (answer(422, b'{"detail": "no title"}'), "HTTP 422: no title"),
    "message": (answer(400, b'{"message": "no title"}'), "HTTP 400: no title"),
    "list": (answer(422, b'{"detail": [{"loc": "title"}]}'), 'HTTP 422: [{"loc": "title"}]'),
    "other-json": (answer(400, b'{"error": 7}'), 'HTTP 400: {"error": 7}'),
    "json-list": (answer(400, b'["a"]'), 'HTTP 400: ["a"]'),
    "text": (answer(500, b"out of\r\n  cheese", content_type="text/plain"), "HTTP 500: out of cheese"),
    "html": (answer(502, b"<html>x</html>", content_type="text/html"), "HTTP 502: Bad Gateway"),
    "empty": (answer(503, b""), "HTTP 503: "),
    "long": (answer(400, b'{"detail": "%s"}' % (b"x" * 5000)), f"HTTP 400: {'x' * 300}"),
}


@pytest.mark.parametrize(("action", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_has_the_servers_words_in_one_short_line(
    action: Action, words: str, backend: Backend, transport: HttpTransport
) -> None:
    assert str(refused(transport, backend, action)) == words


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (400, 401, 403, 404, 409, 413, 415, 422)),
        *((status, True) for status in (408, 429, 500, 502, 503, 504, 507, 599)),
    ],
)
def test_a_refusal_says_whether_it_may_be_tried_again(
    status: int, retryable: bool, backend: Backend, transport: HttpTransport
) -> None:
    error = refused(transport, backend, answer(status))

    assert (error.status, error.retryable) == (status, retryable)


RETRY_AFTER: dict[str, tuple[str, float | None]] = {
    "seconds": ("120", 120),
    "zero": ("0", 0),
    "spaces": (" 7 ", 7),
    "past": ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    "empty": ("", None),
    "word": ("soon", None),
    "negative": ("-1", None),
    "fraction": ("1.5", None),
    "superscript": ("\xb2", None),
    "day-32": ("Wed, 32 Oct 2015 07:28:00 GMT", None),
    "year-99999": ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    "huge-year": ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
    "huge-zone": ("Wed, 21 Oct 2015 07:28:00 +99999999999999", None),
    "year-1": ("Mon, 01 Jan 0001 00:00:00 -0000", 0),
}


@pytest.mark.parametrize(("header", "seconds"), RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_any_retry_after_is_seconds_or_nothing(
    header: str, seconds: float | None, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = requests.Response()
    made.status_code = 429
    made._content = b"{}"
    made.headers["Retry-After"] = header
    monkeypatch.setattr(module._Session, "request", lambda *args, **kwargs: made)

    with pytest.raises(Refused) as caught:
        get(transport, "http://famacase.invalid")
    assert caught.value.retry_after == seconds


def test_a_retry_after_in_the_future_is_the_seconds_until_then(backend: Backend, transport: HttpTransport) -> None:
    date = email.utils.formatdate(time.time() + 90, usegmt=True)

    error = refused(transport, backend, answer(503, retry_after=date))

    assert error.retry_after == pytest.approx(90, abs=5)


@pytest.mark.parametrize(("status", "body"), [(200, b""), (202, b""), (204, b"")])
def test_an_answer_without_a_body_is_none(status: int, body: bytes, backend: Backend, transport: HttpTransport) -> None:
    backend.inject(ANY, answer(status, body))

    assert get(transport, project(backend)) is None


# Where the token goes


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_is_an_error_and_the_other_host_sees_nothing(
    method: str, status: int, backend: Backend, transport: HttpTransport
) -> None:
    with recording() as other:
        backend.inject(ANY, answer(status, location=f"{other.url()}/elsewhere"))
        with pytest.raises(Refused) as caught:
            transport.send(method, project(backend), body=b"{}" if method == "POST" else None, timeout=DEADLINE)

    assert other.seen == []
    assert f"moved to {other.url()}/elsewhere; FAMACASE_API_URL" in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307])
def test_a_3xx_that_leads_nowhere_is_not_taken_for_success(
    status: int, backend: Backend, transport: HttpTransport
) -> None:
    assert refused(transport, backend, answer(status, b"")).status == status


@pytest.mark.parametrize("machine", ["machine 127.0.0.1", "default"])
def test_a_netrc_does_not_replace_the_token(
    machine: str, backend: Backend, transport: HttpTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"{machine} login ada password pass-word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    # The file is one that `requests` uses.
    assert requests.get(project(backend), timeout=DEADLINE).request.headers["Authorization"].startswith("Basic ")

    get(transport, project(backend))

    assert backend.seen[-1].headers["authorization"] == f"Token {TOKEN}"


def test_a_proxy_of_the_environment_is_used(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        get(transport, "http://famacase.invalid/path")

    assert [(method, path) for method, path, _ in proxy.seen] == [("GET", "http://famacase.invalid/path")]


def test_a_host_that_needs_no_proxy_is_asked_itself(
    backend: Backend, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with recording() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        get(transport, project(backend))

    assert (proxy.seen, len(backend.seen)) == ([], 1)


def test_a_proxy_of_an_encrypted_host_does_not_see_the_token(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recording(status=502) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        with pytest.raises(NoAnswer, match="the proxy does not answer"):
            get(transport, "https://famacase.invalid/path")

    assert [method for method, _, _ in proxy.seen] == ["CONNECT"]
    assert TOKEN not in str(proxy.seen)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_dead_proxy_is_named_without_its_password(
    scheme: str, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", "http://ada:pass-word@127.0.0.1:1")

    with pytest.raises(NoAnswer, match="the proxy does not answer") as caught:
        get(transport, f"{scheme}://famacase.invalid")
    assert "pass-word" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "show",
    [repr, str, vars],
    ids=["repr", "str", "vars"],
)
def test_the_transport_does_not_show_the_token(show: Callable[[object], object], transport: HttpTransport) -> None:
    assert TOKEN not in str(show(transport))


@pytest.mark.parametrize("holder", [TokenAuth(TOKEN), Server("http://host", TOKEN)], ids=["auth", "server"])
def test_what_holds_the_token_does_not_show_it(holder: object) -> None:
    assert TOKEN not in repr(holder)


@pytest.mark.parametrize("status", [200, 401, 422, 500])
def test_a_server_that_repeats_the_token_does_not_get_it_into_an_error(
    status: int, backend: Backend, transport: HttpTransport
) -> None:
    backend.inject(ANY, answer(status, f'{{"detail": "token {TOKEN} is bad"'.encode()))
    with pytest.raises(DeliveryError) as caught:
        get(transport, project(backend))

    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("token", ["rep_\N{EN DASH}", "rep_\n", "rep_\r\nX: y", "rep_\0", "rep_\ud800"], ids=ascii)
def test_a_token_that_no_header_can_hold_is_an_error_of_ours_that_does_not_show_it(
    token: str, backend: Backend
) -> None:
    transport = HttpTransport(token, "reporter=test")
    try:
        with pytest.raises(DeliveryError) as caught:
            get(transport, project(backend))
    finally:
        transport.close()

    assert "rep_" not in "".join(traceback.format_exception(caught.value))


# TLS


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate, and a server's context with it."""

    file: Path
    context: ssl.SSLContext


def certificate(directory: Path, address: str) -> Certificate:
    """Make a certificate for an IP address."""
    file, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=test", "-addext", f"subjectAltName=IP:{address}"]
    files = ["-keyout", str(key), "-out", str(file), "-days", "2"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, context)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command")
    return certificate(tmp_path_factory.mktemp("own"), "127.0.0.1")


@pytest.mark.process
@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_that_the_environment_trusts_is_trusted(
    name: str, own: Certificate, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(own.file))

    with recording(own.context) as secure:
        assert get(transport, secure.url("https")) == {}


@pytest.mark.process
def test_a_certificate_that_nobody_trusts_is_refused_before_the_token_is_sent(
    own: Certificate, transport: HttpTransport
) -> None:
    with recording(own.context) as secure, pytest.raises(NoAnswer, match="no trusted TLS connection") as caught:
        get(transport, secure.url("https"))

    assert (caught.value.cause, secure.seen) == ("tls", [])


@pytest.mark.process
def test_a_certificate_of_another_host_is_refused(
    own: Certificate, transport: HttpTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = certificate(tmp_path, "192.0.2.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.file))

    with recording(other.context) as secure, pytest.raises(NoAnswer, match="no trusted TLS connection"):
        get(transport, secure.url("https"))
    assert secure.seen == []


def test_a_server_without_tls_is_not_spoken_to_in_the_clear(transport: HttpTransport) -> None:
    with recording() as open_, pytest.raises(NoAnswer) as caught:
        get(transport, open_.url("https"))

    assert (caught.value.cause, open_.seen) == ("tls", [])


def test_a_bundle_of_certificates_that_is_not_there_is_an_error_of_ours(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")

    with pytest.raises(NoAnswer):
        get(transport, "https://127.0.0.1:1")
