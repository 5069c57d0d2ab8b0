"""An outbox, whatever is done with it in whatever order: nothing is lost, and nothing comes back."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from harness.outboxes import Ends, content_of, failing, files_at, ids, take_all
from harness.results import attachment, begun, opaque
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead, ResultFrame
from famacase_xdist.state import journal
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.outbox import Outbox

KINDS = st.tuples(st.sampled_from("abc"), st.sampled_from(["result", "result", "begun", "described", "ignored"]))


class Model(RuleBasedStateMachine):
    """An outbox beside what must be true of it. A crash keeps what a copy of the files has."""

    @initialize(segment=st.sampled_from([1, 300, 4_000_000]))
    def open(self, segment: int) -> None:
        self.patch = mock.patch.object(journal, "SEGMENT_BYTES", segment)
        self.patch.start()
        self.directory = TemporaryDirectory()
        self.copies = 0
        self.count = 0
        self.waiting: dict[str, bytes] = {}
        self.refused: dict[str, str] = {}
        self.taken: list[list[ResultFrame]] = []
        self.seen = 0
        self.running: dict[str, bytes] = {}
        self.contents: dict[str, bytes] = {}
        self.uploaded: dict[str, int] = {}
        self.facts: dict[str, int] = {}
        #: None once the session has ended.
        self.ends: Ends | None = Ends(self.files)
        self.outbox = self.ends.outbox

    @property
    def files(self) -> OutboxFiles:
        return files_at(Path(self.directory.name, str(self.copies), "outbox", "session"))

    @property
    def free(self) -> list[str]:
        taken = {each.head.id for batch in self.taken for each in batch}
        return [each for each in self.waiting if each not in taken and each not in self.refused]

    def _frame(self, nodeid: str, kind: str) -> AnyFrame:
        self.count += 1
        if kind == "result":
            return opaque(b'{"n":%d}' % self.count, nodeid, id=f"id-{self.count}")
        if kind == "ignored":
            return Frame(IgnoredHead(nodeid))
        return begun(nodeid, b"%d" % self.count if kind == "described" else b"")

    def _happened(self, frame: AnyFrame) -> None:
        nodeid = frame.head.nodeid  # type: ignore[union-attr]
        if type(frame.head).__name__ == "BegunHead":
            self.running[nodeid] = frame.body or self.running.get(nodeid, b"")
            return
        self.running.pop(nodeid, None)
        if not isinstance(frame.head, IgnoredHead):
            self.waiting[frame.head.id] = frame.body  # type: ignore[union-attr]
            self.seen += 1

    @precondition(lambda self: self.ends)
    @rule(frames=st.lists(KINDS, max_size=6))
    def put(self, frames: list[tuple[str, str]]) -> None:
        made = [self._frame(*each) for each in frames]
        assert self.ends is not None
        self.ends.put(*made)
        for each in made:
            self._happened(each)

    @precondition(lambda self: self.ends)
    @rule(frames=st.lists(KINDS, min_size=1, max_size=6), after=st.integers(0, 1))
    def put_on_a_full_disk(self, frames: list[tuple[str, str]], after: int) -> None:
        """Nothing of it is there; the caller goes on as if the call had not been made."""
        assert self.ends is not None
        with failing("write", errno.ENOSPC) as failed:
            try:
                self.ends.journal.append([self._frame(*each) for each in frames])
            except OutboxError:
                assert failed
            assert self.outbox.follow() == 0

    @precondition(lambda self: self.ends and self.waiting)
    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        assert self.ends is not None
        self.ends.put(opaque(b"other", "elsewhere", id=data.draw(st.sampled_from(sorted(self.waiting)))))

    @precondition(lambda self: not self.ends)
    @rule(nodeid=st.sampled_from("abc"))
    def add(self, nodeid: str) -> None:
        frame = self._frame(nodeid, "result")
        self.outbox.add([frame])
        self._happened(frame)

    @precondition(lambda self: self.ends)
    @rule(body=st.binary(min_size=1, max_size=9), pieces=st.integers(1, 3))
    def put_content(self, body: bytes, pieces: int) -> None:
        assert self.ends is not None
        digest, frames = attachment(body, pieces=pieces)
        self.ends.put(*frames)
        if digest not in self.uploaded:
            self.contents.setdefault(digest, body)

    @rule(most=st.integers(1, 4))
    def take(self, most: int) -> None:
        free = self.free
        batch = self.outbox.take(most, 1000)
        assert ids(batch) == free[:most]
        assert all(self.waiting[each.head.id] == each.body for each in batch)
        self.taken.append(batch)

    @precondition(lambda self: self.free)
    @rule()
    def take_from_a_disk_that_fails(self) -> None:
        with failing("pread", errno.EIO):
            assert self.outbox.take(10, 1000) == []
            assert self.outbox.damage
        self.outbox.give_back(take_all(self.outbox))

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), is_full=st.booleans())
    def acknowledge(self, data: st.DataObject, is_full: bool) -> None:
        batch = self._ended(data)
        if is_full:
            with failing("write", errno.ENOSPC):
                self.outbox.acknowledge(batch)
            self.outbox.remember(pid=1)  # with which the note of it is written, so that a crash knows it
            self.facts["pid"] = 1
        else:
            self.outbox.acknowledge(batch)
        for each in batch:
            del self.waiting[each.head.id]

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self.outbox.give_back(self._ended(data))

    @precondition(lambda self: any(self.taken))
    @rule(data=st.data(), words=st.sampled_from(["no", "bad"]))
    def refuse(self, data: st.DataObject, words: str) -> None:
        batch = data.draw(st.sampled_from([batch for batch in self.taken if batch]))
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
        self.outbox.contents.acknowledge(digest, remote_id)
        del self.contents[digest]
        self.uploaded[digest] = remote_id

    @rule(value=st.integers())
    def remember(self, value: int) -> None:
        self.outbox.remember(run_id=value)
        self.facts["run_id"] = value

    @precondition(lambda self: self.ends)
    @rule()
    def another_courier(self) -> None:
        assert self.ends is not None
        self.outbox.close()
        self.outbox = self.ends.outbox = Outbox(self.files, beside_writer=True)
        self.taken.clear()

    @rule()
    def reopen(self) -> None:
        self._end()
        self._opened()

    @rule()
    def crash(self) -> None:
        before = self.files
        self.copies += 1
        shutil.copytree(before.path, self.files.path)
        self._end()
        self._opened()

    def _end(self) -> None:
        self.outbox.close()
        if self.ends is not None:
            self.ends.journal.close()
            self.ends = None

    def _opened(self) -> None:
        self.outbox = Outbox(self.files)
        self.taken.clear()

    def _ended(self, data: st.DataObject) -> list[ResultFrame]:
        return self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))

    @invariant()
    def nothing_is_lost_and_nothing_comes_back(self) -> None:
        assert self.outbox.undelivered() == len(self.waiting)
        assert set(self.outbox._entries) == set(self.waiting)
        assert self.outbox.seen == self.seen
        assert self.outbox.damage == {}
        # A segment in which nothing is needed is only there because it is the last one.
        assert len(self.files.segments()) <= 1 + len(self.waiting) + len(self.running)

    @invariant()
    def the_rest_is_as_it_was_put(self) -> None:
        assert self.outbox.refusals() == {
            words: list(self.refused.values()).count(words) for words in self.refused.values()
        }
        assert dict(self.outbox.running()) == self.running
        assert {digest: content_of(self.outbox, digest) for digest in self.contents} == self.contents
        assert self.outbox.contents.remote_ids([*self.contents, *self.uploaded]) == self.uploaded
        assert self.outbox.session() == self.facts

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.patch.stop()
            self.outbox.close(delete=True)
            self._end()
            left = self.files.path.exists()
            self.directory.cleanup()
            assert not left


Model.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAnyOrder: Any = Model.TestCase
