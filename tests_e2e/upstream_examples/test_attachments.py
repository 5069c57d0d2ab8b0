"""Attachments: every form that qase.attach takes, at tests and at steps."""

from pathlib import Path

from qase.pytest import qase

HERE = Path(__file__).parent
NOTE = str(HERE / "note.txt")


def test_path():
    qase.attach(NOTE)


def test_path_and_type():
    qase.attach((NOTE, "text/markdown"))


def test_bytes():
    qase.attach((b"\x00\xff\x89PNG", "image/png", "page.png"))


def test_text():
    qase.attach(("Grüße\nzwei Zeilen", "text/plain", "text.txt"))


def test_object():
    qase.attach(({"amount": 1, "items": ["tea"]}, "application/json", "order.json"))


def test_many():
    qase.attach(NOTE, (b"one", "text/plain", "one.txt"), ("two", "text/plain", "two.txt"))
    qase.attach((b"one", "text/plain", "one.txt"))


def test_step():
    with qase.step("has a file"):
        qase.attach(NOTE)
    with qase.step("has text"):
        qase.attach(("text", "text/plain", "text.txt"))


def test_inner_step():
    with qase.step("outer"):
        qase.attach((b"outer", "text/plain", "outer.txt"))
        with qase.step("inner"):
            qase.attach((b"inner", "text/plain", "inner.txt"))
    qase.attach((b"test", "text/plain", "test.txt"))


def test_inner_step_alone():
    with qase.step("outer"), qase.step("inner"):
        qase.attach((b"inner", "text/plain", "inner.txt"))


def test_file_that_changes_and_goes(tmp_path):
    file = tmp_path / "log.txt"
    file.write_text("first")
    qase.attach(str(file))
    file.write_text("second")


def test_output():
    print("to stdout")


def test_output_of_a_failure():
    print("to stdout")
    assert False
