"""The line: whole messages, whatever their size, and nothing is read from or written to what is not the line."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from famacase_xdist.courier.line import Line, LocalLine

DEADLINE = 20.0
#: More than a pipe holds.
LARGE = b"x" * 3_000_000

Pair = tuple[Line, Line]


def ends() -> Pair:
    """Return both ends of a new line."""
    (one_reads, other_writes), (other_reads, one_writes) = os.pipe(), os.pipe()
    return Line(one_reads, one_writes), Line(other_reads, other_writes)


@pytest.fixture
def pair() -> Iterator[Pair]:
    before = descriptors()
    one, other = ends()
    yield one, other
    one.close()
    other.close()
    assert descriptors() == before


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class Sending:
    """Sends messages on a thread, because a pipe holds only 64 KiB."""

    def __init__(self, line: Line, *messages: object) -> None:
        self._thread = threading.Thread(target=lambda: [line.send(each) for each in messages], daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


# Messages


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65_531, 65_536, 65_537, len(LARGE)])
def test_a_message_of_any_size_arrives_whole(size: int, pair: Pair) -> None:
    one, other = pair
    sending = Sending(one, LARGE[:size])

    assert other.receive(DEADLINE) == LARGE[:size]
    sending.join()


def test_messages_arrive_in_their_order_in_both_directions(pair: Pair) -> None:
    one, other = pair
    for number in range(100):
        one.send(number)
        other.send(-number)

    assert [other.receive(DEADLINE) for _ in range(100)] == list(range(100))
    assert [one.receive(DEADLINE) for _ in range(100)] == [-number for number in range(100)]


def test_messages_of_several_threads_do_not_mix(pair: Pair) -> None:
    one, other = pair
    messages = [(number, bytes([number]) * 300_000) for number in range(6)]
    sending = [Sending(one, each, each) for each in messages]

    received = [other.receive(DEADLINE) for _ in range(12)]

    assert sorted(received) == sorted(messages * 2)  # type: ignore[type-var]
    for each in sending:
        each.join()


def test_a_message_that_comes_in_parts_is_waited_for(pair: Pair) -> None:
    one, other = pair
    content = pickle.dumps("a message")
    whole = len(content).to_bytes(4, "big") + content

    for position in range(len(whole)):
        assert other.receive(0.0) is None
        os.write(one._writing.number, whole[position : position + 1])

    assert other.receive(0.0) == "a message"


@pytest.mark.parametrize("timeout", [0.0, 0.05])
def test_where_nothing_comes_in_time_there_is_no_message(timeout: float, pair: Pair) -> None:
    assert pair[0].receive(timeout) is None


def test_nothing_is_printed(pair: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    one, other = pair
    one.send("a message")
    other.receive(DEADLINE)
    other.close()
    with pytest.raises(OSError, match="gone"):
        one.send("another one")
    with pytest.raises(EOFError):
        one.receive(None)

    assert capfd.readouterr() == ("", "")


# The end of the line


def test_what_was_said_before_the_end_is_received_and_then_the_end(pair: Pair) -> None:
    one, other = pair
    one.send(1)
    one.send(2)
    one.close()

    assert other.is_cut
    assert (other.receive(None), other.receive(None)) == (1, 2)
    for _ in range(2):
        with pytest.raises(EOFError):
            other.receive(None)


def test_half_a_message_is_none(pair: Pair) -> None:
    one, other = pair
    os.write(one._writing.number, b"\0\0\0\x10half")
    one.close()

    with pytest.raises(EOFError):
        other.receive(None)


def test_a_line_is_not_cut_as_long_as_both_ends_are_open(pair: Pair) -> None:
    one, other = pair
    assert not one.is_cut
    other.send("a message")

    assert not one.is_cut
    assert one.receive(DEADLINE) == "a message"


def test_nothing_can_be_sent_to_an_end_that_is_gone(pair: Pair) -> None:
    one, other = pair
    other.close()

    with pytest.raises(BrokenPipeError):
        one.send("a message")
    assert one.is_cut


@pytest.mark.process
def test_an_end_that_is_gone_kills_nobody_though_a_test_has_made_that_signal_fatal() -> None:
    code = """
import os, signal
from famacase_xdist.courier.line import Line
reading, its = os.pipe()
gone, writing = os.pipe()
line = Line(reading, writing)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.close(gone)
try:
    line.send("a message")
except OSError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (ran.returncode, ran.stdout) == (0, "the other end is gone\n")


def test_an_end_that_does_not_read_is_not_waited_for_for_ever(pair: Pair) -> None:
    one, other = pair

    with pytest.raises(TimeoutError):
        one.send(LARGE, 0.05)

    # A part of it is in the pipe, so nothing may follow.
    assert one.is_cut
    with pytest.raises(OSError, match="the line was closed"):
        one.send("a message")
    with pytest.raises(EOFError):
        other.receive(None)


# What a test does to our descriptors


@pytest.mark.parametrize("which", ["_reading", "_writing"])
def test_a_pipe_that_a_test_has_closed_cuts_the_line(which: str, pair: Pair) -> None:
    one, _ = pair
    os.close(getattr(one, which).number)

    assert one.is_cut


def test_without_its_pipes_a_line_neither_waits_nor_fails_in_another_way(pair: Pair) -> None:
    one, _ = pair
    os.close(one._reading.number)
    os.close(one._writing.number)

    with pytest.raises(EOFError):
        one.receive(None)
    with pytest.raises(OSError, match="the line was closed"):
        one.send("a message")


def test_a_file_of_somebody_else_with_our_number_is_left_alone(pair: Pair, tmp_path: Path) -> None:
    one, _ = pair
    foreign = tmp_path / "foreign"
    numbers = (one._reading.number, one._writing.number)
    with foreign.open("w+b") as file:
        file.write(b"\0\0\0\1theirs")
        file.flush()
        for number in numbers:
            os.dup2(file.fileno(), number)

        assert one.is_cut
        with pytest.raises(EOFError):
            one.receive(None)
        with pytest.raises(OSError, match="the line was closed"):
            one.send("a message")
        one.close()

        assert foreign.read_bytes() == b"\0\0\0\1theirs"
        assert all(os.fstat(number).st_ino == foreign.stat().st_ino for number in numbers)
    for number in numbers:
        os.close(number)


def test_a_pipe_of_somebody_else_with_our_number_is_not_read(pair: Pair) -> None:
    one, _ = pair
    reading, writing = os.pipe()
    os.write(writing, b"theirs")
    os.dup2(reading, one._reading.number)

    with pytest.raises(EOFError):
        one.receive(None)

    assert os.read(reading, 99) == b"theirs"
    for number in (reading, writing, one._reading.number):
        os.close(number)


@pytest.mark.parametrize(
    ("module", "names"),
    [(pickle, ("dumps", "loads")), (select, ("poll",)), (os, ("read", "write", "close", "fstat", "set_blocking"))],
    ids=["pickle", "select", "os"],
)
def test_what_a_test_replaces_is_not_used(module: object, names: tuple[str, ...]) -> None:
    (one_reads, other_writes), (other_reads, one_writes) = os.pipe(), os.pipe()
    with mock.patch.multiple(module, **dict.fromkeys(names, mock.DEFAULT)):
        one, other = Line(one_reads, one_writes), Line(other_reads, other_writes)
        one.send("a message")
        received = other.receive(DEADLINE)
        one.close()
        other.close()

    assert received == "a message"


# Between threads


def test_a_local_line_has_both_directions_and_no_descriptor() -> None:
    before = descriptors()
    one, other = LocalLine.pair()
    one.send(1)
    one.send(2)
    other.send(3)

    assert (other.receive(0.0), other.receive(None), one.receive(DEADLINE)) == (1, 2, 3)
    assert other.receive(0.0) is None
    assert not one.is_cut
    assert descriptors() == before


def test_a_local_line_ends_behind_what_was_said() -> None:
    one, other = LocalLine.pair()
    one.send("a message")
    one.close()

    assert other.receive(None) == "a message"
    for _ in range(2):
        with pytest.raises(EOFError):
            other.receive(None)


def test_a_thread_that_waits_on_a_local_line_is_woken_by_its_end() -> None:
    one, other = LocalLine.pair()
    ended: list[str] = []

    def wait() -> None:
        try:
            other.receive(None)
        except EOFError:
            ended.append("the end")

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    one.close()
    thread.join(DEADLINE)

    assert ended == ["the end"]
