"""Tables and numbers in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

#: In the place of a number that was not measured.
NOTHING = "-"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose first row is its head."""
    head, *body = (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return [head, "| --- |" + " ---: |" * (len(rows[0]) - 1), *body]


def told(number: float | None, form: str = ",.0f", scale: float = 1) -> str:
    """Format a number that may be missing."""
    return NOTHING if number is None else format(number * scale, form)
