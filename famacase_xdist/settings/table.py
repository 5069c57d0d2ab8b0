"""Every setting, in one table: its names, its type, its default and what it means.

The table feeds the command line, the ini file, the environment, the configuration files and the README.
Where the values come from is in `sources.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from .projects import parse_projects
from .run_reference import parse_run


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes:
        name: ``testops_project`` is FAMACASE_TESTOPS_PROJECT, --famacase-testops-project, ini famacase_testops_project.
        parse: Takes text or a value from JSON; raises ValueError with what is allowed.
        help: One sentence, for --help and the README.
        path: Where it stands in famacase.config.json.
        default: The value where no source has one.
        qase: Whether the QASE_ and --qase- forms count too.
        qase_flag: Upstream's flag where it differs from the name.
        qase_dest: Upstream's argparse destination where it differs from its flag.
        worker: Whether workers need it; a secret never does.
        is_idle: Whether it has no effect, because Famacase has no call for it; that is said where it is set.
    """

    name: str
    parse: Callable[[object], Any]
    help: str
    path: str
    default: Any = None
    qase: bool = False
    qase_flag: str = ""
    qase_dest: str = ""
    worker: bool = False
    is_idle: bool = False

    @property
    def flag(self) -> str:
        """The command line's form."""
        return "--famacase-" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """All of ours: the twin of upstream's flag is one, where that has another name."""
        twin = self.upstream_flag.replace("--qase-", "--famacase-", 1)
        return (self.flag, twin) if self.qase and twin != self.flag else (self.flag,)

    @property
    def upstream_flag(self) -> str:
        """Upstream's form on the command line."""
        return self.qase_flag or "--qase-" + self.name.replace("_", "-")

    @property
    def upstream_dest(self) -> str:
        """Where argparse keeps the value of `upstream_flag`."""
        return self.qase_dest or "qase_" + self.name


NO_CALL = "Famacase has no call for it"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "mode",
        parse_mode,
        "off, report (files), testops, testops_multi (several projects), or embedded (a server of our own)",
        "mode",
        "off",
        qase=True,
    ),
    Setting(
        "fallback",
        choice("off", "report"),
        "mode where testops cannot start: off or report",
        "fallback",
        "off",
        qase=True,
    ),
    Setting("debug", parse_bool, "log in detail what is done; the token is masked", "debug", False, qase=True),
    Setting("api_url", parse_host, "address of the Famacase server; wins over TESTOPS_API_HOST", "apiUrl"),
    Setting("reporter_token", parse_text, "project token; wins over TESTOPS_API_TOKEN", "reporterToken"),
    Setting("testops_api_token", parse_text, "API token", "testops.api.token", qase=True),
    Setting("testops_api_host", parse_host, "address of the server", "testops.api.host", qase=True),
    Setting("testops_project", parse_slug, "project code", "testops.project", qase=True),
    Setting("testops_plan_id", number(int, 1), "test plan; only its cases are run", "testops.plan.id", qase=True),
    Setting("testops_run_id", parse_run, "a run's number, a run key, or auto", "testops.run.id", qase=True),
    Setting("testops_run_title", parse_text, "title of a new run", "testops.run.title", qase=True),
    Setting("testops_run_description", parse_text, "its description", "testops.run.description", qase=True),
    Setting("testops_run_complete", parse_bool, "complete the run at the end", "testops.run.complete", True, qase=True),
    Setting("testops_run_tags", parse_list, "tags of a new run", "testops.run.tags", (), qase=True),
    Setting("testops_batch_size", number(int, 1, 200), "results in a request", "testops.batch.size", 200, qase=True),
    Setting(
        "testops_status_filter",
        parse_statuses,
        "statuses not to report",
        "testops.statusFilter",
        (),
        qase=True,
        worker=True,
    ),
    Setting(
        "testops_show_public_report_link",
        parse_bool,
        "publish the run and say its link",
        "testops.showPublicReportLink",
        False,
        qase=True,
    ),
    Setting(
        "testops_defect",
        parse_bool,
        f"upstream's: defects for failures; {NO_CALL}",
        "testops.defect",
        False,
        qase=True,
        is_idle=True,
    ),
    Setting(
        "testops_configurations_values",
        parse_pairs,
        f"upstream's: browser=chrome; {NO_CALL}",
        "testops.configurations.values",
        {},
        qase=True,
        is_idle=True,
    ),
    Setting(
        "testops_configurations_create_if_not_exists",
        parse_bool,
        f"upstream's; {NO_CALL}",
        "testops.configurations.createIfNotExists",
        False,
        qase=True,
        is_idle=True,
    ),
    Setting(
        "testops_run_external_link_type",
        parse_text,
        f"upstream's: jiraCloud, jiraServer; {NO_CALL}",
        "testops.run.externalLink.type",
        qase=True,
        is_idle=True,
    ),
    Setting(
        "testops_run_external_link_url",
        parse_text,
        f"upstream's; {NO_CALL}",
        "testops.run.externalLink.link",
        qase=True,
        is_idle=True,
    ),
    Setting(
        "testops_multi",
        parse_projects,
        "the projects of mode testops_multi, an object or its JSON",
        "testops_multi",
        qase=True,
    ),
    Setting("environment", parse_text, "slug of the environment", "environment", qase=True),
    Setting("root_suite", parse_text, "suite in front of all suites", "rootSuite", qase=True, worker=True),
    Setting("exclude_params", parse_list, "params not to report", "excludeParams", (), qase=True, worker=True),
    Setting(
        "status_mapping",
        parse_mapping,
        "statuses to replace, invalid=failed",
        "statusMapping",
        {},
        qase=True,
        worker=True,
    ),
    Setting(
        "profilers",
        parse_profilers,
        "steps for what a test does: network, db, sleep",
        "profilers",
        (),
        qase=True,
        worker=True,
    ),
    Setting(
        "profiler_network_exclude_hosts",
        parse_list,
        "hosts whose requests make no steps",
        "networkProfiler.excludeHosts",
        (),
        qase=True,
        worker=True,
    ),
    Setting(
        "execution_plan_path",
        parse_text,
        "upstream's; without effect there and here",
        "executionPlan.path",
        qase=True,
        is_idle=True,
    ),
    Setting("report_driver", choice("local"), "where mode report writes: local", "report.driver", "local", qase=True),
    Setting(
        "report_connection_path",
        parse_path,
        "directory of mode report",
        "report.connection.path",
        Path("build/qase-report"),
        qase=True,
        qase_flag="--qase-report-connection-local-path",
        qase_dest="qase_report_connection_local_path",
    ),
    Setting(
        "report_connection_format",
        choice("json", "jsonp"),
        "form of mode report: json or jsonp",
        "report.connection.format",
        "json",
        qase=True,
        qase_flag="--qase-report-connection-local-format",
        qase_dest="qase_report_connection_local_format",
    ),
    Setting("logging_console", parse_bool, "show DEBUG's log at the end; false: do not", "logging.console", qase=True),
    Setting("logging_file", parse_bool, "write the log into the state directory", "logging.file", qase=True),
    Setting(
        "pytest_capture_logs",
        parse_bool,
        "attach log, stdout and stderr",
        "framework.pytest.captureLogs",
        False,
        qase=True,
        worker=True,
    ),
    Setting(
        "pytest_xfail_status_xfail",
        parse_status,
        "status of an xfail",
        "framework.pytest.xfailStatus.xfail",
        "skipped",
        qase=True,
        qase_dest="qase_pytest_xfail_status",
        worker=True,
    ),
    Setting(
        "pytest_xfail_status_xpass",
        parse_status,
        "status of an xpass",
        "framework.pytest.xfailStatus.xpass",
        "passed",
        qase=True,
        qase_dest="qase_pytest_xpass_status",
        worker=True,
    ),
    Setting("timeout", number(float, 0.1), "seconds a request may take", "timeout", 30.0),
    Setting("retry_attempts", number(int, 1, 100), "tries of a request in all", "retryAttempts", 3),
    Setting("attachment_workers", number(int, 1, 32), "uploads side by side", "attachmentWorkers", 4),
    Setting("flush_timeout", number(float, 0), "seconds the end of the session may wait", "flushTimeout", 60.0),
    Setting(
        "undelivered",
        choice("warn", "fail", "ignore"),
        "what undelivered results do: warn, fail, ignore",
        "undelivered",
        "warn",
    ),
    Setting("collection_errors", parse_bool, "report modules that do not import", "collectionErrors", True),
    Setting(
        "fixture_steps",
        choice("failed", "all", "off"),
        "fixtures as steps: failed, all, off",
        "fixtureSteps",
        "failed",
        worker=True,
    ),
    Setting(
        "status_policy",
        choice("famacase", "upstream"),
        "what makes a status: famacase or upstream",
        "statusPolicy",
        "famacase",
        worker=True,
    ),
    Setting("not_run", parse_bool, "report tests that never ran as untested", "notRun", False),
    Setting("state_dir", parse_path, "directory of outboxes and run keys", "stateDir"),
    Setting("lock_timeout", number(float, 0), "seconds to wait for a run key's lock", "lockTimeout", 120.0),
    Setting("shard", parse_shard, "which shard of how many this is, 2/4; CI systems tell", "shard"),
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
