"""The recorder: upstream's plugin, which makes one `Result` of each attempt of a test and sends it to a sink.

Upstream's decorators, steps and BDD plugin look for a `QasePytestPlugin` in its singleton. They find this one while we
are active.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest
from qase.commons.models.config.qaseconfig import QaseConfig
from qase.commons.models.result import Result
from qase.pytest.plugin import QasePytestPlugin

from famacase_xdist.results.body import AttachmentEntry, begun, framed, noted
from famacase_xdist.results.frames import Frame, IgnoredHead, NoteHead, ResultFrame
from famacase_xdist.results.ids import new_id
from famacase_xdist.results.node_ids import signature_of
from famacase_xdist.results.pytest_reports import subtest_name
from famacase_xdist.results.sinks import ResultSink
from famacase_xdist.results.status import FAILED, INVALID, SKIPPED
from famacase_xdist.results.text import text_of
from famacase_xdist.settings.settings import Settings

from . import payload
from .attachments import Attachable, AttachmentLike, AttachmentSender, attached
from .fixture_faults import Faults, fault_of
from .guard import Guard
from .integrations.qase_status import UpstreamPolicy
from .item import nodeid_of, params_of, relation_of, suites_of, title_of
from .marks import Marks, ids_in
from .runtime import StepRuntime
from .verdict import Verdict, raised

if TYPE_CHECKING:
    from qase.commons.models.runtime import Runtime

    from .fixture_steps import FixtureSteps
    from .integrations.pytest_bdd import Scenarios


class _Reporter:
    """The part of a reporter that upstream's plugin class needs; upstream's own starts pip and builds HTTP clients."""

    def __init__(self, settings: Settings) -> None:
        self.config = QaseConfig()
        of_pytest = self.config.framework.pytest
        of_pytest.set_capture_logs(settings.pytest_capture_logs)
        of_pytest.xfail_status.set_xfail(settings.pytest_xfail_status_xfail)
        of_pytest.xfail_status.set_xpass(settings.pytest_xfail_status_xpass)

    def get_execution_plan(self) -> None:
        return None

    def setup_profilers(self, runtime: Runtime) -> None:
        """Do nothing: `install` registers our own profilers."""


class Recorder(QasePytestPlugin):  # type: ignore[misc]  # upstream has no types
    """Makes results of the phases of tests. All of it runs on the thread that runs the tests."""

    # Upstream's own session hooks write into the working directory, and mix up sessions that share it.
    pytest_sessionstart = None
    pytest_sessionfinish = None
    pytest_collection_modifyitems = None

    def __init__(self, settings: Settings, sink: ResultSink, thread: str) -> None:
        super().__init__(_Reporter(settings))
        self.runtime = StepRuntime()
        self.guard = Guard()
        self.fixture_steps: FixtureSteps | None = None
        self._faults = Faults()
        self._settings = settings
        self._sink = sink
        self._thread = thread
        self._attachments = AttachmentSender(sink)
        self._attempt = 0
        self._nodeid = ""
        self._noted: set[str] = set()
        self._verdict = Verdict()
        self._reports: list[pytest.TestReport] = []
        self._pending: tuple[pytest.TestReport, pytest.CallInfo[None]] | None = None
        self._policy = UpstreamPolicy(_Reporter(settings)) if settings.status_policy == "upstream" else None
        self.scenarios: Scenarios | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Surround all attempts of one test."""
        self._attempt = 0
        try:
            return (yield)
        except BaseException as error:
            # pytest.exit and Ctrl-C end the test without a report; no other hook learns of them in time.
            with self.guard:
                self._settle()
                self._verdict.interrupt(error, str(item.path))
            raise
        finally:
            self._finish()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Begin an attempt. Each attempt has exactly one set-up, also under plugins that run tests again."""
        self._finish()
        self._attempt += 1
        with self.guard:
            self._begin(item)
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take a phase into account, after all other plugins have changed its report."""
        report = yield
        if self.runtime.result is not None:
            with self.guard:
                self._settle()
                self._reports.append(report)
                self._pending = (report, call)
            if self._policy is not None:
                with self.guard:
                    self._policy.add(item, call, report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a report as that of a subtest or of a phase; `pytest_runtest_makereport` cannot distinguish them."""
        if self.runtime.result is None or report.nodeid != self._nodeid:
            return
        with self.guard:
            if (name := subtest_name(report)) is not None:
                self._take_subtest(name, report)
                return
            self._settle()
            if not any(report is each for each in self._reports):  # some plugins log reports again, or late
                self._take(report, None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        """Send the attempt before xdist tells the controller that the test is done."""
        self._finish()

    def add_attachments(self, *files: Attachable) -> None:
        """Attach files to the open step, else to the running test. Outside a test, they are dropped."""
        if self.runtime.result is None:
            return
        for file in files:
            self.runtime.add_attachment(attached(file))

    def drop(self) -> None:
        """Drop the running attempt, and tell the controller that no result will follow."""
        self.runtime.clear()
        self._sink.send(Frame(IgnoredHead(self._nodeid)))

    def describe(self, item: pytest.Item) -> None:
        """Tell the controller of a test that will run in a process without a recorder."""
        with self.guard:
            self._begin(item)
        self.runtime.clear()

    def _begin(self, item: pytest.Item) -> None:
        self.runtime.clear()
        self._nodeid = item.nodeid
        marks = Marks(item)
        if marks.is_ignored:
            self.drop()
            return
        self._verdict = Verdict()
        self._reports.clear()
        self._pending = None
        if self._policy is not None:
            self._policy.begin()
        self._faults.forget()
        if self.fixture_steps is not None:
            self.fixture_steps.begin(item)
        result = self._described(item, marks)
        is_scenario = self.scenarios is not None and self.scenarios.describe(item, result)
        if getattr(result, "ignore", False):
            self.drop()
            return
        if marks:
            with self.guard:
                self._note(marks)
        if marks or is_scenario or hasattr(item, "callspec"):
            self._announce(result)

    def _described(self, item: pytest.Item, marks: Marks) -> Result:
        """Return the result of an attempt, with the values of decorators and parametrization."""
        nodeid = nodeid_of(item)
        # The runtime has it from the start, so that a result is sent even if an error of ours ends this function.
        result = self.runtime.result = Result(title=title_of(item, marks), signature="")
        result.id = new_id()
        if marks:
            result.fields.update(marks.fields)
            result.tags = marks.tags
            result.testops_ids = marks.ids
            result.testops_project_mapping = marks.project_ids or None
            result.muted = marks.is_muted
        result.relations = relation_of(tuple(suites_of(nodeid, marks)), marks.suite_description)
        result.params, result.param_groups = params_of(item)
        result.signature = signature_of(nodeid, result.testops_ids, result.params)
        result.execution.attempt_index = self._attempt
        return result

    def _announce(self, result: Result) -> None:
        """Send the description, in case the process dies: a result that is rebuilt from the node id alone lacks it."""
        description = payload.result_payload(result, self._settings, lambda attachment: None)
        self._sink.send(begun(self._nodeid, description, _projects(result)))

    def _note(self, marks: Marks) -> None:
        """Send a note for each mistake in the test's marks, once in a process."""
        for line in marks.notes(self._noted):
            self._sink.send(Frame(NoteHead(line)))

    def _settle(self) -> None:
        """Take the report that was made last as that of a phase, because no subtest has claimed it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._take(*pending)

    def _take(self, report: pytest.TestReport, call: pytest.CallInfo[None] | None) -> None:
        if self.fixture_steps is not None and call is not None and call.excinfo and report.when != "call":
            self._blame(call.excinfo.value)
        self._verdict.add(report, call, self._settings, self._note_on)
        if not report.passed:
            self.runtime.close_steps(FAILED if report.failed else SKIPPED)
        if self._settings.pytest_capture_logs and (report.when == "call" or (report.when == "setup" and report.failed)):
            self._attach_logs(report)

    def _note_on(self, error: BaseException) -> str:
        """Return which fixture an error of a set-up or a teardown came from; empty if from none."""
        with self.guard:
            fault = fault_of(error)
            return self._faults.note_on(fault, self._nodeid) if fault else ""
        return ""

    def _blame(self, error: BaseException) -> None:
        """Mark the steps of the teardowns that raised."""
        assert self.fixture_steps is not None
        # Of several teardowns, pytest names the one that ran first as the last.
        for each in reversed(list(raised(error))):
            fault = fault_of(each)
            if fault is not None and fault.is_teardown:
                self.fixture_steps.blame(fault.fixture, each)

    def _take_subtest(self, name: str, report: pytest.TestReport) -> None:
        """Add a subtest as a step."""
        pending, self._pending = self._pending, None
        call = pending[1] if pending else None
        status = self._verdict.add_subtest(name, report, call, self._settings)
        start, stop = (call.start, call.stop) if call else (0.0, 0.0)
        result: Result = self.runtime.result
        if start < result.execution.start_time:  # unittest does not tell it, or the test froze the clock
            start = 0.0
        if start and not report.passed:
            self.runtime.close_steps(FAILED if report.failed else SKIPPED, since=start)
        outside = self.runtime.step_id
        subtest = self.runtime.add_subtest(name, status, start, stop)
        if self._settings.pytest_capture_logs:
            self.runtime.step_id = subtest.id
            self._attach_logs(report)
            self.runtime.step_id = outside

    def _finish(self) -> None:
        """Send the running attempt, if there is one. A second call does nothing."""
        result = self.runtime.result
        if result is None:
            return
        with self.guard:
            self._settle()
        self.runtime.result = None
        with self.guard:
            self._complete(result)
            self._sink.send(self._framed(result))
        self.runtime.clear()

    def _complete(self, result: Result) -> None:
        if self.runtime.steps:
            self.runtime.close_steps(self._verdict.status or INVALID)
            result.add_steps(list(self.runtime.steps.values()))
        result.message = self._verdict.message
        execution = result.execution
        execution.complete()
        upstream = self._policy.status if self._policy else None
        execution.status = self._verdict.final(self._settings, muted=result.muted, upstream=upstream)
        execution.stacktrace = self._verdict.stacktrace
        execution.thread = self._thread
        execution.attempt_index = self._attempt

    def _framed(self, result: Result) -> ResultFrame:
        digests: list[str] = []
        notes: list[str] = []

        def attach(attachment: AttachmentLike) -> AttachmentEntry | None:
            try:
                entry, digest = self._attachments.send(result.id, attachment)
            except ValueError as error:
                notes.append(str(error))
                return None
            digests.append(digest)
            return entry

        content = payload.result_payload(result, self._settings, attach)
        content["message"] = noted(content["message"], notes)
        return framed(content, self._nodeid, contents=digests, projects=_projects(result))

    @property
    def failures(self) -> int:
        """How many of our own errors were kept from tests."""
        return self.guard.caught


def _projects(result: Result) -> dict[str, list[int]]:
    """Return the ids by project. A test may have put any value there."""
    mapping = result.testops_project_mapping
    items = mapping.items() if isinstance(mapping, dict) else ()
    return {text_of(code): ids for code, values in items if (ids := ids_in(values)[0])}
