"""The form of a result between processes and on disk: every serialization rule, both directions.

A message is one `bytes` frame, because execnet refuses enums, paths, `str` subclasses and lone surrogates::

    frame = kind (1 byte) + length of head (4 bytes, big-endian) + head (JSON) + body

A *result*'s body is the JSON that goes to the server, untouched on its way; its attachments stand in it as
references until the server has given them an id. An attachment's content travels ahead of the results that name
it, in *pieces* that a *content* frame closes. A *begun* frame describes a test that starts, for the case that
nobody will hear of it again; an *ignored* one says that no result will follow. A *note* is a line for the summary.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

#: Longest text in a result, in characters; what is longer is cut and says so (a request holds 128 MiB).
MAX_TEXT = 8 * 1024 * 1024
#: Bytes of an attachment in one frame, so that neither side ever holds a large one twice.
PIECE_BYTES = 1024 * 1024
#: Where the description of a test that starts has what a result has in its head: test case ids by project.
PROJECTS = "testops_project_mapping"

_HEAD = struct.Struct(">cI")
#: Made once: `json.dumps` makes one at each call that asks for anything.
_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class ResultHead:
    """What the controller needs of a result without decoding it.

    Attributes:
        id: The result's uuid, the server's idempotency key.
        nodeid: pytest's name of the test.
        status: One of the server's statuses.
        attempt: 1 for the first attempt.
        contents: Digests of the attachments that the body refers to.
        projects: Test case ids by project, where the test says which projects it belongs to.
    """

    id: str
    nodeid: str
    status: str
    attempt: int = 1
    contents: tuple[str, ...] = ()
    projects: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PieceHead:
    """One piece of an attachment's content, the body; pieces are numbered from 0."""

    digest: str
    number: int


@dataclass(frozen=True, slots=True)
class ContentHead:
    """The end of an attachment's content: its key, the name it is uploaded with, its media type, its bytes."""

    digest: str
    name: str
    mime: str
    size: int


@dataclass(frozen=True, slots=True)
class BegunHead:
    """A test that starts; the body is its result as far as it is known, or empty."""

    nodeid: str


@dataclass(frozen=True, slots=True)
class IgnoredHead:
    """A test that is not reported."""

    nodeid: str


@dataclass(frozen=True, slots=True)
class NoteHead:
    """A line for the summary; whoever has the books keeps it."""

    text: str


Head = ResultHead | PieceHead | ContentHead | BegunHead | IgnoredHead | NoteHead

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
    """A frame: head and body. Not to be changed; one that is frozen takes a test three times as long to make."""

    head: HeadT
    body: bytes = b""
    #: Made once, or kept from `decode`.
    _encoded: bytes = field(default=b"", repr=False, compare=False, kw_only=True)

    @property
    def encoded(self) -> bytes:
        """The message that it travels as, and is kept as."""
        if not self._encoded:
            self._encoded = encode(self.head, self.body)
        return self._encoded


AnyFrame = Frame[Head]


def encode(head: Head, body: bytes = b"") -> bytes:
    """Make the message of a frame."""
    values = to_json({name: getattr(head, name) for name in head.__slots__})
    return b"".join((_HEAD.pack(_KIND_OF[type(head)], len(values)), values, body))


def content_frames(head: ContentHead, content: bytes) -> Iterator[AnyFrame]:
    """Make the frames of one attachment's content."""
    for number, start in enumerate(range(0, len(content), PIECE_BYTES)):
        yield Frame(PieceHead(head.digest, number), content[start : start + PIECE_BYTES])
    yield Frame(head)


def decode(message: bytes) -> AnyFrame:
    """Take a message apart; the body is not looked into.

    Raises:
        ValueError: This is no frame of ours.
    """
    try:
        kind, length = _HEAD.unpack_from(message)
        start = _HEAD.size + length
        values = json.loads(message[_HEAD.size : start])
        if kind == b"R":
            values["contents"] = tuple(values["contents"])
        return Frame(_KINDS[kind](**values), message[start:], _encoded=message)
    except (struct.error, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a frame: {error!r}") from None


def to_json(value: object) -> bytes:
    """Encode plain values as UTF-8 JSON. A lone surrogate, which UTF-8 has no form for, becomes U+FFFD."""
    text = _encode_json(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return encodable(text).encode()


def encodable(text: str) -> str:
    """Give a text that UTF-8 has a form for: a lone surrogate becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def text_of(value: object) -> str:
    """Give `str(value)`, exactly a `str`, never raising: a test may hand over objects that cannot be printed."""
    if type(value) is str and len(value) <= MAX_TEXT:
        return value
    try:
        # Neither `__class__` nor `__str__` can be trusted: a mock says that it is a str, a subclass prints itself.
        text = str.__str__(value if issubclass(type(value), str) else str(value))
    except Exception:
        text = f"<{type(value).__name__} that cannot be printed>"
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}\n[cut: {len(text) - MAX_TEXT} more characters]"
    return text


def digest_of(content: bytes, mime: str) -> str:
    """Give the key of an attachment: equal content of one media type is uploaded once."""
    return hashlib.sha256(mime.encode() + b"\0" + content).hexdigest()


def reference(result_id: str, digest: str) -> str:
    """Give the text that stands for an attachment's id until the server has given one.

    The result's own uuid is in it, so that no text of a test can be taken for a reference.
    """
    return f"attachment:{result_id}:{digest}"


def resolve_references(head: ResultHead, body: bytes, ids: Mapping[str, object]) -> bytes:
    """Put the server's ids, by digest, in the place of references; an attachment that got no id is left out."""
    dropped = set()
    for digest in head.contents:
        placeholder = reference(head.id, digest)
        if digest in ids:
            # In a text of the test the quotes around the key would be escaped.
            body = body.replace(b'"id":' + to_json(placeholder), b'"id":' + to_json(ids[digest]))
        else:
            dropped.add(placeholder)
    return to_json(_without(json.loads(body), dropped)) if dropped else body


def with_notes(body: bytes, notes: Sequence[str]) -> bytes:
    """Add to a result's message the attachments that it goes without."""
    content = json.loads(body)
    content["message"] = noted(content.get("message"), notes)
    return to_json(content)


def noted(message: str | None, notes: Sequence[str]) -> str | None:
    """Give a message with a line for each attachment that was left out."""
    lines = [message or "", *(f"Attachment left out: {note}" for note in notes)]
    return "\n".join(filter(None, lines)) or None


def _without(value: Any, dropped: set[str]) -> Any:
    """Copy a decoded result without the attachments in `dropped`."""
    if isinstance(value, list):
        return [_without(each, dropped) for each in value if not (isinstance(each, dict) and each.get("id") in dropped)]
    if isinstance(value, dict):
        return {key: _without(each, dropped) for key, each in value.items()}
    return value
