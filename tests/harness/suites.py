"""Suites that run in a process of their own, started as a user starts pytest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

#: Four ways to run a suite, by name.
MODES = {
    "no-xdist": ("-p", "no:xdist"),
    "n0": ("-n0",),
    "n1": ("-n1",),
    "n2": ("-n2",),
}

#: Prefixes of environment variables that would change what a suite reports: our settings, and those of CI systems.
NOT_INHERITED = (
    *("FAMACASE_", "QASE_", "PYTEST_", "TOX_", "COV_"),
    *("GITHUB_", "GITEA_", "FORGEJO_", "GITLAB_", "CI_", "CIRCLE", "BUILDKITE", "JENKINS_", "BUILD_", "BITBUCKET_"),
    *("SYSTEM_", "TF_BUILD", "GIT_", "ACT", "JOB_NAME", "BRANCH_NAME", "CHANGE_"),
)

#: Plugins that are installed with the test dependencies and change every suite; a suite has only those that it names.
ON_REQUEST = ("asyncio", "fakefs", "playwright", "randomly", "repeat", "requests_mock", "socket", "threadleak")


@dataclass(frozen=True, slots=True)
class Ran:
    """The exit status and the output of a process that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All output, for the messages of assertions."""
        return f"{self.stdout}\n{self.stderr}"


@dataclass
class Suite:
    """A directory with tests, and the environment that they run in."""

    path: Path
    state: Path
    env: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    plugins: tuple[str, ...] = ()

    def write(self, name: str, text: str) -> Path:
        """Write a file of the suite, its text dedented."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def environment(self, **env: str) -> dict[str, str]:
        """Return the environment of a process of the suite.

        Settings of this process are not inherited, and variables with an empty value are left out.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        kept["FAMACASE_STATE_DIR"] = str(self.state)
        kept["PYTHONDONTWRITEBYTECODE"] = "1"
        return {name: value for name, value in {**kept, **self.env, **env}.items() if value}

    def options(self) -> list[str]:
        """Return the options that switch off the plugins that the suite does not name."""
        return [f"-pno:{name}" for name in ("cacheprovider", *ON_REQUEST) if name not in self.plugins]

    def command(self, *args: str) -> list[str]:
        """Return the command that runs pytest on the suite."""
        return [self.python, "-m", "pytest", *self.options(), *args]

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """Start pytest, in a process group of its own, and return at once."""
        return subprocess.Popen(
            self.command(*args),
            cwd=self.path,
            env=self.environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *args: str, timeout: float = 90, **env: str) -> Ran:
        """Run pytest to its end; after `timeout` seconds kill it with all processes that it started.

        Raises:
            AssertionError: pytest took longer.
        """
        process = self.start(*args, **env)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise AssertionError(f"pytest did not end in {timeout} s\n{stdout}\n{stderr}") from None
        return Ran(process.returncode, stdout, stderr)

    def call(self, *args: str, timeout: float = 60, **env: str) -> Ran:
        """Run `famacase-xdist` to its end, in the suite's directory."""
        ran = subprocess.run(
            [self.python, "-m", "famacase_xdist", *args],
            cwd=self.path,
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def resend(self, *args: str, **env: str) -> Ran:
        """Run `famacase-xdist resend`."""
        return self.call("resend", *args, **env)

    def couriers(self) -> list[int]:
        """Return the ids of the couriers that deliver for sessions of this suite."""
        return [pid for pid in _processes("famacase_xdist.courier") if str(self.state) in _environment_of(pid)]

    def await_couriers(self, timeout: float = 20) -> None:
        """Wait until the couriers of sessions that died have ended.

        Raises:
            AssertionError: One takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while self.couriers():
            assert time.monotonic() < deadline, "a courier has not ended"
            time.sleep(0.02)

    def leftovers(self) -> list[str]:
        """Return the names of the outboxes."""
        outbox = self.state / "outbox"
        return sorted(path.name for path in outbox.iterdir()) if outbox.is_dir() else []

    def files(self) -> set[str]:
        """Return the paths of all files in the suite's directory."""
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file()}


def _processes(module: str) -> list[int]:
    """Return the ids of the processes that run a module."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and module in (process / "cmdline").read_text():
                found.append(int(process.name))
    return found


def _environment_of(pid: int) -> str:
    """Return the environment of a process; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return ""
