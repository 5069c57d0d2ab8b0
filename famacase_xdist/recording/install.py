"""Installs a recorder, and the plugins that belong to it, in the process that runs the tests; and removes it."""

from __future__ import annotations

import pytest
from qase.commons.utils import QaseUtils
from qase.pytest.plugin import QasePytestPluginSingleton

from famacase_xdist import clock
from famacase_xdist.results.sinks import ResultSink
from famacase_xdist.settings.settings import Settings

from .integrations import playwright
from .recorder import Recorder
from .user_fixtures import RECORDER as NAME

#: Upstream's clock, a static method of its `QaseUtils`.
_CLOCK = "get_real_time"
_PREVIOUS = pytest.StashKey[tuple[object, object]]()


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
    _take_upstreams_place(config, recorder)
    config.pluginmanager.register(recorder, NAME)
    if settings.fixture_steps != "off":
        _add_fixture_steps(config, settings, recorder, thread)
    _add_integrations(config, settings, recorder)
    return recorder


def _take_upstreams_place(config: pytest.Config, recorder: Recorder) -> None:
    config.stash[_PREVIOUS] = (QasePytestPluginSingleton._instance, vars(QaseUtils).get(_CLOCK))
    QasePytestPluginSingleton._instance = recorder
    # Upstream's clock searches for the C library at each call, which starts a process: 2 ms, three times a test and
    # twice a step. Upstream does so because some libraries freeze time; they do not change our clock either.
    if _CLOCK in vars(QaseUtils):
        setattr(QaseUtils, _CLOCK, staticmethod(clock.now))


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
    # pytest refuses unknown hooks, so the bridge is registered only if pytest-bdd is loaded.
    if hasattr(config.hook, "pytest_bdd_before_scenario"):
        from .integrations.pytest_bdd import Scenarios

        recorder.scenarios = Scenarios(config, recorder.runtime, recorder.guard, recorder.drop)
        config.pluginmanager.register(recorder.scenarios, f"{NAME}-bdd")


def uninstall(config: pytest.Config) -> None:
    """Restore upstream's clock and its singleton, so that one process can run several sessions."""
    if _PREVIOUS in config.stash:
        QasePytestPluginSingleton._instance, upstreams_clock = config.stash[_PREVIOUS]
        if upstreams_clock is not None:
            setattr(QaseUtils, _CLOCK, upstreams_clock)
        del config.stash[_PREVIOUS]
