"""Sessions without pytest: processes that do with a run what a courier does. A machine can run hundreds of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TESTS = Path(__file__).parents[1]


@dataclass(slots=True)
class Session:
    """A process that opens a run after `join`, reports some results, and leaves the run after `leave`."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, env: dict[str, str], *, results: int = 1, prefix: tuple[str, ...] = ()) -> Session:
        """Start a process, which loads its modules and waits for `join`.

        Args:
            env: All of its environment.
            results: How many results it reports.
            prefix: A command that runs the process, as `unshare` does.
        """
        return cls(
            subprocess.Popen(
                [*prefix, sys.executable, "-m", "harness.sessions", str(results)],
                cwd=TESTS,
                env={**env, "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), env.get("PYTHONPATH"))))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def ready(self) -> None:
        """Wait until the process has loaded its modules."""
        self._hear()

    def join(self) -> None:
        """Tell the process to open its run."""
        self._tell("join")

    def joined(self) -> dict[str, Any]:
        """Wait until the process has tried to open its run; return the run's id and the lines that were said."""
        return self._hear()

    def leave(self) -> None:
        """Tell the process to deliver its results and to leave the run."""
        self._tell("leave")

    def left(self) -> dict[str, Any]:
        """Wait for the end of the process; return what its summary would say."""
        said = self._hear()
        self.end()
        return said

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.end()

    def end(self) -> None:
        """Wait for the end of the process, and close its pipes."""
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            # A process that was killed has not read what was written to it last, so that closing stdin fails.
            with contextlib.suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()

    def _tell(self, word: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the session said nothing more: {self.process.stderr.read()}")
        said: dict[str, Any] = json.loads(line)
        return said


def main(results: int) -> None:
    """Be the process of a `Session`: settings come from the environment, commands on stdin; answers go to stdout."""
    from famacase_xdist.client.server import Server
    from famacase_xdist.delivery.project import ProjectDestination
    from famacase_xdist.runs.run import Home
    from famacase_xdist.settings.sources import Directory, Sources
    from famacase_xdist.state.directory import StateDirectory
    from famacase_xdist.state.journal import Journal
    from famacase_xdist.state.outbox import Outbox

    from .results import result

    settings = Sources(Directory(Path.cwd()), SimpleNamespace()).settings()
    tell(ready=True)
    sys.stdin.readline()
    server = Server(settings.host, settings.token)
    journal = Journal(StateDirectory.of(settings).new_outbox())
    outbox = Outbox(journal.files, beside_writer=True)
    home = Home(journal.files, server.scope(settings.project), os.getpid())
    delivery = ProjectDestination(settings, server, outbox, home, Path.cwd())
    run = delivery._run
    said: list[str] = []
    delivery.start(said.append)
    run.settled.wait(120)
    tell(pid=os.getpid(), run=run.id, said=said, trouble=run.trouble)
    journal.append([result(nodeid=f"test_{uuid.uuid4()}.py::test_{number}") for number in range(results)])
    delivery.follow()
    sys.stdin.readline()
    delivery.request_stop({settings.project: Counter(passed=results)}, is_finished=True)
    delivery.join(settings.flush_timeout)
    outcome = delivery.close()
    journal.close()
    tell(
        run=run.id,
        completed=run.completed,
        why_open=run.why_open,
        undelivered=outcome.undelivered,
        problems=list(outcome.problems),
    )


def tell(**values: object) -> None:
    """Send an answer to the process that started this one."""
    print(json.dumps(values), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
