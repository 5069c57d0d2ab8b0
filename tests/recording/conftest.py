"""Upstream's clock, as a session that reports has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qase.commons.utils import QaseUtils

from famacase_xdist import clock


@pytest.fixture(scope="module", autouse=True)
def upstreams_clock() -> Iterator[None]:
    """Replace upstream's clock by ours, as `install` does, because upstream's starts a process at each call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QaseUtils, "get_real_time", staticmethod(clock.now), raising=False)
        yield
