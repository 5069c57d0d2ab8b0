"""The statuses of `docs/reporter-api.md`: the only list of them."""

from __future__ import annotations

PASSED, FAILED, INVALID, SKIPPED = "passed", "failed", "invalid", "skipped"
BLOCKED, UNTESTED, DISABLED = "blocked", "untested", "disabled"

#: In the order in which they are counted for people.
STATUSES = (PASSED, FAILED, INVALID, SKIPPED, BLOCKED, UNTESTED, DISABLED)
