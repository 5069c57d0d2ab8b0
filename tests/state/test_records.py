"""Records: what is whole is read, what was being written is not there, what is damaged is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.results import begun, numbered
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.state import records
from famacase_xdist.state.records import Records, pack, payload_of, read_from

PAYLOADS = [
    *(begun(f"t.py::test_{number}").encoded for number in range(3)),
    *(numbered(number, b"x" * number).encoded for number in range(4)),
]
Groups = list[list[bytes]]
groups = st.lists(st.lists(st.sampled_from(PAYLOADS), min_size=1, max_size=4), max_size=5)


def read(content: bytes) -> tuple[list[bytes | None], Records]:
    """Return the payloads in some bytes, and the object that read them."""
    found = Records(content)
    return [payload_of(record) for _, record in found], found


@given(groups)
def test_records_are_read_as_they_were_written(groups: Groups) -> None:
    content = b"".join(map(pack, groups))

    payloads, found = read(content)

    assert payloads == [payload for group in groups for payload in group]
    assert (found.end, found.damage) == (len(content), {})


@given(groups)
def test_each_record_can_be_read_alone_from_its_offset(groups: Groups) -> None:
    content = b"".join(map(pack, groups))

    for offset, record in Records(content):
        assert content[offset:].startswith(record)
        assert payload_of(record) in PAYLOADS


@given(groups, st.lists(st.sampled_from(PAYLOADS), min_size=1, max_size=4), st.data())
def test_of_a_group_that_was_being_written_nothing_is_there(
    groups: Groups, last: list[bytes], data: st.DataObject
) -> None:
    whole, torn = b"".join(map(pack, groups)), pack(last)
    cut = data.draw(st.integers(0, len(torn) - 1))

    payloads, found = read(whole + torn[:cut])

    assert payloads == [payload for group in groups for payload in group]
    assert (found.end, found.damage) == (len(whole), {})


def test_a_flipped_bit_costs_one_record_and_is_counted() -> None:
    content = b"".join(map(pack, [PAYLOADS[:1], PAYLOADS[1:4], PAYLOADS[4:]]))
    offsets = [offset for offset, _ in Records(content)]

    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        payloads, found = read(bytes(flipped))
        hit = max(number for number, offset in enumerate(offsets) if offset <= bit // 8)

        assert payloads[:hit] == PAYLOADS[:hit], bit
        assert payloads[hit:] == PAYLOADS[hit + 1 :], bit
        assert found.damage.total() >= 1, bit


@given(groups.filter(bool), st.integers(1, 60), st.data())
def test_what_is_spoiled_costs_no_record_that_is_not(groups: Groups, size: int, data: st.DataObject) -> None:
    content = b"".join(map(pack, groups))
    start = data.draw(st.integers(0, len(content) - 1))
    end = min(start + size, len(content))
    spoiled = content[:start] + bytes(byte ^ 0xFF for byte in content[start:end]) + content[end:]

    payloads, found = read(spoiled)

    last = len(content) - len(pack(groups[-1]))
    whole = [
        payload_of(record)
        for offset, record in Records(content)
        if offset + len(record) <= min(start, last) or (offset >= end and end <= last)
    ]
    # A last group of which much is spoiled cannot be told from one that was being written.
    assert payloads[: len(whole)] == whole
    assert end > last or (payloads == whole and found.damage)


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(PAYLOADS).map(lambda each: pack([each]))), max_size=6)
)
def test_garbage_is_no_exception(parts: list[bytes]) -> None:
    content = b"".join(parts)

    payloads, found = read(content)

    assert all(payloads)
    assert 0 <= found.end <= len(content)


@pytest.mark.parametrize("size", [1, 7, 8, 4096])
def test_zeros_that_a_power_failure_leaves_are_damage_once_at_most(size: int) -> None:
    payloads, found = read(pack(PAYLOADS) + bytes(size))

    assert payloads == PAYLOADS
    assert found.damage.total() == (size >= 8)


def test_what_is_damaged_while_more_is_being_written_is_skipped_once(tmp_path: Path) -> None:
    first, second, third = (pack([payload]) for payload in PAYLOADS[:3])
    spoiled = first[:-1] + bytes([first[-1] ^ 1])
    _, early = read(spoiled + second[:9])

    payloads, late = read((spoiled + second + third)[early.end :])

    assert early.damage == {"wrong checksum": 1}
    assert (payloads, late.damage) == (PAYLOADS[1:3], {})


def test_a_payload_that_no_reader_would_take_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_BYTES", 10)

    with pytest.raises(OSError, match="too large"):
        pack([b"x" * 11])


def test_a_record_that_changed_has_no_payload() -> None:
    record = pack(PAYLOADS[:1])

    assert payload_of(record) == PAYLOADS[0]
    assert payload_of(record[:-1] + b"?") is None
    assert payload_of(record[:5]) is None


def test_a_part_of_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    assert [read_from(str(path), 3), read_from(str(path), 3, 4), read_from(str(path), 99)] == [b"3456789", b"3456", b""]
