"""Frames as tests make them: of results, of tests that begin, and of attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from famacase_xdist.results import body as bodies
from famacase_xdist.results import synthetic
from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    ContentHead,
    Frame,
    PieceHead,
    ResultFrame,
    ResultHead,
    digest_of,
)


def result(
    name: str = "test_a",
    *,
    nodeid: str = "",
    status: str = "passed",
    attempt: int = 1,
    thread: str = "main",
    attached: Mapping[str, str] | None = None,
    projects: Mapping[str, Sequence[int]] | None = None,
    **changes: object,
) -> ResultFrame:
    """Return the frame of a result that a strict server takes, unless `changes` say otherwise.

    Args:
        name: The test's name in the file `t.py`.
        nodeid: The whole node id, in the place of `name`.
        status: One of the server's statuses.
        attempt: 1 for the first attempt.
        thread: The worker that ran the test.
        attached: Digests of attachments by file name.
        projects: Test case ids by project.
        changes: Keys of the RESULT that are to have other values, or that a RESULT does not have.
    """
    made = synthetic.result(nodeid or f"t.py::{name}", status, "", thread=thread, attempt=attempt)
    attached = attached or {}
    entries = [{"id": bodies.reference(made.head.id, digest), "file_name": each} for each, digest in attached.items()]
    content = {**bodies.content_of(made), "attachments": entries, **changes}
    return bodies.framed(content, made.head.nodeid, contents=attached.values(), projects=projects)  # type: ignore[arg-type]


def opaque(body: bytes, nodeid: str = "t.py::test_a", *, id: str = "id", contents: Sequence[str] = ()) -> ResultFrame:
    """Return the frame of a result with any bytes as its body, for code that does not look into it."""
    return Frame(ResultHead(id, nodeid, "passed", contents=tuple(contents)), body)


def numbered(number: int, body: bytes = b"{}", *, contents: Sequence[str] = ()) -> ResultFrame:
    """Return an opaque result whose id and name have a number: `id-1` of `t.py::test_1`."""
    return opaque(body, f"t.py::test_{number}", id=f"id-{number}", contents=contents)


def begun(nodeid: str, body: bytes = b"") -> Frame[BegunHead]:
    """Return the frame of a test that begins."""
    return Frame(BegunHead(nodeid), body)


def described(
    nodeid: str, *, projects: Mapping[str, Sequence[int]] | None = None, **changes: object
) -> Frame[BegunHead]:
    """Return the frame of a test that begins, with its description.

    Args:
        nodeid: The test's node id.
        projects: Test case ids by project.
        changes: Keys of the description that are to have other values.
    """
    return bodies.begun(nodeid, {**synthetic.described_by(nodeid), **changes}, projects)  # type: ignore[typeddict-item]


def content(digest: str, pieces: Sequence[bytes], *, name: str = "a.txt", mime: str = "text/plain") -> list[AnyFrame]:
    """Return the frames of an attachment's content: the pieces as they are given, and the end."""
    frames: list[AnyFrame] = [Frame(PieceHead(digest, number), piece) for number, piece in enumerate(pieces)]
    return [*frames, Frame(ContentHead(digest, name, mime, sum(map(len, pieces))))]


def attachment(
    body: bytes, *, name: str = "a.txt", mime: str = "text/plain", pieces: int = 1
) -> tuple[str, list[AnyFrame]]:
    """Return the digest of an attachment and its frames, the content in at most `pieces` pieces of one size."""
    digest = digest_of(body, mime)
    size = -(-len(body) // pieces) or 1
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return digest, content(digest, parts, name=name, mime=mime)
