"""The form of a result between processes and on disk: every serialization rule, both directions.

A message is one `bytes` frame, because execnet refuses enums, paths, `str` subclasses and lone surrogates::

    frame = kind (1 byte) + length of head (4 bytes, big-endian) + head (JSON) + body

A *result* frame's body is the JSON that goes to the server, untouched on its way; its attachments stand in it
as references until the server has given them an id. A *content* frame's body is an attachment's bytes;
it travels ahead of the results that name it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

RESULT = b"R"
CONTENT = b"C"

#: Longest text in a result, in characters; what is longer is cut and says so (a request holds 128 MiB).
MAX_TEXT = 8 * 1024 * 1024

_HEAD = struct.Struct(">cI")


@dataclass(frozen=True, slots=True)
class ResultHead:
    """What the controller needs of a result without decoding it.

    Attributes:
        id: The result's uuid, the server's idempotency key.
        nodeid: pytest's name of the test.
        status: One of the server's statuses.
        attempt: 1 for the first attempt.
        contents: Digests of the attachments that the body refers to.
    """

    id: str
    nodeid: str
    status: str
    attempt: int = 1
    contents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContentHead:
    """An attachment's content: its key, the name it is uploaded with, and its media type."""

    digest: str
    name: str
    mime: str


class Frame(NamedTuple):
    """A frame taken apart: head and body."""

    head: ResultHead | ContentHead
    body: bytes


def encode_result(head: ResultHead, result: Mapping[str, Any]) -> bytes:
    """Make the frame of one result; `result` is in the form of reporter-api.md and holds plain values only."""
    return _frame(RESULT, _head_json(head), to_json(result))


def encode_content(head: ContentHead, content: bytes) -> bytes:
    """Make the frame of one attachment's content."""
    return _frame(CONTENT, _head_json(head), content)


def decode(frame: bytes) -> Frame:
    """Take a frame apart; the body is not looked into.

    Raises:
        ValueError: This is no frame of ours.
    """
    try:
        kind, length = _HEAD.unpack_from(frame)
        start = _HEAD.size + length
        values = json.loads(frame[_HEAD.size : start])
        body = bytes(memoryview(frame)[start:])
        if kind == CONTENT:
            return Frame(ContentHead(**values), body)
        if kind == RESULT:
            return Frame(ResultHead(**{**values, "contents": tuple(values["contents"])}), body)
    except (struct.error, TypeError, KeyError) as error:
        raise ValueError(f"not a frame: {error}") from None
    raise ValueError(f"not a frame: kind {kind!r}")


def _frame(kind: bytes, head: bytes, body: bytes) -> bytes:
    return b"".join((_HEAD.pack(kind, len(head)), head, body))


def _head_json(head: ResultHead | ContentHead) -> bytes:
    return to_json({name: getattr(head, name) for name in head.__slots__})


def to_json(value: object) -> bytes:
    """Encode plain values as UTF-8 JSON. A lone surrogate, which UTF-8 has no form for, becomes U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def text_of(value: object) -> str:
    """Give `str(value)`, exactly a `str`, never raising: a test may hand over objects that cannot be printed."""
    try:
        text = str.__str__(value) if isinstance(value, str) else str(value)
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
            body = body.replace(to_json(placeholder), to_json(ids[digest]))
        else:
            dropped.add(placeholder)
    return to_json(_without(json.loads(body), dropped)) if dropped else body


def _without(value: Any, dropped: set[str]) -> Any:
    """Copy a decoded result without the attachments in `dropped`."""
    if isinstance(value, list):
        return [_without(each, dropped) for each in value if not (isinstance(each, dict) and each.get("id") in dropped)]
    if isinstance(value, dict):
        return {key: _without(each, dropped) for key, each in value.items()}
    return value
