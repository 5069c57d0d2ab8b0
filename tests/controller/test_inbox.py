"""The inbox: no event is lost, none overtakes another, and a thread that puts waits only where memory would grow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from famacase_xdist.controller import inbox as module
from famacase_xdist.controller.inbox import BATCH, ImmediateInbox, QueuedInbox

DEADLINE = 10.0


class Store:
    """Keeps the batches that it is given, and on which thread; can be made to hold a batch up."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.threads: list[str] = []
        self.stored = threading.Event()
        self.entered = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def __call__(self, batch: Iterable[Any]) -> None:
        self.entered.set()
        assert self.free.wait(DEADLINE)
        self.batches.append(list(batch))
        self.threads.append(threading.current_thread().name)
        self.stored.set()

    @property
    def events(self) -> list[Any]:
        """Return all events in the order in which they came."""
        return [event for batch in self.batches for event in batch]


Make = Callable[..., QueuedInbox[Any]]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make(store: Store) -> Iterator[Make]:
    made: list[QueuedInbox[Any]] = []

    def make(*, size: int = 0) -> QueuedInbox[Any]:
        made.append(QueuedInbox(store, lambda event: size))
        return made[-1]

    yield make
    store.free.set()
    for inbox in made:
        inbox.seal()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the thread of an inbox do nothing, so that only `settle` hands on."""
    monkeypatch.setattr(QueuedInbox, "_work", lambda self: None)


# One process


def test_in_one_process_there_is_no_thread(store: Store) -> None:
    before = threading.enumerate()
    inbox = ImmediateInbox(store)
    inbox.put(1)
    inbox.settle()

    assert threading.enumerate() == before
    assert store.threads == [threading.current_thread().name]


def test_in_one_process_what_is_put_waits_until_it_is_settled(store: Store) -> None:
    inbox = ImmediateInbox(store)
    inbox.put(1)
    inbox.put(2)
    assert store.batches == []

    inbox.settle()
    inbox.settle()

    assert store.batches == [[1, 2]]


def test_in_one_process_other_threads_may_put_and_settle_too(store: Store) -> None:
    inbox = ImmediateInbox(store)
    start = threading.Barrier(4)

    def put(thread: int) -> None:
        start.wait(DEADLINE)
        for number in range(300):
            inbox.put((thread, number))
            inbox.settle()

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    for putter in range(4):
        assert [number for each, number in store.events if each == putter] == list(range(300))


def test_in_one_process_a_timeout_while_storing_costs_none_of_the_events_behind() -> None:
    stored: list[int] = []

    def store(events: Iterable[int]) -> None:
        for event in events:
            stored.append(event)
            if event == 1:
                raise KeyboardInterrupt

    inbox = ImmediateInbox(store)
    for number in range(4):
        inbox.put(number)
    with pytest.raises(KeyboardInterrupt):
        inbox.settle()

    inbox.settle()

    assert stored == [0, 1, 2, 3]


# Under xdist


def test_what_many_threads_put_arrives_once_and_in_each_ones_order(make: Make, store: Store) -> None:
    inbox = make()
    start = threading.Barrier(8)

    def put(thread: int) -> None:
        start.wait(DEADLINE)
        for number in range(500):
            inbox.put((thread, number))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    inbox.seal()

    assert sorted(store.events) == [(thread, number) for thread in range(8) for number in range(500)]
    for putter in range(8):
        assert [number for each, number in store.events if each == putter] == list(range(500))


def test_settling_beside_the_thread_keeps_the_order(make: Make, store: Store) -> None:
    inbox = make()

    for number in range(2000):
        inbox.put(number)
        if number % 3 == 0:
            inbox.settle()
    inbox.seal()

    assert store.events == list(range(2000))


@pytest.mark.parametrize("kind", [ImmediateInbox, QueuedInbox], ids=["immediate", "queued"])
def test_what_was_put_before_the_seal_is_stored_when_it_returns(kind: Callable[[Store], Any], store: Store) -> None:
    inbox = kind(store)
    for number in range(BATCH * 2 + 1):
        inbox.put(number)

    inbox.seal()

    assert store.events == list(range(BATCH * 2 + 1))


def test_what_is_put_while_the_seal_waits_is_stored_when_it_returns(make: Make, store: Store) -> None:
    inbox = make()
    store.free.clear()
    inbox.put("first")
    assert store.entered.wait(DEADLINE)
    sealing = threading.Thread(target=inbox.seal)
    sealing.start()
    inbox.put("second")

    store.free.set()
    sealing.join(DEADLINE)

    assert store.events == ["first", "second"]


def test_a_batch_that_is_being_stored_is_waited_for_by_the_seal(make: Make, store: Store) -> None:
    inbox = make()
    store.free.clear()
    inbox.put("slow")
    assert store.entered.wait(DEADLINE)
    threading.Timer(0.1, store.free.set).start()

    inbox.seal()

    assert store.events == ["slow"]


def test_sealing_twice_stores_nothing_twice(make: Make, store: Store) -> None:
    inbox = make()
    inbox.put(1)

    inbox.seal()
    inbox.seal()

    assert store.events == [1]


def test_after_the_seal_the_thread_is_gone(make: Make) -> None:
    inbox = make()

    inbox.seal()

    assert not inbox._thread.is_alive()


def test_the_thread_is_named_and_does_not_hold_up_the_exit(make: Make) -> None:
    thread = make()._thread

    assert (thread.name, thread.daemon) == ("famacase-inbox", True)


def test_settle_stores_on_the_thread_of_its_caller(idle: None, make: Make, store: Store) -> None:
    inbox = make()
    inbox.put(1)

    inbox.settle()

    assert store.threads == [threading.current_thread().name]


def test_without_settle_the_thread_of_the_inbox_stores(make: Make, store: Store) -> None:
    inbox = make()

    inbox.put(1)

    assert store.stored.wait(DEADLINE)
    assert (store.events, store.threads) == ([1], ["famacase-inbox"])


def test_no_batch_is_larger_than_allowed(idle: None, make: Make, store: Store) -> None:
    inbox = make()
    for number in range(BATCH * 2 + 1):
        inbox.put(number)

    inbox.settle()

    assert [len(batch) for batch in store.batches] == [BATCH, BATCH, 1]


def test_a_batch_ends_where_it_has_bytes_enough(
    idle: None, make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 10)
    inbox = make(size=4)
    for number in range(7):
        inbox.put(number)

    inbox.settle()

    assert [len(batch) for batch in store.batches] == [3, 3, 1]
    assert store.events == list(range(7))


@pytest.fixture
def putting() -> Iterator[Callable[..., threading.Thread]]:
    """Put events on a thread of their own, as a receiver thread does."""
    threads: list[threading.Thread] = []

    def putting(inbox: QueuedInbox[Any], *events: Any) -> threading.Thread:
        threads.append(threading.Thread(target=lambda: [inbox.put(event) for event in events], daemon=True))
        threads[-1].start()
        return threads[-1]

    yield putting
    for each in threads:
        each.join(DEADLINE)


def test_who_brings_more_than_may_wait_waits_for_room_and_stores_nothing(
    make: Make, store: Store, putting: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    inbox = make(size=4)
    store.free.clear()
    inbox.put(0)
    assert store.entered.wait(DEADLINE)

    receivers = [putting(inbox, *range(first, first + 4)) for first in (10, 20)]
    receivers[0].join(0.2)

    # One event of each that waits comes on top, because it is in memory anyway.
    assert [each.is_alive() for each in receivers] == [True, True]
    assert len(inbox._events) <= 10 // 4 + len(receivers)
    store.free.set()
    for each in receivers:
        each.join(DEADLINE)
    inbox.seal()
    assert sorted(store.events) == [0, *range(10, 14), *range(20, 24)]
    assert set(store.threads) == {"famacase-inbox"}


def test_who_waits_for_room_is_not_held_by_what_others_bring_later(
    putting: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    monkeypatch.setattr(module, "BATCH", 1)
    entered, allowed = threading.Semaphore(0), threading.Semaphore(0)

    def store(batch: Iterable[Any]) -> None:
        entered.release()
        assert allowed.acquire(timeout=DEADLINE)

    inbox: QueuedInbox[Any] = QueuedInbox(store, lambda event: 4)
    for number in range(4):
        inbox.put(number)
    assert entered.acquire(timeout=DEADLINE)
    receiver = putting(inbox, "waits for three of those")
    receiver.join(0.1)
    for number in range(100):
        inbox.put(number)

    assert receiver.is_alive()
    allowed.release(2)
    receiver.join(DEADLINE)

    assert not receiver.is_alive()
    allowed.release(200)
    inbox.seal()


def test_who_made_the_inbox_never_waits(make: Make, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    inbox = make(size=4)
    store.free.clear()

    for number in range(9):
        inbox.put(number)

    assert store.events == []
    store.free.set()
    inbox.seal()
    assert store.events == list(range(9))


def test_who_waits_for_room_is_let_go_by_the_seal(
    make: Make, store: Store, putting: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    inbox = make(size=4)
    store.free.clear()
    inbox.put(0)
    assert store.entered.wait(DEADLINE)
    receiver = putting(inbox, 1, 2, 3, 4)
    sealing = threading.Thread(target=inbox.seal)
    sealing.start()

    receiver.join(DEADLINE)

    assert not receiver.is_alive()
    store.free.set()
    sealing.join(DEADLINE)
    assert sorted(store.events) == [0, 1, 2, 3, 4]


def test_settling_an_empty_inbox_stores_nothing(make: Make, store: Store) -> None:
    make().settle()

    assert store.batches == []


def test_who_puts_does_not_wait_for_the_store(make: Make, store: Store) -> None:
    inbox = make()
    store.free.clear()
    inbox.put(0)
    assert store.entered.wait(DEADLINE)

    for number in range(1, 1000):
        inbox.put(number)

    assert store.events == []
    store.free.set()
    inbox.seal()
    assert store.events == list(range(1000))
