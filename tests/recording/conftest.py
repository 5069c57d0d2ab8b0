"""Upstream's clock, as a session that reports has it, and sessions under a recorder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.recorders import Session
from qase.commons.utils import QaseUtils

from famacase_xdist import clock


@pytest.fixture(scope="module", autouse=True)
def upstreams_clock() -> Iterator[None]:
    """Replace upstream's clock by ours, as `install` does, because upstream's starts a process at each call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QaseUtils, "get_real_time", staticmethod(clock.now), raising=False)
        yield


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)
