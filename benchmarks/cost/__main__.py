"""What reporting costs a test run: ours, pytest's own and others', in pairs.

    python -m benchmarks.cost [--full] [--rounds N] [--output docs] [--environments DIR]

Each round runs every contestant once, in an order of its own; numbers are compared within a round, and the median of
the rounds is told. It writes cost-measured.md and cost.svg. The environments of the contestants are made with pip on
first use, from then on it talks to 127.0.0.1 only. Let nothing else run on the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from . import contestants
from .cells import Cell
from .chart import chart
from .contestants import Contestant
from .environments import ROOT, Environments
from .forms import Form, full, quick
from .measures import Results
from .sessions import Sessions, VoidError, serving
from .tables import document


def measure(form: Form, sessions: Sessions) -> Results:
    """Run all that a form has."""
    results = Results(contestants.BARE.name)
    begun = time.monotonic()
    for round_ in range(form.rounds()):
        for block in form.blocks:
            if round_ < block.rounds:
                # The same orders in each run of the benchmark.
                order = random.Random(round_).sample(block.contestants, len(block.contestants))
                for contestant in order:
                    told = run(contestant, block.cell, round_, sessions, results)
                    progress = f"{time.monotonic() - begun:6.0f} s, round {round_ + 1} of {form.rounds()}"
                    print(f"{progress}: {contestant.name}, {block.cell}: {told}", file=sys.stderr, flush=True)
    return results


def run(contestant: Contestant, cell: Cell, round_: int, sessions: Sessions, results: Results) -> str:
    """Run one session and give a word on it; one that failed is told and not tried again."""
    if (contestant.name, cell) in results.failures:
        return "failed before"
    try:
        sessions.warm_up(contestant, cell.suite)
        sample = sessions.run(contestant, cell)
    except VoidError as error:
        results.fail(contestant.name, cell, str(error))
        return f"failed: {error}"
    results.add(contestant.name, cell, round_, sample)
    return f"{sample.wall:.2f} s"


def machine(form: Form, versions: Mapping[str, str]) -> list[str]:
    """Say where and with what it was measured."""
    cpus = Path("/proc/cpuinfo").read_text().split("\n")
    model = next((line.partition(":")[2].strip() for line in cpus if line.startswith("model name")), platform.machine())
    return [
        f"Measured on {date.today():%Y-%m-%d}, {form.name} form, on {os.cpu_count()} cores of {model}, "
        f"{platform.system()}, Python {platform.python_version()}.",
        ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
    ]


def loads(before: float, after: float) -> list[str]:
    """Say how busy the machine was; what another program took from a session is in its wall clock."""
    return [f"Load average: {before:.1f} before, {after:.1f} at the end; this benchmark makes 1 to 4 itself."]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all axes: about 40 minutes")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the full form (5)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="directory to write into (docs)")
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path(tempfile.gettempdir()) / "famacase-xdist-cost",
        help="directory in which the contestants' environments are kept",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, and write what was found; exit with 1 if a session of ours, or of bare pytest, failed."""
    given = arguments()
    form = full(given.rounds) if given.full else quick()
    environments = Environments(given.environments.resolve())
    environments.make()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory, serving() as server:
        results = measure(form, Sessions(Path(directory), environments, server))
    text = document(results, [*machine(form, environments.versions()), *loads(before, os.getloadavg()[0])])
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "cost-measured.md").write_text(text)
    (given.output / "cost.svg").write_text(chart(results))
    print(text)
    own = {contestants.BARE.name, contestants.OURS.name, contestants.OURS_FAR.name}
    sys.exit(any(name in own for name, _ in results.failures))


if __name__ == "__main__":
    main()
