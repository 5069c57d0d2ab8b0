"""Playwright's artifacts are attached to the attempt that they were kept for. Needs Debian's chromium, and no network.

Playwright records videos with an ffmpeg of its own, which it downloads; here the test writes that file itself.
"""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Suite

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

CONFTEST = f"""
    import pytest

    @pytest.fixture(scope="session")
    def browser_type_launch_args(browser_type_launch_args):
        args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        return {{**browser_type_launch_args, "executable_path": {CHROMIUM!r}, "args": args}}

    @pytest.fixture(scope="session")
    def browser_context_args(browser_context_args):
        return {{name: value for name, value in browser_context_args.items() if name != "record_video_dir"}}
"""
ONE_DIRECTORY_FOR_ALL_ATTEMPTS = """
    @pytest.fixture
    def output_path(request):  # as pytest-playwright had it before it knew of reruns
        return f"kept/{request.node.name}"
"""
TESTS = """
    from pathlib import Path

    import pytest

    ATTEMPTS = []

    @pytest.fixture
    def video(output_path):
        Path(output_path).mkdir(parents=True)
        Path(output_path, "video.webm").write_text("a film")

    def test_passes(page):
        page.set_content("<p>fine</p>")

    @pytest.mark.parametrize("word", ["web-shop"])
    def test_fails(page, word, video):
        page.set_content("<p>broken</p>")
        assert word == "nothing"

    @pytest.mark.flaky(reruns=1)
    def test_flaky(page):
        page.set_content("<p>flaky</p>")
        ATTEMPTS.append(page)
        assert len(ATTEMPTS) == 2

    def test_without_page(tmp_path):
        assert False
"""


@pytest.fixture
def shop(suite: Suite, backend: Backend) -> Suite:
    assert CHROMIUM, "this test needs Chromium: apt-get install chromium"
    suite.plugins = ("playwright",)
    suite.write("conftest.py", CONFTEST)
    suite.write("tests/test_shop.py", TESTS)
    suite.env.update(backend.environment())
    return suite


def attached(backend: Backend) -> dict[tuple[str, int], list[str]]:
    return {
        (result["title"], result["execution"]["attempt_index"]): sorted(map(name_of, result["attachments"]))
        for result in backend.results()
    }


def name_of(attachment: dict[str, Any]) -> str:
    name: str = attachment["file_name"]
    return name


@pytest.mark.parametrize("args", [("-pno:xdist",), ("-n2",)], ids=["no-xdist", "n2"])
def test_what_is_kept_of_a_failure_is_attached_to_its_attempt(
    args: tuple[str, ...], shop: Suite, backend: Backend
) -> None:
    ran = shop.run(
        *args,
        "--tracing=retain-on-failure",
        "--video=retain-on-failure",
        "--screenshot=only-on-failure",
        "--output=kept",
    )

    assert attached(backend) == {
        ("test_passes", 1): [],
        ("test_fails", 1): ["test-failed-1.png", "trace.zip", "video.webm"],
        ("test_flaky", 1): ["test-failed-1.png", "trace.zip"],
        ("test_flaky", 2): [],
        ("test_without_page", 1): [],
    }, ran.text
    contents = {
        name_of(entry): content_of(entry, backend) for result in backend.results() for entry in result["attachments"]
    }
    assert contents["video.webm"] == b"a film"
    assert contents["trace.zip"].startswith(b"PK")
    assert contents["test-failed-1.png"].startswith(b"\x89PNG")


def content_of(entry: dict[str, Any], backend: Backend) -> bytes:
    file = backend.store.attachment(entry["id"])
    assert file is not None
    return file.content


def test_what_was_kept_of_an_earlier_attempt_is_not_attached_again(shop: Suite, backend: Backend) -> None:
    shop.write("conftest.py", CONFTEST + ONE_DIRECTORY_FOR_ALL_ATTEMPTS)

    ran = shop.run("-n1", "--tracing=retain-on-failure", "-k", "flaky")

    assert attached(backend) == {("test_flaky", 1): ["trace.zip"], ("test_flaky", 2): []}, ran.text
    assert "kept/test_flaky[chromium]/trace.zip" in shop.files()


def test_what_is_always_kept_is_attached_always(shop: Suite, backend: Backend) -> None:
    ran = shop.run("-n2", "--tracing=on", "-k", "passes or fails")

    assert attached(backend) == {("test_passes", 1): ["trace.zip"], ("test_fails", 1): ["trace.zip"]}, ran.text
