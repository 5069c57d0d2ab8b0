"""The recorder: attachments go ahead of the result that refers to them."""

from __future__ import annotations

from harness.recorders import Session

from famacase_xdist.results.body import reference
from famacase_xdist.results.frames import (
    BegunHead,
    ContentHead,
    PieceHead,
    ResultHead,
)


def test_attachments_go_ahead_of_the_result_that_names_them(session: Session) -> None:
    ran = session.run("""
        def test_a():
            qase.attach((b"of the test", "text/plain", "a.txt"))
            with qase.step("step"):
                qase.attach(("of the step", "text/plain", "b.txt"))
    """)

    assert ran.kinds == [PieceHead, ContentHead, PieceHead, ContentHead, ResultHead]
    assert ran.contents == [("a.txt", b"of the test"), ("b.txt", b"of the step")]
    (head,), body = ran.heads, ran.body
    digests = [frame.head.digest for frame in ran.frames if isinstance(frame.head, ContentHead)]
    assert list(head.contents) == digests
    assert body["attachments"] == [{"id": reference(head.id, digests[0]), "file_name": "a.txt"}]
    assert body["steps"][0]["attachments"] == [{"id": reference(head.id, digests[1]), "file_name": "b.txt"}]


def test_equal_content_is_sent_once_and_named_by_each_result(session: Session) -> None:
    ran = session.run("""
        @pytest.mark.parametrize("number", [1, 2])
        def test_a(number):
            qase.attach((b"same", "text/plain", "a.txt"), (b"same", "text/plain", "b.txt"))
    """)

    assert ran.kinds == [BegunHead, PieceHead, ContentHead, ResultHead, BegunHead, ResultHead]
    first, second = ran.heads
    assert first.contents == second.contents
    assert len(first.contents) == 1
    assert [[each["file_name"] for each in body["attachments"]] for body in ran.bodies] == [["a.txt", "b.txt"]] * 2


def test_an_attachment_that_cannot_be_sent_is_a_line_of_the_message(session: Session) -> None:
    ran = session.run("""
        def test_a():
            qase.attach("missing.txt", (b"here", "text/plain", "a.txt"))

        def test_b():
            qase.attach("missing.txt")
            pytest.skip("later")
    """)

    left_out = "Attachment left out: missing.txt: No such file or directory"
    assert ran.verdicts == [("test_a", "passed", left_out), ("test_b", "skipped", f"later\n{left_out}")]
    assert [[each["file_name"] for each in body["attachments"]] for body in ran.bodies] == [["a.txt"], []]
    assert ran.recorder.failures == 0


def test_an_attachment_outside_a_test_is_dropped(session: Session) -> None:
    ran = session.run("""
        def test_a(): pass

        def setup_module():
            qase.attach((b"of the first test", "text/plain", "in.txt"))

        def pytest_generate_tests():
            qase.attach((b"of no test", "text/plain", "out.txt"))

        qase.attach((b"of no test", "text/plain", "out.txt"))
    """)
    ran.recorder.add_attachments((b"of no test", "text/plain", "out.txt"))

    assert ran.contents == [("in.txt", b"of the first test")]


LOGGING = """
    import logging, sys

    @pytest.fixture
    def broken():
        print("of the set-up")
        raise OSError

    @pytest.fixture
    def chatty():
        print("of the set-up")
        yield
        print("of the teardown")

    def test_passes(chatty):
        logging.getLogger().warning("logged")
        print("printed")
        print("to stderr", file=sys.stderr)

    def test_setup_fails(broken): pass
"""


def test_captured_output_is_attached_where_that_is_set(session: Session) -> None:
    ran = session.run(LOGGING, pytest_capture_logs=True)

    names = [[each["file_name"] for each in body["attachments"]] for body in ran.bodies]
    assert names == [["log.txt", "stdout.txt", "stderr.txt"], ["stdout.txt"]]
    contents = ran.contents
    assert contents[1] == ("stdout.txt", b"of the set-up\nprinted\n")
    assert b"logged" in contents[0][1]
    assert contents[2:] == [("stderr.txt", b"to stderr\n"), ("stdout.txt", b"of the set-up\n")]


def test_captured_output_is_not_attached_by_default(session: Session) -> None:
    assert session.run(LOGGING).kinds == [ResultHead, ResultHead]
