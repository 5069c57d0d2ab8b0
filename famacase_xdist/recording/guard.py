"""A guard that keeps our own errors from the user's test."""

from __future__ import annotations


class Guard:
    """A context manager that suppresses exceptions; the ledger rebuilds results that are lost by them.

    One guard serves all blocks. It suppresses each `Exception`, but no KeyboardInterrupt or other `BaseException`.

    Attributes:
        caught: How many exceptions were suppressed.
    """

    def __init__(self) -> None:
        self.caught = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        is_ours = isinstance(error, Exception)
        self.caught += is_ours
        return is_ours
