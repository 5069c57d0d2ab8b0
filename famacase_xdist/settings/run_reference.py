"""The names of runs in FAMACASE_TESTOPS_RUN_ID: a number, another id, or a run key."""

from __future__ import annotations

import re
from typing import NewType

from .parsers import parse_text

#: The server's id of a run: a JSON value that means something only to the server.
RunId = NewType("RunId", object)

#: Longest run key, in characters.
MOST_KEY = 200

_NUMBER = re.compile(r"[0-9]{1,18}")


def parse_run(raw: object) -> str:
    """Parse the name of a run: a number, ``id:`` and any other id, ``auto``, or a run key; see `run_id_of`.

    Raises:
        ValueError: The value names no run; the text says what is allowed.
    """
    allowed = f"the number of a run, a run key of at most {MOST_KEY} characters, or auto"
    if isinstance(raw, (bool, float)):
        raise ValueError(allowed)
    try:
        text = parse_text(raw)
    except ValueError:
        raise ValueError(allowed) from None
    if _NUMBER.fullmatch(text):
        text = str(int(text))
    if text in ("0", "id:") or len(text) > MOST_KEY or not text.isprintable():
        raise ValueError(allowed)
    return text


def run_id_of(reference: str) -> RunId | None:
    """Return the id in the name of a run: 123 for ``123``, the text after ``id:``; None for a run key."""
    if reference.startswith("id:"):
        return RunId(reference.removeprefix("id:"))
    return RunId(int(reference)) if _NUMBER.fullmatch(reference) else None


def reference_of(run_id: RunId) -> str:
    """Return the name of a run for FAMACASE_TESTOPS_RUN_ID; the opposite of `run_id_of`."""
    text = str(run_id)
    return text if _NUMBER.fullmatch(text) else f"id:{text}"
