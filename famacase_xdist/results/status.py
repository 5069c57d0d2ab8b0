"""The statuses of `docs/reporter-api.md`: the only list of them."""

from __future__ import annotations

PASSED, FAILED, INVALID, SKIPPED = "passed", "failed", "invalid", "skipped"
BLOCKED, UNTESTED, DISABLED = "blocked", "untested", "disabled"

#: In the order in which messages count them.
STATUSES = (PASSED, FAILED, INVALID, SKIPPED, BLOCKED, UNTESTED, DISABLED)
