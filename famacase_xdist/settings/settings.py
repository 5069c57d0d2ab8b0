"""The settings of one session, an immutable value. Its fields are the table of all settings.

Each setting is declared here once: its type, its default, its parser and its meaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from famacase_xdist.errors import SettingsError

from .parsers import (
    choice,
    number,
    parse_bool,
    parse_host,
    parse_list,
    parse_mapping,
    parse_mode,
    parse_pairs,
    parse_path,
    parse_profilers,
    parse_shard,
    parse_slug,
    parse_status,
    parse_statuses,
    parse_text,
)
from .projects import Projects, ProjectSettings, parse_projects
from .run_reference import parse_run, run_id_of
from .table import NO_CALL, Setting, rows_of, setting


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one session, immutable; `sources` has the source of each value that is set.

    `repr` shows no token. The effective address and token are `host` and `token`.
    """

    mode: str = setting(
        "off",
        parse_mode,
        "off, report (files), testops, testops_multi (several projects), or embedded (a server of our own)",
        "mode",
        qase=True,
    )
    fallback: str = setting(
        "off", choice("off", "report"), "mode to use if testops cannot start: off or report", "fallback", qase=True
    )
    debug: bool = setting(False, parse_bool, "log in detail what is done; the token is masked", "debug", qase=True)
    api_url: str | None = setting(
        None, parse_host, "address of the Famacase server; wins over TESTOPS_API_HOST", "apiUrl"
    )
    reporter_token: str | None = setting(
        None, parse_text, "project token; wins over TESTOPS_API_TOKEN", "reporterToken", secret=True
    )
    testops_api_token: str | None = setting(None, parse_text, "API token", "testops.api.token", qase=True, secret=True)
    testops_api_host: str | None = setting(None, parse_host, "address of the server", "testops.api.host", qase=True)
    testops_project: str | None = setting(None, parse_slug, "project code", "testops.project", qase=True)
    testops_plan_id: int | None = setting(
        None, number(int, 1), "test plan; only its cases are run", "testops.plan.id", qase=True
    )
    testops_run_id: str | None = setting(
        None, parse_run, "a run's number, a run key, or auto", "testops.run.id", qase=True
    )
    testops_run_title: str | None = setting(None, parse_text, "title of a new run", "testops.run.title", qase=True)
    testops_run_description: str | None = setting(
        None, parse_text, "description of a new run", "testops.run.description", qase=True
    )
    testops_run_complete: bool = setting(
        True, parse_bool, "complete the run at the end", "testops.run.complete", qase=True
    )
    testops_run_tags: tuple[str, ...] = setting((), parse_list, "tags of a new run", "testops.run.tags", qase=True)
    testops_batch_size: int = setting(200, number(int, 1, 200), "results in a request", "testops.batch.size", qase=True)
    testops_status_filter: tuple[str, ...] = setting(
        (), parse_statuses, "statuses not to report", "testops.statusFilter", qase=True, worker=True
    )
    testops_show_public_report_link: bool = setting(
        False, parse_bool, "publish the run and print its link", "testops.showPublicReportLink", qase=True
    )
    testops_defect: bool = setting(
        False, parse_bool, f"upstream's: defects for failures; {NO_CALL}", "testops.defect", qase=True, is_idle=True
    )
    testops_configurations_values: Mapping[str, str] = setting(
        {},
        parse_pairs,
        f"upstream's: browser=chrome; {NO_CALL}",
        "testops.configurations.values",
        qase=True,
        is_idle=True,
    )
    testops_configurations_create_if_not_exists: bool = setting(
        False, parse_bool, f"upstream's; {NO_CALL}", "testops.configurations.createIfNotExists", qase=True, is_idle=True
    )
    testops_run_external_link_type: str | None = setting(
        None,
        parse_text,
        f"upstream's: jiraCloud, jiraServer; {NO_CALL}",
        "testops.run.externalLink.type",
        qase=True,
        is_idle=True,
    )
    testops_run_external_link_url: str | None = setting(
        None, parse_text, f"upstream's; {NO_CALL}", "testops.run.externalLink.link", qase=True, is_idle=True
    )
    testops_multi: Projects | None = setting(
        None, parse_projects, "the projects of mode testops_multi, an object or its JSON", "testops_multi", qase=True
    )
    environment: str | None = setting(None, parse_text, "slug of the environment", "environment", qase=True)
    root_suite: str | None = setting(
        None, parse_text, "suite in front of all suites", "rootSuite", qase=True, worker=True
    )
    exclude_params: tuple[str, ...] = setting(
        (), parse_list, "params not to report", "excludeParams", qase=True, worker=True
    )
    status_mapping: Mapping[str, str] = setting(
        {}, parse_mapping, "statuses to replace, invalid=failed", "statusMapping", qase=True, worker=True
    )
    profilers: tuple[str, ...] = setting(
        (), parse_profilers, "steps for what a test does: network, db, sleep", "profilers", qase=True, worker=True
    )
    profiler_network_exclude_hosts: tuple[str, ...] = setting(
        (), parse_list, "hosts whose requests make no steps", "networkProfiler.excludeHosts", qase=True, worker=True
    )
    execution_plan_path: str | None = setting(
        None, parse_text, "upstream's; without effect there and here", "executionPlan.path", qase=True, is_idle=True
    )
    report_driver: str = setting(
        "local", choice("local"), "where mode report writes: local", "report.driver", qase=True
    )
    report_connection_path: Path = setting(
        Path("build/qase-report"),
        parse_path,
        "directory of mode report",
        "report.connection.path",
        qase=True,
        qase_flag="--qase-report-connection-local-path",
        qase_dest="qase_report_connection_local_path",
    )
    report_connection_format: str = setting(
        "json",
        choice("json", "jsonp"),
        "form of mode report: json or jsonp",
        "report.connection.format",
        qase=True,
        qase_flag="--qase-report-connection-local-format",
        qase_dest="qase_report_connection_local_format",
    )
    logging_console: bool | None = setting(
        None, parse_bool, "show DEBUG's log at the end; false: do not", "logging.console", qase=True
    )
    logging_file: bool | None = setting(
        None, parse_bool, "write the log into the state directory", "logging.file", qase=True
    )
    pytest_capture_logs: bool = setting(
        False, parse_bool, "attach log, stdout and stderr", "framework.pytest.captureLogs", qase=True, worker=True
    )
    pytest_xfail_status_xfail: str = setting(
        "skipped",
        parse_status,
        "status of an xfail",
        "framework.pytest.xfailStatus.xfail",
        qase=True,
        qase_dest="qase_pytest_xfail_status",
        worker=True,
    )
    pytest_xfail_status_xpass: str = setting(
        "passed",
        parse_status,
        "status of an xpass",
        "framework.pytest.xfailStatus.xpass",
        qase=True,
        qase_dest="qase_pytest_xpass_status",
        worker=True,
    )
    timeout: float = setting(30.0, number(float, 0.1), "seconds a request may take", "timeout")
    retry_attempts: int = setting(3, number(int, 1, 100), "tries of a request in all", "retryAttempts")
    attachment_workers: int = setting(4, number(int, 1, 32), "uploads side by side", "attachmentWorkers")
    flush_timeout: float = setting(60.0, number(float, 0), "seconds the end of the session may wait", "flushTimeout")
    undelivered: str = setting(
        "warn", choice("warn", "fail", "ignore"), "effect of undelivered results: warn, fail, ignore", "undelivered"
    )
    collection_errors: bool = setting(True, parse_bool, "report modules that cannot be imported", "collectionErrors")
    fixture_steps: str = setting(
        "failed", choice("failed", "all", "off"), "fixtures as steps: failed, all, off", "fixtureSteps", worker=True
    )
    status_policy: str = setting(
        "famacase",
        choice("famacase", "upstream"),
        "rules for statuses: famacase or upstream",
        "statusPolicy",
        worker=True,
    )
    not_run: bool = setting(False, parse_bool, "report tests that never ran as untested", "notRun")
    state_dir: Path | None = setting(None, parse_path, "directory of outboxes and run keys", "stateDir")
    courier: str = setting(
        "process",
        choice("process", "thread"),
        "where delivery runs: process, or a thread of the tests' process",
        "courier",
    )
    lock_timeout: float = setting(120.0, number(float, 0), "seconds to wait for a run key's lock", "lockTimeout")
    shard: tuple[int, int] | None = setting(
        None, parse_shard, "this shard and the number of shards, 2/4; CI systems set it", "shard"
    )
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """The server's address, without the API's path; empty if none is set."""
        return self.api_url or self.testops_api_host or ""

    @property
    def token(self) -> str:
        """The token to send; empty if none is set."""
        return self.reporter_token or self.testops_api_token or ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """All tokens that are set; none of them may be shown or written to disk."""
        return tuple(filter(None, (self.reporter_token, self.testops_api_token)))

    @property
    def has_plan(self) -> bool:
        """Whether this mode selects tests by a test plan."""
        return self.mode in ("testops", "embedded")

    @property
    def needs_plan(self) -> bool:
        """Whether the tests to run are unknown before a test plan is loaded."""
        return self.testops_plan_id is not None and self.has_plan

    @property
    def project(self) -> str:
        """The project's code; if none is set, ``LOCAL`` on the embedded server and empty elsewhere."""
        return self.testops_project or ("LOCAL" if self.mode == "embedded" else "")

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Settings:
        """Return settings with these values by field; the table's parsers have made them, so their types are right."""
        make: Callable[..., Settings] = cls
        return make(**values)

    def for_worker(self) -> dict[str, object]:
        """Return the settings that a worker needs, as plain values; never a secret, never an address."""
        return {row.name: _plain(getattr(self, row.name)) for row in SETTINGS if row.worker}

    @classmethod
    def from_controller(cls, values: Mapping[str, object]) -> Settings:
        """Return the settings that `for_worker` made of them, after JSON; names that are not settings are ignored."""
        known = {name: value for name, value in values.items() if name in BY_NAME}
        return cls.of({name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})

    def of_each_project(self) -> dict[str, Settings]:
        """Return the settings of each project of mode testops_multi by its code: its own and the shared ones."""
        if self.testops_multi is None:
            return {}
        run = self.testops_run_id
        # All projects share a run key, because each has its own run for the key. A number is the run of one project.
        key = run if run is None or run_id_of(run) is None else None
        shared = dataclasses.replace(self, mode="testops", testops_plan_id=None, testops_multi=None, testops_run_id=key)
        return {own["testops_project"]: shared._with_own(own) for own in self.testops_multi.settings}

    def _with_own(self, own: ProjectSettings) -> Settings:
        return dataclasses.replace(
            self,
            report_connection_path=self.report_connection_path / own["testops_project"],
            sources={**self.sources, **dict.fromkeys(own, "testops_multi")},
            **own,
        )

    def check_complete(self) -> None:
        """Check that reporting can start.

        Raises:
            SettingsError: The server's address, token or project is missing.
        """
        subject = f"mode {self.mode} (from {self.sources.get('mode', 'default')}) also"
        if self.mode == "testops":
            self.check_reachable(subject)
        elif self.mode == "testops_multi":
            if self.testops_multi is None:
                raise SettingsError(f"{subject} needs testops_multi in famacase.config.json or qase.config.json")
            for settings in self.of_each_project().values():
                settings.check_reachable(subject)

    def check_reachable(self, subject: str) -> None:
        """Check that the settings name a server, a token and a project, whatever the mode is.

        Args:
            subject: The subject of the sentence in the error, such as "reporting".

        Raises:
            SettingsError: The server's address, token or project is missing.
        """
        missing = [
            name
            for name, value in (
                ("FAMACASE_API_URL", self.host),
                ("FAMACASE_TESTOPS_API_TOKEN", self.token),
                ("FAMACASE_TESTOPS_PROJECT", self.project),
            )
            if not value
        ]
        if missing:
            raise SettingsError(f"{subject} needs {', '.join(missing)}")
        # A suite that came from Qase often still has its host in QASE_TESTOPS_API_HOST or qase.config.json.
        if (urlsplit(self.host).hostname or "").split(".")[-2:] == ["qase", "io"]:
            raise SettingsError(f"{self.host} is Qase's own server; FAMACASE_API_URL has to name yours")


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


SETTINGS = rows_of(Settings)
BY_NAME: Mapping[str, Setting] = {row.name: row for row in SETTINGS}
