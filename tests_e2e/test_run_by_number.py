"""Jobs that share no disk: one creates the run, the others join it by its number, the last one completes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.server import COMPLETE, RUNS, Backend
from harness.suites import Ran, Suite


def famacase(suite: Suite, *args: str) -> Ran:
    ran = suite.call("run", *args)
    assert ran.status == 0, ran.text
    return ran


@pytest.mark.parametrize("args", [("-p", "no:xdist"), ("-n2",)], ids=["no-xdist", "n2"])
def test_create_join_twice_complete(args: tuple[str, ...], suite: Suite, backend: Backend, tmp_path: Path) -> None:
    for shard in ("one", "two"):
        suite.write(
            f"test_{shard}.py", f"import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_{shard}(n): pass"
        )
    suite.env.update(backend.environment())

    created = famacase(suite, "create", "--title", "Nightly", "--tag", "shards")
    number = created.stdout.strip()
    for shard in ("one", "two"):
        ran = suite.run(
            *args, f"test_{shard}.py", FAMACASE_TESTOPS_RUN_ID=number, FAMACASE_STATE_DIR=str(tmp_path / shard)
        )
        assert ran.status == 0, ran.text
        assert "undelivered 0" in ran.stdout, ran.text
        assert [run.status for run in backend.store.runs()] == ["active"]
    shown = famacase(suite, "show", number)
    famacase(suite, "complete", number)

    (run,) = backend.store.runs()
    assert created.stdout == f"{run.id}\n"
    assert (run.title, run.tags, run.status) == ("Nightly", ("shards",), "completed")
    assert "results: 10 passed" in shown.stdout
    assert backend.titles() == ["test_one"] * 5 + ["test_two"] * 5
    assert len(backend.store.results(run.id)) == 10
    assert len(backend.requests(RUNS)) == 1
    assert [seen.line.split("/projects/")[1] for seen in backend.requests(COMPLETE)] == [f"DEMO/runs/{number}/complete"]
