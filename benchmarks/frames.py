"""Frames as recorders send them, and readings of what a process takes."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from famacase_xdist.controller.events import Reported
from famacase_xdist.results.body import reference
from famacase_xdist.results.frames import AnyFrame, BegunHead, ContentHead, Frame, ResultHead, content_frames, digest_of
from famacase_xdist.results.text import to_json

PAGE = os.sysconf("SC_PAGESIZE")


def nodeid_of(number: int) -> str:
    """Return the node id of a test."""
    return f"tests/checkout/test_prices_{number % 97}.py::TestPrices::test_price_of_a_basket[{number}]"


def content_of(number: int, result_id: str) -> dict[str, Any]:
    """Make the RESULT of docs/reporter-api.md of a test with suites, fields, a parameter and two steps: some 1.5 kB."""
    now = time.time()
    execution = {"status": "passed", "start_time": now, "end_time": now, "duration": 12}
    steps = [
        {
            "id": str(uuid.uuid4()),
            "step_type": "text",
            "data": {"action": f"The customer puts article {each} into the basket", "expected_result": None},
            "execution": {**execution, "attachments": []},
            "steps": [],
            "attachments": [],
        }
        for each in range(2)
    ]
    suites = ("tests", "checkout", f"test_prices_{number % 97}.py", "TestPrices")
    return {
        "id": result_id,
        "title": "A basket's price is the sum of its articles",
        "signature": "::".join((*suites, "test_price_of_a_basket", f"{{number:{number}}}")),
        "testops_ids": [number],
        "execution": {**execution, "stacktrace": None, "thread": "gw0", "attempt_index": 1, "is_rerun": False},
        "fields": {"severity": "critical", "priority": "high", "layer": "api", "description": "As the shop has it."},
        "tags": ["checkout", "nightly"],
        "params": {"number": str(number)},
        "param_groups": [],
        "attachments": [],
        "steps": steps,
        "message": None,
        "muted": False,
        "ignore": False,
        "relations": {"suite": {"data": [{"title": title, "public_id": None} for title in suites]}},
    }


def result_frame(number: int, attached: bytes = b"") -> tuple[str, list[bytes]]:
    """Make a result's id, and the frames that a recorder sends for its test: attachment, if any, and result."""
    result_id, nodeid = str(uuid.uuid4()), nodeid_of(number)
    content = content_of(number, result_id)
    frames: list[AnyFrame] = []
    digests: tuple[str, ...] = ()
    if attached:
        digest = digest_of(attached, "image/png")
        head = ContentHead(digest, "page.png", "image/png", len(attached))
        frames += content_frames(head, attached)
        content["attachments"] = [{"id": reference(result_id, digest), "file_name": "page.png"}]
        digests = (digest,)
    frames.append(Frame(ResultHead(result_id, nodeid, "passed", 1, digests), to_json(content)))
    return result_id, [frame.encoded for frame in frames]


def begun_frame(number: int) -> bytes:
    """Make the frame that a recorder sends when a parametrized test begins."""
    description = content_of(number, str(uuid.uuid4()))
    return Frame(BegunHead(nodeid_of(number)), to_json(description)).encoded


def passed(worker: str, nodeid: str) -> Reported:
    """Make the event of pytest's reports of a test that passed."""
    reports = [
        pytest.TestReport(nodeid, ("t.py", 1, "t"), {}, "passed", None, when)  # type: ignore[arg-type]
        for when in ("setup", "call", "teardown")
    ]
    return Reported(worker, nodeid, reports)


def resident(pid: int | str = "self") -> float:
    """Return the memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def size_on_disk(directory: Path) -> float:
    """Return the MB of a directory's files."""
    sizes = 0
    for path in directory.rglob("*"):
        try:
            sizes += path.stat().st_size
        except OSError:  # it is gone
            continue
    return sizes / 1e6
