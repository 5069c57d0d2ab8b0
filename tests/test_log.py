"""The log of DEBUG: it costs nothing without a listener, holds no secret, and neither a disk nor a test harms it."""

from __future__ import annotations

import logging
import logging.config
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import freezegun
import pytest
from harness.forking import status_in_child

from famacase_xdist.log import KEPT_SECONDS, MOST_LINES, LogCollector, log
from famacase_xdist.results.redaction import Mask

TOKEN = "rep_a-token-that-must-not-leak"

Start = Callable[[], LogCollector]


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts collectors that mask the token; they stop when the test ends."""
    started: list[LogCollector] = []

    def start() -> LogCollector:
        started.append(LogCollector(Mask(TOKEN).text))
        started[-1].start()
        return started[-1]

    yield start
    for recording in started:
        recording.stop()


@pytest.fixture
def recording(start: Start) -> LogCollector:
    return start()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in a directory that is not there yet."""
    return tmp_path / "state" / "log" / "session.log"


def told(recording: LogCollector) -> list[str]:
    """Return the lines without time and thread."""
    return [line.partition(": ")[2] for line in recording.lines]


def open_files() -> set[str]:
    """Return the paths of all files that this process has open."""
    return {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}


class Costly:
    """An argument that must not be turned into text."""

    def __str__(self) -> str:
        raise AssertionError("it was made a text")


# Without a listener


def test_without_a_listener_no_text_is_made_and_nothing_printed(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    class Asked:
        def __str__(self) -> str:
            asked.append("text")
            return "text"

    log.debug("%s", Asked())
    log.info("%s", Asked())

    assert asked == []
    assert capsys.readouterr() == ("", "")


def test_a_line_before_the_start_is_not_heard(start: Start) -> None:
    log.info("not heard")

    recording = start()
    log.info("heard")

    assert told(recording) == ["heard"]


# Lines


def test_a_line_has_time_and_thread(recording: LogCollector) -> None:
    thread = threading.Thread(target=log.debug, args=("from %s", "aside"), name="aside")
    thread.start()
    thread.join()
    log.info("from %d", 1)

    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} aside: from aside", recording.lines[0])
    own = re.escape(threading.current_thread().name)
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{3}} {own}: from 1", recording.lines[1])


def test_the_token_is_in_no_line_and_not_in_the_file(recording: LogCollector, path: Path) -> None:
    log.info("before %s", TOKEN)
    recording.write_to(path)
    log.info(f"in the text: {TOKEN}")
    log.info("in an argument: %s", ValueError(TOKEN))
    log.info("in json: %s", {"token": TOKEN})

    for text in ("\n".join(recording.lines), "\n".join(recording.section()), path.read_text()):
        assert TOKEN not in text
        assert text.count("*" * len(TOKEN)) == 4, text


def test_a_line_that_cannot_be_made_costs_itself_only(
    recording: LogCollector, capsys: pytest.CaptureFixture[str]
) -> None:
    log.info("%d", "no number")
    log.info("%s", Costly())
    log.info("heard")

    assert told(recording) == ["heard"]
    assert capsys.readouterr() == ("", "")


def test_a_mask_that_fails_lets_no_line_through(path: Path) -> None:
    def failing(text: str) -> str:
        raise ValueError(text)

    recording = LogCollector(failing)
    recording.start()
    recording.write_to(path)
    log.info("unmasked")
    recording.stop()

    assert list(recording.section()) == []
    assert path.read_text() == ""


def test_all_lines_are_shown_where_they_are_few(recording: LogCollector) -> None:
    for number in range(MOST_LINES):
        log.debug("%d", number)

    assert list(recording.section()) == list(recording.lines)
    assert told(recording) == [str(number) for number in range(MOST_LINES)]


def test_of_many_lines_the_last_are_shown_and_the_rest_is_counted(recording: LogCollector) -> None:
    for number in range(MOST_LINES + 7):
        log.debug("%d", number)

    first, *rest = recording.section()

    assert first == "(7 earlier lines are left out)"
    assert MOST_LINES == 1000
    assert [line.partition(": ")[2] for line in rest] == [str(number) for number in range(7, MOST_LINES + 7)]


def test_lines_of_many_threads_are_all_counted(recording: LogCollector, path: Path) -> None:
    recording.write_to(path)
    begin = threading.Barrier(8)

    def tell() -> None:
        begin.wait(10)
        for number in range(200):
            log.debug("%d", number)

    threads = [threading.Thread(target=tell, name=f"teller-{number}") for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert next(recording.section()) == "(600 earlier lines are left out)"
    lines = path.read_text().splitlines()
    assert len(lines) == 1600
    assert all(re.fullmatch(r"[\d:.]+ teller-\d: \d+", line) for line in lines)


# The file


def test_the_file_has_the_lines_before_it_and_all_that_follow(recording: LogCollector, path: Path) -> None:
    log.info("before")
    recording.write_to(path)
    log.info("after \N{SNOWMAN}")

    assert path.read_text().splitlines() == list(recording.lines)
    assert told(recording) == ["before", "after \N{SNOWMAN}"]


def test_the_file_has_also_the_lines_that_the_terminal_leaves_out(recording: LogCollector, path: Path) -> None:
    recording.write_to(path)
    for number in range(MOST_LINES + 5):
        log.debug("%d", number)

    assert len(path.read_text().splitlines()) == MOST_LINES + 5


def test_a_line_is_in_the_file_before_the_session_ends(recording: LogCollector, path: Path) -> None:
    """A process that is killed closes no file."""
    recording.write_to(path)
    log.info("at once")

    assert "at once\n" in path.read_text()


def test_the_lines_of_an_earlier_session_stay(start: Start, path: Path) -> None:
    for line in ("first", "second"):
        recording = start()
        recording.write_to(path)
        log.info(line)
        recording.stop()

    assert [line.partition(": ")[2] for line in path.read_text().splitlines()] == ["first", "second"]


def test_file_and_directory_are_open_to_their_owner_only(recording: LogCollector, path: Path) -> None:
    before = os.umask(0)
    try:
        recording.write_to(path)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_files_of_sessions_long_ago_are_removed(recording: LogCollector, path: Path) -> None:
    path.parent.mkdir(parents=True)
    now = time.time()
    for name, age in {"old.log": 60, "older.log": 9 * KEPT_SECONDS, "young.log": -60, "old.txt": 60}.items():
        file = path.parent / name
        file.touch()
        os.utime(file, (now, now - KEPT_SECONDS - age))
    (path.parent / "directory.log").mkdir()
    os.utime(path.parent / "directory.log", (0, 0))

    recording.write_to(path)

    assert {each.name for each in path.parent.iterdir()} == {"young.log", "old.txt", "directory.log", path.name}
    assert recording.trouble == ""


# Trouble


def test_a_directory_that_cannot_be_made_is_trouble_and_no_exception(recording: LogCollector, path: Path) -> None:
    path.parent.parent.write_text("a file where a directory should be")

    recording.write_to(path)
    log.info("still heard")

    assert recording.trouble == f"{path}: Not a directory"
    assert told(recording) == ["still heard"]


def test_a_file_that_cannot_be_opened_is_trouble_and_no_exception(recording: LogCollector, path: Path) -> None:
    path.mkdir(parents=True)

    recording.write_to(path)
    log.info("still heard")

    assert recording.trouble == f"{path}: Is a directory"
    assert told(recording) == ["still heard"]


@pytest.mark.parametrize("is_first", [True, False], ids=["from-the-start", "later"])
def test_a_full_disk_is_trouble_and_no_exception(
    is_first: bool, recording: LogCollector, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    if is_first:
        log.info("told before")

    recording.write_to(path)
    assert bool(recording.trouble) == is_first
    for _ in range(3):
        log.info("still heard")

    assert "No space left on device" in recording.trouble
    assert told(recording)[-3:] == ["still heard"] * 3
    assert "/dev/full" not in open_files(), "it is not written to again"
    recording.stop()
    assert capsys.readouterr() == ("", "")


def test_where_all_is_well_there_is_no_trouble(recording: LogCollector, path: Path) -> None:
    recording.write_to(path)
    log.info("written")
    recording.stop()

    assert recording.trouble == ""


# What tests do to logging


@pytest.fixture
def kept() -> Iterator[None]:
    """Put back what a test did to logging."""
    loggers = [each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    disabled = [(logger, logger.disabled) for logger in loggers]
    yield
    logging.disable(logging.NOTSET)
    for logger, was_disabled in disabled:
        logger.disabled = was_disabled


def test_no_line_is_in_a_tests_caplog(recording: LogCollector, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        log.info("ours")
        logging.getLogger("theirs").info("theirs")

    assert [record.name for record in caplog.records] == ["theirs"]
    assert told(recording) == ["ours"]


def test_a_configuration_that_disables_all_loggers_leaves_ours(kept: None, recording: LogCollector, path: Path) -> None:
    theirs = logging.getLogger("famacase_xdist")
    recording.write_to(path)

    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
    log.info("heard")

    assert theirs.disabled
    assert told(recording) == ["heard"]
    assert path.read_text().endswith("heard\n")
    assert recording.trouble == ""


@pytest.mark.parametrize("is_told_before", [True, False])
def test_logging_that_is_disabled_leaves_ours(is_told_before: bool, kept: None, recording: LogCollector) -> None:
    if is_told_before:
        log.info("before")

    logging.disable(logging.CRITICAL)
    log.info("heard")

    assert told(recording)[-1:] == ["heard"]


def test_a_tests_factory_of_records_makes_none_of_ours(recording: LogCollector) -> None:
    before = logging.getLogRecordFactory()
    made: list[object] = []
    logging.setLogRecordFactory(lambda *args, **kwargs: made.append(args) or before(*args, **kwargs))
    try:
        log.info("heard")
    finally:
        logging.setLogRecordFactory(before)

    assert made == []
    assert told(recording) == ["heard"]


def test_a_frozen_clock_is_not_the_logs(recording: LogCollector) -> None:
    with freezegun.freeze_time("2001-02-03 04:05:06.789"):
        log.info("first")
        log.info("second")

    assert not any(line.startswith("04:05:06.789") for line in recording.lines)
    assert told(recording) == ["first", "second"]


def test_a_clock_with_few_values_keeps_them_for_the_test(recording: LogCollector) -> None:
    with mock.patch("time.time", side_effect=[1.0]), mock.patch("os.getpid", side_effect=[2]):
        log.info("heard")

        assert (time.time(), os.getpid()) == (1.0, 2)
    assert told(recording) == ["heard"]


def test_a_line_is_not_written_to_the_file_of_a_test_that_closed_ours(
    recording: LogCollector, path: Path, tmp_path: Path
) -> None:
    recording.write_to(path)
    (number,) = (int(link.name) for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(path))
    with (tmp_path / "users.txt").open("wb") as file:
        os.dup2(file.fileno(), number)
        log.info("heard")
        recording.stop()

        assert os.fstat(number).st_ino == os.stat(file.name).st_ino
        os.close(number)
    assert (tmp_path / "users.txt").read_bytes() == b""
    assert recording.trouble == "the file was closed by a test"
    assert told(recording) == ["heard"]


@pytest.mark.process
def test_a_forked_child_writes_no_line(recording: LogCollector, path: Path) -> None:
    recording.write_to(path)
    log.info("of the parent")

    def act() -> None:
        log.info("of the child")
        assert told(recording) == ["of the parent"]
        recording.stop()

    assert status_in_child(act) == 0
    assert "of the child" not in path.read_text()


# Begin and end


def test_a_recording_that_is_started_twice_takes_each_line_once(recording: LogCollector) -> None:
    recording.start()
    log.info("once")

    assert told(recording) == ["once"]


def test_a_recording_that_was_stopped_takes_no_line(recording: LogCollector, path: Path) -> None:
    recording.write_to(path)
    log.info("heard")

    recording.stop()
    log.info("not heard")

    assert told(recording) == ["heard"]
    assert path.read_text().endswith("heard\n")
    assert recording not in log.collectors


def test_a_recording_may_be_stopped_twice_and_before_its_start(recording: LogCollector) -> None:
    LogCollector(str).stop()
    log.info("heard")
    recording.stop()
    recording.stop()

    assert told(recording) == ["heard"]
    assert list(recording.section()) == list(recording.lines)


def test_the_file_is_closed_by_the_stop(recording: LogCollector, path: Path) -> None:
    recording.write_to(path)
    log.info("written")
    assert str(path) in open_files()

    recording.stop()

    assert str(path) not in open_files()


def test_a_session_within_a_session_leaves_the_outer_one_its_log(start: Start) -> None:
    outer, inner = start(), start()
    log.info("to both")
    inner.stop()
    log.info("to the outer")

    assert told(outer) == ["to both", "to the outer"]
    assert told(inner) == ["to both"]
