"""Every setting, in one table: its names, its type, its default and what it means.

The table feeds the command line, the ini file, the environment, the configuration files and the README.
Where the values come from is in `sources.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import SettingsError
from .values import (
    number,
    parse_bool,
    parse_host,
    parse_list,
    parse_mapping,
    parse_mode,
    parse_path,
    parse_run,
    parse_shard,
    parse_slug,
    parse_status,
    parse_text,
    parse_undelivered,
)


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

    @property
    def flag(self) -> str:
        """The command line's form."""
        return "--famacase-" + self.name.replace("_", "-")

    @property
    def upstream_flag(self) -> str:
        """Upstream's form on the command line."""
        return self.qase_flag or "--qase-" + self.name.replace("_", "-")

    @property
    def upstream_dest(self) -> str:
        """Where argparse keeps the value of `upstream_flag`."""
        return self.qase_dest or "qase_" + self.name


SETTINGS: tuple[Setting, ...] = (
    Setting("mode", parse_mode, "off, testops, or embedded (a server of our own)", "mode", "off", qase=True),
    Setting("api_url", parse_host, "address of the Famacase server; wins over TESTOPS_API_HOST", "apiUrl"),
    Setting("reporter_token", parse_text, "project token; wins over TESTOPS_API_TOKEN", "reporterToken"),
    Setting("testops_api_token", parse_text, "API token", "testops.api.token", qase=True),
    Setting("testops_api_host", parse_host, "address of the server", "testops.api.host", qase=True),
    Setting("testops_project", parse_slug, "project code", "testops.project", qase=True),
    Setting("testops_run_id", parse_run, "a run's number, a run key, or auto", "testops.run.id", qase=True),
    Setting("testops_run_title", parse_text, "title of a new run", "testops.run.title", qase=True),
    Setting("testops_run_description", parse_text, "its description", "testops.run.description", qase=True),
    Setting("testops_run_complete", parse_bool, "complete the run at the end", "testops.run.complete", True, qase=True),
    Setting("testops_run_tags", parse_list, "tags of a new run", "testops.run.tags", (), qase=True),
    Setting("testops_batch_size", number(int, 1, 200), "results in a request", "testops.batch.size", 200, qase=True),
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
    Setting("undelivered", parse_undelivered, "what undelivered results do: warn, fail, ignore", "undelivered", "warn"),
    Setting("collection_errors", parse_bool, "report modules that do not import", "collectionErrors", True),
    Setting("not_run", parse_bool, "report tests that never ran as untested", "notRun", False),
    Setting("state_dir", parse_path, "directory of outboxes and run keys", "stateDir"),
    Setting("lock_timeout", number(float, 0), "seconds to wait for a run key's lock", "lockTimeout", 120.0),
    Setting("shard", parse_shard, "which shard of how many this is, 2/4; CI systems tell", "shard"),
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one session, immutable. `sources` says where each value came from.

    Tokens are left out of `repr`; read the effective ones from `host` and `token`.
    """

    mode: str = "off"
    api_url: str | None = None
    reporter_token: str | None = field(default=None, repr=False)
    testops_api_token: str | None = field(default=None, repr=False)
    testops_api_host: str | None = None
    testops_project: str | None = None
    testops_run_id: str | None = None
    testops_run_title: str | None = None
    testops_run_description: str | None = None
    testops_run_complete: bool = True
    testops_run_tags: tuple[str, ...] = ()
    testops_batch_size: int = 200
    environment: str | None = None
    root_suite: str | None = None
    exclude_params: tuple[str, ...] = ()
    status_mapping: Mapping[str, str] = field(default_factory=dict)
    pytest_capture_logs: bool = False
    pytest_xfail_status_xfail: str = "skipped"
    pytest_xfail_status_xpass: str = "passed"
    timeout: float = 30.0
    retry_attempts: int = 3
    attachment_workers: int = 4
    flush_timeout: float = 60.0
    undelivered: str = "warn"
    collection_errors: bool = True
    not_run: bool = False
    state_dir: Path | None = None
    lock_timeout: float = 120.0
    shard: tuple[int, int] | None = None
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """The server's address, without the API's path; empty where none is set."""
        return self.api_url or self.testops_api_host or ""

    @property
    def token(self) -> str:
        """The token to send; empty where none is set."""
        return self.reporter_token or self.testops_api_token or ""

    @property
    def project(self) -> str:
        """The project's code; ``LOCAL`` on the embedded server where none is set."""
        return self.testops_project or ("LOCAL" if self.mode == "embedded" else "")

    def for_worker(self) -> dict[str, Any]:
        """Give what a worker needs, as plain values; never a secret, never an address."""
        return {row.name: _plain(getattr(self, row.name)) for row in SETTINGS if row.worker}

    @classmethod
    def from_controller(cls, values: Mapping[str, Any]) -> Settings:
        """Rebuild in a worker what `for_worker` gave."""
        known: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in BY_NAME
        }
        return cls(**known)

    def check_complete(self) -> None:
        """Check that reporting can start.

        Raises:
            SettingsError: The server's address, token or project is missing.
        """
        if self.mode == "testops":
            self.check_reachable(f"mode testops (from {self.sources.get('mode', 'default')}) also")

    def check_reachable(self, who: str) -> None:
        """Check that the server can be asked, whatever the mode is; `who` needs it.

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
            raise SettingsError(f"{who} needs {', '.join(missing)}")
        # A suite that came from Qase often still has its host in QASE_TESTOPS_API_HOST or qase.config.json.
        if (urlsplit(self.host).hostname or "").split(".")[-2:] == ["qase", "io"]:
            raise SettingsError(f"{self.host} is Qase's own server; FAMACASE_API_URL has to name yours")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


assert [row.name for row in SETTINGS] == [f.name for f in dataclasses.fields(Settings)][:-1]
