"""What reporting costs, in numbers that do not depend on the machine: benchmarks/ has the times."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from harness.counting import DIRECTORY
from harness.server import Backend
from harness.suites import Suite

TESTS = 300
HARNESS = Path(__file__).parents[1] / "tests"
#: The embedded server and the command line are no parts of a session, and only the courier delivers.
NOT_IN_A_SESSION = {"fastapi", "uvicorn", "click", "rich", "requests", "requests_toolbelt", "sqlite3", "tenacity"}
#: It handles bytes only.
NOT_IN_A_CONTROLLER = NOT_IN_A_SESSION | {"qase"}


@pytest.fixture
def counted(suite: Suite, backend: Backend, tmp_path: Path) -> Suite:
    """Plain tests in a suite whose processes count; with our plugin named first, as the README has it."""
    suite.write("test_plain.py", "".join(f"def test_{number}():\n    pass\n" for number in range(TESTS)))
    counts = tmp_path / "counts"
    counts.mkdir()
    suite.env = {**backend.environment(), DIRECTORY: str(counts), "PYTHONPATH": str(HARNESS)}
    return suite


def run(suite: Suite, *args: str) -> dict[str, dict[str, Any]]:
    """Run the suite, and give what each process counted."""
    # A plugin that the tests of Playwright bring in imports requests.
    ran = suite.run("-p", "famacase_xdist.plugin", "-p", "harness.counting", "-pno:base_url", *args)
    assert ran.status == 0, ran.text
    return {path.stem: json.loads(path.read_text()) for path in Path(suite.env[DIRECTORY]).iterdir()}


def loaded(counts: dict[str, Any], roots: set[str]) -> set[str]:
    return roots.intersection(name.partition(".")[0] for name in counts["modules"])


def test_a_test_of_one_process(counted: Suite, backend: Backend) -> None:
    main = run(counted, "-pno:xdist")["main"]

    assert len(backend.results()) == TESTS
    assert main["processes"] == 1  # the courier; upstream's clock starts one each time, its reporter pip
    assert main.get("marker look-ups", 0) == 0
    assert main["appends"] <= 2 * TESTS + 1  # before an attempt, and at its end
    assert loaded(main, NOT_IN_A_SESSION) == set()


def test_a_test_with_params(counted: Suite, backend: Backend) -> None:
    (counted.path / "test_plain.py").unlink()
    counted.write(
        "test_params.py",
        f"""
        import pytest

        @pytest.mark.parametrize("number", range({TESTS}))
        def test_params(number):
            pass
        """,
    )

    main = run(counted, "-pno:xdist")["main"]

    assert len(backend.results()) == TESTS
    assert main["marker look-ups"] == TESTS
    assert main["appends"] <= 2 * TESTS + 1


def test_a_test_on_a_worker(counted: Suite, backend: Backend) -> None:
    counts = run(counted, "-n2")
    workers = [counts["gw0"], counts["gw1"]]

    assert len(backend.results()) == TESTS
    for each in workers:
        assert each.get("processes", 0) <= 1  # xdist's own: it asks uname about the machine
        assert each.get("marker look-ups", 0) == 0
        assert loaded(each, NOT_IN_A_SESSION) == set()
    assert sum(each["frames"] for each in workers) == TESTS
    assert sum(each["bytes"] for each in workers) < TESTS * 1000
    assert counts["main"]["processes"] == 3  # the workers and the courier
    assert loaded(counts["main"], NOT_IN_A_CONTROLLER) == set()


@pytest.mark.parametrize("workers", ["-pno:xdist", "-n2"])
def test_requests_are_for_batches_on_one_connection(workers: str, counted: Suite, backend: Backend) -> None:
    run(counted, workers)

    assert len(backend.seen) <= math.ceil(TESTS / 200) + 4
    assert len({seen.port for seen in backend.seen}) == 1


def test_steps_of_fixtures_that_are_not_wanted_have_no_hook(counted: Suite) -> None:
    counted.env["FAMACASE_FIXTURE_STEPS"] = "off"

    main = run(counted, "-pno:xdist")["main"]

    assert "famacase_xdist.recording.recorder" in main["modules"]
    assert "famacase_xdist.recording.fixture_steps" not in main["modules"]
