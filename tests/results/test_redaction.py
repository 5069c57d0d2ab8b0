"""The token is kept out of everything that is written to disk, even if it is cut in two, and nothing else changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from harness.outboxes import content_of
from harness.results import begun, content, opaque
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    ContentHead,
    Frame,
    IgnoredHead,
    ResultHead,
    decode,
)
from famacase_xdist.results.redaction import Mask
from famacase_xdist.results.text import to_json
from famacase_xdist.state.outbox import Outbox

SECRET = "rep_s3cret"
STARS = b"*" * len(SECRET)
ONE, TWO = "1" * 64, "2" * 64


def clean(mask: Mask, frames: Iterable[AnyFrame]) -> list[AnyFrame]:
    """Return all frames that a mask makes of frames."""
    return [each for frame in frames for each in mask.clean(frame)]


def kept(frames: Iterable[AnyFrame], digest: str = ONE) -> bytes:
    """Return the content that an outbox makes of these frames: all its pieces in their order."""
    outbox = Outbox(None)
    for frame in frames:
        outbox.accept([frame], "in memory")
    return content_of(outbox, digest)


@pytest.mark.parametrize(
    "frame",
    [
        opaque(b'{"message":"' + SECRET.encode() + b'"}'),
        opaque(SECRET.encode() * 3),
        opaque(b"{}", f"t.py::test[{SECRET}]"),
        begun(f"t.py::test[{SECRET}]", SECRET.encode()),
        Frame(IgnoredHead(f"t.py::test[{SECRET}]")),
        Frame(ContentHead(ONE, f"{SECRET}.txt", f"text/{SECRET}", 0)),
    ],
    ids=["body", "body-thrice", "node-id", "begun", "ignored", "content"],
)
def test_the_secret_is_nowhere_in_a_frame(frame: AnyFrame) -> None:
    (cleaned,) = clean(Mask(SECRET), [frame])

    assert SECRET.encode() not in cleaned.encoded


@pytest.mark.parametrize("secret", ["rep_\\b", 'rep_"quoted"', "rep_\tx", "rep_ключ"])
def test_a_secret_that_pytest_escapes_in_a_node_id_is_masked_in_all_frames_of_the_test(secret: str) -> None:
    nodeid = f"t.py::test[{secret.encode('unicode_escape').decode()}]"
    frames = [begun(nodeid), opaque(to_json({"value": secret}), nodeid)]

    first, ended = clean(Mask(secret), frames)

    assert isinstance(first.head, BegunHead)
    assert isinstance(ended.head, ResultHead)
    assert first.head.nodeid == ended.head.nodeid
    assert secret not in first.head.nodeid


def test_a_frame_without_the_secret_keeps_its_message() -> None:
    frame = decode(opaque(b"{}").encoded)

    (cleaned,) = clean(Mask(SECRET), [frame])

    assert cleaned is frame


def test_all_but_the_secret_stays() -> None:
    (cleaned,) = clean(Mask(SECRET), [opaque(b'{"message":"a ' + SECRET.encode() + b' b"}', f"x{SECRET}y")])

    assert cleaned == opaque(b'{"message":"a ' + STARS + b' b"}', f"x{STARS.decode()}y")


@given(body=st.binary(), nodeid=st.text())
def test_a_frame_without_the_secret_stays_as_it_is(body: bytes, nodeid: str) -> None:
    assert clean(Mask(SECRET), [opaque(body, nodeid)]) == [opaque(body, nodeid)]


#: Texts that have much of the secret in them, whole, cut and overlapping.
PARTS = st.sampled_from([SECRET.encode(), b"rep_", b"s3cret", b"rep_s3cre", b"t", b"re", b"-", b"\xff", b""])
TEXTS = st.lists(PARTS, max_size=8).map(b"".join)


@given(text=TEXTS, data=st.data())
def test_a_secret_that_lies_across_the_borders_of_pieces_is_found(text: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]

    frames = clean(Mask(SECRET), content(ONE, pieces))

    assert kept(frames) == text.replace(SECRET.encode(), STARS)


@given(text=TEXTS, other=TEXTS, cut=st.integers(0, 80))
def test_contents_that_come_side_by_side_are_not_mixed(text: bytes, other: bytes, cut: int) -> None:
    pairs = zip(
        content(ONE, [text[:cut], text[cut:]]),
        content(TWO, [other[:cut], other[cut:]]),
        strict=True,
    )

    frames = clean(Mask(SECRET), itertools.chain.from_iterable(pairs))

    assert [kept(frames, digest) for digest in (ONE, TWO)] == [
        each.replace(SECRET.encode(), STARS) for each in (text, other)
    ]


@given(order=st.permutations([0] * 4 + [1] * 4))
def test_equal_content_that_two_workers_send_side_by_side_stays_whole(order: list[int]) -> None:
    text = b"first piece " + SECRET.encode() + b"!second piece!" + b"third and last"
    pieces = [text[:15], text[15:30], text[30:]]
    workers = [iter(content(ONE, pieces)) for _ in range(2)]

    frames = clean(Mask(SECRET), [next(workers[worker]) for worker in order])

    assert kept(frames) == text.replace(SECRET.encode(), STARS)


def test_content_of_a_worker_that_died_does_not_spoil_the_same_content_of_the_next() -> None:
    pieces = [b"first piece, then ", b"second, then ", b"third"]

    frames = clean(Mask(SECRET), [*content(ONE, pieces)[:2], *content(ONE, pieces)])

    assert kept(frames) == b"".join(pieces)


def test_the_size_of_a_content_is_that_of_its_pieces() -> None:
    frames = clean(Mask(SECRET), content(ONE, [SECRET.encode(), b"x", b""]))
    (size,) = [frame.head.size for frame in frames if isinstance(frame.head, ContentHead)]

    assert size == sum(len(frame.body) for frame in frames)


def test_the_end_of_a_content_stays_its_last_frame() -> None:
    assert isinstance(clean(Mask(SECRET), content(ONE, [b"one", b"two"]))[-1].head, ContentHead)


@pytest.mark.parametrize(
    "secret",
    ['rep_"quoted"', "rep_back\\slash", "rep_\N{SNOWMAN}", 'rep_"\N{SNOWMAN}"', "rep_tab\t", "rep_a.*b"],
    ids=ascii,
)
def test_a_secret_is_found_in_json_however_it_is_written(secret: str) -> None:
    body = to_json({"message": f"a {secret} b"})

    (cleaned,) = clean(Mask(secret), [opaque(body)])

    assert len(cleaned.body) == len(body)
    assert set(cleaned.body.removeprefix(b'{"message":"a ').removesuffix(b' b"}')) == {ord("*")}


def test_a_secret_is_found_in_json_of_ascii_only() -> None:
    (cleaned,) = clean(Mask("rep_\N{SNOWMAN}"), [opaque(b'"rep_\\u2603"')])

    assert b"2603" not in cleaned.body


@pytest.mark.parametrize("secret", ["", "a", "abc"])
def test_a_secret_that_is_too_short_is_not_looked_for(secret: str) -> None:
    frames = [opaque(b"abc", "abc"), *content(ONE, [b"a", b"bc"])]

    assert clean(Mask(secret), frames) == frames


def test_a_secret_of_four_characters_is_looked_for() -> None:
    (cleaned,) = clean(Mask("abcd"), [opaque(b"xabcdx")])

    assert cleaned.body == b"x****x"


@pytest.mark.parametrize("show", [repr, str, lambda mask: f"{mask}"], ids=["repr", "str", "format"])
def test_a_mask_does_not_show_its_secret(show: Any) -> None:
    assert SECRET not in show(Mask(SECRET))


def test_a_line_that_is_no_frame_is_cleaned_too() -> None:
    assert Mask("secret").text("the secret is secret") == "the ****** is ******"


def test_several_secrets_are_masked_the_longer_one_first() -> None:
    mask = Mask("rep_a", "rep_a-longer", "")

    assert mask.text("rep_a-longer, rep_a, rep_") == "************, *****, rep_"
    (cleaned,) = clean(mask, [opaque(b'"rep_a-longer"')])
    assert cleaned.body == b'"************"'
