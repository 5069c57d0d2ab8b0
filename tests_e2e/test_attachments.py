"""Attachments arrive as they were when they were attached, once, side by side, and never cost a result."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.server import ATTACHMENTS, COMPLETE, RESULTS, Action, App, Backend, Send, answer, lost
from harness.suites import Ran, Suite

ONE_PROCESS = ("-p", "no:xdist")
TWO_WORKERS = ("-n2",)
BOTH = pytest.mark.parametrize("args", [ONE_PROCESS, TWO_WORKERS], ids=["no-xdist", "n2"])
FOR_EVER = float("inf")
MIB = 1024 * 1024

GOOD = """
    import io, json, os, pathlib
    import pytest
    from qase.pytest import qase

    HERE = pathlib.Path(os.getcwd(), "made")

    def made(name, content):
        HERE.mkdir(exist_ok=True)
        file = HERE / name
        file.write_bytes(content)
        return file

    def test_deleted():
        file = made("deleted.txt", b"was there")
        qase.attach(str(file))
        file.unlink()

    def test_rewritten():
        file = made("log.txt", b"of the first")
        qase.attach((str(file), "text/plain"))
        file.write_bytes(b"of the second")
        with qase.step("again"):
            qase.attach(str(file))
        file.write_bytes(b"of nobody")

    def test_relative():
        made("relative.bin", bytes(range(256)))
        with qase.step("outer"):
            with qase.step("inner"):
                qase.attach(os.path.join("made", "relative.bin"))
        os.unlink(os.path.join("made", "relative.bin"))

    def test_content():
        qase.attach((b"\\x00\\xff\\r\\n--boundary", "application/octet-stream", "raw.bin"))
        qase.attach(("gr\\u00fc\\u00df dich \\U0001f600", "text/plain", "text.txt"))
        with qase.step("in a step"):
            qase.attach((bytearray(b"array"), "image/png", "shot.png"), ({"a": [1]}, "application/json", "data.json"))

    @pytest.fixture
    def attaching():
        qase.attach((b"set-up", "text/plain", "setup.txt"))
        yield
        qase.attach((b"teardown", "text/plain", "teardown.txt"))

    def test_fixture(attaching):
        pass

    def test_large():
        qase.attach((bytes(range(256)) * 4096 * 5 + b"end", "application/octet-stream", "large.bin"))

    def test_limit():
        qase.attach((b"x" * (32 * 1024 * 1024), "application/octet-stream", "limit.bin"))
"""
LARGE = hashlib.sha256(bytes(range(256)) * 4096 * 5 + b"end").hexdigest()
LIMIT = hashlib.sha256(b"x" * (32 * MIB)).hexdigest()


@pytest.fixture
def reporting(suite: Suite, backend: Backend) -> Suite:
    suite.env.update(backend.environment())
    return suite


def section(ran: Ran) -> str:
    """Return our section at the end."""
    _, found, rest = ran.stdout.partition("= Famacase =")
    assert found, ran.text
    lines = rest.splitlines()[1:]
    end = next((number for number, line in enumerate(lines) if line.startswith("===")), len(lines))
    return "\n".join(lines[:end])


def by_title(backend: Backend) -> dict[str, dict[str, Any]]:
    """Return the results, of which no two have one title."""
    found = {result["title"]: result for result in backend.results()}
    assert len(found) == len(backend.results())
    return found


def entries(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each attachment of a result with the path of steps that leads to it."""
    for entry in result["attachments"]:
        yield "", entry
    for step in result["steps"]:
        for entry in step["execution"]["attachments"]:
            yield step["data"]["action"], entry
        for child in step["steps"]:
            for path, entry in entries({"attachments": [], "steps": [child]}):
                yield f"{step['data']['action']}/{path}", entry


def contents(backend: Backend, result: dict[str, Any]) -> dict[tuple[str, str], bytes]:
    """Return the stored bytes of a result's attachments by step and name."""
    found = {}
    for path, entry in entries(result):
        file = backend.store.attachment(entry["id"])
        assert file is not None, entry
        found[path, entry["file_name"]] = file.content
    return found


def uploads(backend: Backend) -> list[tuple[str, str]]:
    """Return name and digest of every file that the server ever took, linked or not."""
    database = sqlite3.connect(backend.store.path)
    try:
        return database.execute("SELECT file_name, sha256 FROM attachments ORDER BY rowid").fetchall()
    finally:
        database.close()


@pytest.mark.parametrize("way", ["no-xdist", "n2", "chdir"])
def test_attachments_arrive_as_they_were_when_attached(
    way: str, reporting: Suite, backend: Backend, tmp_path: Path
) -> None:
    reporting.write("test_good.py", GOOD)
    elsewhere = ("--dist", "load", "--tx", f"popen//chdir={tmp_path / 'elsewhere'}", "--rsyncdir=.")
    ran = reporting.run(*{"no-xdist": ONE_PROCESS, "n2": TWO_WORKERS, "chdir": elsewhere}[way])

    assert ran.status == 0, ran.text
    results = by_title(backend)
    assert {each["message"] for each in results.values()} == {None}
    assert contents(backend, results["test_deleted"]) == {("", "deleted.txt"): b"was there"}
    assert contents(backend, results["test_rewritten"]) == {
        ("", "log.txt"): b"of the first",
        ("again", "log.txt"): b"of the second",
    }
    assert contents(backend, results["test_relative"]) == {("outer/inner", "relative.bin"): bytes(range(256))}
    assert contents(backend, results["test_content"]) == {
        ("", "raw.bin"): b"\x00\xff\r\n--boundary",
        ("", "text.txt"): "grüß dich \U0001f600".encode(),
        ("in a step", "shot.png"): b"array",
        ("in a step", "data.json"): b'{\n    "a": [\n        1\n    ]\n}',
    }
    assert contents(backend, results["test_fixture"]) == {
        ("", "setup.txt"): b"set-up",
        ("", "teardown.txt"): b"teardown",
    }
    ((_, large),) = contents(backend, results["test_large"]).items()
    assert hashlib.sha256(large).hexdigest() == LARGE
    ((_, limit),) = contents(backend, results["test_limit"]).items()
    assert hashlib.sha256(limit).hexdigest() == LIMIT
    types = {entry["file_name"]: stored_type(backend, entry) for _, entry in entries(results["test_content"])}
    assert types["shot.png"] == "image/png"
    assert types["text.txt"] == "text/plain"
    if way == "chdir":
        assert not (reporting.path / "made").exists()
        assert list((tmp_path / "elsewhere").rglob("made"))


def stored_type(backend: Backend, entry: dict[str, Any]) -> str:
    file = backend.store.attachment(entry["id"])
    assert file is not None
    return file.mime_type


BAD = """
    import os, pathlib
    from qase.pytest import qase

    def test_sparse(tmp_path):
        file = tmp_path / "sparse.bin"
        with file.open("wb") as open_file:
            open_file.truncate(33 * 1024 * 1024)
        qase.attach(str(file))

    def test_oversized():
        qase.attach((b"x" * (32 * 1024 * 1024 + 1), "text/plain", "oversized.txt"))

    def test_unreadable():
        qase.attach("/proc/self/mem")  # a regular file that gives an error to root too

    def test_missing(tmp_path):
        with qase.step("in a step"):
            qase.attach((str(tmp_path / "missing.txt"), "text/plain"))

    def test_empty(tmp_path):
        file = tmp_path / "empty.txt"
        file.touch()
        qase.attach(str(file))

    def test_empty_content():
        qase.attach((b"", "text/plain", "nothing.txt"))

    def test_directory(tmp_path):
        (tmp_path / "folder").mkdir()
        qase.attach(str(tmp_path / "folder"))

    def test_fifo(tmp_path):
        os.mkfifo(tmp_path / "pipe")
        qase.attach(str(tmp_path / "pipe"))

    def test_device():
        qase.attach("/dev/zero")

    def test_fails_too(tmp_path):
        qase.attach(str(tmp_path / "gone.txt"))
        qase.attach((b"good", "text/plain", "good.txt"))
        assert False, "for a reason"
"""
NOTES = {
    "test_sparse": "sparse.bin: 33.0 MiB is more than the 32 MiB",
    "test_oversized": "oversized.txt: 32.0 MiB is more than the 32 MiB",
    "test_unreadable": "mem: ",
    "test_missing": "missing.txt: No such file or directory",
    "test_empty": "empty.txt: the file is empty",
    "test_empty_content": "nothing.txt: the file is empty",
    "test_directory": "folder: Is a directory",
    "test_fifo": "pipe: not a regular file",
    "test_device": "zero: not a regular file",
    "test_fails_too": "gone.txt: No such file or directory",
}


@BOTH
def test_what_cannot_be_attached_is_named_in_the_message_and_costs_no_result(
    args: tuple[str, ...], reporting: Suite, backend: Backend
) -> None:
    reporting.write("test_bad.py", BAD)

    ran = reporting.run(*args, timeout=60)

    assert ran.status == 1, ran.text
    assert "1 failed, 9 passed" in ran.stdout
    results = by_title(backend)
    assert results.keys() == NOTES.keys()
    for title, note in NOTES.items():
        assert f"Attachment left out: {note}" in results[title]["message"], title
        is_failed = title == "test_fails_too"
        assert results[title]["execution"]["status"] == ("failed" if is_failed else "passed")
        assert contents(backend, results[title]) == ({("", "good.txt"): b"good"} if is_failed else {})
    assert results["test_fails_too"]["message"].startswith("AssertionError: for a reason")
    assert "undelivered 0" in section(ran)
    assert [run.status for run in backend.store.runs()] == ["completed"]


@BOTH
def test_equal_content_is_uploaded_once(args: tuple[str, ...], reporting: Suite, backend: Backend) -> None:
    reporting.write(
        "test_equal.py",
        """
        import pytest
        from qase.pytest import qase

        @pytest.mark.parametrize("number", range(20))
        def test_equal(number):
            qase.attach((b"the same for all", "text/plain", f"name-{number}.txt"))
            with qase.step("again"):
                qase.attach((b"the same for all", "text/plain", "again.txt"))
        """,
    )
    # Several batches: what an earlier one uploaded counts for the later ones.
    ran = reporting.run(*args, FAMACASE_TESTOPS_BATCH_SIZE="5")

    assert ran.status == 0, ran.text
    assert len(uploads(backend)) == 1
    assert len(backend.requests(ATTACHMENTS)) == 1
    assert len(backend.requests(RESULTS)) >= 4
    names = set()
    for result in backend.results():
        stored = contents(backend, result)
        assert set(stored.values()) == {b"the same for all"}
        names |= {name for _, name in stored}
    assert names == {"again.txt", *(f"name-{number}.txt" for number in range(20))}


def test_equal_large_content_of_two_workers_at_once_arrives_whole(reporting: Suite, backend: Backend) -> None:
    reporting.write(
        "test_at_once.py",
        """
        import os, pathlib, time
        import pytest
        from qase.pytest import qase

        OTHER = {"gw0": "gw1", "gw1": "gw0"}

        @pytest.mark.parametrize("turn", range(6))
        def test_at_once(turn):
            content = b"".join(b"%d %09d\\n" % (turn, line) for line in range(600_000))
            me = os.environ["PYTEST_XDIST_WORKER"]
            pathlib.Path(f"{turn}-{me}").touch()
            deadline = time.monotonic() + 30
            while not pathlib.Path(f"{turn}-{OTHER[me]}").exists():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            qase.attach((content, "text/plain", "large.txt"))
        """,
    )
    ran = reporting.run("-n2", "--dist", "each")

    assert ran.status == 0, ran.text
    assert "undelivered 0" in section(ran), section(ran)
    assert len(backend.results()) == 12
    for result in backend.results():
        turn = int(result["params"]["turn"])
        ((_, content),) = contents(backend, result).items()
        expected = b"".join(b"%d %09d\n" % (turn, line) for line in range(600_000))
        assert len(content) == len(expected)
        assert content == expected, f"turn {turn} differs"
    assert len(uploads(backend)) == 6


class Overlap:
    """An action that counts the requests that are open at one time, and holds each until `expected` are."""

    def __init__(self, expected: int) -> None:
        self.most = 0
        self._expected = expected
        self._open = 0
        self._full = asyncio.Event()

    async def __call__(self, app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self._open += 1
        self.most = max(self.most, self._open)
        if self.most == self._expected:
            self._full.set()
        try:
            await asyncio.wait_for(self._full.wait(), 20)
            # One more than allowed would come in this time.
            await asyncio.sleep(0.3)
            await app(scope, receive, send)
        finally:
            self._open -= 1


@pytest.mark.parametrize("workers", [1, 3])
def test_uploads_run_side_by_side_as_many_as_allowed(workers: int, reporting: Suite, backend: Backend) -> None:
    reporting.write(
        "test_many.py",
        """
        from qase.pytest import qase

        def test_many():
            for number in range(8):
                qase.attach((bytes([number]) * 5 * 1024 * 1024, "text/plain", f"{number}.txt"))
        """,
    )
    overlap = Overlap(workers)
    backend.inject(ATTACHMENTS, overlap, times=FOR_EVER)

    ran = reporting.run(*ONE_PROCESS, FAMACASE_ATTACHMENT_WORKERS=str(workers))

    assert ran.status == 0, ran.text
    assert overlap.most == workers
    assert len(backend.requests(ATTACHMENTS)) >= 4
    (result,) = backend.results()
    assert contents(backend, result) == {("", f"{n}.txt"): bytes([n]) * 5 * MIB for n in range(8)}


def refusing_files(status: int, detail: bytes, marker: bytes) -> Action:
    """Refuse an upload with the marker in it, and let the application take all others."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        if marker in body:
            await answer(status, b'{"detail": "' + detail + b'"}')(app, scope, again, send)
        else:
            await app(scope, again, send)

    return act


@pytest.mark.parametrize("status", [413, 422])
def test_an_attachment_that_the_server_refuses_costs_only_itself(
    status: int, reporting: Suite, backend: Backend
) -> None:
    reporting.write(
        "test_virus.py",
        """
        import pytest
        from qase.pytest import qase

        @pytest.mark.parametrize("number", range(6))
        def test_attaches(number):
            qase.attach((f"before {number}", "text/plain", "before.txt"))
            if number == 3:
                with qase.step("bad"):
                    qase.attach((b"a virus it is", "text/plain", "virus.txt"))
            qase.attach((f"after {number}", "text/plain", "after.txt"))
        """,
    )
    backend.inject(ATTACHMENTS, refusing_files(status, b"not wanted here", b"a virus it is"), times=FOR_EVER)

    ran = reporting.run(*TWO_WORKERS)

    assert ran.status == 0, ran.text
    results = {int(each["params"]["number"]): each for each in backend.results()}
    assert results.keys() == set(range(6))
    for number, result in results.items():
        assert contents(backend, result) == {
            ("", "before.txt"): b"before %d" % number,
            ("", "after.txt"): b"after %d" % number,
        }
        note = f"Attachment left out: virus.txt: HTTP {status}: not wanted here"
        assert result["message"] == (note if number == 3 else None)
    assert "undelivered 0" in section(ran)
    assert [run.status for run in backend.store.runs()] == ["completed"]


TEN_LARGE = """
    from qase.pytest import qase

    def test_ten():
        for number in range(10):
            qase.attach((bytes([number]) * 5 * 1024 * 1024, "text/plain", f"{number}.txt"))
"""


def test_a_token_that_is_refused_for_uploads_stops_them(reporting: Suite, backend: Backend) -> None:
    reporting.write("test_ten.py", TEN_LARGE)
    backend.inject(ATTACHMENTS, answer(403, b'{"detail": "no uploads for this token"}'), times=FOR_EVER)

    ran = reporting.run(*ONE_PROCESS, FAMACASE_ATTACHMENT_WORKERS="2")

    assert ran.status == 0, ran.text
    assert backend.requests(RESULTS) == []
    assert backend.requests(COMPLETE) == []
    assert "undelivered 1: the token was refused: HTTP 403: no uploads for this token" in section(ran)
    assert len(reporting.leftovers()) == 1
    # Those that were on their way already may end; none is sent after them.
    assert len(backend.requests(ATTACHMENTS)) <= 2


def test_an_upload_whose_answer_is_lost_leaves_no_wrong_link(reporting: Suite, backend: Backend) -> None:
    reporting.write("test_good.py", GOOD)
    backend.inject(ATTACHMENTS, lost())
    backend.inject(ATTACHMENTS, answer(503))

    ran = reporting.run(*TWO_WORKERS)

    assert ran.status == 0, ran.text
    results = by_title(backend)
    assert contents(backend, results["test_deleted"]) == {("", "deleted.txt"): b"was there"}
    assert contents(backend, results["test_relative"]) == {("outer/inner", "relative.bin"): bytes(range(256))}
    assert contents(backend, results["test_rewritten"]) == {
        ("", "log.txt"): b"of the first",
        ("again", "log.txt"): b"of the second",
    }
    assert {each["message"] for each in results.values()} == {None}
    assert "undelivered 0" in section(ran)


NAMES = """
    import pathlib
    from qase.pytest import qase

    NAMES = [
        "../../escape.txt", "/etc/passwd", "..\\\\..\\\\windows.txt", "CON", "NUL.txt", "a\\x00b.txt", "bell\\x07.txt",
        "x" * 300 + ".txt", "line\\r\\nX-Evil: yes.txt", 'quo"te;filename=other.txt', "..", "", "   ",
        "\\u202egpj.exe", "\\ud800.txt", "\\u0444\\u0430\\u0439\\u043b.txt", "%0d%0a.txt", "a/", 7, None,
    ]

    def test_names(tmp_path):
        for number, name in enumerate(NAMES):
            qase.attach((f"content {number}", "text/plain", name))

    def test_types():
        for number, mime in enumerate(["text/plain\\r\\nX-Evil: yes", "", "nonsense", None, 7]):
            qase.attach((f"typed {number}", mime, f"{number}.dat"))

    def test_path(tmp_path):
        file = tmp_path / "new\\nline \\u202e.txt"
        file.write_text("by path")
        qase.attach(str(file))
"""


def test_hostile_names_neither_escape_nor_lose_content(reporting: Suite, backend: Backend) -> None:
    reporting.write("test_names.py", NAMES)

    ran = reporting.run(*TWO_WORKERS)

    assert ran.status == 0, ran.text
    results = by_title(backend)
    named = results["test_names"]["attachments"]
    assert len(named) == 20, results["test_names"]["message"]
    stored = [backend.store.attachment(entry["id"]) for entry in named]
    assert [file.content for file in stored if file is not None] == [b"content %d" % number for number in range(20)]
    linked = [entry["file_name"] for entry in named]
    assert linked[:5] == ["escape.txt", "passwd", "windows.txt", "CON", "NUL.txt"]
    assert linked[5:7] == ["ab.txt", "bell.txt"]
    assert linked[15] == "файл.txt"
    for name in [*linked, *(file.file_name for file in stored if file is not None)]:
        assert re.fullmatch(r"[^/\\\x00-\x1f\x7f\u202e]+", name), ascii(name)
        assert name not in (".", "..")
        assert name.strip()
    types = [stored_type(backend, entry) for entry in results["test_types"]["attachments"]]
    assert types == ["application/octet-stream"] * 5
    ((_, by_path),) = contents(backend, results["test_path"]).items()
    assert by_path == b"by path"
    assert {each["message"] for each in results.values()} == {None}


PEAK = """
    import pathlib
    import pytest

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(config):
        if not hasattr(config, "workerinput"):
            (line,) = [each for each in open("/proc/self/status") if each.startswith("VmHWM:")]
            pathlib.Path("peak").write_text(line.split()[1])
"""
HEAVY = """
    import os
    import pytest
    from qase.pytest import qase

    @pytest.mark.parametrize("number", range(20))
    def test_heavy(number):
        content = os.urandom(10 * 1024 * 1024)
        if os.environ["HEAVY"] == "yes":
            qase.attach((content, "application/octet-stream", f"{number}.bin"))
"""


@pytest.mark.timeout(240)
@BOTH
def test_memory_stays_flat_under_200_mb_of_attachments(
    args: tuple[str, ...], reporting: Suite, backend: Backend
) -> None:
    reporting.write("conftest.py", PEAK)
    reporting.write("test_heavy.py", HEAVY)
    peaks = {}
    for heavy in ("no", "yes"):
        ran = reporting.run(*args, timeout=110, HEAVY=heavy)
        assert ran.status == 0, ran.text
        assert "delivered 20 (20 passed), undelivered 0" in section(ran), section(ran)
        peaks[heavy] = int((reporting.path / "peak").read_text()) / 1024

    assert len(uploads(backend)) == 20
    assert peaks["yes"] - peaks["no"] < 100, peaks
