"""When a run is completed: the verdict on what is on record, without files, processes and clocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.errors import SharingError
from famacase_xdist.runs.record import Ending, LeftBehind, Member, Record, why_open


def member(
    name: str, state: Ending = Ending.FINISHED, shard: tuple[int, int] | None = None, **values: object
) -> Member:
    return Member(name, host="ci-1", pid=7, shard=shard, state=state, **values)  # type: ignore[arg-type]


def reasons(
    *members: Member,
    alive: str = "",
    lost: Callable[[Member], int | LeftBehind] = lambda each: 0,
    previous: object = None,
) -> list[str]:
    record = Record("nightly", run_id=1, members=list(members), previous=previous)
    return why_open(record, lambda each: each.id in alive.split(), lost)


FOUR = [member(f"s{index}", shard=(index, 4)) for index in range(1, 5)]


# What completes a run


def test_the_only_session_completes_its_run() -> None:
    assert reasons(member("a")) == []


def test_the_last_of_all_shards_completes_the_run() -> None:
    assert reasons(*FOUR) == []


def test_a_session_without_a_shard_may_end_early_and_nothing_of_it_is_missing() -> None:
    assert reasons(member("a", Ending.INTERRUPTED), member("b")) == []


def test_a_session_that_died_before_its_first_test_keeps_nothing_open() -> None:
    assert reasons(member("a", Ending.NONE), member("b")) == []


def test_a_session_that_died_and_was_resent_keeps_nothing_open() -> None:
    assert reasons(member("a", Ending.DIED), member("b")) == []


# What keeps it open


def test_a_session_that_lives_keeps_the_run_open() -> None:
    assert reasons(member("a", Ending.NONE), member("b"), alive="a") == ["the session of pid 7 on ci-1 still runs"]


def test_a_shard_that_lives_is_named_as_one() -> None:
    assert reasons(member("a", Ending.NONE, (1, 2)), member("b", shard=(2, 2)), alive="a") == ["shard 1/2 still runs"]


def test_of_many_that_still_run_a_few_are_asked_and_named() -> None:
    members = [member(str(index), Ending.NONE, (index + 1, 200)) for index in range(200)]
    asked = []

    def is_alive(each: Member) -> bool:
        asked.append(each.id)
        return True

    said = why_open(Record("key", run_id=1, members=members), is_alive, lambda each: LeftBehind.NO_OUTBOX)

    assert said == [*(f"shard {number}/200 still runs" for number in range(1, 6)), "195 more have not left"]
    assert asked == ["0", "1", "2", "3", "4"]


def test_behind_many_that_still_run_those_that_left_something_are_named() -> None:
    members = [member(str(index), Ending.NONE, (index + 1, 8)) for index in range(6)]
    members += [member("dead", Ending.NONE, (7, 8)), member("owing", shard=(8, 8), undelivered=3)]

    said = reasons(*members, alive="0 1 2 3 4 5")

    assert said[:5] == [f"shard {number}/8 still runs" for number in range(1, 6)]
    assert sorted(said[5:]) == [
        "2 more have not left",
        "3 results of shard 8/8 are undelivered (famacase-xdist resend)",
    ]


@pytest.mark.parametrize(
    ("shards", "words"),
    [
        ((1, 2, 3), "shard 4/4 has not come"),
        ((2,), "shards 1/4, 3/4, 4/4 have not come"),
    ],
)
def test_shards_that_nobody_started_are_named(shards: tuple[int, ...], words: str) -> None:
    assert reasons(*[FOUR[index - 1] for index in shards]) == [words]


def test_many_missing_shards_are_counted() -> None:
    (words,) = reasons(member("a", shard=(1, 30)))

    assert words.startswith("shards 2/30, 3/30, ")
    assert words.endswith("11/30 and 19 more have not come")


def test_results_that_stay_behind_keep_the_run_open_with_the_command_that_mends_it() -> None:
    words = "3 results of shard 2/4 are undelivered (famacase-xdist resend)"

    assert reasons(
        *[each for each in FOUR if each.id != "s2"], member("b", Ending.FINISHED, (2, 4), undelivered=3)
    ) == [words]


@pytest.mark.parametrize(
    ("state", "words"), [(Ending.INTERRUPTED, "did not run all of its tests"), (Ending.DIED, "died")]
)
def test_a_shard_that_did_not_end_as_it_should_has_to_be_run_again(state: str, words: str) -> None:
    assert reasons(*FOUR[:3], member("b", state, (4, 4))) == [f"shard 4/4 {words}"]


def test_a_shard_that_died_without_a_word_is_told_from_one_that_lives() -> None:
    assert reasons(*FOUR[:3], member("b", Ending.NONE, (4, 4))) == ["shard 4/4 died"]


@pytest.mark.parametrize("shard", [None, (1, 1)])
def test_what_a_dead_session_left_behind_is_counted(shard: tuple[int, int] | None) -> None:
    dead = member("a", Ending.NONE, shard)

    (words,) = reasons(dead, lost=lambda each: 5)

    assert words == f"{dead.name} died; 5 results of {dead.name} are undelivered (famacase-xdist resend)"


@pytest.mark.parametrize("shard", [None, (1, 1)])
def test_a_dead_session_that_is_being_resent_keeps_the_run_open_replaced_or_not(shard: tuple[int, int] | None) -> None:
    dead, again = member("a", Ending.NONE, shard), member("b", shard=shard)

    assert reasons(dead, again, lost=lambda each: LeftBehind.LOCKED) == [
        f"{dead.name} died, and its results are being sent"
    ]


def test_a_dead_session_whose_outbox_is_out_of_reach_keeps_the_run_open() -> None:
    assert reasons(member("a", Ending.NONE), lost=lambda each: LeftBehind.NO_OUTBOX) == [
        "the session of pid 7 on ci-1 died"
    ]


def test_one_session_that_wants_the_run_open_keeps_it_open() -> None:
    assert reasons(member("a", completes=False), member("b")) == ["FAMACASE_TESTOPS_RUN_COMPLETE=false"]


# A shard that is run again


@pytest.mark.parametrize("state", [Ending.NONE, Ending.FINISHED, Ending.INTERRUPTED, Ending.DIED])
def test_a_shard_that_is_run_again_replaces_itself(state: Ending) -> None:
    assert reasons(*FOUR[:3], member("first", state, (4, 4)), member("again", shard=(4, 4))) == []


def test_a_replaced_shard_is_not_counted_twice() -> None:
    assert reasons(member("first", shard=(1, 2)), member("again", shard=(1, 2))) == ["shard 2/2 has not come"]


def test_a_replaced_shard_that_still_lives_keeps_the_run_open() -> None:
    assert reasons(member("first", Ending.NONE, (1, 1)), member("again", shard=(1, 1)), alive="first") == [
        "shard 1/1 still runs"
    ]


def test_what_a_replaced_shard_has_not_delivered_still_counts() -> None:
    (words,) = reasons(
        member("first", Ending.FINISHED, (1, 1), undelivered=2), member("again", shard=(1, 1)), lost=lambda each: 2
    )

    assert words.startswith("2 results of shard 1/1 are undelivered")


def test_what_a_replaced_shard_took_with_its_machine_keeps_nothing_open() -> None:
    first = member("first", Ending.FINISHED, (1, 1), undelivered=2)

    assert reasons(first, member("again", shard=(1, 1)), lost=lambda each: LeftBehind.NO_OUTBOX) == []


def test_a_replaced_shard_whose_machine_is_gone_keeps_nothing_open() -> None:
    assert (
        reasons(
            member("first", Ending.NONE, (1, 1)), member("again", shard=(1, 1)), lost=lambda each: LeftBehind.NO_OUTBOX
        )
        == []
    )


def test_after_a_completed_run_only_those_shards_count_that_are_run_again() -> None:
    assert reasons(member("again", shard=(2, 4)), previous=1) == []


def test_where_shards_disagree_the_larger_number_counts() -> None:
    assert reasons(member("a", shard=(1, 2)), member("b", shard=(2, 3))) == ["shard 3/3 has not come"]


# Properties

STATES = st.sampled_from([Ending.NONE, Ending.FINISHED, Ending.INTERRUPTED, Ending.DIED])
MEMBERS = st.builds(
    Member,
    id=st.uuids().map(str),
    shard=st.none() | st.integers(1, 4).map(lambda index: (index, 4)),
    completes=st.booleans(),
    state=STATES,
    undelivered=st.integers(0, 2),
)


@given(st.lists(MEMBERS, min_size=1, max_size=8, unique_by=lambda each: each.id), st.data())
def test_a_run_is_never_completed_while_something_may_still_come(members: list[Member], data: st.DataObject) -> None:
    alive = {each.id: data.draw(st.booleans()) for each in members}
    lost = {each.id: data.draw(st.sampled_from([LeftBehind.NO_OUTBOX, 0, 3, LeftBehind.LOCKED])) for each in members}
    record = Record("key", run_id=1, members=members)

    if why_open(record, lambda each: alive[each.id], lambda each: lost[each.id]):
        return

    running = [each for each in members if each.state == Ending.NONE]
    assert not [each for each in running if alive[each.id] or lost[each.id]]
    latest = {each.shard: each for each in members if each.shard}
    left = [each for each in members if each.state != Ending.NONE and each.undelivered]
    assert all(latest[each.shard] is not each and lost[each.id] is LeftBehind.NO_OUTBOX for each in left)
    assert all(each.completes for each in members)
    shards = {each.shard[0] for each in members if each.shard}
    assert shards in (set(), {1, 2, 3, 4})
    for index in shards:
        last = [each for each in members if each.shard and each.shard[0] == index][-1]
        assert last.state == Ending.FINISHED


@given(st.permutations(range(1000)))
def test_of_a_thousand_shards_exactly_the_last_one_completes(order: list[int]) -> None:
    members = [member(str(index), Ending.NONE, (index + 1, 1000)) for index in range(1000)]
    record = Record("key", run_id=1, members=members)
    alive = {str(index) for index in range(1000)}
    completed = []
    # The verdict costs as much as there are sessions, so only the last few of them are asked.
    for position, index in enumerate(order):
        members[index].state = Ending.FINISHED
        alive.discard(str(index))
        if position >= 995 and not why_open(record, lambda each: each.id in alive, lambda each: 0):
            completed.append(position)

    assert completed == [999]


# On disk


@given(st.lists(MEMBERS, max_size=4), st.none() | st.integers() | st.text(max_size=5))
def test_a_record_comes_back_as_it_was_written(members: list[Member], run_id: object) -> None:
    record = Record("a key", {"title": "t", "tags": ["x"]}, run_id, True, run_id, members)

    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"version": 1, "members": [{}], "key": "k"}',
        b'{"version": 1, "members": []}',
        b'{"version": 1, "key": "k", "members": [{"id": "../../x"}]}',
        b'{"version": 1, "key": "k", "members": [{"id": ["a"]}]}',
        b'{"version": 1, "key": "k", "members": [{"id": "a", "shard": "ab"}]}',
        b'{"version": 1, "key": "k", "members": [{"id": "a", "shard": ["a", null]}]}',
    ],
)
def test_a_damaged_record_is_said_to_be_so(text: bytes) -> None:
    with pytest.raises(SharingError, match="damaged"):
        Record.from_json(text)


def test_the_record_of_another_version_is_not_touched() -> None:
    text = Record("key").to_json().replace(b'"version": 1', b'"version": 2')

    with pytest.raises(SharingError, match="another version"):
        Record.from_json(text)


def test_the_next_run_of_a_key_starts_with_nobody_and_knows_the_one_before() -> None:
    record = Record("key", {"title": "t"}, 12, True, None, [member("a")])

    assert dataclasses.asdict(record.continued()) == dataclasses.asdict(Record("key", previous=12))
