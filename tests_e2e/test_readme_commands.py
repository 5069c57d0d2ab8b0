"""Every command of the README, run in a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from harness.server import Backend
from harness.suites import Suite

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def environment(home: Path) -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("FAMACASE_", "QASE_", "PYTEST_", "TOX_", "VIRTUAL"))
    }
    # The README's python3 is the system's, not that of the environment that runs this test.
    path = [entry for entry in os.environ["PATH"].split(os.pathsep) if not (Path(entry) / "activate").exists()]
    return {**kept, "HOME": str(home), "PATH": os.pathsep.join(path)}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what is committed, with what is changed since on top."""
    directory = tmp_path_factory.mktemp("clone") / "famacase-xdist"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(directory)], check=True)
    for name in ("README.md", "pyproject.toml", "famacase_xdist", "examples"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    return directory


def command(start: str) -> str:
    """Return the one block that starts so."""
    (block,) = [block.strip() for block in BLOCKS if block.startswith(start)]
    return block


def test_every_block_is_run_by_a_test() -> None:
    starts = (
        "python3 -m venv .venv && .venv/bin/pip install -q '.[server]'",
        "cd examples/shop",
        "python3 -m venv .venv && .venv/bin/pip install -q tox",
        "export FAMACASE_MODE",
        "export FAMACASE_TESTOPS_RUN_ID",  # in test_recipes.py
        "famacase-xdist doctor",
    )
    assert [block for block in BLOCKS if not block.startswith(starts)] == []
    assert len(BLOCKS) == len(starts)


@pytest.mark.timeout(600)
def test_the_first_command_reports_the_shop_and_serve_shows_it(clone: Path, tmp_path: Path) -> None:
    demo = command("python3 -m venv .venv && .venv/bin/pip install -q '.[server]'")
    ran = subprocess.run(
        demo, shell=True, cwd=clone, env=environment(tmp_path), capture_output=True, text=True, timeout=500, check=False
    )

    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert re.search(r"3 failed, 33 passed, 1 skipped, 1 xfailed,.* 1 error", ran.stdout), ran.stdout
    assert "delivered 38 (1 blocked, 1 failed, 2 invalid, 32 passed, 2 skipped), undelivered 0" in ran.stdout
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert ".famacase" not in status.stdout

    serve = f"exec {command('cd examples/shop').partition(' && ')[2]}"
    server = subprocess.Popen(
        serve, shell=True, cwd=clone / "examples/shop", env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if "http://127.0.0.1:8484" in line:
                break
        page = requests.get("http://127.0.0.1:8484/runs/1", timeout=10)
        assert "Bücher" in page.text or "32" in page.text
        assert page.status_code == 200
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)


def test_the_settings_of_the_third_block_report(backend: Backend) -> None:
    """The variables are those that all tests of this directory use."""
    names = set(re.findall(r"export (FAMACASE_\w+)=", command("export FAMACASE_MODE")))

    assert names == set(backend.environment())


def test_the_doctor_says_that_all_is_well_where_it_is(suite: Suite, backend: Backend) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        command("famacase-xdist doctor"),
        shell=True,
        cwd=suite.path,
        env={**suite.environment(**backend.environment()), "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "ok: server: " in ran.stdout
    assert backend.token not in ran.stdout
