"""What an outbox knows of its session: facts, which tests run, and how many results it had."""

from __future__ import annotations

from typing import Any

import pytest
from harness.outboxes import Ends, ids, take_all
from harness.results import begun, numbered, opaque

from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead
from famacase_xdist.state.outbox import Outbox


def test_facts_of_the_session_outlive_it(ends: Ends) -> None:
    facts: Any = ends.outbox.remember
    facts(host="https://a", run_id=None)
    facts(run_id=7, request={"tags": ["a\udcff"]})

    for outbox in (ends.outbox, ends.end()):
        assert outbox.session() == {"host": "https://a", "run_id": 7, "request": {"tags": ["a\ufffd"]}}
        outbox.close()


def test_facts_of_a_session_in_memory_are_known() -> None:
    outbox = Outbox(None)
    outbox.remember(host="https://a", pid=7)

    assert outbox.session() == {"host": "https://a", "pid": 7}
    outbox.close(delete=True)


TEST = "t.py::test_1"
BEGUN: dict[str, tuple[list[AnyFrame], dict[str, bytes]]] = {
    "begins": ([begun("a")], {"a": b""}),
    "described": ([begun("a"), begun("a", b"{}")], {"a": b"{}"}),
    "described-first": ([begun("a", b"{}"), begun("a")], {"a": b"{}"}),
    "ends": ([begun(TEST, b"{}"), numbered(1)], {}),
    "ends-without-beginning": ([numbered(1)], {}),
    "ignored": ([begun("a"), Frame(IgnoredHead("a"))], {}),
    "runs-again": ([begun(TEST, b"1"), numbered(1), begun(TEST, b"2")], {TEST: b"2"}),
    "runs-again-undescribed": ([begun(TEST, b"1"), numbered(1), begun(TEST)], {TEST: b""}),
}


@pytest.mark.parametrize("way", ["at-once", "one-by-one", "in-segments", "in-memory"])
@pytest.mark.parametrize(("frames", "left"), BEGUN.values(), ids=BEGUN)
def test_what_runs_is_what_began_and_did_not_end(
    frames: list[AnyFrame], left: dict[str, bytes], way: str, ends: Ends, request: pytest.FixtureRequest
) -> None:
    if way == "in-segments":
        request.getfixturevalue("short_segments")
    for batch in [frames] if way == "at-once" else [[frame] for frame in frames]:
        if way == "in-memory":
            ends.outbox.accept(batch, "full")
        else:
            ends.put(*batch)
    assert dict(ends.outbox.running()) == left
    assert ends.outbox.left() == len(left) + ends.outbox.undelivered()

    ends.outbox.acknowledge(take_all(ends.outbox))

    if way != "in-memory":
        again = ends.end()
        assert dict(again.running()) == left
        assert again.left() == len(left)
        again.close()


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("end", [numbered(1), Frame(IgnoredHead(TEST))], ids=["result", "ignored"])
def test_a_test_that_ended_in_a_segment_that_is_gone_does_not_run_again(end: AnyFrame, ends: Ends) -> None:
    ends.put(begun(TEST), begun("a"))
    ends.put(begun(TEST, b"described"))
    ends.put(end)
    ends.put(begun("b"))
    ends.outbox.acknowledge(take_all(ends.outbox))
    assert ends.files.segments() == [1, 4]

    again = ends.end()

    assert [nodeid for nodeid, _ in again.running()] == ["a", "b"]
    again.close()


@pytest.mark.usefixtures("short_segments")
def test_a_test_that_runs_again_after_it_ended_elsewhere_is_running(ends: Ends) -> None:
    for frame in (begun(TEST, b"1"), numbered(1), begun(TEST, b"2")):
        ends.put(frame)

    again = ends.end()

    assert again.running() == [(TEST, b"2")]
    again.close()


@pytest.mark.usefixtures("short_segments")
def test_a_segment_is_kept_while_a_test_that_began_in_it_runs(ends: Ends) -> None:
    ends.put(begun("a", b"{}"))
    ends.put(numbered(1))
    ends.outbox.acknowledge(take_all(ends.outbox))
    ends.put(numbered(2))
    assert ends.files.segments() == [1, 3]

    ends.put(Frame(IgnoredHead("a")))

    assert ends.files.segments() == [3, 4]


@pytest.mark.parametrize("is_acknowledged", [True, False])
def test_a_test_that_ended_in_memory_has_ended_for_a_resend_if_its_result_was_delivered(
    is_acknowledged: bool, ends: Ends
) -> None:
    ends.journal.append([begun(TEST, b"{}")])
    ends.outbox.accept([numbered(1)], "full")
    assert ends.outbox.running() == []
    if is_acknowledged:
        ends.outbox.acknowledge(take_all(ends.outbox))

    again = ends.end()

    assert again.running() == ([] if is_acknowledged else [(TEST, b"{}")])
    again.close()


def test_a_test_that_is_ignored_in_memory_has_ended_for_a_resend(ends: Ends) -> None:
    ends.put(begun("a"))
    ends.outbox.accept([Frame(IgnoredHead("a"))], "full")

    again = ends.end()

    assert again.running() == []
    again.close()


@pytest.mark.parametrize("frame", [begun("test_\udcff.py"), opaque(b"{}", "test_\udcff.py")], ids=["begun", "result"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_name_that_is_not_utf_8_does_not_end_the_session(frame: AnyFrame, in_memory: bool, ends: Ends) -> None:
    if in_memory:
        ends.outbox.accept([frame], "full")
    else:
        ends.put(frame)
    assert ends.outbox.left() == 1

    for each in take_all(ends.outbox):
        ends.outbox.refuse(each, "no")
        assert ends.outbox.refused() == [("test_\ufffd.py", "no")]
    ends.put(Frame(IgnoredHead("test_\udcff.py")))

    assert ends.outbox.running() == []


@pytest.mark.usefixtures("short_segments")
def test_results_that_were_found_are_counted_for_good(ends: Ends) -> None:
    for number in range(5):
        ends.put(numbered(number))
    ends.outbox.acknowledge(ends.outbox.take(3, 1000))
    assert (ends.outbox.seen, ends.files.segments()) == (5, [4, 5])

    again = ends.end()

    assert (again.seen, again.undelivered(), ids(take_all(again))) == (5, 2, ["id-3", "id-4"])
    again.close()
