"""What the pytest fixtures `famacase` and `famacase_run` give to tests; `plugin.py` has the fixtures themselves.

Nothing is imported here until a test that is reported uses it, so a suite may request them where we are inactive.
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
#: Gives id and url of the run, in a process that knows them.
RUN: pytest.StashKey[Callable[[], tuple[RunId | None, str]]] = pytest.StashKey()


class Famacase:
    """Adds to the result of the running test; where nothing is reported, every method does nothing.

    Of the pytest fixture `famacase`, which lives as long as the session: fixtures of any scope may request it, and
    what they add goes to the test that they are set up, or torn down, for.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def attach(self, *files: Attachable) -> None:
        """Attach to the open step, else to the running test.

        Args:
            files: Each a path, ``(path, media type)`` or ``(content, media type, file name)``; content is text,
                bytes, or anything that JSON can say.
        """
        if (recorder := self._recorder) is not None:
            recorder.add_attachments(*files)

    def step(self, title: str, expected: str | None = None) -> AbstractContextManager[None]:
        """Report a block as a step: ``with famacase.step("log in"):``.

        Args:
            title: What is done.
            expected: What should come of it.
        """
        if self._recorder is None:
            return contextlib.nullcontext()
        from .decorators import qase

        return qase.step(title, expected)

    def param(self, name: str, value: object) -> None:
        """Report a param that pytest does not know of; the test's history, its signature, stays the same.

        Args:
            name: The param's name; one that is there already gets the new value.
            value: Reported as text.
        """
        if (recorder := self._recorder) is not None:
            recorder.runtime.add_param(text_of(name), text_of(value))

    @property
    def _recorder(self) -> Recorder | None:
        return self._plugins.get_plugin(RECORDER)


class FamacaseRun:
    """The run that the session reports to, of the pytest fixture `famacase_run`.

    Both properties are None where there is no run: nothing is reported, a report is written to files, or several
    projects have a run each. They are None also where the run is not open yet. A session waits for that a few seconds
    before it begins; if the server takes longer, one process sees the run as soon as it is open, but an xdist
    worker, which was told when it started, does not.

    """

    def __init__(self, config: pytest.Config) -> None:
        self._known = config.stash.get(RUN, lambda: (None, ""))

    @property
    def id(self) -> int | str | None:
        """The server's id of the run."""
        return cast("int | str | None", self._known()[0])

    @property
    def url(self) -> str | None:
        """The address of the run's page."""
        return self._known()[1] or None

    def __repr__(self) -> str:
        return f"FamacaseRun(id={self.id!r}, url={self.url!r})"
