"""The places in qase-pytest that we fill while we are active: its singleton, its clock and its source of ids."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING

from qase.commons.models import attachment, result, step
from qase.commons.utils import QaseUtils
from qase.pytest import decorators
from qase.pytest.plugin import QasePytestPluginSingleton

from famacase_xdist import clock
from famacase_xdist.results.ids import new_id

if TYPE_CHECKING:
    from .recorder import Recorder


class Place:
    """Upstream's place, taken by a recorder until `give_back`. A name that the installed version lacks is left out."""

    def __init__(self, recorder: Recorder) -> None:
        self._previous = [(owner, name, vars(owner)[name]) for owner, name, _ in _ours(recorder) if name in vars(owner)]
        for owner, name, value in _ours(recorder):
            if name in vars(owner):
                setattr(owner, name, value)

    def give_back(self) -> None:
        """Restore what was there before, so that one process can run several sessions."""
        for owner, name, value in self._previous:
            setattr(owner, name, value)


def _ours(recorder: Recorder) -> Iterator[tuple[object, str, object]]:
    """Yield an owner, the name of its attribute, and our value of it."""
    yield QasePytestPluginSingleton, "_instance", recorder
    # Upstream's clock searches for the C library at each call, which starts a process: 2 ms, three times a test and
    # twice a step. Upstream does so because some libraries freeze time; they do not change our clock either.
    yield QaseUtils, "get_real_time", staticmethod(clock.now)
    # Upstream takes the ids of results and steps, which are texts, from `uuid.uuid4`. If a test patches that, steps
    # get the same id, and upstream's calls are counted with those of the code under test.
    ids = SimpleNamespace(**{**vars(uuid), "uuid4": new_id})
    for module in (attachment, decorators, result, step):
        yield module, "uuid", ids
