"""One HTTP request to Famacase, made by `requests`, with its errors mapped to ours.

The token is in the header only. Redirects are not followed, so that the token never travels to another host. TLS is
always verified; proxies and REQUESTS_CA_BUNDLE have the effect that `requests` gives them.
"""

from __future__ import annotations

import email.utils
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from famacase_xdist import clock
from famacase_xdist.errors import NoAnswer, Refused
from famacase_xdist.log import log

if TYPE_CHECKING:
    from _typeshed import SupportsRead


@dataclass(frozen=True, slots=True)
class File:
    """A part of a multipart body, read while it is sent.

    Attributes:
        name: The file name.
        mime: The media type.
        content: A file with the bytes, open for reading.
    """

    name: str
    mime: str
    content: BinaryIO


class Transport(Protocol):
    """Sends requests, and returns the decoded answers."""

    def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        files: Sequence[File] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> object:
        """Send one request.

        Args:
            method: GET or POST.
            url: The whole address.
            body: JSON in UTF-8.
            files: Parts of a multipart body, each named ``files``.
            headers: Headers in addition to the transport's own.
            timeout: Seconds to connect, and seconds between two pieces of the answer.

        Returns:
            The answer's JSON, decoded; None if the answer has no body.

        Raises:
            NoAnswer: There was no usable answer.
            Refused: The status was not 2xx.
        """

    def close(self) -> None:
        """Close all connections."""


class TokenAuth(AuthBase):
    """Puts the token into the header. Without an auth object, `requests` lets a ~/.netrc replace that header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token to one request."""
        request.headers["Authorization"] = f"Token {self._token}"
        return request

    def masked(self, text: str) -> str:
        """Return a server's text without the token, because the server may have repeated it."""
        return text.replace(self._token, "*" * len(self._token)) if self._token else text


class _Adapter(HTTPAdapter):
    """An adapter with functions of its own: where the courier is a thread, a test may replace those of `requests`."""

    send = HTTPAdapter.send


class _Session(requests.Session):
    """A session with functions and adapters of its own, for the same reason."""

    get_adapter = requests.Session.get_adapter
    merge_environment_settings = requests.Session.merge_environment_settings
    prepare_request = requests.Session.prepare_request
    request = requests.Session.request
    send = requests.Session.send

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter())


class HttpTransport:
    """A transport with a `requests` session for each thread that sends.

    Args:
        token: The token.
        client: The value of the header X-Client.
    """

    def __init__(self, token: str, client: str) -> None:
        self._auth = TokenAuth(token)
        self._client = client
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []

    def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        files: Sequence[File] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> object:
        """Send one request; see `Transport.send`."""
        data: SupportsRead[bytes] | bytes | None = body
        media_type = "application/json"
        if files:
            data, media_type = _multipart(files)
        own = {"Content-Type": media_type} if data is not None else {}
        since = clock.monotonic()
        try:
            answer = self._session().request(
                method, url, data=data, headers={**own, **(headers or {})}, timeout=timeout, allow_redirects=False
            )
        except (requests.RequestException, OSError, ValueError) as error:
            mapped = _no_answer(error)
            log.debug("%s %s: %s, %d ms", method, url, mapped, 1000 * (clock.monotonic() - since))
            raise mapped from None
        log.debug("%s %s: %d, %d ms", method, url, answer.status_code, 1000 * (clock.monotonic() - since))
        if not 200 <= answer.status_code < 300:
            words = self._auth.masked(_words(answer))
            raise Refused(words, status=answer.status_code, retry_after=_retry_after(answer))
        return _decoded(answer)

    def close(self) -> None:
        """Close all connections; a thread that sends again opens a new connection."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.close()
        self._local = threading.local()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _Session()
            session.auth = self._auth
            session.headers["X-Client"] = self._client
            session.headers["Accept"] = "application/json"
            with self._lock:
                self._sessions.append(session)
        return session


def _multipart(files: Sequence[File]) -> tuple[SupportsRead[bytes], str]:
    """Return a streamed body and its media type. `requests` itself would hold the files twice in memory."""
    from requests_toolbelt.multipart.encoder import MultipartEncoder

    encoder = MultipartEncoder([("files", (file.name, file.content, file.mime)) for file in files])
    return encoder, encoder.content_type


def _no_answer(error: Exception) -> NoAnswer:
    """Return the error of ours for one of `requests`, without its text, because that may contain a proxy's password."""
    if isinstance(error, requests.exceptions.SSLError):
        return NoAnswer(f"no trusted TLS connection ({_reason(error)})", cause="tls")
    if isinstance(error, requests.exceptions.ProxyError):
        return NoAnswer("the proxy does not answer", cause="connection")
    if isinstance(error, requests.Timeout):
        return NoAnswer("no answer in time", cause="timeout")
    if isinstance(error, requests.ConnectionError):
        return NoAnswer(f"no connection ({_reason(error)})", cause="connection")
    if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
        return NoAnswer("the token contains characters that a header cannot contain", cause="token")
    if not isinstance(error, requests.RequestException):
        # `requests` itself checks the bundle of certificates; the text of its error names only the file.
        return NoAnswer(str(error), cause="tls")
    return NoAnswer(f"no usable answer ({type(error).__name__})", cause="answer")


def _reason(error: BaseException) -> str:
    """Return the innermost cause in a few words: ``Connection refused``, ``Name or service not known``."""
    while (inner := _cause(error)) is not None:
        error = inner
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _cause(error: BaseException) -> BaseException | None:
    """Return the error that `requests` or urllib3 wrapped: an argument, a ``reason``, or the chained exception."""
    wrapped = [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
    return next((each for each in wrapped if isinstance(each, BaseException)), None)


def _words(answer: requests.Response) -> str:
    """Return the server's explanation of its refusal, in one line of at most 300 characters."""
    said: object = answer.text
    try:
        content = answer.json()
        said = content.get("detail") or content.get("message") or content
    except (ValueError, AttributeError):
        if "html" in answer.headers.get("Content-Type", ""):
            said = answer.reason
    if 300 <= answer.status_code < 400 and "Location" in answer.headers:
        said = f"moved to {answer.headers['Location']}; FAMACASE_API_URL has to name the final address"
    line = " ".join((said if isinstance(said, str) else json.dumps(said)).split())
    refusal = f"HTTP {answer.status_code}: {line[:300]}"
    return f"the token was refused: {refusal}" if answer.status_code in (401, 403) else refusal


def _decoded(answer: requests.Response) -> object:
    if not answer.content:
        return None
    try:
        content: object = answer.json()
    except ValueError:
        raise NoAnswer("the answer is not JSON; is the address right?", cause="answer") from None
    return content


def _retry_after(answer: requests.Response) -> float | None:
    """Return Retry-After, which is seconds or an HTTP date, in seconds from now; None if it is neither."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - clock.now())
    except (ValueError, OverflowError):
        return None
