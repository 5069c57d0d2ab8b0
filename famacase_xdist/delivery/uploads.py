"""The upload of attachments: side by side, and once for equal contents."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Protocol, TypeVar

from famacase_xdist.client.api import MOST_FILES, Api
from famacase_xdist.client.transport import File
from famacase_xdist.errors import Refused
from famacase_xdist.results.frames import ContentHead
from famacase_xdist.state.outbox_contents import OutboxContents

from .pool import Pool

T = TypeVar("T")

#: Most bytes of small attachments in one request; far below the server's limit, so that little memory is needed.
GROUP_BYTES = 8 * 1024 * 1024
#: Errors of a file that say nothing of the file.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Retry(Protocol):
    """Makes a call, and repeats it if that may help."""

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise the error of the last try."""


class Uploads:
    """Uploads the attachments of batches on a few threads, ``famacase-upload-N``, which start on first use.

    Args:
        api: The calls of the project.
        contents: The contents in the outbox.
        retry: Makes a call, and repeats it if that may help.
        workers: Most uploads side by side.
    """

    def __init__(self, api: Api, contents: OutboxContents, retry: Retry, *, workers: int) -> None:
        self._api = api
        self._contents = contents
        self._retry = retry
        self._pool = Pool("famacase-upload", workers)

    def upload(self, digests: Sequence[str]) -> dict[str, object]:
        """Upload the contents that are not uploaded yet, and wait for all of them.

        Any thread of the sender may call this, but only one at a time with contents that still wait.

        Args:
            digests: The digests of the contents; one may be named more than once.

        Returns:
            The server's ids by digest. A content that the server refuses has none.

        Raises:
            FamacaseError: An upload failed that may succeed later, or the server refuses every upload (401, 403).
        """
        wanted = list(dict.fromkeys(digests))
        known = self._contents.remote_ids(wanted)
        missing = [digest for digest in wanted if digest not in known]
        if missing:
            self._pool.run([partial(self._send, group) for group in self._groups(missing)])
            known = self._contents.remote_ids(wanted)
        return known

    def close(self) -> None:
        """Let the threads end. Returns at once."""
        self._pool.close()

    def _groups(self, digests: Iterable[str]) -> Iterator[list[ContentHead]]:
        """Yield the contents in groups, one for each request; a content that cannot be read is refused here.

        A group has at most `MOST_FILES` contents, and at most `GROUP_BYTES` if it has more than one.
        """
        group: list[ContentHead] = []
        size = 0
        for content in filter(None, map(self._contents.waiting, digests)):
            if why := self._unfit(content):
                self._contents.refuse(content.digest, why)
                continue
            if group and (len(group) == MOST_FILES or size + content.size > GROUP_BYTES):
                yield group
                group, size = [], 0
            group.append(content)
            size += content.size
        if group:
            yield group

    def _unfit(self, content: ContentHead) -> str:
        """Return why a content cannot be sent, now or ever; empty if it can."""
        if not self._contents.is_whole(content):
            return "a part of its content is missing"
        try:
            with self._contents.open(content) as file:
                file.read(1)
        except OSError as error:
            if error.errno in _PASSING:
                raise
            return f"its content cannot be read: {error.strerror}"
        return ""

    def _send(self, group: Sequence[ContentHead]) -> None:
        try:
            # Each try reads the contents again.
            ids = self._retry(lambda: self._upload(group))
        except Refused as error:
            if error.status in (401, 403) or error.retryable:
                raise
            self._narrow_down(group, error)
        else:
            for content, remote_id in zip(group, ids, strict=True):
                self._contents.acknowledge(content.digest, remote_id)

    def _upload(self, group: Sequence[ContentHead]) -> list[object]:
        with ExitStack() as opened:
            files = [File(each.name, each.mime, opened.enter_context(self._contents.open(each))) for each in group]
            return self._api.upload(files)

    def _narrow_down(self, group: Sequence[ContentHead], error: Refused) -> None:
        """Send the halves of a group, down to the single attachment that is refused."""
        if len(group) == 1:
            self._contents.refuse(group[0].digest, str(error))
            return
        half = len(group) // 2
        self._send(group[:half])
        self._send(group[half:])
