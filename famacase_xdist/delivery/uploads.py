"""Attachments on their way to the server: side by side, and once for equal content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

from famacase_xdist.client.api import MOST_FILES, Api
from famacase_xdist.client.transport import File
from famacase_xdist.errors import Refused
from famacase_xdist.results.frames import ContentHead
from famacase_xdist.state.outbox_contents import OutboxContents

from .pool import Pool

T = TypeVar("T")

#: Most bytes of attachments in one request; far below the server's limit, so that memory stays flat.
GROUP_BYTES = 8 * 1024 * 1024


class Retry(Protocol):
    """Makes a call, again where that may help."""

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what the call returns; raise the error of its last try."""


class ContentReader:
    """Reads an attachment out of the outbox piece by piece; `len` is what is left, as requests-toolbelt asks for."""

    def __init__(self, contents: OutboxContents, content: ContentHead) -> None:
        self._contents = contents
        self._content = content
        self._left = content.size
        self._number = 0
        self._buffer = b""

    def __len__(self) -> int:
        return self._left

    def read(self, size: int = -1) -> bytes:
        """Give at most `size` bytes.

        Raises:
            OSError: The outbox has fewer than it should have.
        """
        while not self._buffer and self._left:
            piece = self._contents.piece(self._content.digest, self._number)
            if piece is None:
                raise OSError(f"a part of {self._content.name} is missing")
            self._buffer = piece
            self._number += 1
        given = self._buffer if size < 0 else self._buffer[:size]
        self._buffer = self._buffer[len(given) :]
        self._left -= len(given)
        return given


class Uploads:
    """Uploads the attachments of batches with a few threads, ``famacase-upload-N``, started on first use."""

    def __init__(self, api: Api, contents: OutboxContents, retry: Retry, *, workers: int) -> None:
        self._api = api
        self._contents = contents
        self._retry = retry
        self._pool = Pool("famacase-upload", workers)

    def upload(self, digests: Sequence[str]) -> dict[str, object]:
        """Upload what is not there yet, and give the server's ids by digest.

        What the server refuses has no id. Called by the sender's thread; waits for all uploads.

        Raises:
            FamacaseError: An upload failed that may succeed later, or none may (401, 403).
        """
        wanted = list(dict.fromkeys(digests))
        known = self._contents.remote_ids(wanted)
        missing = [digest for digest in wanted if digest not in known]
        if missing:
            self._pool.run([partial(self._send, group) for group in self._groups(missing)])
            known = self._contents.remote_ids(wanted)
        return known

    def close(self) -> None:
        """Let the threads end."""
        self._pool.close()

    def _groups(self, digests: Iterable[str]) -> Iterator[list[ContentHead]]:
        """Put small attachments together: at most `MOST_FILES` and about `GROUP_BYTES` a request."""
        group: list[ContentHead] = []
        size = 0
        for content in filter(None, map(self._contents.waiting, digests)):
            if not self._contents.is_whole(content):
                self._contents.refuse(content.digest, "a part of its content is missing")
                continue
            if group and (len(group) == MOST_FILES or size + content.size > GROUP_BYTES):
                yield group
                group, size = [], 0
            group.append(content)
            size += content.size
        if group:
            yield group

    def _send(self, group: Sequence[ContentHead]) -> None:
        try:
            # Each try reads the contents again.
            ids = self._retry(lambda: self._api.upload([self._file(content) for content in group]))
        except Refused as error:
            if error.status in (401, 403) or error.retryable:
                raise
            self._refused(group, error)
        else:
            for content, remote_id in zip(group, ids, strict=True):
                self._contents.acknowledge(content.digest, remote_id)

    def _file(self, content: ContentHead) -> File:
        return File(content.name, content.mime, ContentReader(self._contents, content))

    def _refused(self, group: Sequence[ContentHead], error: Refused) -> None:
        """Halve a group until the attachment that the server will not take stands alone."""
        if len(group) == 1:
            self._contents.refuse(group[0].digest, str(error))
            return
        half = len(group) // 2
        self._send(group[:half])
        self._send(group[half:])
