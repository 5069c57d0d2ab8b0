"""What an outbox knows of its session: facts, and which tests run."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.outboxes import files_at
from harness.results import begun, numbered, opaque

from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead
from famacase_xdist.state.outbox import Outbox


def test_facts_of_the_session_outlive_it(path: Path) -> None:
    first = Outbox(files_at(path))
    first.remember(host="https://a", run_id=None)
    first.remember(run_id=7, tags=["a"])
    first.close()

    second = Outbox(files_at(path))
    assert second.session() == {"host": "https://a", "run_id": 7, "tags": ["a"]}
    second.close()


TEST = "t.py::test_1"
BEGUN = {
    "begins": ([begun("a")], {"a": b""}),
    "described": ([begun("a"), begun("a", b"{}")], {"a": b"{}"}),
    "described-first": ([begun("a", b"{}"), begun("a")], {"a": b"{}"}),
    "ends": ([begun(TEST, b"{}"), numbered(1)], {}),
    "ignored": ([begun("a"), Frame(IgnoredHead("a"))], {}),
    "runs-again": ([begun(TEST, b"1"), numbered(1), begun(TEST, b"2")], {TEST: b"2"}),
    "runs-again-undescribed": (
        [begun(TEST, b"1"), numbered(1), begun(TEST)],
        {TEST: b""},
    ),
}


@pytest.mark.parametrize("at_once", [True, False], ids=["one-batch", "one-by-one"])
@pytest.mark.parametrize(("frames", "left"), BEGUN.values(), ids=BEGUN)
def test_what_runs_is_what_began_and_did_not_end(
    frames: list[AnyFrame], left: dict[str, bytes], at_once: bool, outbox: Outbox
) -> None:
    for batch in [frames] if at_once else [[frame] for frame in frames]:
        outbox.put(batch)

    assert dict(outbox.running()) == left


@pytest.mark.parametrize("frame", [begun("test_\udcff.py"), opaque(b"{}", "test_\udcff.py")])
def test_a_file_name_that_is_not_utf_8_does_not_end_the_session(frame: AnyFrame, outbox: Outbox) -> None:
    outbox.put([frame])

    assert outbox.undelivered() + len(outbox.running()) == 1
