"""What an outbox knows of its session: facts, and which tests run."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.outboxes import begun, files_at, result

from famacase_xdist.results.frames import AnyFrame, BegunHead, Frame, Head, IgnoredHead, ResultHead
from famacase_xdist.state.outbox import Outbox


def test_facts_of_the_session_outlive_it(path: Path) -> None:
    first = Outbox(files_at(path))
    first.remember(host="https://a", run_id=None)
    first.remember(run_id=7, tags=["a"])
    first.close()

    second = Outbox(files_at(path))
    assert second.session() == {"host": "https://a", "run_id": 7, "tags": ["a"]}
    second.close()


BEGUN = {
    "begins": ([begun("a")], {"a": b""}),
    "described": ([begun("a"), begun("a", b"{}")], {"a": b"{}"}),
    "described-first": ([begun("a", b"{}"), begun("a")], {"a": b"{}"}),
    "ends": ([begun("t.py::test_1", b"{}"), result(1)], {}),
    "ignored": ([begun("a"), Frame(IgnoredHead("a"))], {}),
    "runs-again": ([begun("t.py::test_1", b"1"), result(1), begun("t.py::test_1", b"2")], {"t.py::test_1": b"2"}),
    "runs-again-undescribed": ([begun("t.py::test_1", b"1"), result(1), begun("t.py::test_1")], {"t.py::test_1": b""}),
}


@pytest.mark.parametrize("at_once", [True, False], ids=["one-batch", "one-by-one"])
@pytest.mark.parametrize(("frames", "left"), BEGUN.values(), ids=BEGUN)
def test_what_runs_is_what_began_and_did_not_end(
    frames: list[AnyFrame], left: dict[str, bytes], at_once: bool, outbox: Outbox
) -> None:
    for batch in [frames] if at_once else [[frame] for frame in frames]:
        outbox.put(batch)

    assert dict(outbox.running()) == left


@pytest.mark.parametrize("head", [BegunHead("test_\udcff.py"), ResultHead("i", "test_\udcff.py", "passed")])
def test_a_file_name_that_is_not_utf_8_does_not_end_the_session(head: Head, outbox: Outbox) -> None:
    outbox.put([Frame(head, b"{}")])

    assert outbox.undelivered() + len(outbox.running()) == 1
