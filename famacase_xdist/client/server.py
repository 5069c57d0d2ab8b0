"""The server that a session reports to, and the connection to it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from famacase_xdist import __version__
from famacase_xdist.settings.settings import Settings

from .api import Api
from .transport import HttpTransport


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a session reports to.

    Attributes:
        host: The address, without the API's path.
        token: The token; it goes into the header of requests, and nowhere else.
        database: The embedded server's database; None for any other server.
    """

    host: str
    token: str = field(repr=False)
    database: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Server:
        """Return the server that the settings name."""
        return cls(settings.host, settings.token)

    def scope(self, project: str) -> tuple[str, str]:
        """Return the scope of run keys: equal keys of two scopes are different keys.

        The address of the embedded server is not part of it, because that changes with each start.
        """
        return str(self.database or self.host), project


def connect(server: Server, project: str, timeout: float) -> Api:
    """Return the calls of one project, which the caller has to close. Nothing is sent yet.

    Args:
        server: The address and the token.
        project: The project's code.
        timeout: Seconds to connect, and seconds between two pieces of an answer.
    """
    return Api(HttpTransport(server.token, client_header()), server.host, project, timeout=timeout)


def client_header() -> str:
    """Return the value of the header X-Client."""
    return (
        "reporter=famacase-xdist;framework=pytest;transport=famacase;"
        f"reporter_version={__version__};python={platform.python_version()}"
    )
