"""Attachments in the process of the test, read when they are attached, because a later test may write the same file."""

from __future__ import annotations

import os
import re

# Bound by name. Tests that patch an attribute of these modules, or `builtins.open`, mean other code. pyfakefs, which
# also replaces names, does reach them: a path that is attached then is one of its files.
from io import open as open_file
from mimetypes import guess_type
from os import fsdecode, getcwd, stat
from pathlib import PurePath
from stat import S_ISDIR, S_ISREG
from typing import Protocol

from famacase_xdist.results.body import AttachmentEntry, reference
from famacase_xdist.results.frames import ContentHead, content_frames, digest_of
from famacase_xdist.results.sinks import ResultSink
from famacase_xdist.results.text import Encoder, text_of

#: The server's limit for one file, in bytes.
MOST_BYTES = 32 * 1024 * 1024
#: One argument of `qase.attach`: a path; a path and its media type; content, media type and file name.
Attachable = str | os.PathLike[str] | tuple[str, str] | tuple[object, str, str]

_encode = Encoder(default=text_of, indent=4).encode
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[ -~]+", re.ASCII)


class AttachmentLike(Protocol):
    """The attributes of all that can be attached: upstream's model, `Attached` and `payload.TextAttachment`."""

    @property
    def file_name(self) -> object:
        """The name of the file, or a path that ends with it."""

    @property
    def mime_type(self) -> object:
        """The media type; None if it has to be guessed from the name."""

    @property
    def content(self) -> object:
        """Bytes, text, or an object that becomes JSON."""

    @property
    def file_path(self) -> str | None:
        """The path of the file with the content; None if there is no file."""


class Attached:
    """One attachment, with the attributes of upstream's model.

    Attributes:
        content: The bytes. None if the file was not there yet; `file_path` is then read when the test ends.
    """

    def __init__(self, file_name: str, mime_type: str | None, content: bytes | None, file_path: str | None) -> None:
        self.file_name = file_name
        self.mime_type = mime_type
        self.content = content
        self.file_path = file_path


def attached(file: Attachable) -> Attached:
    """Return an argument of `qase.attach` as an attachment; a file is read if it is there."""
    if isinstance(file, tuple) and len(file) == 3:
        content, mime, name = file
        return Attached(name, mime, None if content is None else _bytes(content), None)
    path, given = file if isinstance(file, tuple) else (file, None)
    path = fsdecode(path)
    if not path.startswith("/"):
        path = f"{getcwd()}/{path}"
    return Attached(clean_name(path), given, _snapshot(path), path)


def clean_name(name: object) -> str:
    """Return a file name that cannot leave its directory: the last part of a path, without control characters."""
    last = PurePath(text_of(name).replace("\\", "/")).name
    cleaned = "".join(character for character in last if character.isprintable()).strip()
    return cleaned if cleaned not in ("", ".", "..") else "attachment"


class AttachmentSender:
    """Sends the contents of attachments ahead of the results that name them, equal content once."""

    def __init__(self, sink: ResultSink) -> None:
        self._sink = sink
        self._sent: set[str] = set()

    def send(self, result_id: str, attachment: AttachmentLike) -> tuple[AttachmentEntry, str]:
        """Send the content of an attachment. Return its entry for the result, and its digest.

        Raises:
            ValueError: The attachment cannot be sent; the text names it and the reason.
        """
        name = clean_name(attachment.file_name)
        content = _content(name, attachment)
        mime = _media_type(name, attachment.mime_type)
        digest = digest_of(content, mime)
        if digest not in self._sent:
            for frame in content_frames(ContentHead(digest, name, mime, len(content)), content):
                self._sink.send(frame)
            self._sent.add(digest)
        return {"id": reference(result_id, digest), "file_name": name}, digest


def _media_type(name: str, given: object) -> str:
    """Return the given media type, else a guessed one; never one that could add headers to the upload."""
    mime = text_of(given or guess_type(name)[0])
    return mime if _MEDIA_TYPE.fullmatch(mime) else "application/octet-stream"


def _content(name: str, attachment: AttachmentLike) -> bytes:
    """Return the content of an attachment. Upstream's model has the text "null" as its content if it has a path."""
    content = attachment.content
    if attachment.file_path and not (isinstance(attachment, Attached) and content is not None):
        content = _read(name, attachment.file_path)
    if content is None:
        raise ValueError(f"{name}: no content")
    content = _bytes(content)
    if not content:
        raise ValueError(f"{name}: the file is empty")
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name}: {_too_large(len(content))}")
    return content


def _read(name: str, path: str) -> bytes:
    try:
        _check(stat(path))
        with open_file(path, "rb") as file:  # noqa: UP020
            return file.read()
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {getattr(error, 'strerror', None) or error}") from None


def _check(status: os.stat_result) -> None:
    """Refuse files that must not be opened: a FIFO would wait for a writer, a device may never end."""
    if not S_ISREG(status.st_mode) and not S_ISDIR(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > MOST_BYTES:
        raise ValueError(_too_large(status.st_size))


def _snapshot(path: str) -> bytes | None:
    """Return the content that a file has now; None if it has none yet. `_content` reads it again when the test ends."""
    try:
        return _read("", path) or None
    except ValueError:
        return None


def _too_large(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB is more than the {MOST_BYTES // 1024 // 1024} MiB of the server"


def _bytes(content: object) -> bytes:
    """Return content as bytes; objects that are neither bytes nor text become indented JSON, as in upstream."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content)
    text = content if isinstance(content, str) else _json(content)
    return text_of(text).encode("utf-8", "replace")


def _json(content: object) -> str:
    try:
        return _encode(content)
    except (TypeError, ValueError, RecursionError):  # keys that JSON does not have, a circle, too many levels
        return text_of(content)
