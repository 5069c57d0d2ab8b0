"""Installs a recorder, and the plugins that belong to it, in the process that runs the tests; and removes it."""

from __future__ import annotations

import pytest

from famacase_xdist.results.sinks import ResultSink
from famacase_xdist.settings.settings import Settings

from .integrations import forked, playwright
from .recorder import Recorder
from .upstream import Place
from .user_fixtures import RECORDER as NAME

_PLACE = pytest.StashKey[Place]()


def install(config: pytest.Config, settings: Settings, sink: ResultSink, thread: str) -> Recorder:
    """Register a recorder in this process, where `qase.step` and upstream's other functions find it.

    Args:
        config: pytest's config, of the process that runs the tests.
        settings: The settings of this process.
        sink: Gets the frames.
        thread: The name of this process in results: xdist's name of the worker, or the name of the only process.

    Returns:
        The recorder; `uninstall` undoes what is done here.
    """
    recorder = Recorder(settings, sink, thread)
    config.stash[_PLACE] = Place(recorder)
    config.pluginmanager.register(recorder, NAME)
    if settings.fixture_steps != "off":
        _add_fixture_steps(config, settings, recorder, thread)
    _add_integrations(config, settings, recorder)
    return recorder


def _add_fixture_steps(config: pytest.Config, settings: Settings, recorder: Recorder, thread: str) -> None:
    from .fixture_steps import FixtureSteps

    recorder.fixture_steps = FixtureSteps(
        recorder.runtime,
        recorder.guard,
        is_all=settings.fixture_steps == "all",
        worker=thread if hasattr(config, "workerinput") else "",
    )
    config.pluginmanager.register(recorder.fixture_steps, f"{NAME}-fixture-steps")


def _add_integrations(config: pytest.Config, settings: Settings, recorder: Recorder) -> None:
    """Register the integrations that the settings and the other plugins of this session need."""
    if settings.profilers:
        from .integrations.profilers import Profilers

        hosts = settings.profiler_network_exclude_hosts
        profilers = Profilers(recorder.runtime, settings.profilers, hosts, recorder.guard)
        config.pluginmanager.register(profilers, f"{NAME}-profilers")
    if playwright.are_made(config):
        artifacts = playwright.Artifacts(config, recorder.runtime, recorder.add_attachments, recorder.guard)
        config.pluginmanager.register(artifacts, f"{NAME}-artifacts")
    if forked.is_loaded(config):
        config.pluginmanager.register(forked.Forked(recorder.describe), f"{NAME}-forked")
    # pytest refuses unknown hooks, so the bridge is registered only if pytest-bdd is loaded.
    if hasattr(config.hook, "pytest_bdd_before_scenario"):
        from .integrations.pytest_bdd import Scenarios

        recorder.scenarios = Scenarios(config, recorder.runtime, recorder.guard, recorder.drop)
        config.pluginmanager.register(recorder.scenarios, f"{NAME}-bdd")


def uninstall(config: pytest.Config) -> None:
    """Give upstream's place back, so that one process can run several sessions."""
    if _PLACE in config.stash:
        config.stash[_PLACE].give_back()
        del config.stash[_PLACE]
