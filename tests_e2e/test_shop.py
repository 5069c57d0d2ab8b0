"""The example suite is reported as its expectation table says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Suite

SHOP = Path(__file__).parents[1] / "examples" / "shop"
EXPECTED = json.loads((SHOP / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def shop(suite: Suite, backend: Backend) -> Suite:
    shutil.copytree(SHOP, suite.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".famacase", "__pycache__"))
    suite.env.update(backend.environment())
    return suite


def names(attachments: list[dict[str, str]]) -> list[str]:
    return [entry["file_name"] for entry in attachments]


def outline(step: dict[str, Any]) -> list[Any]:
    return [
        step["data"]["action"],
        step["execution"]["status"],
        [outline(child) for child in step["steps"]],
        names(step["attachments"]),
    ]


def entry(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": result["title"],
        "status": result["execution"]["status"],
        "suite": [suite["title"] for suite in result["relations"]["suite"]["data"]],
        "testops_ids": result["testops_ids"],
        "params": result["params"],
        "attachments": names(result["attachments"]),
        "steps": [outline(step) for step in result["steps"]],
    }


def test_the_shop_is_reported_as_expected(mode: tuple[str, ...], shop: Suite, backend: Backend) -> None:
    ran = shop.run(*mode)

    assert ran.status == 1, ran.text
    assert {result["signature"]: entry(result) for result in backend.results()} == EXPECTED
    assert len(backend.results()) == len(EXPECTED)
