"""The checks that a request passes before the application sees it: host, token and size."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .records import Limits

API_PREFIX = "/api/v1/reporter/v1"


class Gate:
    """ASGI middleware that refuses foreign hosts, wrong tokens and bodies over the limit.

    The token is checked before the body is read, so that an upload without a valid token is never read.
    """

    def __init__(self, app: ASGIApp, *, token: str, loopback: bool, limits: Limits) -> None:
        self._app = app
        self._token = token.encode()
        self._loopback = loopback
        self._limit = limits.request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request with a refusal or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, _counted(receive, self._limit), send)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        # Any web site can point its own name at 127.0.0.1 (DNS rebinding), and its pages could then read the answers.
        # Only the Host header shows that.
        if self._loopback and not _is_loopback_host(headers.get("host", "")):
            return _refused(400, "this server answers to localhost only: unknown Host header")
        if path.startswith("/api/"):
            refusal = self._token_refusal(headers.get("authorization", ""))
        elif self._loopback or self._is_token(_basic_password(headers.get("authorization", ""))):
            refusal = None
        else:
            refusal = _refused(401, "user: any, password: the token", 'Basic realm="famacase"')
        return refusal or self._size_refusal(headers.get("content-length", ""))

    def _token_refusal(self, authorization: str) -> Response | None:
        scheme, _, raw = authorization.partition(" ")
        if scheme.lower() != "token" or not raw.strip():
            return _refused(401, "the header 'Authorization: Token <token>' is missing or malformed", "Token")
        if not self._is_token(raw.strip()):
            return _refused(403, "this token is not valid here")
        return None

    def _is_token(self, raw: str) -> bool:
        return hmac.compare_digest(raw.encode(), self._token)

    def _size_refusal(self, content_length: str) -> Response | None:
        if content_length.isdecimal() and int(content_length[:20]) > self._limit:
            return _refused(413, _too_large(self._limit))
        return None


def _is_loopback_host(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", "testserver"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _basic_password(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _counted(receive: Receive, limit: int) -> Receive:
    """Return a `receive` that ends in 413 after `limit` bytes of body, even if Content-Length is smaller or missing."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return counted


def _too_large(limit: int) -> str:
    return f"the request is larger than {limit} bytes"


def _refused(status: int, detail: str, challenge: str | None = None) -> Response:
    headers = {"WWW-Authenticate": challenge} if challenge else None
    return JSONResponse({"detail": detail}, status, headers)
