"""One session of pytest, measured from outside: wall clock, CPU of the whole tree, memory, what the server saw."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .cells import Cell, Process, Sample
from .contestants import Contestant
from .environments import Environments
from .suites import START, Suite

HERE = Path(__file__).parent
#: Seconds after which a session is ended.
LONGEST = 300


class VoidError(Exception):
    """A session that measured nothing: it failed, or what it had to report did not arrive."""


class Server:
    """The stand-in, seen from here."""

    def __init__(self, port: int) -> None:
        self.port = port

    def reset(self, delay: float) -> None:
        """Begin a session whose requests are answered `delay` seconds late."""
        self._call("/reset", json.dumps({"delay": delay}).encode())

    def seen(self) -> dict[str, int]:
        """Return what came since."""
        counts: dict[str, int] = json.loads(self._call("/seen"))
        return counts

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=30) as answer:
            content: bytes = answer.read()
        return content


@contextmanager
def serving() -> Iterator[Server]:
    """Run the stand-in until the block ends."""
    command = [sys.executable, str(HERE / "stand_in.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Server(int(process.stdout.readline()))
        process.communicate()


class Sessions:
    """Runs sessions one after the other; suites are kept in `root`, everything else is thrown away."""

    def __init__(self, root: Path, environments: Environments, server: Server) -> None:
        self._root = root
        self._environments = environments
        self._server = server

    def warm_up(self, contestant: Contestant, suite: Suite) -> None:
        """Let pytest compile a suite, and the plugins of an environment: no session that counts is to do it."""
        path = suite.write(self._root / "suites", contestant.dialect)
        for mark, tests, args in (
            (self._environments.python(contestant.environment).parents[1] / f"compiled-{contestant.name}", START, []),
            (path / "compiled", suite, ["--collect-only"]),
        ):
            if not mark.exists():
                self._run(contestant, tests.write(self._root / "suites", contestant.dialect), args)
                mark.touch()

    def run(self, contestant: Contestant, cell: Cell) -> Sample:
        """Run a session.

        Raises:
            VoidError: It failed, took longer than `LONGEST`, or did not report all of its tests.
        """
        self._server.reset(contestant.delay)
        path = cell.suite.write(self._root / "suites", contestant.dialect)
        args = ["-n", str(cell.workers)] if cell.workers else []
        return self._run(contestant, path, args, cell.suite)

    def _run(self, contestant: Contestant, suite: Path, args: list[str], expected: Suite | None = None) -> Sample:
        with tempfile.TemporaryDirectory(dir=self._root) as name:
            directory = Path(name)
            (directory / "probe").mkdir()
            command = [
                *(str(self._environments.python(contestant.environment)), "-m", "pytest", "-q"),
                *(
                    "-p",
                    "cost_probe",
                    "-p",
                    "no:cacheprovider",
                    f"--rootdir={suite}",
                    f"--config-file={suite}/pytest.ini",
                ),
                *(*contestant.args, *args, str(suite)),
            ]
            wall, cpu = timed(command, directory, self._variables(contestant, directory))
            processes = probed(directory / "probe")
            seen = self._server.seen() if contestant.reports else {}
            if expected:
                self._check(contestant, expected, directory, seen)
            return Sample(wall, cpu, processes["controller"][0], tuple(processes["worker"]), seen)

    def _check(self, contestant: Contestant, suite: Suite, directory: Path, seen: dict[str, int]) -> None:
        found, wanted = contestant.reported(directory, seen), contestant.expected(suite)
        if found is not None and found != wanted:
            raise VoidError(f"of {wanted} results and attachments there are {found}; the server saw {seen}")

    def _variables(self, contestant: Contestant, directory: Path) -> dict[str, str]:
        """Return the variables: none of this process, which may be one of a CI system, but the path."""
        return {
            # As if the environment were activated: qase-pytest starts pip by its name.
            "PATH": f"{self._environments.python(contestant.environment).parent}:{os.environ['PATH']}",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(HERE / "plugins"),
            "COST_PROBE": str(directory / "probe"),
            **contestant.variables(self._server.port),
        }


def timed(command: list[str], directory: Path, variables: dict[str, str]) -> tuple[float, float]:
    """Run a command; give seconds of wall clock, and of CPU of it and all descendants that were waited for."""
    with (directory / "output").open("w+") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = threading.Timer(LONGEST, os.killpg, (process.pid, signal.SIGKILL))
        watch.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        finally:
            watch.cancel()
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            words = "took too long" if wall > LONGEST else f"exit status {process.returncode}"
            raise VoidError(f"{words}: ...{output.read()[-1500:]}")
    return wall, used.ru_utime + used.ru_stime


def probed(directory: Path) -> dict[str, list[Process]]:
    """Read what the probe wrote."""
    found: dict[str, list[Process]] = {"controller": [], "worker": []}
    for path in directory.iterdir():
        role, cpu, kib, ending = path.read_text().split()
        found[role].append(Process(float(cpu), int(kib) / 1024, float(ending)))
    if not found["controller"]:
        raise VoidError("the controller left no note of what it took")
    return found
