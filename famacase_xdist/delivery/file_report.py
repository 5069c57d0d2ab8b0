"""The destination that is a directory: upstream's file report, written by one process as the results come.

Each file is written beside its place and renamed, so that whoever kills us leaves a report that can be read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from famacase_xdist import clock
from famacase_xdist.errors import ReportError
from famacase_xdist.results.body import noted, reference
from famacase_xdist.results.frames import AnyFrame, ContentHead, PieceHead, ResultHead
from famacase_xdist.settings.settings import Settings

from .destination import Outcome, Say
from .file_report_format import RunForm, attachment_form, result_form

#: Part of the time that goes into states of the run's file, which only matter if the session never ends.
RUN_SHARE = 0.05
#: Bytes of a file name that file systems take, less our own part of it.
MOST_NAME = 180
#: Characters of a suffix that is worth keeping in a name that is cut.
MOST_SUFFIX = 10
#: What a report's files are called, ours and upstream's; nothing else is ever removed.
_OF_A_REPORT = re.compile(r"[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}[-.].+", re.DOTALL)


class FileReport:
    """Writes a report.

    Args:
        settings: Say where, in which form, and for which environment.
        base: The directory that a relative path starts from.
    """

    def __init__(self, settings: Settings, base: Path) -> None:
        self.secret = settings.token
        self._shown = settings.report_connection_path
        self._base = base
        self._format = settings.report_connection_format
        self._run = RunForm(settings.environment, clock.now())
        self._contents = _Contents()
        self._directory: int | None = None
        self._written: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._problems: list[str] = []
        self._lock = threading.Lock()
        self._run_due = 0.0
        self._is_dirty = False

    @property
    def _path(self) -> Path:
        return self._base / self._shown

    def start(self, say: Say) -> None:
        """Take the directory and remove the report that is in it.

        Raises:
            ReportError: It cannot be made or written.
        """
        try:
            if not self._take():
                # A name is needed to make another one beside it.
                taken = self._path.resolve() if self._shown.name in ("", "..") else self._shown
                self._shown = taken.with_name(f"{taken.name}-{uuid.uuid4().hex[:8]}")
                say(f"another session writes its report to {taken}; this one's is in {self._shown}")
                self._take()
            self._clear()
            self._contents.directory = self._path / "attachments"
            self._write_run()
        except OSError as error:
            raise ReportError(f"the report in {self._shown} cannot be written: {error.strerror or error}") from None

    def header(self) -> list[str]:
        """Name the directory."""
        return [f"famacase: report in {self._shown}"]

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Write results and attachments; what cannot be written is counted."""
        with self._lock:
            for frame in frames:
                self._keep(frame)
            self._update_run()

    def _keep(self, frame: AnyFrame) -> None:
        head, body = frame.head, frame.body
        if isinstance(head, ResultHead):
            if head.id not in self._run:
                self._write_result(head, body)
        elif isinstance(head, PieceHead):
            self._contents.add(head, body)
        elif isinstance(head, ContentHead):
            self._contents.close(head)

    def _write_result(self, head: ResultHead, body: bytes) -> None:
        missing: list[str] = []

        def attach(entry: Mapping[str, Any]) -> dict[str, Any] | None:
            digest = str(entry["id"]).removeprefix(reference(head.id, ""))
            name = str(entry["file_name"])
            try:
                attachment_id, mime, file = self._contents.file(digest, name)
            except OSError as error:
                missing.append(f"{name}: {error.strerror or error}")
                return None
            return attachment_form(attachment_id, name, mime, str(self._shown / "attachments" / file))

        form = result_form(json.loads(body), attach, head.projects)
        form["message"] = noted(form["message"], missing)
        try:
            self._write("results", head.id, form)
        except OSError as error:
            self._lost[f"{error.strerror or error} [{head.nodeid}]"] += 1
            return
        self._run.add(form)
        self._written[head.status] += 1
        self._is_dirty = True

    def sync(self) -> None:
        """Bring the run's file up to date."""
        with self._lock:
            self._update_run()

    def _update_run(self) -> None:
        """Write the run's file where that is due, for whoever reads a report whose session was killed."""
        if self._is_dirty and clock.monotonic() >= self._run_due:
            with contextlib.suppress(OSError):
                self._write_run()

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Write the run's file and let go of the directory; waits for nobody."""
        with self._lock:
            try:
                self._write_run()
            except OSError as error:
                self._problems.append(f"the run's file cannot be written: {error.strerror or error}")
            self._contents.drop_parts()
            self._let_go()
        return Outcome(
            self._written,
            self._lost.total(),
            self._lost,
            tuple(self._problems),
            where=(f"report: {self._shown}",),
            words=("written", "not written"),
        )

    def _write_run(self) -> None:
        began = clock.monotonic()
        self._write("", "run", self._run.form(clock.now()))
        ended = clock.monotonic()
        self._run_due = ended + (ended - began) / RUN_SHARE
        self._is_dirty = False

    def _write(self, folder: str, name: str, content: object) -> None:
        text = json.dumps(content, indent=4, sort_keys=True, allow_nan=False)
        if self._format == "jsonp":
            text = f"qaseJsonp({text});"
        path = self._path / folder / f"{name}.{self._format}"
        part = path.with_suffix(".part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise

    def _take(self) -> bool:
        """Make the directory, and lock it for as long as the session lives; False if another session has it."""
        for folder in ("results", "attachments"):
            (self._path / folder).mkdir(parents=True, exist_ok=True)
        directory = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(directory)
            return False
        except OSError:
            pass  # a file system without locks
        self._directory = directory
        return True

    def _let_go(self) -> None:
        if self._directory is not None:
            # A child that a test has forked and left behind has the same lock.
            with contextlib.suppress(OSError):
                fcntl.flock(self._directory, fcntl.LOCK_UN)
            os.close(self._directory)
            self._directory = None

    def _clear(self) -> None:
        for name in ("run.json", "run.jsonp", "run.part"):
            (self._path / name).unlink(missing_ok=True)
        for folder in ("results", "attachments"):
            for file in (self._path / folder).iterdir():
                if _OF_A_REPORT.fullmatch(file.name) and not file.is_dir():
                    file.unlink()


class _Contents:
    """The contents of attachments: pieces become a file, and equal content of one name is one file.

    Two workers may send the same content side by side, so each piece counts once.
    """

    def __init__(self) -> None:
        self.directory = Path()
        self._next: dict[str, int] = {}
        self._troubles: dict[str, OSError] = {}
        self._files: dict[str, tuple[ContentHead, Path]] = {}

    def add(self, head: PieceHead, body: bytes) -> None:
        """Append a piece, if it is the next one of a content that is not whole yet."""
        digest = head.digest
        if digest in self._files or digest in self._troubles or head.number != self._next.get(digest, 0):
            return
        try:
            with self._part(digest).open("ab" if head.number else "wb") as file:
                file.write(body)
            self._next[digest] = head.number + 1
        except OSError as error:
            self._troubles[digest] = error

    def close(self, head: ContentHead) -> None:
        """Take a content as whole."""
        part = self._part(head.digest)
        if head.digest in self._files:
            return
        try:
            if part.stat().st_size != head.size:
                raise OSError("a part of its content is missing")
            path = self.directory / self._name(head.digest, head.name)
            part.replace(path)
        except OSError as error:
            self._troubles.setdefault(head.digest, error)
        else:
            self._files[head.digest] = (head, path)

    def file(self, digest: str, name: str) -> tuple[str, str, str]:
        """Give the id, the media type and the name of the file that holds a content under a name.

        Raises:
            OSError: There is none.
        """
        if digest not in self._files:
            raise self._troubles.get(digest, OSError("no content"))
        head, path = self._files[digest]
        wanted = path.with_name(self._name(digest, name))
        if not wanted.exists():
            try:
                os.link(path, wanted)
            except OSError:  # a file system without links
                shutil.copyfile(path, wanted)
        return _id_of(digest, name), head.mime, wanted.name

    def drop_parts(self) -> None:
        """Remove what never became whole."""
        for digest in self._next:
            with contextlib.suppress(OSError):
                self._part(digest).unlink(missing_ok=True)

    def _part(self, digest: str) -> Path:
        return self.directory / f"{_id_of(digest, '')}.part"

    def _name(self, digest: str, name: str) -> str:
        return f"{_id_of(digest, name)}-{_shortened(name)}"


def _shortened(name: str) -> str:
    """Cut a name that is too long for a file, not its suffix."""
    if len(name.encode()) <= MOST_NAME:
        return name
    _, dot, suffix = name.rpartition(".")
    kept = f"{dot}{suffix}".encode() if len(suffix) <= MOST_SUFFIX else b""
    return (name.encode()[: MOST_NAME - len(kept)] + kept).decode(errors="ignore")


def _id_of(digest: str, name: str) -> str:
    """Give an attachment's id: equal content under one name is one attachment."""
    return str(uuid.uuid5(uuid.UUID(digest[:32]), name))
