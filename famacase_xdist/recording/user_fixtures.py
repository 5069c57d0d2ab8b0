"""The values of the pytest fixtures `famacase` and `famacase_run`; `plugin.py` has the fixtures themselves.

Nothing heavy is imported before a reported test uses it, so that a suite may request them while we are inactive.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

import pytest

from famacase_xdist.results.text import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from famacase_xdist.settings.run_reference import RunId

    from .attachments import Attachable
    from .recorder import Recorder

#: The name of the plugin that records tests in this process.
RECORDER = "famacase-recorder"
#: Returns id and address of the run; in the stash of a process that knows them.
RUN: pytest.StashKey[Callable[[], tuple[RunId | None, str]]] = pytest.StashKey()


class Famacase:
    """Adds to the result of the running test. If nothing is reported, every method does nothing.

    It is the value of the pytest fixture `famacase`, which lives as long as the session. Fixtures of any scope may
    request it; what they add belongs to the test that they are set up or torn down for.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def attach(self, *files: Attachable) -> None:
        """Attach files to the open step, else to the running test. Outside a test, they are dropped.

        Args:
            files: Each is a path, ``(path, media type)`` or ``(content, media type, file name)``. The content is text,
                bytes, or an object that becomes JSON.
        """
        if (recorder := self._recorder) is not None:
            recorder.add_attachments(*files)

    def step(self, title: str, expected: str | None = None) -> AbstractContextManager[None]:
        """Report a block as a step: ``with famacase.step("log in"):``.

        Args:
            title: The action of the step.
            expected: The expected result of the action.

        Returns:
            The context manager of the block.
        """
        if self._recorder is None:
            return contextlib.nullcontext()
        from .decorators import qase

        return qase.step(title, expected)

    def param(self, name: str, value: object) -> None:
        """Report a param that pytest does not know of. The signature of the test, and so its history, stays the same.

        Args:
            name: The name of the param; an existing param gets the new value.
            value: The value, which is reported as text.
        """
        if (recorder := self._recorder) is not None:
            recorder.runtime.add_param(text_of(name), text_of(value))

    @property
    def _recorder(self) -> Recorder | None:
        return self._plugins.get_plugin(RECORDER)


class FamacaseRun:
    """The run that the session reports to: the value of the pytest fixture `famacase_run`.

    Both properties are None if there is no run: nothing is reported, the report is written to files, or each of
    several projects has its own run. They are also None if the run is not open yet. A session waits a few seconds for
    that before it begins. If the server takes longer, a single process sees the run as soon as it is open. An xdist
    worker does not see it, because a worker learns of the run only when it starts.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._known = config.stash.get(RUN, lambda: (None, ""))

    @property
    def id(self) -> int | str | None:
        """The server's id of the run; None if there is none yet."""
        return cast("int | str | None", self._known()[0])

    @property
    def url(self) -> str | None:
        """The address of the run's page; None if there is none yet."""
        return self._known()[1] or None

    def __repr__(self) -> str:
        return f"FamacaseRun(id={self.id!r}, url={self.url!r})"
