"""An environment without pytest-xdist: the plugin neither imports nor misses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness.server import Backend
from harness.suites import Suite

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A fresh virtual environment from which pytest-xdist and execnet are removed."""
    directory = tmp_path_factory.mktemp("without-xdist")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    interpreter = str(directory / "bin" / "python")
    subprocess.run([interpreter, "-m", "pip", "install", "-q", str(ROOT)], check=True)
    subprocess.run([interpreter, "-m", "pip", "uninstall", "-q", "-y", "pytest-xdist", "execnet"], check=True)
    return interpreter


@pytest.mark.timeout(300)
def test_results_arrive_without_xdist(python: str, suite: Suite, backend: Backend) -> None:
    suite.python = python
    suite.write("test_it.py", "def test_one():\n    pass\n\ndef test_two():\n    assert 0\n")

    ran = suite.run(**backend.environment())

    assert ran.status == 1, ran.text
    assert "xdist-" not in ran.stdout.partition("plugins:")[2].partition("\n")[0].replace("famacase-xdist", "")
    assert backend.titles() == ["test_one", "test_two"]
    assert {result["execution"]["thread"] for result in backend.results()} == {"main"}
    assert [run.status for run in backend.store.runs()] == ["completed"]
