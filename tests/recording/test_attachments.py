"""Attachments are read where and when the test attaches them, and sent once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from qase.commons.models.attachment import Attachment

from famacase_xdist.recording import attachments as module
from famacase_xdist.recording.attachments import Attachable, Attached, AttachmentSender, attached, clean_name
from famacase_xdist.results.body import reference
from famacase_xdist.results.frames import ContentHead
from famacase_xdist.results.sinks import ListSink

ID = "11111111-2222-3333-4444-555555555555"
OTHER_ID = "99999999-2222-3333-4444-555555555555"


class Box:
    """A sender with its sink."""

    def __init__(self) -> None:
        self.sink = ListSink()
        self.sender = AttachmentSender(self.sink)

    def send(self, attachment: Attached | Attachment, result_id: str = ID) -> dict[str, object]:
        """Send one attachment and return its entry."""
        return self.sender.send(result_id, attachment)[0]

    @property
    def sent(self) -> list[tuple[str, str, bytes]]:
        """Name, media type and content of each attachment."""
        found = []
        content = b""
        for frame in self.sink.frames:
            head, body = frame.head, frame.body
            content += body
            if isinstance(head, ContentHead):
                found.append((head.name, head.mime, content))
                content = b""
        return found


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_bytes(b"first")
    return path


@pytest.mark.parametrize(
    ("make", "mime"),
    [
        (str, "text/html"),
        (lambda path: path, "text/html"),
        (lambda path: (str(path), "text/x-own"), "text/x-own"),
        (lambda path: (path, "text/x-own"), "text/x-own"),
        (lambda path: (str(path), None), "text/html"),
    ],
    ids=["text", "path", "text-and-type", "path-and-type", "text-and-no-type"],
)
def test_a_file_is_sent_with_name_and_type(make: Callable[[Path], Attachable], mime: str, file: Path, box: Box) -> None:
    box.send(attached(make(file)))

    assert box.sent == [("page.html", mime, b"first")]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"\x00\xff", b"\x00\xff"),
        ("\N{SNOWMAN}", "\N{SNOWMAN}".encode()),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        ("lone \ud800", b"lone ?"),
    ],
    ids=["bytes", "text", "bytearray", "memoryview", "lone-surrogate"],
)
def test_content_is_sent_with_name_and_type(content: bytes | str, sent: bytes, box: Box) -> None:
    box.send(attached((content, "application/x-own", "own.bin")))

    assert box.sent == [("own.bin", "application/x-own", sent)]


class Thing:
    def __str__(self) -> str:
        return "a thing"


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        ({"a": [1, None]}, '{\n    "a": [\n        1,\n        null\n    ]\n}'),
        ([Thing()], '[\n    "a thing"\n]'),
        (5, "5"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (CIRCLE, "[[...]]"),
    ],
    ids=["dict", "object", "int", "key-that-is-no-text", "circle"],
)
def test_other_content_is_sent_as_json_with_indents_where_it_can_be(content: object, sent: str, box: Box) -> None:
    box.send(attached((content, "application/json", "a.json")))

    assert box.sent[0][2].decode() == sent


@pytest.mark.parametrize(
    ("name", "mime"),
    [("a.png", "image/png"), ("a.json", "application/json"), ("a.no-such-type", "application/octet-stream")],
)
def test_a_type_that_is_not_given_is_guessed(name: str, mime: str, box: Box) -> None:
    box.send(Attached(name, None, b"x", None))

    assert box.sent[0][1] == mime


def test_a_file_is_sent_as_it_was_when_it_was_attached(file: Path, box: Box) -> None:
    attachment = attached(str(file))
    file.write_bytes(b"of a later test")

    box.send(attachment)

    assert box.sent[0][2] == b"first"


def test_a_file_is_sent_although_it_is_gone_after_the_test(file: Path, box: Box) -> None:
    attachment = attached(str(file))
    file.unlink()

    box.send(attachment)

    assert box.sent[0][2] == b"first"


def test_a_buffer_is_sent_as_it_was_when_it_was_attached(box: Box) -> None:
    buffer = bytearray(b"first")
    attachment = attached((memoryview(buffer), "text/plain", "a.txt"))  # type: ignore[arg-type]
    buffer[:] = b"later"

    box.send(attachment)

    assert box.sent[0][2] == b"first"


def test_a_file_that_is_written_after_it_was_attached_is_sent(tmp_path: Path, box: Box) -> None:
    path = tmp_path / "video.webm"
    attachment = attached(str(path))
    path.write_bytes(b"recorded")

    box.send(attachment)

    assert box.sent == [("video.webm", "video/webm", b"recorded")]


def test_a_file_that_is_filled_after_it_was_attached_is_sent(tmp_path: Path, box: Box) -> None:
    path = tmp_path / "trace.zip"
    path.touch()
    attachment = attached(str(path))
    path.write_bytes(b"traced")

    box.send(attachment)

    assert box.sent[0][2] == b"traced"


def test_a_relative_path_means_the_directory_the_test_was_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    attachment = attached("late.txt")
    (tmp_path / "late.txt").write_bytes(b"here")
    monkeypatch.chdir("elsewhere")

    box.send(attachment)

    assert box.sent[0][2] == b"here"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.txt", "missing.txt: No such file or directory"),
        ("directory", "directory: Is a directory"),
        ("empty.txt", "empty.txt: the file is empty"),
        ("n\0ul.txt", "nul.txt: "),
    ],
)
def test_a_file_that_cannot_be_sent_is_named_with_the_reason(name: str, said: str, tmp_path: Path, box: Box) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "empty.txt").touch()

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        box.send(attached(os.path.join(tmp_path, name)))
    assert str(caught.value).startswith(said)
    assert box.sent == []


@pytest.mark.timeout(10)
def test_a_fifo_is_named_and_not_waited_for(tmp_path: Path, box: Box) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ValueError, match="pipe: not a regular file"):
        box.send(attached(tmp_path / "pipe"))


def test_a_device_is_named_and_not_read(box: Box) -> None:
    with pytest.raises(ValueError, match="zero: not a regular file"):
        box.send(attached("/dev/zero"))


def test_no_content_is_named_and_not_sent(box: Box) -> None:
    with pytest.raises(ValueError, match=r"a\.txt: no content"):
        box.send(attached((None, "text/plain", "a.txt")))


@pytest.mark.parametrize("content", [b"", "", bytearray()], ids=["bytes", "text", "bytearray"])
def test_empty_content_is_named_and_not_sent(content: bytes | str, box: Box) -> None:
    with pytest.raises(ValueError, match=r"a\.txt: the file is empty"):
        box.send(attached((content, "text/plain", "a.txt")))


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit of one MiB, to have no large files in the tests."""
    monkeypatch.setattr(module, "MOST_BYTES", 1024 * 1024)
    return 1024 * 1024


def test_a_file_that_is_too_large_is_named_with_both_sizes(limit: int, tmp_path: Path, box: Box) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(limit * 3 // 2))

    with pytest.raises(ValueError, match=r"large\.bin: 1\.5 MiB is more than the 1 MiB of the server"):
        box.send(attached(str(path)))


def test_a_file_that_is_too_large_is_not_read_when_it_is_attached(limit: int, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(limit + 1))

    assert attached(str(path)).content is None


def test_content_that_is_too_large_is_named_with_both_sizes(limit: int, box: Box) -> None:
    with pytest.raises(ValueError, match=r"a\.bin: 2\.0 MiB is more than the 1 MiB of the server"):
        box.send(attached((bytes(limit * 2), "text/plain", "a.bin")))


def test_what_is_just_as_large_as_allowed_is_sent(limit: int, tmp_path: Path, box: Box) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(limit))

    box.send(attached(str(path)))

    assert len(box.sent[0][2]) == limit


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("page.html", "page.html"),
        ("two words.txt", "two words.txt"),
        ("\N{SNOWMAN}.txt", "\N{SNOWMAN}.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\ada\\page.html", "page.html"),
        ("..\\..\\page.html", "page.html"),
        ("reports/", "reports"),
        ("a\r\nContent-Type: x", "aContent-Type: x"),
        ("nul\0byte", "nulbyte"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe", "gnp.exe"),
        ("lone\ud800", "lone"),
        ("", "attachment"),
        (".", "attachment"),
        ("..", "attachment"),
        ("/", "attachment"),
        ("a/..", "attachment"),
        (" .. ", "attachment"),
        ("\0..", "attachment"),
        ("\n", "attachment"),
        (None, "None"),
        (7, "7"),
    ],
    ids=ascii,
)
def test_a_name_cannot_leave_its_directory_or_its_line(name: object, cleaned: str) -> None:
    assert clean_name(name) == cleaned


def test_the_clean_name_is_the_one_that_is_sent_and_linked(box: Box) -> None:
    entry = box.send(attached((b"x", "text/plain", "../up/a\n.txt")))

    assert (entry["file_name"], box.sent[0][0]) == ("a.txt", "a.txt")


def test_a_media_type_cannot_add_headers_to_the_upload(box: Box) -> None:
    box.send(attached((b"x", "text/plain\r\nX-Own: 1", "a.txt")))

    assert box.sent[0][1] == "application/octet-stream"


@pytest.mark.parametrize("mime", ["plain", "/", "text/", "", "text/pl\xe4in", "text/\ud800", "a b/c", 7])
def test_what_is_no_media_type_is_not_sent_as_one(mime: object, box: Box) -> None:
    box.send(Attached("a.no-such-type", mime, b"x", None))  # type: ignore[arg-type]

    assert box.sent[0][1] == "application/octet-stream"


@pytest.mark.parametrize("mime", ["text/html; charset=utf-8", "application/vnd.own+json", "image/svg+xml"])
def test_a_media_type_is_sent_as_it_was_given(mime: str, box: Box) -> None:
    box.send(attached((b"x", mime, "a.txt")))

    assert box.sent[0][1] == mime


def test_equal_content_is_sent_once(box: Box) -> None:
    box.send(attached((b"same", "text/plain", "a.txt")))
    box.send(attached((b"same", "text/plain", "b.txt")))

    assert len(box.sent) == 1


def test_equal_content_keeps_both_names(box: Box) -> None:
    entries = [box.send(attached((b"same", "text/plain", name))) for name in ("a.txt", "b.txt")]

    assert [entry["file_name"] for entry in entries] == ["a.txt", "b.txt"]


def test_different_content_under_one_name_is_sent_twice(box: Box) -> None:
    for content in (b"one", b"two"):
        box.send(attached((content, "text/plain", "a.txt")))

    assert [content for _, _, content in box.sent] == [b"one", b"two"]


def test_the_same_content_of_two_results_is_referred_to_by_each_ones_id(box: Box) -> None:
    entries = [box.send(attached((b"same", "text/plain", "a.txt")), each) for each in (ID, OTHER_ID)]

    head = box.sink.frames[-1].head
    assert isinstance(head, ContentHead)
    assert [entry["id"] for entry in entries] == [reference(each, head.digest) for each in (ID, OTHER_ID)]


def test_an_attachment_that_could_not_be_sent_can_be_sent_later(tmp_path: Path, box: Box) -> None:
    attachment = attached(str(tmp_path / "late.txt"))
    with pytest.raises(ValueError, match="No such file"):
        box.send(attachment)
    (tmp_path / "late.txt").write_bytes(b"late")

    box.send(attachment)

    assert box.sent[0][2] == b"late"


def test_a_file_of_upstreams_model_is_read_although_its_content_says_null(file: Path, box: Box) -> None:
    attachment = Attachment("page.html", "text/html", file_path=str(file))
    assert attachment.content == "null"

    box.send(attachment)

    assert box.sent == [("page.html", "text/html", b"first")]


@pytest.mark.parametrize(("content", "sent"), [("text", b"text"), (b"\xff", b"\xff"), ({"a": 1}, b'{\n    "a": 1\n}')])
def test_content_of_upstreams_model_is_sent(content: object, sent: bytes, box: Box) -> None:
    box.send(Attachment("a.txt", "text/plain", content))

    assert box.sent[0][2] == sent
