"""The journals of a session: each project has one, a disk that fails leads to the courier, and the books are true."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.couriers import FakeCourier
from harness.results import attachment, content, result

from famacase_xdist.controller.keeping import Journals
from famacase_xdist.controller.routing import OneProject, Routes, SeveralProjects
from famacase_xdist.errors import CourierError
from famacase_xdist.results.frames import PIECE_BYTES, AnyFrame, ContentHead, PieceHead, is_result
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.system import System

Open = Callable[..., Journals]


@pytest.fixture
def courier() -> FakeCourier:
    return FakeCourier()


@pytest.fixture
def open_(tmp_path: Path) -> Iterator[Open]:
    """A function that opens the journals of a session; of one project without an argument."""
    opened: list[Journals] = []

    def open_(routes: Routes | None = None) -> Journals:
        opened.append(Journals(StateDirectory(tmp_path), routes or OneProject("DEMO")))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def two_projects() -> Routes:
    return SeveralProjects(["ONE", "TWO"], "ONE")


def keep(journals: Journals, courier: FakeCourier, *frames: AnyFrame) -> None:
    journals.keep(frames, courier)  # type: ignore[arg-type]


def outbox_of(journals: Journals, code: str = "DEMO") -> Outbox:
    """Open the outbox of a project, as the courier does."""
    return Outbox(journals.state.outbox(journals.kept[code].session), beside_writer=True)


def on_disk(journals: Journals, code: str = "DEMO") -> int:
    """Return how many results the outbox of a project has."""
    with contextlib.closing(outbox_of(journals, code)) as outbox:
        return outbox.undelivered()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that lets each write to a file fail whose name has this text."""

    def full(name: str = "") -> None:
        write = System.write

        def fails(descriptor: int, content: Any) -> int:
            if name in os.readlink(f"/proc/self/fd/{descriptor}"):
                _no_space(descriptor, content)
            return write(descriptor, content)

        monkeypatch.setattr(System, "write", staticmethod(fails))

    return full


# On disk


def test_what_is_kept_is_on_disk_and_accepted(open_: Open, courier: FakeCourier) -> None:
    journals = open_()

    keep(journals, courier, result("test_a"), result("test_b", status="failed"))

    assert on_disk(journals) == 2
    assert journals.accepted == {"DEMO": Counter(passed=1, failed=1)}
    assert courier.frames == {}
    assert journals.kept["DEMO"].trouble == ""


def test_each_project_has_a_journal_of_its_own(open_: Open, courier: FakeCourier) -> None:
    journals = open_(two_projects())

    keep(journals, courier, result("test_a"), result("test_b", projects={"ONE": [1], "TWO": [2]}))

    assert (on_disk(journals, "ONE"), on_disk(journals, "TWO")) == (2, 1)
    assert journals.accepted == {"ONE": Counter(passed=2), "TWO": Counter(passed=1)}
    assert journals.kept["ONE"].session != journals.kept["TWO"].session


def test_problems_are_those_of_the_routes(open_: Open, courier: FakeCourier) -> None:
    journals = open_(two_projects())
    keep(journals, courier, result(projects={"GONE": [1]}))

    assert list(journals.problems()) == ["1 results name project GONE, which is not in testops_multi"]


# A disk that fails


def test_what_a_full_disk_does_not_take_goes_to_the_courier(
    open_: Open, courier: FakeCourier, full: Callable[..., None]
) -> None:
    journals = open_()
    keep(journals, courier, result("test_a"))
    full("journal")

    keep(journals, courier, result("test_b"), result("test_c"))
    keep(journals, courier, result("test_d"))

    assert [each.head.nodeid for each in courier.frames["DEMO"] if is_result(each)] == [
        f"t.py::test_{name}" for name in "bcd"
    ]
    assert all("No space left on device" in reason for reason in courier.reasons)
    assert on_disk(journals) == 1
    assert journals.accepted == {"DEMO": Counter(passed=4)}
    assert journals.lost == 0


def test_what_came_after_a_failure_goes_the_same_way_though_the_disk_is_well_again(
    open_: Open, courier: FakeCourier
) -> None:
    """An attempt on disk must not overtake an earlier one that is in memory."""
    journals = open_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(System, "write", staticmethod(_no_space))
        keep(journals, courier, result("test_a"))

    keep(journals, courier, result("test_b"))

    assert len(courier.frames["DEMO"]) == 2
    assert on_disk(journals) == 0


def _no_space(descriptor: int, content: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_content_that_had_begun_goes_to_the_courier_as_a_whole(
    open_: Open, courier: FakeCourier, full: Callable[..., None]
) -> None:
    journals = open_()
    frames = content("d" * 64, [b"a" * PIECE_BYTES, b"b" * PIECE_BYTES, b"c"])
    keep(journals, courier, *frames[:2])
    full("contents")

    keep(journals, courier, *frames[2:], result("test_a"))

    handed = courier.frames["DEMO"]
    pieces = {each.head.number: each.body for each in handed if isinstance(each.head, PieceHead)}
    assert b"".join(pieces[number] for number in sorted(pieces)) == b"a" * PIECE_BYTES + b"b" * PIECE_BYTES + b"c"
    assert [type(each.head) for each in handed][-2:] == [ContentHead, type(result().head)]
    assert not list(journals.state.outbox(journals.kept["DEMO"].session).contents.iterdir())


def test_a_directory_that_cannot_be_made_is_told_at_once(courier: FakeCourier) -> None:
    journals = Journals(StateDirectory(Path("/proc/none")), OneProject("DEMO"))

    assert "/proc/none" in journals.kept["DEMO"].trouble
    keep(journals, courier, result("test_a"))

    assert len(courier.frames["DEMO"]) == 1
    assert journals.accepted == {"DEMO": Counter(passed=1)}
    journals.close()
    journals.discard()


def test_without_disk_and_courier_results_are_lost_and_counted(
    open_: Open, courier: FakeCourier, full: Callable[..., None]
) -> None:
    journals = open_()
    full("journal")
    courier.is_gone = True

    with pytest.raises(CourierError, match="No space left on device"):
        keep(journals, courier, *attachment(b"abc")[1], result("test_a"), result("test_b"))

    assert journals.lost == 2
    assert journals.accepted == {"DEMO": Counter()}


def test_an_outbox_that_fails_keeps_nothing_from_the_others(
    open_: Open, courier: FakeCourier, full: Callable[..., None]
) -> None:
    journals = open_(two_projects())
    full(f"{journals.kept['ONE'].session}/")
    courier.is_gone = True

    with pytest.raises(CourierError):
        keep(journals, courier, result("test_a", projects={"ONE": [1], "TWO": [3]}), result("test_b"))

    assert (on_disk(journals, "ONE"), on_disk(journals, "TWO")) == (0, 1)
    assert journals.lost == 2
    assert journals.accepted == {"ONE": Counter(), "TWO": Counter(passed=1)}


# The books, where the courier cannot tell them


def test_what_is_left_in_the_outbox_is_undelivered(open_: Open, courier: FakeCourier) -> None:
    journals = open_()
    keep(journals, courier, *(result(f"test_{number}") for number in range(3)), result("test_f", status="failed"))
    with contextlib.closing(outbox_of(journals)) as outbox:
        outbox.acknowledge(outbox.take(2, 10**9))

    outcome = journals.counted("the courier has ended")

    assert (outcome.delivered, outcome.undelivered) == (Counter(passed=2), 2)
    assert outcome.causes == Counter({"the courier has ended": 2})
    assert outcome.problems == ("the courier has ended",)
    assert [path.name for path in outcome.outboxes] == [journals.kept["DEMO"].session]


def test_an_outbox_that_is_gone_was_delivered(open_: Open, courier: FakeCourier) -> None:
    """Nobody deletes an outbox as long as something is left in it."""
    journals = open_()
    keep(journals, courier, result("test_a"))
    outbox = outbox_of(journals)
    outbox.acknowledge(outbox.take(9, 10**9))
    outbox.close(delete=True)

    outcome = journals.counted("the courier has ended")

    assert (outcome.delivered, outcome.undelivered) == (Counter(passed=1), 0)
    assert (outcome.causes, outcome.outboxes) == (Counter(), ())


def test_what_only_the_courier_had_is_undelivered(open_: Open, courier: FakeCourier, full: Callable[..., None]) -> None:
    journals = open_()
    keep(journals, courier, result("test_a"))
    full("journal")
    keep(journals, courier, result("test_b"), result("test_c"))
    with contextlib.closing(outbox_of(journals)) as outbox:
        outbox.acknowledge(outbox.take(9, 10**9))

    outcome = journals.counted("the courier has ended")

    assert (outcome.delivered, outcome.undelivered) == (Counter(passed=1), 2)


def test_where_there_was_never_a_disk_nothing_is_known_to_be_delivered(courier: FakeCourier) -> None:
    journals = Journals(StateDirectory(Path("/proc/none")), OneProject("DEMO"))
    keep(journals, courier, result("test_a"))

    outcome = journals.counted("the courier has ended")

    assert (outcome.delivered, outcome.undelivered, outcome.outboxes) == (Counter(), 1, ())


def test_an_outbox_that_another_process_reads_is_not_counted_as_delivered(open_: Open, courier: FakeCourier) -> None:
    journals = open_()
    keep(journals, courier, result("test_a"))
    reader = outbox_of(journals)

    outcome = journals.counted("the courier has ended")

    assert (outcome.delivered, outcome.undelivered) == (Counter(), 1)
    reader.close()


def test_what_cannot_be_read_is_not_counted_as_delivered(open_: Open, courier: FakeCourier) -> None:
    journals = open_()
    keep(journals, courier, result("test_a"))
    keep(journals, courier, result("test_b"))
    segment = Path(journals.state.outbox(journals.kept["DEMO"].session).segment(1))
    spoiled = bytearray(segment.read_bytes())
    spoiled[20] ^= 255
    segment.write_bytes(spoiled)

    outcome = journals.counted("the courier has ended")

    assert (outcome.delivered, outcome.undelivered) == (Counter(), 2)


# The end


def test_what_is_discarded_leaves_nothing(open_: Open, courier: FakeCourier, tmp_path: Path) -> None:
    journals = open_(two_projects())
    outbox_of(journals, "TWO").close()

    journals.discard()
    journals.discard()

    assert list(tmp_path.glob("outbox/*")) == []


def test_what_is_closed_stays_where_it_is(open_: Open, courier: FakeCourier) -> None:
    journals = open_()
    keep(journals, courier, result("test_a"))

    journals.close()
    journals.close()

    with contextlib.closing(Outbox(journals.state.outbox(journals.kept["DEMO"].session))) as outbox:
        assert outbox.undelivered() == 1


def test_a_session_without_results_leaves_nothing(open_: Open, tmp_path: Path) -> None:
    open_().close()

    assert list(tmp_path.glob("outbox/*")) == []
