"""Rules for text: values from tests become plain `str`, and plain values become JSON in UTF-8.

A test may pass any value: an object that cannot be printed, a `str` subclass with its own `__str__`, a lone surrogate.
execnet refuses the last two, and a server refuses a body that is not JSON.
"""

from __future__ import annotations

from json import JSONDecoder, JSONEncoder
from typing import Any

#: Longest text in a result, in characters; a longer one is cut and says so (a request holds 128 MiB).
MAX_TEXT = 8 * 1024 * 1024


class Encoder(JSONEncoder):
    """An encoder whose methods are those that pytest started with, also if a test patches `json`."""

    encode = JSONEncoder.encode
    iterencode = JSONEncoder.iterencode
    default = JSONEncoder.default


class _Decoder(JSONDecoder):
    decode = JSONDecoder.decode
    raw_decode = JSONDecoder.raw_decode


#: Made once, because `json.dumps` makes a new encoder at each call that has an option.
_encode = Encoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_decode = _Decoder().decode


def to_json(value: object) -> bytes:
    """Return plain values as JSON in UTF-8. A lone surrogate becomes U+FFFD, because UTF-8 has no form for it.

    Raises:
        ValueError: A number is NaN or infinite.
        TypeError: A value is not a plain one.
    """
    text = _encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return encodable(text).encode()


def from_json(text: bytes | str) -> Any:
    """Return the value of JSON, which is in UTF-8 if it is bytes.

    Raises:
        ValueError: The text is not JSON.
        RecursionError: It has too many levels.
    """
    return _decode(text if isinstance(text, str) else text.decode())


def encodable(text: str) -> str:
    """Return a text with U+FFFD in the place of each lone surrogate, because UTF-8 has no form for those."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def text_of(value: object) -> str:
    """Return `str(value)`, exactly a `str`, of at most `MAX_TEXT` characters; never raises an `Exception`."""
    if type(value) is str and len(value) <= MAX_TEXT:
        return value
    try:
        # Neither `__class__` nor `__str__` can be trusted: a mock claims to be a str, a subclass may change its text.
        text = str.__str__(value if issubclass(type(value), str) else str(value))
    except Exception:
        text = f"<{type(value).__name__} that cannot be printed>"
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}\n[cut: {len(text) - MAX_TEXT} more characters]"
    return text
