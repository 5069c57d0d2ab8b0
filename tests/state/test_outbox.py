"""The outbox: what was accepted stays until the server has it, whoever dies in between."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from harness.outboxes import files_at
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    ContentHead,
    Frame,
    Head,
    IgnoredHead,
    PieceHead,
    ResultFrame,
    ResultHead,
    digest_of,
)
from famacase_xdist.state.outbox import Outbox

ONE = "1" * 64
HUGE = b"x" * 400_000


def result(number: int, body: bytes = b"{}", *contents: str) -> AnyFrame:
    """Make the frame of a result."""
    return Frame(ResultHead(f"id-{number}", f"t.py::test_{number}", "passed", contents=contents), body)


def content(digest: str, body: bytes, pieces: int = 2) -> list[AnyFrame]:
    """Make the frames of an attachment."""
    size = -(-len(body) // pieces)
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    frames: list[AnyFrame] = [Frame(PieceHead(digest, at), part) for at, part in enumerate(parts)]
    return [*frames, Frame(ContentHead(digest, "a.txt", "text/plain", len(body)))]


def begun(nodeid: str, body: bytes = b"") -> AnyFrame:
    """Make the frame of a test that begins."""
    return Frame(BegunHead(nodeid), body)


def ids(batch: list[ResultFrame]) -> list[str]:
    """Give the ids of a batch."""
    return [each.head.id for each in batch]


def lease_all(outbox: Outbox) -> list[ResultFrame]:
    """Lease all that nobody has leased."""
    return outbox.lease(1_000_000, 1_000_000_000)


def content_of(outbox: Outbox, digest: str) -> bytes:
    """Give all pieces of a content, joined."""
    pieces: list[bytes] = []
    while (piece := outbox.piece(digest, len(pieces))) is not None:
        pieces.append(piece)
    return b"".join(pieces)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox" / "session.sqlite3"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    opened = Outbox(files_at(path))
    yield opened
    opened.close()


class Child:
    """A process of its own that runs code, says "ready", and waits to be told to go on."""

    def __init__(self, code: str, *args: object) -> None:
        prelude = (
            "import os, sys\nfrom pathlib import Path\nfrom famacase_xdist.results.frames import Frame, ResultHead\n"
        )
        prelude += "from famacase_xdist.errors import OutboxError\nfrom famacase_xdist.state.outbox import Outbox\n"
        prelude += "from famacase_xdist.state.directory import StateDirectory\n"
        prelude += "def files_at(path):\n    return StateDirectory(path.parent.parent).outbox(path.stem)\n"
        prelude += "def result(number):\n    return Frame(ResultHead(f'id-{number}', 't', 'passed'), b'{}')\n"
        prelude += "def ready():\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Wait for what it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it at once, as the kernel does."""
        self.process.kill()
        self.process.communicate(timeout=10)

    def close(self) -> None:
        """End it if it lives, and let go of its pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def finish(self) -> int:
        """Let it go on, and wait until it has ended."""
        self.process.communicate("\n", timeout=20)
        return self.process.returncode


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(code: str, *args: object) -> Child:
        children.append(Child(code, *args))
        return children[-1]

    yield start
    for each in children:
        each.close()


HOLDING = """
    outbox = Outbox(files_at(Path(sys.argv[1])))
    for number in range(50):
        outbox.put([result(number)])
    ready()
"""


def steps_of(outbox: Outbox, work: Callable[[], object]) -> int:
    """Count what SQLite does to do some work: more rows looked at, more steps."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    outbox._db.set_progress_handler(count, 1)
    work()
    outbox._db.set_progress_handler(None, 1)
    return steps


# Leases


def test_results_are_leased_in_the_order_they_were_put(outbox: Outbox) -> None:
    outbox.put([result(2), result(1)])
    outbox.put([result(3)])

    assert ids(lease_all(outbox)) == ["id-2", "id-1", "id-3"]


def test_a_leased_result_has_head_and_body_as_they_were_put(outbox: Outbox) -> None:
    frame = result(1, b'{"id":"x"}', ONE)
    outbox.put([frame])

    assert lease_all(outbox) == [frame]


def test_a_batch_has_no_more_results_than_asked_for(outbox: Outbox) -> None:
    outbox.put([result(number) for number in range(5)])

    assert [len(outbox.lease(2, 1000)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_batch_has_no_more_bytes_than_asked_for(outbox: Outbox) -> None:
    outbox.put([result(number, b"x" * 10) for number in range(3)])

    assert [len(outbox.lease(10, 20)) for _ in range(3)] == [2, 1, 0]


def test_a_result_that_is_larger_than_a_batch_goes_alone(outbox: Outbox) -> None:
    outbox.put([result(1, b"x" * 100), result(2)])

    assert [ids(outbox.lease(10, 20)) for _ in range(2)] == [["id-1"], ["id-2"]]


# Refusals


def test_a_refused_result_is_kept_and_counted_by_the_servers_words(outbox: Outbox) -> None:
    outbox.put([result(number) for number in range(3)])
    batch = lease_all(outbox)

    for queued, words in zip(batch, ("no", "no", "bad"), strict=True):
        outbox.refuse(queued, words)

    assert outbox.refusals() == {"no": 2, "bad": 1}
    assert outbox.undelivered() == 3


def test_what_is_forgiven_is_leased_again_in_its_place(outbox: Outbox) -> None:
    outbox.put([result(number) for number in range(3)])
    (refused,) = outbox.lease(1, 1000)
    outbox.refuse(refused, "no")
    outbox.release(outbox.lease(1, 1000))

    outbox.forgive()

    assert ids(lease_all(outbox)) == ["id-0", "id-1", "id-2"]


def refuse_all(outbox: Outbox, first: int, results: int) -> None:
    """Put results, all of which the server refuses, as a sender does with one batch after the other."""
    for start in range(first, first + results, 100):
        outbox.put([result(number) for number in range(start, start + 100)])
        for each in outbox.lease(100, 1_000_000):
            outbox.refuse(each, "no")


def test_a_lease_costs_as_much_however_many_results_were_refused_before(outbox: Outbox) -> None:
    costs = []
    for first in (0, 100, 2100):
        refuse_all(outbox, first, 100 if first < 2000 else 2000)
        outbox.put([result(9000 + first)])
        costs.append(steps_of(outbox, lambda: outbox.acknowledge(outbox.lease(100, 1_000_000))))

    assert costs[2] <= costs[1]


def test_the_other_costs_are_the_same_however_many_results_wait(outbox: Outbox) -> None:
    costs = []
    for first, results in ((0, 200), (200, 5000)):
        outbox.put([result(number) for number in range(first, first + results)])
        outbox.undelivered()  # which moves them from the tail
        costs.append(
            [
                steps_of(outbox, lambda: outbox.acknowledge(outbox.lease(100, 1_000_000))),
                steps_of(outbox, outbox.undelivered),
                steps_of(outbox, lambda number=first: outbox.put([result(9000 + number)])),
            ]
        )

    assert costs[1] == costs[0]


def test_a_refused_content_is_named_with_the_servers_words(outbox: Outbox) -> None:
    outbox.put(content(ONE, b"abc"))

    outbox.refuse_content(ONE, "HTTP 415: no")

    assert outbox.content_refusals([ONE]) == ["a.txt: HTTP 415: no"]
    assert outbox.content(ONE) is None


def test_a_refused_content_is_forgiven_with_all_its_pieces(outbox: Outbox) -> None:
    outbox.put(content(ONE, b"abc"))
    outbox.refuse_content(ONE, "no")

    outbox.forgive()

    assert outbox.content(ONE) == ContentHead(ONE, "a.txt", "text/plain", 3)
    assert content_of(outbox, ONE) == b"abc"


# Contents


def test_content_of_which_the_end_has_not_come_is_none_to_upload(outbox: Outbox) -> None:
    outbox.put(content(ONE, b"abcd")[:-1])

    assert outbox.content(ONE) is None


def test_equal_content_of_a_second_worker_is_kept_once(outbox: Outbox) -> None:
    frames = content(ONE, b"abcd")
    for frame in (frame for pair in zip(frames, frames, strict=True) for frame in pair):
        outbox.put([frame])

    assert content_of(outbox, ONE) == b"abcd"


def test_content_that_is_uploaded_leaves_its_id_and_no_bytes(outbox: Outbox) -> None:
    outbox.put(content(ONE, b"abcd"))

    outbox.uploaded(ONE, "remote")

    assert outbox.remote_ids([ONE, "2" * 64]) == {ONE: "remote"}
    assert (outbox.content(ONE), content_of(outbox, ONE)) == (None, b"")


def test_content_that_comes_again_after_its_upload_takes_no_room(outbox: Outbox) -> None:
    outbox.put(content(ONE, b"abcd"))
    outbox.uploaded(ONE, "remote")

    outbox.put(content(ONE, b"abcd"))

    assert content_of(outbox, ONE) == b""


@pytest.mark.parametrize("remote_id", [7, "seven", None], ids=type)
def test_the_servers_id_of_a_content_keeps_its_type(remote_id: object, outbox: Outbox) -> None:
    outbox.put(content(ONE, b"abcd"))

    outbox.uploaded(ONE, remote_id)

    assert outbox.remote_ids([ONE]) == {ONE: remote_id}


# The session


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


# The file


def test_file_and_directory_are_the_users_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        outbox = Outbox(files_at(path))
        outbox.put([result(1)])
    finally:
        os.umask(before)

    files = (path, path.with_name(f"{path.name}-wal"))
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    outbox.close()


def test_a_second_process_is_refused_while_the_first_one_lives(path: Path, child: Callable[..., Child]) -> None:
    assert child(HOLDING, path).line() == "ready"

    with pytest.raises(OutboxError, match="locked"):
        Outbox(files_at(path))


def test_what_a_killed_process_committed_is_there_for_the_next(path: Path, child: Callable[..., Child]) -> None:
    first = child(HOLDING, path)
    assert first.line() == "ready"
    first.kill()

    outbox = Outbox(files_at(path))
    assert ids(lease_all(outbox)) == [f"id-{number}" for number in range(50)]
    outbox.close()


OTHER = """
    try:
        Outbox(files_at(Path(sys.argv[1]))).close()
        print("opened")
    except OutboxError:
        print("refused")
"""


def test_a_second_opener_in_the_same_process_is_refused(path: Path, outbox: Outbox) -> None:
    with pytest.raises(OutboxError, match="locked"):
        Outbox(files_at(path))


def test_a_refused_opener_in_the_same_process_does_not_unlock_the_file_for_others(
    path: Path, outbox: Outbox, child: Callable[..., Child]
) -> None:
    with pytest.raises(OutboxError):
        Outbox(files_at(path))

    assert child(OTHER, path).line() == "refused"


@pytest.mark.parametrize(
    "ending",
    ["sys.exit()", "import gc; del outbox; gc.collect(); sys.exit()", "os._exit(0)"],
    ids=["exit", "gc", "now"],
)
def test_a_forked_child_that_ends_leaves_the_parents_file_whole(
    ending: str, path: Path, child: Callable[..., Child]
) -> None:
    parent = child(
        f"""
        outbox = Outbox(files_at(Path(sys.argv[1])))
        outbox.put([result(1)])
        pid = os.fork()
        if not pid:
            {ending}
        os.waitpid(pid, 0)
        outbox.put([result(2)])
        ready()
        """,
        path,
    )
    assert parent.line() == "ready"
    with pytest.raises(OutboxError, match="locked"):
        Outbox(files_at(path))
    parent.kill()

    outbox = Outbox(files_at(path))
    assert ids(lease_all(outbox)) == ["id-1", "id-2"]
    outbox.close()


def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_lock(
    path: Path, child: Callable[..., Child]
) -> None:
    parent = child(
        """
        outbox = Outbox(files_at(Path(sys.argv[1])))
        outbox.put([result(1)])
        reading, writing = os.pipe()
        if not os.fork():
            os.close(1)
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        ready()
        """,
        path,
    )
    assert parent.line() == "ready"
    parent.kill()

    outbox = Outbox(files_at(path))
    assert outbox.undelivered() == 1
    outbox.close()


def test_a_file_of_another_version_is_refused_and_left_as_it_was(path: Path) -> None:
    Outbox(files_at(path)).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    before = path.read_bytes()

    with pytest.raises(OutboxError, match=r"another version of famacase-xdist \(format 2\)"):
        Outbox(files_at(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("garbage", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000], ids=["text", "header"])
def test_a_file_that_is_no_outbox_is_refused_and_left_as_it_was(garbage: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(garbage)

    with pytest.raises(OutboxError, match=r"session\.sqlite3"):
        Outbox(files_at(path))
    assert path.read_bytes() == garbage


def test_a_file_that_was_refused_can_be_opened_later(path: Path, child: Callable[..., Child]) -> None:
    holder = child(HOLDING, path)
    holder.line()
    with pytest.raises(OutboxError):
        Outbox(files_at(path))
    assert holder.finish() == 0

    outbox = Outbox(files_at(path))
    assert outbox.undelivered() == 50
    outbox.close()


def test_a_directory_that_cannot_be_made_is_an_error_of_ours() -> None:
    with pytest.raises(OutboxError, match="/proc/outbox"):
        Outbox(files_at(Path("/proc/outbox/session.sqlite3")))


def test_a_file_in_the_place_of_the_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "outbox").touch()

    with pytest.raises(OutboxError, match="outbox"):
        Outbox(files_at(tmp_path / "outbox" / "session.sqlite3"))


def test_deleting_leaves_nothing_of_the_file(path: Path, outbox: Outbox) -> None:
    outbox.put([result(1)])
    assert len(list(path.parent.iterdir())) > 1

    outbox.close(delete=True)

    assert list(path.parent.iterdir()) == []


def test_deleting_leaves_nothing_where_the_disk_is_full(path: Path, outbox: Outbox) -> None:
    outbox.put([result(1)])

    with full_disk(path):
        outbox.put([result(2, HUGE)])
        outbox.close(delete=True)

    assert list(path.parent.iterdir()) == []


def test_closing_leaves_all_in_the_one_file(path: Path, outbox: Outbox) -> None:
    outbox.put([result(1)])

    outbox.close()

    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_kept_is_not_larger_than_what_is_left_needs(path: Path, outbox: Outbox) -> None:
    outbox.put([result(number, HUGE) for number in range(30)])
    batch = lease_all(outbox)
    outbox.acknowledge([each for each in batch if each.head.id != "id-7"])
    outbox.remember(host="http://x")
    large = path.stat().st_size

    outbox.close()

    assert large > 20 * len(HUGE)
    assert path.stat().st_size < 2 * len(HUGE)
    again = Outbox(files_at(path))
    assert [(each.head.id, each.body) for each in lease_all(again)] == [("id-7", HUGE)]
    assert again.session() == {"host": "http://x"}
    again.close()


def test_a_second_close_is_harmless_and_may_still_delete(path: Path, outbox: Outbox) -> None:
    outbox.close()

    outbox.close(delete=True)

    assert not path.exists()


def test_sync_after_close_is_harmless(outbox: Outbox) -> None:
    outbox.put([result(1)])
    outbox.close()

    outbox.sync()


def test_a_commit_is_brought_to_the_disk_once(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    outbox.put([result(1)])

    outbox.sync()
    outbox.sync()

    assert len(synced) == 1


def test_after_close_there_is_an_error_of_ours(outbox: Outbox) -> None:
    outbox.close()

    with pytest.raises(OutboxError):
        outbox.undelivered()


# A disk that fails


def fill(outbox: Outbox) -> None:
    """Let the database have no more room than it has."""
    (pages,) = outbox._db.execute("PRAGMA page_count").fetchone()
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file grow beyond the size that this database has without its log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_put_that_fails_puts_nothing() -> None:
    outbox = Outbox(None)
    fill(outbox)

    with pytest.raises(OutboxError, match="full"):
        outbox.put([result(1), begun("a"), result(2, HUGE)])

    assert (outbox.undelivered(), outbox.running()) == (0, [])


def test_where_the_disk_fails_earlier_and_later_results_are_in_memory(outbox: Outbox) -> None:
    outbox.put([result(1)])
    fill(outbox)

    outbox.put([result(2, HUGE)])
    outbox.put([result(3)])

    assert ids(lease_all(outbox)) == ["id-1", "id-2", "id-3"]


def test_where_the_disk_fails_with_nothing_left_later_results_are_leased(outbox: Outbox) -> None:
    outbox.put([result(1), result(2)])
    outbox.acknowledge(outbox.lease(1, 1000))
    outbox.acknowledge(outbox.lease(1, 1000))
    fill(outbox)

    outbox.put([result(3, HUGE)])

    assert ids(lease_all(outbox)) == ["id-3"]


def test_where_the_disk_fails_the_reason_is_said(outbox: Outbox) -> None:
    fill(outbox)

    outbox.put([result(1, HUGE)])

    assert "full" in outbox.trouble


def test_as_long_as_the_disk_works_there_is_no_trouble(outbox: Outbox) -> None:
    outbox.put([result(1, HUGE)])

    assert outbox.trouble == ""


def test_where_the_disk_fails_all_else_moves_along(outbox: Outbox) -> None:
    outbox.put([*content(ONE, b"abcd"), *content("2" * 64, b"efgh"), begun("a", b"{}"), result(0), result(1)])
    outbox.remember(run_id=7)
    outbox.uploaded("2" * 64, 9)
    outbox.refuse(outbox.lease(1, 1)[0], "no")
    fill(outbox)

    outbox.put([result(2, HUGE)])

    assert content_of(outbox, ONE) == b"abcd"
    assert (outbox.remote_ids(["2" * 64]), outbox.session()) == ({"2" * 64: 9}, {"run_id": 7})
    assert (outbox.running(), outbox.refusals()) == ([("a", b"{}")], {"no": 1})


def test_a_lease_holds_where_the_disk_fails(outbox: Outbox) -> None:
    outbox.put([result(1)])
    batch = lease_all(outbox)
    fill(outbox)

    outbox.put([result(2, HUGE)])

    assert ids(lease_all(outbox)) == ["id-2"]
    outbox.acknowledge(batch)
    assert outbox.undelivered() == 1


def test_a_disk_that_is_really_full_loses_nothing(path: Path, outbox: Outbox) -> None:
    outbox.put([result(1)])

    with full_disk(path):
        outbox.put([result(2, HUGE)])

    assert ids(lease_all(outbox)) == ["id-1", "id-2"]
    assert outbox.trouble


@pytest.mark.parametrize("change", ["acknowledge", "refuse", "uploaded", "remember"])
def test_a_full_disk_does_not_keep_the_sender_from_its_notes(change: str, path: Path, outbox: Outbox) -> None:
    outbox.put([result(1), *content(ONE, b"abcd")])
    batch = lease_all(outbox)
    changes: dict[str, Callable[[], None]] = {
        "acknowledge": lambda: outbox.acknowledge(batch),
        "refuse": lambda: outbox.refuse(batch[0], "no"),
        "uploaded": lambda: outbox.uploaded(ONE, 7),
        "remember": lambda: outbox.remember(run_id=7),
    }

    with full_disk(path):
        changes[change]()

    kept = {
        "acknowledge": outbox.undelivered() == 0,
        "refuse": outbox.refusals() == {"no": 1},
        "uploaded": outbox.remote_ids([ONE]) == {ONE: 7},
        "remember": outbox.session() == {"run_id": 7},
    }
    assert kept[change]


def test_what_failed_in_memory_too_is_an_error_and_not_silence(outbox: Outbox) -> None:
    fill(outbox)
    outbox.put([result(1, HUGE)])
    fill(outbox)

    with pytest.raises(OutboxError, match="full"):
        outbox.put([result(2, HUGE)])


# Any order of all of it


class Model(RuleBasedStateMachine):
    """An outbox beside what must be true of it; a crash keeps only what a copy of the files has."""

    @initialize()
    def open(self) -> None:
        self.directory = TemporaryDirectory()
        self.files = 0
        self.count = 0
        self.waiting: dict[str, bytes] = {}
        self.refused: dict[str, str] = {}
        self.leased: list[list[ResultFrame]] = []
        self.acknowledged: set[str] = set()
        self.running: dict[str, bytes] = {}
        self.contents: dict[str, bytes] = {}
        self.uploaded: dict[str, int] = {}
        self.outbox = Outbox(files_at(self.path))

    @property
    def path(self) -> Path:
        return Path(self.directory.name, str(self.files), "outbox", "session.sqlite3")

    @property
    def held(self) -> set[str]:
        return {each.head.id for batch in self.leased for each in batch}

    def _frame(self, nodeid: str, kind: str) -> AnyFrame:
        self.count += 1
        if kind == "result":
            body = b'{"n":%d}' % self.count
            self.waiting[f"id-{self.count}"] = body
            self.running.pop(nodeid, None)
            return Frame(ResultHead(f"id-{self.count}", nodeid, "passed"), body)
        if kind == "ignored":
            self.running.pop(nodeid, None)
            return Frame(IgnoredHead(nodeid))
        body = b"%d" % self.count if kind == "described" else b""
        self.running[nodeid] = body or self.running.get(nodeid, b"")
        return Frame(BegunHead(nodeid), body)

    @rule(
        frames=st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.sampled_from(["result", "result", "begun", "described", "ignored"]),
            ),
            max_size=6,
        )
    )
    def put(self, frames: list[tuple[str, str]]) -> None:
        self.outbox.put([self._frame(nodeid, kind) for nodeid, kind in frames])

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        result_id = data.draw(st.sampled_from(sorted(self.waiting)))
        self.outbox.put([Frame(ResultHead(result_id, "elsewhere", "failed"), b"other")])

    @rule(body=st.binary(min_size=1, max_size=9), pieces=st.integers(1, 3))
    def put_content(self, body: bytes, pieces: int) -> None:
        digest = digest_of(body, "text/plain")
        self.outbox.put(content(digest, body, pieces))
        if digest not in self.uploaded:
            self.contents.setdefault(digest, body)

    @rule(most=st.integers(1, 4))
    def lease(self, most: int) -> None:
        batch = self.outbox.lease(most, 1000)
        free = [each for each in self.waiting if each not in self.held and each not in self.refused]
        assert ids(batch) == free[:most]
        assert all(self.waiting[each.head.id] == each.body for each in batch)
        self.leased.append(batch)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        batch = self._ended(data)
        self.outbox.acknowledge(batch)
        for each in batch:
            del self.waiting[each.head.id]
            self.acknowledged.add(each.head.id)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.outbox.release(self._ended(data))

    @precondition(lambda self: any(self.leased))
    @rule(data=st.data(), words=st.sampled_from(["no", "bad"]))
    def refuse(self, data: st.DataObject, words: str) -> None:
        batch = data.draw(st.sampled_from([batch for batch in self.leased if batch]))
        queued = batch.pop(0)
        self.outbox.refuse(queued, words)
        self.refused[queued.head.id] = words

    @rule()
    def forgive(self) -> None:
        self.outbox.forgive()
        self.refused.clear()

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), remote_id=st.integers())
    def upload(self, data: st.DataObject, remote_id: int) -> None:
        digest = data.draw(st.sampled_from(sorted(self.contents)))
        self.outbox.uploaded(digest, remote_id)
        del self.contents[digest]
        self.uploaded[digest] = remote_id

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self._opened()

    @rule()
    def crash(self) -> None:
        before = self.path
        self.files += 1
        self.path.parent.mkdir(mode=0o700, parents=True)
        for suffix in ("", "-wal"):
            shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
        self.outbox.close()
        self._opened()

    def _opened(self) -> None:
        self.outbox = Outbox(files_at(self.path))
        self.leased.clear()

    def _ended(self, data: st.DataObject) -> list[ResultFrame]:
        return self.leased.pop(data.draw(st.integers(0, len(self.leased) - 1)))

    @invariant()
    def nothing_is_lost_and_nothing_comes_back(self) -> None:
        with self.outbox._reading() as db:
            rows = db.execute("SELECT id, body FROM results").fetchall()
        assert dict(rows) == self.waiting
        assert len(rows) == self.outbox.undelivered() == len(self.waiting)
        assert self.acknowledged.isdisjoint(self.waiting)

    @invariant()
    def the_rest_is_as_it_was_put(self) -> None:
        assert self.outbox.refusals() == {
            words: list(self.refused.values()).count(words) for words in self.refused.values()
        }
        assert dict(self.outbox.running()) == self.running
        assert {digest: content_of(self.outbox, digest) for digest in self.contents} == self.contents
        assert self.outbox.remote_ids([*self.contents, *self.uploaded]) == self.uploaded

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close(delete=True)
            self.directory.cleanup()


Model.TestCase.settings = hypothesis_settings(max_examples=30, stateful_step_count=25, deadline=None)
TestAnyOrder: Any = Model.TestCase


def test_a_result_that_is_there_already_is_kept_as_it_was(outbox: Outbox) -> None:
    outbox.put([result(1, json.dumps({"first": True}).encode())])

    outbox.put([result(1, b"second")])

    assert [each.body for each in lease_all(outbox)] == [b'{"first": true}']


# Where the lock of a file stays on the machine


@pytest.fixture
def on_a_share(tmp_path: Path) -> Path:
    """An outbox's file in a state directory whose locks are leases."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "locks").write_text("lease")
    return tmp_path / "outbox" / "a.sqlite3"


def test_an_outbox_on_a_share_has_a_lease_that_keeps_others_out(on_a_share: Path) -> None:
    outbox = Outbox(files_at(on_a_share))
    assert [path.name for path in on_a_share.parent.glob("*.lease")] == ["a.lease"]
    # As if SQLite's own lock were not seen: the lease alone has to do.
    copy = on_a_share.with_name("copy.sqlite3")
    on_a_share.with_suffix(".lease").rename(copy.with_suffix(".lease"))
    try:
        with pytest.raises(OutboxError, match="a session has it"):
            Outbox(files_at(copy))
    finally:
        copy.with_suffix(".lease").rename(on_a_share.with_suffix(".lease"))
        outbox.close(delete=True)
    assert list(on_a_share.parent.iterdir()) == []


def test_an_outbox_on_a_machines_own_disk_has_none(tmp_path: Path) -> None:
    outbox = Outbox(files_at(tmp_path / "outbox" / "a.sqlite3"))
    assert list((tmp_path / "outbox").glob("*.lease")) == []
    outbox.close()
