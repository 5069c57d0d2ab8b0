"""An outbox, whatever is done with it in whatever order: nothing is lost, and nothing comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.outboxes import content_of, files_at, ids, take_all
from harness.results import attachment, begun, numbered, opaque
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead, ResultFrame
from famacase_xdist.state.outbox import Outbox


class Model(RuleBasedStateMachine):
    """An outbox beside what must be true of it; a crash keeps only what a copy of the files has."""

    @initialize()
    def open(self) -> None:
        self.directory = TemporaryDirectory()
        self.files = 0
        self.count = 0
        self.waiting: dict[str, bytes] = {}
        self.refused: dict[str, str] = {}
        self.taken: list[list[ResultFrame]] = []
        self.acknowledged: set[str] = set()
        self.running: dict[str, bytes] = {}
        self.contents: dict[str, bytes] = {}
        self.uploaded: dict[str, int] = {}
        self.outbox = Outbox(files_at(self.path))

    @property
    def path(self) -> Path:
        return Path(self.directory.name, str(self.files), "outbox", "session.sqlite3")

    @property
    def taken_ids(self) -> set[str]:
        return {each.head.id for batch in self.taken for each in batch}

    def _frame(self, nodeid: str, kind: str) -> AnyFrame:
        self.count += 1
        if kind == "result":
            body = b'{"n":%d}' % self.count
            self.waiting[f"id-{self.count}"] = body
            self.running.pop(nodeid, None)
            return opaque(body, nodeid, id=f"id-{self.count}")
        if kind == "ignored":
            self.running.pop(nodeid, None)
            return Frame(IgnoredHead(nodeid))
        body = b"%d" % self.count if kind == "described" else b""
        self.running[nodeid] = body or self.running.get(nodeid, b"")
        return begun(nodeid, body)

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
        self.outbox.put([opaque(b"other", "elsewhere", id=result_id)])

    @rule(body=st.binary(min_size=1, max_size=9), pieces=st.integers(1, 3))
    def put_content(self, body: bytes, pieces: int) -> None:
        digest, frames = attachment(body, pieces=pieces)
        self.outbox.put(frames)
        if digest not in self.uploaded:
            self.contents.setdefault(digest, body)

    @rule(most=st.integers(1, 4))
    def take(self, most: int) -> None:
        batch = self.outbox.take(most, 1000)
        free = [each for each in self.waiting if each not in self.taken_ids and each not in self.refused]
        assert ids(batch) == free[:most]
        assert all(self.waiting[each.head.id] == each.body for each in batch)
        self.taken.append(batch)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        batch = self._ended(data)
        self.outbox.acknowledge(batch)
        for each in batch:
            del self.waiting[each.head.id]
            self.acknowledged.add(each.head.id)

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
        self.taken.clear()

    def _ended(self, data: st.DataObject) -> list[ResultFrame]:
        return self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))

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
        assert self.outbox.contents.remote_ids([*self.contents, *self.uploaded]) == self.uploaded

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close(delete=True)
            self.directory.cleanup()


Model.TestCase.settings = hypothesis_settings(max_examples=30, stateful_step_count=25, deadline=None)
TestAnyOrder: Any = Model.TestCase


def test_a_result_that_is_there_already_is_kept_as_it_was(outbox: Outbox) -> None:
    outbox.put([numbered(1, json.dumps({"first": True}).encode())])

    outbox.put([numbered(1, b"second")])

    assert [each.body for each in take_all(outbox)] == [b'{"first": true}']
