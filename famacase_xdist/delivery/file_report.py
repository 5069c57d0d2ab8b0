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
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from famacase_xdist import clock
from famacase_xdist.errors import ReportError
from famacase_xdist.results.body import AttachmentEntry, content_of, noted, reference
from famacase_xdist.results.frames import AnyFrame, ResultFrame
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.state.outbox_contents import OutboxContents

from .destination import Say
from .died import results_of_running
from .file_report_format import ReportedAttachment, RunForm, attachment_form, result_form
from .wording import why_missing

#: Part of the time that is spent on writing the run's file again and again. That only matters if the session is killed.
RUN_SHARE = 0.05
#: Most results, and about how many bytes, that are read at once.
BATCH, BATCH_BYTES = 200, 16 * 1024 * 1024
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
        outbox: The results.
    """

    #: A report belongs to no run on a server.
    run = None
    #: Nothing is waited for.
    is_idle = True

    def __init__(self, settings: Settings, base: Path, outbox: Outbox) -> None:
        self._settings = settings
        self._outbox = outbox
        self._shown = settings.report_connection_path
        self._base = base
        self._format = settings.report_connection_format
        self._run = RunForm(settings.environment, clock.now())
        self._contents = _Contents(outbox.contents)
        self._directory: int | None = None
        self._written: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._accepted: int | None = None
        self._problems: list[str] = []
        self._run_due = 0.0
        self._is_dirty = False

    @property
    def _path(self) -> Path:
        return self._base / self._shown

    def start(self, say: Say) -> None:
        """Begin the report, or go on with the one that an earlier process of this session began.

        Args:
            say: Shows a line to the person who waits.

        Raises:
            ReportError: The directory cannot be made or written.
        """
        begun = self._outbox.session().get("report")
        if begun is None:
            self.begin(say)
            self._outbox.remember(report=str(self._shown))
        else:
            self._shown = Path(begun)
            with self._errors():
                self._go_on()

    def begin(self, say: Say) -> None:
        """Lock the directory and remove the report that is in it.

        If another session writes its report there, this one gets a directory beside it.

        Args:
            say: Shows a line to the person who waits.

        Raises:
            ReportError: The directory cannot be made or written.
        """
        with self._errors():
            if not self._lock_directory():
                # A path without a name cannot get another name.
                taken = self._path.resolve() if self._shown.name in ("", "..") else self._shown
                self._shown = taken.with_name(f"{taken.name}-{uuid.uuid4().hex[:8]}")
                say(f"another session writes its report to {taken}; this one's is in {self._shown}")
                self._lock_directory()
            self._clear()
            self._contents.directory = self._path / "attachments"
            self._write_run()

    def _go_on(self) -> None:
        """Lock the directory, and count the results in it, which the outbox has no more."""
        self._lock_directory()
        self._contents.directory = self._path / "attachments"
        foreign = (ValueError, TypeError, KeyError, AttributeError)  # what a file of another origin raises
        with contextlib.suppress(*foreign, FileNotFoundError):
            began = self._read(self._path / f"run.{self._format}")["execution"]["start_time"]
            self._run = RunForm(self._settings.environment, float(began))
        for path in (self._path / "results").glob(f"*.{self._format}"):
            with contextlib.suppress(*foreign):
                form = self._read(path)
                if path.stem == form["id"]:
                    self._run.add(form)
                    self._written[form["execution"]["status"]] += 1
        self._write_run()

    def _read(self, path: Path) -> Any:
        text = path.read_text(encoding="utf-8")
        return json.loads(text.removeprefix("qaseJsonp(").removesuffix(");"))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ReportError(f"the report in {self._shown} cannot be written: {error.strerror or error}") from None

    def header(self) -> list[str]:
        """Return the line that names the directory."""
        return [f"famacase: report in {self._shown}"]

    def follow(self) -> None:
        """Write what was added to the journal. Results that cannot be written are counted."""
        self._outbox.follow()
        self._write_waiting()

    def accept(self, code: str, frames: Sequence[AnyFrame], reason: str) -> None:
        """Write frames that the disk of the journal did not take; see `Destination.accept`."""
        self._outbox.accept(frames, reason)
        self._write_waiting()

    def _write_waiting(self) -> None:
        while batch := self._outbox.take(BATCH, BATCH_BYTES):
            for frame in batch:
                self._write_result(frame)
            self._outbox.acknowledge(batch)
        self._update_run()

    def copy(self) -> None:
        """Write all results that wait, and leave them in the outbox."""
        while batch := self._outbox.take(BATCH, BATCH_BYTES):
            for frame in batch:
                self._write_result(frame)

    def _write_result(self, frame: ResultFrame) -> None:
        head = frame.head
        if head.id in self._run:
            return  # by an earlier process, which died before it could note that
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
        self._update_run()

    def left(self) -> int:
        """Return 0, because what is followed is written at once."""
        return 0

    def request_stop(self, accepted: Mapping[str, Counter[str]], *, is_finished: bool) -> None:
        """Keep in mind how many results have to be written; see `Destination.request_stop`."""
        self._accepted = accepted[""].total()

    def bury(self) -> None:
        """Write results of the tests that were running when the session died."""
        self._outbox.add(list(results_of_running(self._outbox, self._settings, ())))
        self._write_waiting()

    def _update_run(self) -> None:
        """Write the run's file if that is due, so that the report can be read if the session is killed."""
        if self._is_dirty and clock.monotonic() >= self._run_due:
            with contextlib.suppress(OSError):
                self._write_run()

    def close(self) -> Outcome:
        """Write the rest, and return what became of the results."""
        self.follow()
        unread = self._outbox.damage.total()
        if self._accepted is not None:
            unread = self._accepted - self._written.total() - self._lost.total()
        if unread > 0:
            self._lost[why_missing(self._outbox)] += unread
        if self._outbox.trouble:
            self._problems.append(f"results were kept in memory only: {self._outbox.trouble}")
        return self.finished()

    def release(self) -> None:
        """Delete the outbox, which is of no use without this report; see `Destination.release`."""
        self._outbox.close(delete=True)

    def finished(self) -> Outcome:
        """Write the run's file, unlock the directory, and return what became of the results."""
        try:
            self._write_run()
        except OSError as error:
            self._problems.append(f"the run's file cannot be written: {error.strerror or error}")
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
    """The contents of attachments as files of the report; equal contents with one name are one file.

    Args:
        contents: The contents in the outbox.

    Attributes:
        directory: The directory of the files.
    """

    def __init__(self, contents: OutboxContents) -> None:
        self._contents = contents
        self.directory = Path()

    def file(self, digest: str, name: str) -> tuple[str, str, str]:
        """Return the file of a content under a name, which is made if necessary.

        Returns:
            The id of the attachment, its media type, and the name of the file.

        Raises:
            OSError: There is no such content.
        """
        head = self._contents.waiting(digest)
        if head is None:
            raise OSError("no content")
        if not self._contents.is_whole(head):
            raise OSError("a part of its content is missing")
        attachment_id = _id_of(digest, name)
        wanted = self.directory / f"{attachment_id}-{_shortened(name)}"
        part = self.directory / f"{attachment_id}.part"
        if not wanted.exists():
            try:
                with self._contents.open(head) as source, part.open("wb") as file:
                    shutil.copyfileobj(source, file)
                part.replace(wanted)
            finally:
                part.unlink(missing_ok=True)
        return attachment_id, head.mime, wanted.name


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
