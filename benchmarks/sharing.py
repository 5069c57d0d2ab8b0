"""How long many sessions at once take to share one run. Prints a Markdown table.

    python benchmarks/sharing.py [--sessions 8 50 200]

Processes that do what a controller does with its run, against a real server that takes a second to create one. They
are all loaded before the clock starts; read the seconds as an order of magnitude.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness.server import COMPLETE, RUNS, delay, running  # noqa: E402
from harness.sessions import Session  # noqa: E402
from harness.suites import Suite  # noqa: E402


def measure(count: int, directory: Path) -> str:
    """Return the row of so many sessions."""
    with running(directory / "server.sqlite3") as backend, mock.patch("harness.server.pid_of_port", return_value=None):
        suite = Suite(directory, directory / "state")
        env = suite.environment(**backend.environment(), FAMACASE_TESTOPS_RUN_ID="nightly")
        backend.inject(RUNS, delay(1.0))
        sessions = [Session.start(env) for _ in range(count)]
        for each in sessions:
            each.ready()
        begun = time.perf_counter()
        for each in sessions:
            each.join()
        for each in sessions:
            each.joined()
        joined = time.perf_counter()
        for each in sessions:
            each.leave()
        for each in sessions:
            each.left()
        left = time.perf_counter()
        creations, completions = len(backend.requests(RUNS)), len(backend.requests(COMPLETE))
        stored = len(backend.results())
    row = (count, creations, completions, stored, f"{joined - begun:.1f}", f"{left - joined:.1f}")
    return f"| {' | '.join(map(str, row))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[8, 50, 200])
    print("| sessions | create requests | complete requests | results | seconds to join | seconds to leave |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in parser.parse_args().sessions:
        with tempfile.TemporaryDirectory() as directory:
            print(measure(count, Path(directory)), flush=True)


if __name__ == "__main__":
    main()
