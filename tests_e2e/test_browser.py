"""The run page in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from harness.server import Backend
from harness.suites import Suite

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
)


def dom(url: str, profile: Path) -> str:
    """Return the page as Chromium understood it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "this test needs Chromium: apt-get install chromium"
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout


def test_the_run_page_shows_results_and_runs_no_script(suite: Suite, backend: Backend, tmp_path: Path) -> None:
    suite.write(
        "test_it.py",
        """
        from qase.pytest import qase

        @qase.title("<script>document.title = 'owned'</script> & co")
        def test_hostile():
            with qase.step("open <b>cart</b>"):
                assert 0, "<img src=x onerror=document.title='owned'>"
        """,
    )
    suite.run("-n0", **backend.environment())

    page = dom(f"{backend.url}/runs/1", tmp_path / "profile")

    assert "<title>owned" not in page
    assert "&lt;script&gt;" in page
    assert "open &lt;b&gt;cart&lt;/b&gt;" in page
    assert "failed" in page
