"""Records tests where they run: upstream's plugin, with one `Result` for each attempt and a sink at its end.

Upstream's decorators, steps and BDD plugin look for a `QasePytestPlugin` in its singleton; this is the one they
find while we are active.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from qase.commons.models.config.qaseconfig import QaseConfig
from qase.commons.models.relation import Relation, SuiteData
from qase.commons.models.result import Result
from qase.pytest.plugin import QasePytestPlugin, QasePytestPluginSingleton

from . import metadata, payload, wire
from .attachments import Attachable, AttachmentSender, attached
from .channel import ResultSink
from .settings import Settings
from .verdict import FAILED, INVALID, SKIPPED, Verdict

_PREVIOUS = pytest.StashKey[Any]()
NAME = "famacase-recorder"


def install(config: pytest.Config, settings: Settings, sink: ResultSink, thread: str) -> Recorder:
    """Register a recorder in this process and make it the one that `qase.step` and the like find."""
    recorder = Recorder(settings, sink, thread)
    config.stash[_PREVIOUS] = QasePytestPluginSingleton._instance
    QasePytestPluginSingleton._instance = recorder
    config.pluginmanager.register(recorder, NAME)
    # pytest-bdd refuses unknown hooks, so upstream's bridge is for where it is loaded.
    if hasattr(config.hook, "pytest_bdd_before_scenario"):
        from qase.pytest.bdd import QasePytestBddPlugin

        config.pluginmanager.register(QasePytestBddPlugin(recorder), f"{NAME}-bdd")
    return recorder


def uninstall(config: pytest.Config) -> None:
    """Put back what was in upstream's singleton; in-process runs can follow each other."""
    if _PREVIOUS in config.stash:
        QasePytestPluginSingleton._instance = config.stash[_PREVIOUS]
        del config.stash[_PREVIOUS]


class _Reporter:
    """What upstream's plugin class asks of a reporter; the real one starts pip and builds HTTP clients."""

    def __init__(self, settings: Settings) -> None:
        self.config = QaseConfig()
        self.config.framework.pytest.set_capture_logs(settings.pytest_capture_logs)

    def get_execution_plan(self) -> None:
        return None

    def setup_profilers(self, runtime: object) -> None:
        return None


class Recorder(QasePytestPlugin):  # type: ignore[misc]  # upstream has no types
    """Turns phases of tests into results. All of it runs on the thread that runs the tests."""

    # Upstream's own session hooks write into the working directory and mix sessions that share one.
    pytest_sessionstart = None
    pytest_sessionfinish = None
    pytest_collection_modifyitems = None

    def __init__(self, settings: Settings, sink: ResultSink, thread: str) -> None:
        super().__init__(_Reporter(settings))
        self._settings = settings
        self._sink = sink
        self._thread = thread
        self._attachments = AttachmentSender(sink)
        self._attempt = 0
        self._nodeid = ""
        self._is_muted = False
        self._verdict = Verdict()
        self.failures = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Frame all attempts of one test."""
        self._attempt = 0
        try:
            return (yield)
        finally:
            self._finish()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Begin an attempt: each has exactly one set-up, under any plugin that runs tests again."""
        self._finish()
        self._attempt += 1
        with self._guarded():
            self._begin(item)
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take a phase into account, after every other plugin had its say on the report."""
        report = yield
        if self.runtime.result is not None:
            with self._guarded():
                self._take(item, call, report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        """Send the attempt before xdist tells the controller that the test is done."""
        self._finish()

    def add_attachments(self, *files: Attachable) -> None:
        """Attach to the running step, else to the running test; outside a test it is dropped."""
        if self.runtime.result is None:
            return
        for file in files:
            self.runtime.add_attachment(attached(file))

    def _begin(self, item: pytest.Item) -> None:
        self.runtime.clear()
        self._nodeid = item.nodeid
        if item.get_closest_marker("qase_ignore"):
            self._sink.send(wire.encode(wire.IgnoredHead(self._nodeid)))
            return
        self._is_muted = item.get_closest_marker("qase_muted") is not None
        self._verdict = Verdict()
        self.runtime.result = self._described(item)
        if self._says_more_than_nodeid(item):
            description = payload.result_payload(self.runtime.result, self._settings, lambda attachment: None)
            description[wire.PROJECTS] = self.runtime.result.testops_project_mapping
            self._sink.send(wire.encode(wire.BegunHead(self._nodeid), wire.to_json(description)))

    def _says_more_than_nodeid(self, item: pytest.Item) -> bool:
        """Whether a result rebuilt from the node id alone would miss something, should the process die."""
        return hasattr(item, "callspec") or any(marker.name.startswith("qase_") for marker in item.iter_markers())

    def _described(self, item: pytest.Item) -> Result:
        """Make the result of an attempt, with all that decorators and parametrization say."""
        result = self.runtime.result = Result(title=metadata.title_of(item), signature="")
        for describe in (
            self._set_fields,
            self._set_tags,
            self._set_author,
            self._set_muted,
            self._set_testops_ids,
            self._set_suite,
        ):
            describe(item)
        result.params, result.param_groups = metadata.params_of(item)
        result.signature = metadata.signature_of(metadata.nodeid_of(item), result.testops_ids, result.params)
        result.execution.attempt_index = self._attempt
        return result

    def _get_suite(self, item: pytest.Item) -> None:
        """Make the suites of a test that has no @qase.suite; upstream leaves inner classes out."""
        relation = Relation()
        for title in metadata.path_of(metadata.nodeid_of(item))[0]:
            relation.add_suite(SuiteData(title=title))
        self.runtime.result.relations = relation

    def _take(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        self._verdict.add(report, call, self._settings)
        if not report.passed:
            self._close_steps(FAILED if report.failed else SKIPPED)
        if self._settings.pytest_capture_logs and (report.when == "call" or (report.when == "setup" and report.failed)):
            self._attach_logs(report)

    def _close_steps(self, status: str) -> None:
        """End the steps that an exception left open: upstream does not see pytest's own exceptions."""
        while (step := self.runtime.steps.get(self.runtime.step_id)) is not None:
            self.runtime.finish_step(step.id, status)

    def _finish(self) -> None:
        """Send the running attempt, if there is one. A second call does nothing."""
        result, self.runtime.result = self.runtime.result, None
        if result is None:
            return
        with self._guarded():
            self._complete(result)
            self._sink.send(self._encoded(result))
        self.runtime.clear()

    def _complete(self, result: Result) -> None:
        self._close_steps(self._verdict.status or INVALID)
        result.add_steps(list(self.runtime.steps.values()))
        result.muted = self._is_muted or result.muted
        result.message = self._verdict.message
        execution = result.execution
        execution.complete()
        execution.status = self._verdict.final(self._settings, muted=result.muted)
        execution.stacktrace = self._verdict.stacktrace
        execution.thread = self._thread
        execution.attempt_index = self._attempt

    def _encoded(self, result: Result) -> bytes:
        digests: list[str] = []
        notes: list[str] = []

        def attach(attachment: Any) -> dict[str, Any] | None:
            try:
                entry, digest = self._attachments.send(result.id, attachment)
            except ValueError as error:
                notes.append(str(error))
                return None
            digests.append(digest)
            return entry

        content = payload.result_payload(result, self._settings, attach)
        content["message"] = wire.noted(content["message"], notes)
        head = wire.ResultHead(
            result.id,
            self._nodeid,
            content["execution"]["status"],
            self._attempt,
            tuple(dict.fromkeys(digests)),
            result.testops_project_mapping or {},
        )
        return wire.encode_result(head, content)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Keep our own mistakes from the user's test; the ledger rebuilds what is lost to them."""
        try:
            yield
        except Exception:
            self.failures += 1
