"""Rules for text: what tests hand over becomes plain `str`, and plain values become JSON in UTF-8.

A test may hand over anything: an object that cannot be printed, a `str` subclass that prints itself, a lone surrogate.
execnet refuses the last two, and a server refuses what is not JSON.
"""

from __future__ import annotations

import json

#: Longest text in a result, in characters; a longer one is cut and says so (a request holds 128 MiB).
MAX_TEXT = 8 * 1024 * 1024

#: Made once: `json.dumps` makes an encoder at each call with any option.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def to_json(value: object) -> bytes:
    """Return plain values as UTF-8 JSON. A lone surrogate, which UTF-8 has no form for, becomes U+FFFD.

    Raises:
        ValueError: A number is NaN or infinite.
        TypeError: A value is not a plain one.
    """
    text = _encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return encodable(text).encode()


def encodable(text: str) -> str:
    """Return a text that UTF-8 has a form for: a lone surrogate becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def text_of(value: object) -> str:
    """Return `str(value)`, exactly a `str`, of at most `MAX_TEXT` characters; never raises an `Exception`."""
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
