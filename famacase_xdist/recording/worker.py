"""An xdist worker's side: a recorder whose sink is the channel that the controller made. No network, no disk."""

from __future__ import annotations

import pytest

from famacase_xdist.results.sinks import WORKERINPUT, ChannelSink, WorkerInput
from famacase_xdist.results.text import from_json
from famacase_xdist.settings.settings import Settings

from . import install, selection, user_fixtures


class Worker:
    """Holds the sink, and with it the channel, for as long as the worker lives."""

    def __init__(self, config: pytest.Config, given: WorkerInput) -> None:
        self._config = config
        self._sink = ChannelSink(given["channel"])
        settings = Settings.from_controller(from_json(given["settings"]))
        run_id, run_url = from_json(given["run"])
        config.stash[user_fixtures.RUN] = lambda: (run_id, run_url)
        if given["selection"] is not None:
            selection.install(config, given["selection"])
        install.install(config, settings, self._sink, config.workerinput["workerid"])  # type: ignore[attr-defined]

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Close the channel, after the last fixture was torn down."""
        install.uninstall(self._config)
        self._sink.close()


def configure(config: pytest.Config) -> None:
    """Set up a worker. Nothing happens if the controller does not have this plugin, or reports nothing."""
    given: WorkerInput | None = config.workerinput.get(WORKERINPUT)  # type: ignore[attr-defined]
    if given is not None:
        config.pluginmanager.register(Worker(config, given), "famacase-worker")
