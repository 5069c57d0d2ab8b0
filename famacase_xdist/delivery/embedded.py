"""The life of the embedded server, which is as long as the session, or the resend, that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from famacase_xdist.client.server import Server


@contextmanager
def serving(database: Path, project: str) -> Iterator[Server]:
    """Start a server on a free port, and stop it at the end of the block.

    Args:
        database: The SQLite file; made if it is not there.
        project: The code of a project that the server has to have.

    Yields:
        The server's address and token.

    Raises:
        FamacaseError: The server cannot be started.
    """
    # Imported late, because only few sessions have a server of their own.
    from famacase_xdist.server.embedded import EmbeddedServer

    embedded = EmbeddedServer(database, project)
    embedded.start()
    try:
        yield Server(embedded.url, embedded.token, database)
    finally:
        embedded.shutdown()
