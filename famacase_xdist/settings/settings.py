"""The settings of one session: an immutable value made of the table's rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from famacase_xdist.errors import SettingsError

from .projects import Projects
from .run_reference import run_id_of
from .table import BY_NAME, SETTINGS


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one session, immutable. `sources` says where each value came from.

    Tokens are left out of `repr`; read the effective ones from `host` and `token`.
    """

    mode: str = "off"
    fallback: str = "off"
    debug: bool = False
    api_url: str | None = None
    reporter_token: str | None = field(default=None, repr=False)
    testops_api_token: str | None = field(default=None, repr=False)
    testops_api_host: str | None = None
    testops_project: str | None = None
    testops_plan_id: int | None = None
    testops_run_id: str | None = None
    testops_run_title: str | None = None
    testops_run_description: str | None = None
    testops_run_complete: bool = True
    testops_run_tags: tuple[str, ...] = ()
    testops_batch_size: int = 200
    testops_status_filter: tuple[str, ...] = ()
    testops_show_public_report_link: bool = False
    testops_defect: bool = False
    testops_configurations_values: Mapping[str, str] = field(default_factory=dict)
    testops_configurations_create_if_not_exists: bool = False
    testops_run_external_link_type: str | None = None
    testops_run_external_link_url: str | None = None
    testops_multi: Projects | None = None
    environment: str | None = None
    root_suite: str | None = None
    exclude_params: tuple[str, ...] = ()
    status_mapping: Mapping[str, str] = field(default_factory=dict)
    profilers: tuple[str, ...] = ()
    profiler_network_exclude_hosts: tuple[str, ...] = ()
    execution_plan_path: str | None = None
    report_driver: str = "local"
    report_connection_path: Path = Path("build/qase-report")
    report_connection_format: str = "json"
    logging_console: bool | None = None
    logging_file: bool | None = None
    pytest_capture_logs: bool = False
    pytest_xfail_status_xfail: str = "skipped"
    pytest_xfail_status_xpass: str = "passed"
    timeout: float = 30.0
    retry_attempts: int = 3
    attachment_workers: int = 4
    flush_timeout: float = 60.0
    undelivered: str = "warn"
    collection_errors: bool = True
    fixture_steps: str = "failed"
    status_policy: str = "famacase"
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
    def secrets(self) -> tuple[str, ...]:
        """All tokens that are set; none of them is to be written down."""
        return tuple(filter(None, (self.reporter_token, self.testops_api_token)))

    @property
    def has_plan(self) -> bool:
        """Whether this mode selects tests by a test plan."""
        return self.mode in ("testops", "embedded")

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

    def of_each_project(self) -> dict[str, Settings]:
        """Give, by code, what a project of mode testops_multi has for settings: its own, and what all share."""
        shared: dict[str, Any] = {"mode": "testops", "testops_plan_id": None, "testops_multi": None}
        if self.testops_run_id is not None and run_id_of(self.testops_run_id) is not None:
            shared["testops_run_id"] = None  # a number is one project's; a key each project has its own of
        return {
            own["testops_project"]: dataclasses.replace(
                self,
                **{**shared, "report_connection_path": self.report_connection_path / own["testops_project"], **own},
                sources={**self.sources, **dict.fromkeys(own, "testops_multi")},
            )
            for own in (self.testops_multi.settings if self.testops_multi else ())
        }

    def check_complete(self) -> None:
        """Check that reporting can start.

        Raises:
            SettingsError: The server's address, token or project is missing.
        """
        who = f"mode {self.mode} (from {self.sources.get('mode', 'default')}) also"
        if self.mode == "testops":
            self.check_reachable(who)
        elif self.mode == "testops_multi":
            if self.testops_multi is None:
                raise SettingsError(f"{who} needs testops_multi in famacase.config.json or qase.config.json")
            for settings in self.of_each_project().values():
                settings.check_reachable(who)

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
