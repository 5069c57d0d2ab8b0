"""Suites of which one process runs under strace, which counts system calls, fails them, or kills the process at one.

Linux only. Without strace, or where no process may trace another, such a suite fails.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .suites import Ran, Suite

T = TypeVar("T")
#: The module that a courier runs.
COURIER = "famacase_xdist.courier"
#: The start of a line of strace: the thread, and the system call that it enters.
_ENTERED = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
#: A first argument that is a descriptor of a pipe or a socket, other than those that every process is born with.
_CHANNEL = re.compile(r"(?:[3-9]|\d\d+)<(?:pipe|socket|TCP|TCPv6|UNIX)[:\[]")
#: Runs as each Python of the suite starts. A process starts the courier with `sys.executable`.
_REPLACES_PYTHON = "import sys\nsys.executable = {wrapper!r}\n"
#: Is started in the place of Python: it gives each courier a number, and traces those that are asked for.
_WRAPPER = """\
#!/bin/sh
case " $* " in
*" {module} "*)
    number=1
    while ! mkdir "{directory}/courier-$number" 2>/dev/null; do number=$((number + 1)); done
    if [ $number -le {most} ]; then
        exec {strace} -D -o "{directory}/courier-$number/log" {python} "$@"
    fi
esac
exec {python} "$@"
"""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that a thread entered.

    Attributes:
        thread: The id of the thread.
        name: The name of the system call.
        number: The how-manieth call of this name it is in the thread, from 1, as strace's `when` counts.
        text: Its arguments, as strace shows them, with the paths of descriptors.
    """

    thread: int
    name: str
    number: int
    text: str

    def is_on(self, path: Path) -> bool:
        """Return whether the call is about a file at or below a path."""
        return re.search(rf"[<\"]{re.escape(str(path))}[/>\"]", self.text) is not None

    @property
    def is_on_channel(self) -> bool:
        """Whether the call is about a pipe or a socket that the process made itself, or was given."""
        return _CHANNEL.match(self.text) is not None


@dataclass(frozen=True, slots=True)
class Trace:
    """What strace is to do.

    Attributes:
        calls: Names of the system calls that are traced; the others are not counted.
        inject: strace's expressions for what is done to them: `write:error=ENOSPC:when=2+`.
        paths: The only paths whose calls are traced and counted; none for all.
    """

    calls: Sequence[str]
    inject: Sequence[str] = ()
    paths: Iterable[Path] = ()

    def command(self) -> list[str]:
        """Return strace's command, up to the file of its log and the program."""
        assert shutil.which("strace"), "this test needs strace: apt-get install strace"
        command = ["strace", "-f", "-q", "-y", "-e", f"trace={','.join(f'?{name}' for name in self.calls)}"]
        for expression in self.inject:
            command += ["-e", f"inject={expression}"]
        for path in self.paths:
            command += ["-P", str(path)]
        return command


@dataclass
class TracedSuite(Suite):
    """A suite of which one process can be traced; only the plugins that its tests need are loaded.

    Attributes:
        prefix: What the command of pytest begins with.
    """

    prefix: list[str] = field(default_factory=list)

    def command(self, *args: str) -> list[str]:
        """Return the command that runs pytest on the suite, without a capture that would make pipes and files."""
        return [*self.prefix, self.python, "-m", "pytest", "-s", "-pno:cacheprovider", *args]

    def environment(self, **env: str) -> dict[str, str]:
        """Return the environment of a process of the suite. It loads fast: no other plugin than ours is there."""
        env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p famacase_xdist.plugin", **env}
        return super().environment(**env)

    def trace_parent(self, trace: Trace, log: Path, *args: str, **env: str) -> Ran:
        """Run pytest to its end with its own process traced, threads and forked children too, but not its courier."""
        self.prefix = [*trace.command(), "-b", "execve", "-o", str(log)]
        try:
            return self.run(*args, **env)
        finally:
            self.prefix = []

    def trace_couriers(self, trace: Trace, directory: Path, *args: str, most: int = 1, **env: str) -> Ran:
        """Run pytest to its end with its first courier traced.

        Args:
            trace: What is to be done to each of these couriers.
            directory: A new directory, which gets `courier-<number>/log` of each that was traced.
            args: Arguments of pytest.
            most: How many couriers are traced.
            env: Environment variables.
        """
        directory.mkdir()
        wrapper = directory / "python"
        names = {"directory": directory, "most": most, "python": shlex.quote(self.python), "module": COURIER}
        wrapper.write_text(_WRAPPER.format(strace=shlex.join(trace.command()), **names), encoding="utf-8")
        wrapper.chmod(0o755)
        (directory / "sitecustomize.py").write_text(_REPLACES_PYTHON.format(wrapper=str(wrapper)), encoding="utf-8")
        before = self.env.get("PYTHONPATH") or os.environ.get("PYTHONPATH", "")
        return self.run(*args, PYTHONPATH=os.pathsep.join(filter(None, [str(directory), before])), **env)

    def trace_resend(self, trace: Trace, log: Path, timeout: float = 60) -> Ran:
        """Run `famacase-xdist resend` traced."""
        ran = subprocess.run(
            [*trace.command(), "-o", str(log), self.python, "-m", "famacase_xdist", "resend"],
            cwd=self.path,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)


def calls_in(log: Path) -> list[Call]:
    """Return the system calls in a log of strace, in the order in which they were entered."""
    counts: Counter[tuple[int, str]] = Counter()
    calls = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if entered := _ENTERED.match(line):
            key = int(entered["thread"]), entered["name"]
            counts[key] += 1
            calls.append(Call(*key, counts[key], entered["rest"]))
    return calls


def was_killed(log: Path) -> bool:
    """Return whether a process in a log of strace was killed."""
    return "+++ killed by SIGKILL +++" in log.read_text(encoding="utf-8", errors="replace")


def sampled(points: Iterable[T], most: int) -> list[T]:
    """Return at most so many of some points, in order: the first, the last, and others evenly between."""
    ordered = list(points)
    if len(ordered) <= most:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]
