"""The results of the tests that were running when their session died."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from famacase_xdist.results import synthetic
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.results.status import INVALID
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

WORDS = "the process ended while this test was running"


def results_of_running(outbox: Outbox, settings: Settings, statuses: Collection[str]) -> Iterator[AnyFrame]:
    """Yield a result, or an ignored frame, for each test in an outbox that began and did not end.

    Args:
        outbox: The outbox of the session that died.
        settings: Apply as to other results.
        statuses: The statuses that are not reported.
    """
    for nodeid, described in outbox.running():
        died = synthetic.result(nodeid, INVALID, WORDS, described=described)
        frame = synthetic.settled(died, settings.status_mapping, settings.status_policy)
        if not described:
            frame = synthetic.rooted(frame, settings.root_suite)
        yield synthetic.filtered(frame, statuses)
