"""The destination that is a directory: upstream's file report, written by one process as the results come.

Each file is written under another name and then renamed, so that the report can be read even if this process is killed.
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
from collections.abc import Sequence
from pathlib import Path

from famacase_xdist import clock
from famacase_xdist.errors import ReportError
from famacase_xdist.results.body import AttachmentEntry, content_of, noted, reference
from famacase_xdist.results.frames import AnyFrame, ContentHead, PieceHead, ResultFrame, is_result
from famacase_xdist.settings.settings import Settings

from .destination import Outcome, Say
from .file_report_format import ReportedAttachment, RunForm, attachment_form, result_form

#: Part of the time that is spent on writing the run's file again and again. That only matters if the session is killed.
RUN_SHARE = 0.05
#: Most bytes of an attachment's name in a file name: what file systems allow, less our own part.
MOST_NAME = 180
#: Most characters of a suffix that is kept when a name is cut.
MOST_SUFFIX = 10
#: The names of files of a report, ours and upstream's. Other files are never removed.
_OF_A_REPORT = re.compile(r"[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}[-.].+", re.DOTALL)


class FileReport:
    """Writes a report.

    Args:
        settings: The settings: directory, format and environment of the report.
        base: The directory that a relative path starts from.

    Attributes:
        secret: The token, which mode ``report`` does not need but may have.
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
        """Lock the directory and remove the report that is in it.

        If another session writes its report there, this one gets a directory beside it.

        Args:
            say: Shows a line to the person who waits.

        Raises:
            ReportError: The directory cannot be made or written.
        """
        try:
            if not self._lock_directory():
                # A path without a name cannot get another name.
                taken = self._path.resolve() if self._shown.name in ("", "..") else self._shown
                self._shown = taken.with_name(f"{taken.name}-{uuid.uuid4().hex[:8]}")
                say(f"another session writes its report to {taken}; this one's is in {self._shown}")
                self._lock_directory()
            self._clear()
            self._contents.directory = self._path / "attachments"
            self._write_run()
        except OSError as error:
            raise ReportError(f"the report in {self._shown} cannot be written: {error.strerror or error}") from None

    def header(self) -> list[str]:
        """Return the line that names the directory."""
        return [f"famacase: report in {self._shown}"]

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Write results and attachments. Results that cannot be written are counted."""
        with self._lock:
            for frame in frames:
                self._keep(frame)
            self._update_run()

    def _keep(self, frame: AnyFrame) -> None:
        if is_result(frame):
            if frame.head.id not in self._run:
                self._write_result(frame)
        elif isinstance(frame.head, PieceHead):
            self._contents.add(frame.head, frame.body)
        elif isinstance(frame.head, ContentHead):
            self._contents.close(frame.head)

    def _write_result(self, frame: ResultFrame) -> None:
        head = frame.head
        missing: list[str] = []

        def attach(entry: AttachmentEntry) -> ReportedAttachment | None:
            digest = str(entry["id"]).removeprefix(reference(head.id, ""))
            name = entry["file_name"]
            try:
                attachment_id, mime, file = self._contents.file(digest, name)
            except OSError as error:
                missing.append(f"{name}: {error.strerror or error}")
                return None
            return attachment_form(attachment_id, name, mime, str(self._shown / "attachments" / file))

        form = result_form(content_of(frame), attach, head.projects)
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
        """Write the run's file if that is due, so that the report can be read if the session is killed."""
        if self._is_dirty and clock.monotonic() >= self._run_due:
            with contextlib.suppress(OSError):
                self._write_run()

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Write the run's file and unlock the directory. Nothing is waited for, so the arguments have no effect."""
        with self._lock:
            try:
                self._write_run()
            except OSError as error:
                self._problems.append(f"the run's file cannot be written: {error.strerror or error}")
            self._contents.drop_parts()
            self._unlock_directory()
        return Outcome(
            delivered=self._written,
            undelivered=self._lost.total(),
            causes=self._lost,
            problems=tuple(self._problems),
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

    def _lock_directory(self) -> bool:
        """Make the directory, and lock it for as long as the session lives.

        Returns:
            Whether it is ours; False if another session has locked it.
        """
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

    def _unlock_directory(self) -> None:
        if self._directory is not None:
            # Unlocked explicitly, because a child that a test has forked and left behind shares the lock.
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
    """The contents of attachments. Pieces become a file, and equal contents with one name are one file.

    Two workers may send the same content at the same time, so each piece is written once only.

    Attributes:
        directory: The directory of the files.
    """

    def __init__(self) -> None:
        self.directory = Path()
        self._next: dict[str, int] = {}
        self._troubles: dict[str, OSError] = {}
        self._files: dict[str, tuple[ContentHead, Path]] = {}

    def add(self, head: PieceHead, body: bytes) -> None:
        """Append a piece, if it is the next one of its content."""
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
        """Make the pieces of a content its file, because all of them came."""
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
        """Return the file of a content under a name, which is made if necessary.

        Returns:
            The id of the attachment, its media type, and the name of the file.

        Raises:
            OSError: There is no such content.
        """
        if digest not in self._files:
            raise self._troubles.get(digest, OSError("no content"))
        head, path = self._files[digest]
        wanted = path.with_name(self._name(digest, name))
        if not wanted.exists():
            try:
                os.link(path, wanted)
            except OSError:  # the file system has no links
                shutil.copyfile(path, wanted)
        return _id_of(digest, name), head.mime, wanted.name

    def drop_parts(self) -> None:
        """Remove the files of contents that are not whole."""
        for digest in self._next:
            with contextlib.suppress(OSError):
                self._part(digest).unlink(missing_ok=True)

    def _part(self, digest: str) -> Path:
        return self.directory / f"{_id_of(digest, '')}.part"

    def _name(self, digest: str, name: str) -> str:
        return f"{_id_of(digest, name)}-{_shortened(name)}"


def _shortened(name: str) -> str:
    """Return a name that is short enough for a file, with its suffix."""
    if len(name.encode()) <= MOST_NAME:
        return name
    _, dot, suffix = name.rpartition(".")
    kept = f"{dot}{suffix}".encode() if len(suffix) <= MOST_SUFFIX else b""
    return (name.encode()[: MOST_NAME - len(kept)] + kept).decode(errors="ignore")


def _id_of(digest: str, name: str) -> str:
    """Return an attachment's id: equal contents with one name are one attachment."""
    return str(uuid.uuid5(uuid.UUID(digest[:32]), name))
