"""The attachments in an outbox: their contents, and what the server made of each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from famacase_xdist.results.frames import ContentHead
from famacase_xdist.results.text import encodable

#: Opens a block in which the database may be read; everything that was accepted is in it.
Reading = Callable[[], AbstractContextManager[sqlite3.Connection]]
#: Does some work on the database, all or nothing.
Change = Callable[[Callable[[sqlite3.Connection], object]], None]


class OutboxContents:
    """The contents of attachments, each known by its digest. All methods may be called from any thread.

    Args:
        reading: How the outbox reads its database.
        change: How the outbox changes its database.
    """

    def __init__(self, reading: Reading, change: Change) -> None:
        self._reading = reading
        self._change = change

    def waiting(self, digest: str) -> ContentHead | None:
        """Return a content that waits to be uploaded; None if it is missing, uploaded or refused."""
        with self._reading() as db:
            row = db.execute(
                "SELECT digest, name, mime, size FROM contents"
                " WHERE digest = ? AND remote_id IS NULL AND refusal IS NULL",
                (digest,),
            ).fetchone()
        return None if row is None else ContentHead(*row)

    def is_whole(self, content: ContentHead) -> bool:
        """Return whether all pieces of a content are there."""
        with self._reading() as db:
            (size,) = db.execute(
                "SELECT total(length(body)) FROM pieces WHERE digest = ?", (content.digest,)
            ).fetchone()
        return int(size) == content.size

    def piece(self, digest: str, number: int) -> bytes | None:
        """Return one piece of a content, numbered from 0; None after the last one."""
        with self._reading() as db:
            row = db.execute("SELECT body FROM pieces WHERE digest = ? AND number = ?", (digest, number)).fetchone()
        return None if row is None else bytes(row[0])

    def acknowledge(self, digest: str, remote_id: object) -> None:
        """Keep the server's id of an attachment, and delete its content."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE contents SET remote_id = ? WHERE digest = ?", (json.dumps(remote_id), digest))
            db.execute("DELETE FROM pieces WHERE digest = ?", (digest,))

        self._change(work)

    def refuse(self, digest: str, words: str) -> None:
        """Note that an attachment cannot be uploaded.

        Args:
            digest: The digest of its content.
            words: The reason, in the server's words or in ours.
        """
        values = (encodable(words), digest)
        self._change(lambda db: db.execute("UPDATE contents SET refusal = ? WHERE digest = ?", values))

    def remote_ids(self, digests: Iterable[str]) -> dict[str, object]:
        """Return the server's ids, by digest, of those attachments that have one."""
        return {digest: json.loads(value) for digest, value in self._column("remote_id", digests)}

    def refusals(self, digests: Iterable[str]) -> list[str]:
        """Return the names of the refused attachments, each with the reason."""
        return [words for _, words in self._column("name || ': ' || refusal", digests)]

    def _column(self, column: str, digests: Iterable[str]) -> list[tuple[str, str]]:
        query = f"SELECT digest, {column} FROM contents WHERE digest = ?"  # noqa: S608
        with self._reading() as db:
            rows = [db.execute(query, (digest,)).fetchone() for digest in digests]
        return [row for row in rows if row is not None and row[1] is not None]
