"""The form in which results travel between processes and are kept on disk.

A message is one `bytes` frame, because execnet refuses enums, paths, `str` subclasses and lone surrogates::

    frame = kind (1 byte) + length of head (4 bytes, big-endian) + head (JSON) + body

A *result* has the JSON for the server as its body (`body.py`). The content of an attachment travels ahead of the
results that refer to it, in *pieces*; a *content* frame follows the last piece. A *begun* frame describes a test that
starts, so that a result can be made even if nothing more comes; an *ignored* frame says that no result will come. A
*note* is a line of the summary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic, TypeAlias, TypeGuard, TypeVar

from .text import from_json, to_json

#: Most bytes of an attachment in one frame, so that neither side ever holds a large attachment twice.
PIECE_BYTES = 1024 * 1024

_HEAD = struct.Struct(">cI")


@dataclass(frozen=True, slots=True)
class ResultHead:
    """The facts of a result that the controller needs without decoding the body.

    Attributes:
        id: The result's uuid, the server's idempotency key.
        nodeid: pytest's name of the test.
        status: One of the server's statuses.
        attempt: The number of the attempt, from 1.
        contents: Digests of the attachments that the body refers to.
        projects: Test case ids by project, if the test names its projects.
    """

    id: str
    nodeid: str
    status: str
    attempt: int = 1
    contents: tuple[str, ...] = ()
    projects: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PieceHead:
    """One piece of an attachment's content, which is the body; pieces are numbered from 0."""

    digest: str
    number: int


@dataclass(frozen=True, slots=True)
class ContentHead:
    """The end of an attachment's content.

    Attributes:
        digest: The key of the content (`digest_of`).
        name: The file name for the upload.
        mime: The media type.
        size: The number of bytes.
    """

    digest: str
    name: str
    mime: str
    size: int


@dataclass(frozen=True, slots=True)
class BegunHead:
    """A test that starts; the body is its description (`body.Description`), or empty."""

    nodeid: str


@dataclass(frozen=True, slots=True)
class IgnoredHead:
    """A test that is not reported."""

    nodeid: str


@dataclass(frozen=True, slots=True)
class NoteHead:
    """A line for the summary; the ledger keeps it."""

    text: str


Head: TypeAlias = ResultHead | PieceHead | ContentHead | BegunHead | IgnoredHead | NoteHead

_KINDS: Mapping[bytes, type[Head]] = {
    b"R": ResultHead,
    b"P": PieceHead,
    b"C": ContentHead,
    b"B": BegunHead,
    b"I": IgnoredHead,
    b"N": NoteHead,
}
_KIND_OF = {head: kind for kind, head in _KINDS.items()}

HeadT = TypeVar("HeadT", bound=Head, covariant=True)


@dataclass(slots=True)
class Frame(Generic[HeadT]):
    """A head and a body. Do not change one: it is not frozen only because that takes three times as long to make."""

    head: HeadT
    body: bytes = b""
    #: The message: made when it is first needed, or kept from `decode`.
    _encoded: bytes = field(default=b"", repr=False, compare=False, kw_only=True)

    @property
    def encoded(self) -> bytes:
        """The message: the bytes that travel and that are kept on disk."""
        if not self._encoded:
            self._encoded = encode(self.head, self.body)
        return self._encoded


AnyFrame: TypeAlias = Frame[Head]
ResultFrame: TypeAlias = Frame[ResultHead]


def is_result(frame: AnyFrame) -> TypeGuard[ResultFrame]:
    """Return whether a frame is that of a result."""
    return isinstance(frame.head, ResultHead)


def encode(head: Head, body: bytes = b"") -> bytes:
    """Return the message of a frame, made of its head and body."""
    values = to_json({name: getattr(head, name) for name in head.__slots__})
    return b"".join((_HEAD.pack(_KIND_OF[type(head)], len(values)), values, body))


def decode(message: bytes) -> AnyFrame:
    """Return the frame of a message; the body is not decoded.

    Raises:
        ValueError: The message is not a frame.
    """
    try:
        kind, length = _HEAD.unpack_from(message)
        start = _HEAD.size + length
        values = from_json(message[_HEAD.size : start])
        if kind == b"R":
            values["contents"] = tuple(values["contents"])
        return Frame(_KINDS[kind](**values), message[start:], _encoded=message)
    except (struct.error, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a frame: {error!r}") from None


def content_frames(head: ContentHead, content: bytes) -> Iterator[AnyFrame]:
    """Yield the frames of one attachment's content."""
    for number, start in enumerate(range(0, len(content), PIECE_BYTES)):
        yield Frame(PieceHead(head.digest, number), content[start : start + PIECE_BYTES])
    yield Frame(head)


def digest_of(content: bytes, mime: str) -> str:
    """Return the key of an attachment; equal contents of one media type have one key, and so they are uploaded once."""
    return sha256(mime.encode() + b"\0" + content).hexdigest()
