"""One HTTP request to Famacase: `requests`, its errors mapped to ours, nothing else.

The token is in the header only. Redirects are not followed, so it never travels to another host; TLS is always
verified; proxies and REQUESTS_CA_BUNDLE are honoured as `requests` does.
"""

from __future__ import annotations

import email.utils
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import requests
from requests.auth import AuthBase

from famacase_xdist import clock
from famacase_xdist.errors import NoAnswer, Refused
from famacase_xdist.log import log


class Readable(Protocol):
    """A stream of known length: `len` gives the bytes that are left."""

    def __len__(self) -> int: ...

    def read(self, size: int = -1) -> bytes:
        """Give at most `size` bytes."""


@dataclass(frozen=True, slots=True)
class File:
    """A part of a multipart body, read while it is sent.

    Attributes:
        name: The file name.
        mime: The media type.
        content: The bytes.
    """

    name: str
    mime: str
    content: Readable


class Transport(Protocol):
    """Sends one request and gives the decoded answer."""

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
        """Send one request.

        Args:
            method: GET or POST.
            url: The whole address.
            body: JSON in UTF-8.
            files: Parts of a multipart body, each named ``files``.
            headers: Beside the transport's own.
            timeout: Seconds to connect, and seconds between two pieces of the answer.

        Returns:
            The answer's JSON, or None where it has no body.

        Raises:
            NoAnswer: Nothing usable came back.
            Refused: The status was not 2xx.
        """

    def close(self) -> None:
        """Close all connections."""


class TokenAuth(AuthBase):
    """Puts the token into the header; as an auth object it wins over a ~/.netrc, which would replace the header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign one request."""
        request.headers["Authorization"] = f"Token {self._token}"
        return request

    def masked(self, text: str) -> str:
        """Give what a server said without the token, should it have repeated it."""
        return text.replace(self._token, "*" * len(self._token)) if self._token else text


class HttpTransport:
    """A `requests` session for each thread that sends."""

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
    ) -> Any:
        """Send one request; see `Transport.send`."""
        data, media_type = (_multipart(files)) if files else (body, "application/json")
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
        """Close all connections; a thread that sends again opens a new one."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.close()
        self._local = threading.local()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.auth = self._auth
            session.headers["X-Client"] = self._client
            session.headers["Accept"] = "application/json"
            with self._lock:
                self._sessions.append(session)
        return session


def _multipart(files: Sequence[File]) -> tuple[Any, str]:
    """Make a body that is streamed: what `requests` itself makes of files is whole in memory, twice."""
    from requests_toolbelt.multipart.encoder import MultipartEncoder

    encoder = MultipartEncoder([("files", (file.name, file.content, file.mime)) for file in files])
    return encoder, encoder.content_type


def _no_answer(error: Exception) -> NoAnswer:
    """Map an error of `requests`; its text may hold addresses with credentials of a proxy, so it is not repeated."""
    if isinstance(error, requests.exceptions.SSLError):
        return NoAnswer(f"no trusted TLS connection ({_reason(error)})", cause="tls")
    if isinstance(error, requests.exceptions.ProxyError):
        return NoAnswer("the proxy does not answer", cause="connection")
    if isinstance(error, requests.Timeout):
        return NoAnswer("no answer in time", cause="timeout")
    if isinstance(error, requests.ConnectionError):
        return NoAnswer(f"no connection ({_reason(error)})", cause="connection")
    if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
        return NoAnswer("the token holds characters that no header can hold", cause="token")
    if not isinstance(error, requests.RequestException):
        # Requests checks the bundle of certificates itself, and its error names the file.
        return NoAnswer(str(error), cause="tls")
    return NoAnswer(f"no usable answer ({type(error).__name__})", cause="answer")


def _reason(error: BaseException) -> str:
    """Give the innermost cause in a few words: ``Connection refused``, ``Name or service not known``."""
    while (inner := _cause(error)) is not None:
        error = inner
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _cause(error: BaseException) -> BaseException | None:
    """Give what `requests` or urllib3 wrapped: an argument, a ``reason``, or the chained exception."""
    wrapped = [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
    return next((each for each in wrapped if isinstance(each, BaseException)), None)


def _words(answer: requests.Response) -> str:
    """Give what the server says of its refusal, in one line of at most 300 characters."""
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


def _decoded(answer: requests.Response) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        raise NoAnswer("the answer is not JSON; is the address right?", cause="answer") from None


def _retry_after(answer: requests.Response) -> float | None:
    """Read Retry-After, which is seconds or an HTTP date, as seconds from now."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - clock.now())
    except (ValueError, OverflowError):
        return None
