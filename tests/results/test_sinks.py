"""Sinks: the frames of a recorder arrive, and a controller that is gone disturbs no test."""

from __future__ import annotations

from collections.abc import Iterator

import execnet
import pytest
from harness.forking import status_in_child

from famacase_xdist.results.frames import BegunHead, Frame, decode
from famacase_xdist.results.sinks import ChannelSink, DirectSink, ListSink

pytestmark = pytest.mark.process

ONE, TWO = (Frame(BegunHead("t.py::test_a"), body) for body in (b"one", b"two"))
ECHO = "while True: channel.send(channel.receive())"


@pytest.fixture
def gateway() -> Iterator[execnet.Gateway]:
    group = execnet.Group()
    yield group.makegateway("popen")
    group.terminate(timeout=5)


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * 5_000_000], ids=len)
def test_a_frame_arrives_as_it_was_sent(body: bytes, gateway: execnet.Gateway) -> None:
    channel = gateway.remote_exec(ECHO)
    frame = Frame(BegunHead("t.py::test_a"), body)

    ChannelSink(channel).send(frame)

    assert decode(channel.receive(30)) == frame


def test_frames_arrive_in_the_order_they_were_sent(gateway: execnet.Gateway) -> None:
    channel = gateway.remote_exec(ECHO)
    sink = ChannelSink(channel)
    frames = [Frame(BegunHead(f"t.py::test_{number}")) for number in range(100)]

    for frame in frames:
        sink.send(frame)

    assert [decode(channel.receive(30)) for _ in frames] == frames


def test_nothing_is_lost_where_the_other_side_is_there(gateway: execnet.Gateway) -> None:
    sink = ChannelSink(gateway.remote_exec(ECHO))

    sink.send(ONE)

    assert sink.lost == 0


def test_frames_to_a_channel_that_the_other_side_closed_are_counted(gateway: execnet.Gateway) -> None:
    channel = gateway.remote_exec("")
    channel.waitclose(30)
    sink = ChannelSink(channel)

    sink.send(ONE)
    sink.send(TWO)

    assert sink.lost == 2


def test_frames_after_the_gateway_is_gone_are_counted(gateway: execnet.Gateway) -> None:
    sink = ChannelSink(gateway.remote_exec(ECHO))
    gateway.exit()

    sink.send(ONE)

    assert sink.lost == 1


def test_closing_tells_the_other_side(gateway: execnet.Gateway) -> None:
    inner = gateway.newchannel()
    outer = gateway.remote_exec("inner = channel.receive(); inner.waitclose(30); channel.send('closed')")
    outer.send(inner)

    ChannelSink(inner).close()

    assert outer.receive(30) == "closed"


def test_closing_twice_does_no_harm(gateway: execnet.Gateway) -> None:
    channel = gateway.remote_exec(ECHO)
    sink = ChannelSink(channel)

    sink.close()
    sink.close()

    assert channel.isclosed()


def test_closing_after_the_gateway_is_gone_does_no_harm(gateway: execnet.Gateway) -> None:
    class Gone:
        """Raises, as a channel does until its receiver thread knows of the end."""

        def close(self) -> None:
            raise OSError("cannot send (already closed?)")

    channel = gateway.newchannel()
    gateway.exit()

    ChannelSink(channel).close()
    ChannelSink(Gone()).close()  # type: ignore[arg-type]


def test_a_frame_after_closing_is_counted(gateway: execnet.Gateway) -> None:
    sink = ChannelSink(gateway.remote_exec(ECHO))
    sink.close()

    sink.send(ONE)

    assert sink.lost == 1


def test_a_forked_child_neither_sends_over_its_parents_channel_nor_closes_it(gateway: execnet.Gateway) -> None:
    channel = gateway.remote_exec(ECHO)
    sink = ChannelSink(channel)

    def act() -> None:
        sink.send(ONE)
        sink.close()

    assert status_in_child(act) == 0
    sink.send(TWO)

    assert decode(channel.receive(30)) == TWO
    assert sink.lost == 0


def test_a_forked_child_hands_nothing_to_its_parents_function() -> None:
    taken: list[object] = []
    sink = DirectSink(taken.append)

    def act() -> None:
        sink.send(ONE)
        assert taken == []
        own = DirectSink(taken.append)
        own.send(TWO)
        assert taken == [TWO]

    assert status_in_child(act) == 0
    sink.send(ONE)

    assert taken == [ONE]


def test_the_double_keeps_frames_in_order() -> None:
    sink = ListSink()

    sink.send(ONE)
    sink.send(TWO)
    sink.close()

    assert sink.frames == [ONE, TWO]
