"""The marker `process` cannot be forgotten: a test that starts a process without it fails."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from harness.processes import watched

pytestmark = pytest.mark.process


def phase_of(marker: object) -> Any:
    """Begin a phase of a test that has this marker, or None."""
    phase = watched(SimpleNamespace(get_closest_marker=lambda name: marker))  # type: ignore[arg-type]
    next(phase)
    return phase


def test_an_unmarked_test_that_starts_a_process_fails_and_is_told_which() -> None:
    phase = phase_of(None)
    os.system("true")

    with pytest.raises(pytest.fail.Exception, match=r"does not carry the marker `process`: os\.system\(b'true'"):
        phase.send("result")


@pytest.mark.parametrize(("marker", "command"), [(None, None), (pytest.mark.process, "true")])
def test_any_other_phase_goes_through(marker: object, command: str | None) -> None:
    phase = phase_of(marker)
    if command is not None:
        os.system(command)

    with pytest.raises(StopIteration) as stopped:
        phase.send("result")

    assert stopped.value.value == "result"
