"""Lets qase-pytest, which makes https:// of every host, talk to the stand-in without TLS, as the others do."""

from __future__ import annotations

from typing import Any

from urllib3 import HTTPConnectionPool, poolmanager


def _plain(host: str, port: int, **options: Any) -> HTTPConnectionPool:
    plain = {name: options[name] for name in options if name not in poolmanager.SSL_KEYWORDS}
    return HTTPConnectionPool(host, port, **plain)


poolmanager.pool_classes_by_scheme["https"] = _plain  # type: ignore[assignment]
