"""The types of settings: parsers of text, or of values from JSON.

A parser raises ValueError if a value is not allowed; its text says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from famacase_xdist.results.status import STATUSES

Number = TypeVar("Number", int, float)

MODES = ("off", "report", "testops", "testops_multi", "embedded")
PROFILERS = ("network", "db", "sleep")
REPORTER_PATH = "/api/v1/reporter/v1"

_TRUE = frozenset({"true", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "no", "n", "off", "0"})
_ADDRESS = re.compile(r"https?://([\w.-]+|\[[\da-f:.]+\])(:\d+)?(/[^\s?#]*)?", re.IGNORECASE)
_SHARD = re.compile(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*")
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?(/|$)", re.IGNORECASE)


def parse_text(raw: object) -> str:
    """Parse any scalar as text."""
    if isinstance(raw, (dict, list)) or raw is None:
        raise ValueError("a text")
    return str(raw).strip()


def parse_bool(raw: object) -> bool:
    """Parse true, yes, y, on, 1 or one of their opposites, in any case."""
    word = str(raw).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("true or false (also yes, no, on, off, 1, 0)")


def parse_mode(raw: object) -> str:
    """Parse one of `MODES`."""
    mode = str(raw).strip().lower()
    if mode not in MODES:
        raise ValueError(", ".join(MODES))
    return mode


def parse_status(raw: object) -> str:
    """Parse one of the server's `STATUSES`."""
    status = str(raw).strip().lower()
    if status not in STATUSES:
        raise ValueError(", ".join(STATUSES))
    return status


def choice(*words: str) -> Callable[[object], str]:
    """Return a parser for one of some words, in any case."""

    def parse(raw: object) -> str:
        word = str(raw).strip().lower()
        if word not in words:
            raise ValueError(", ".join(words))
        return word

    return parse


def parse_profilers(raw: object) -> tuple[str, ...]:
    """Parse ``network, db, sleep``, or a list from a file, whose entries may be objects with a name."""
    entries = [each.get("name") if isinstance(each, dict) else each for each in raw] if isinstance(raw, list) else raw
    try:
        return tuple(choice(*PROFILERS)(each) for each in parse_list(entries))
    except ValueError:
        raise ValueError(f"some of {', '.join(PROFILERS)}, with a comma between") from None


def parse_statuses(raw: object) -> tuple[str, ...]:
    """Parse ``passed, skipped`` or a list of the server's statuses."""
    try:
        return tuple(parse_status(each) for each in parse_list(raw))
    except ValueError:
        raise ValueError(f"some of {', '.join(STATUSES)}, with a comma between") from None


def parse_pairs(raw: object) -> dict[str, str]:
    """Parse ``browser=chrome, os=linux`` or a list of objects with name and value."""
    try:
        if isinstance(raw, list):
            return {parse_text(each["name"]): parse_text(each["value"]) for each in raw}
        return {name.strip(): value.strip() for name, value in (pair.split("=", 1) for pair in parse_list(raw))}
    except (ValueError, KeyError, TypeError):
        raise ValueError("name=value pairs with a comma between") from None


def parse_list(raw: object) -> tuple[str, ...]:
    """Parse ``a, b`` or a list of texts; empty entries are dropped."""
    entries = raw if isinstance(raw, list) else parse_text(raw).split(",")
    return tuple(text for entry in entries if (text := parse_text(entry)))


def parse_mapping(raw: object) -> dict[str, str]:
    """Parse ``invalid=failed, skipped=passed`` or an object from a file; both sides are statuses."""
    try:
        pairs = raw.items() if isinstance(raw, dict) else [pair.split("=") for pair in parse_list(raw)]
        return {parse_status(source): parse_status(target) for source, target in pairs}
    except ValueError:
        raise ValueError(f"source=target pairs with a comma between, of: {', '.join(STATUSES)}") from None


def parse_host(raw: object) -> str:
    """Parse the host of `docs/reporter-api.md`; the value has a scheme, no path of the API and no slash at its end."""
    text = parse_text(raw)
    if "://" not in text:
        text = ("http://" if _LOOPBACK.match(text) else "https://") + text
    url = text.rstrip("/").removesuffix(REPORTER_PATH).rstrip("/")
    try:
        is_address = _ADDRESS.fullmatch(url) and urlsplit(url).port != 0
    except ValueError:  # a port above 65535, or brackets around a text that is not an address
        is_address = False
    if not is_address:
        raise ValueError("the address of a Famacase server, such as https://famacase.example.com")
    return url


def number(kind: type[Number], least: float, most: float | None = None) -> Callable[[object], Number]:
    """Return a parser for a number from `least` to `most`, both included."""
    allowed = f"a number from {least} to {most}" if most is not None else f"a number of {least} or more"

    def parse(raw: object) -> Number:
        try:
            value = kind(str(raw).strip())
        except ValueError:
            raise ValueError(allowed) from None
        if not least <= value <= (most if most is not None else float("inf")) or value == float("inf"):
            raise ValueError(allowed)
        return value

    return parse


def parse_shard(raw: object) -> tuple[int, int]:
    """Parse ``2/4``: the second of four shards."""
    found = _SHARD.fullmatch(str(raw))
    index, total = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= total:
        raise ValueError("a shard and how many there are, such as 2/4")
    return index, total


def parse_path(raw: object) -> Path:
    """Parse a path; ``~`` is the user's home."""
    path = Path(parse_text(raw))
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("a path; a user after ~ needs a home directory") from None


def parse_slug(raw: object) -> str:
    """Parse text that is safe as one part of a URL's path."""
    text = parse_text(raw)
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", text) or set(text) == {"."}:
        raise ValueError("letters, digits and . _ : -")
    return text
