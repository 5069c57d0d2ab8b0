"""The writer of the file report: what it leaves in the directory, whatever comes, and whatever was there."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness.outboxes import files_at
from harness.results import attachment, begun, result

from famacase_xdist.delivery.file_report import FileReport
from famacase_xdist.errors import ReportError
from famacase_xdist.results.body import reference
from famacase_xdist.results.frames import AnyFrame, Frame, ResultHead, is_result
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.results.text import to_json
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox


class Writer:
    """A report, and the journal whose frames it writes.

    Args:
        settings: Of the report.
        base: The directory that pytest was started in.
        journal: The journal of the session.
    """

    def __init__(self, settings: Settings, base: Path, journal: Journal) -> None:
        self.journal = journal
        self.outbox = Outbox(journal.files, beside_writer=True)
        self.report = FileReport(settings, base, self.outbox)
        self.accepted: Counter[str] = Counter()

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Append frames to the journal, and let the report follow it."""
        self.journal.append(frames)
        self.accepted.update(frame.head.status for frame in frames if is_result(frame))
        self.report.follow()

    def finish(self) -> Outcome:
        """End the session."""
        self.report.request_stop({"": self.accepted}, is_finished=True)
        outcome = self.report.close()
        self.report.release()
        self.journal.close()
        return outcome


Open = Callable[..., Writer]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A function that begins a report."""
    writers: list[Writer] = []

    def start(path: str = "report", said: Callable[[str], None] = print, **settings: Any) -> Writer:
        journal = Journal(files_at(tmp_path / "outbox" / str(len(writers))))
        writers.append(Writer(Settings(report_connection_path=Path(path), **settings), tmp_path, journal))
        writers[-1].report.start(said)
        return writers[-1]

    yield start
    for writer in writers:
        writer.finish()


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def written(tmp_path: Path, frame: Frame[ResultHead], path: str = "report") -> dict[str, Any]:
    """Return the file of a result."""
    form: dict[str, Any] = read(tmp_path / path / "results" / f"{frame.head.id}.json")
    return form


def attached_to(tmp_path: Path, frame: Frame[ResultHead]) -> dict[str, bytes]:
    """Return the contents of a result's attachments by name, read where the report says they are."""
    entries = written(tmp_path, frame)["attachments"]
    return {each["file_name"]: (tmp_path / each["file_path"]).read_bytes() for each in entries}


def test_a_result_is_there_as_soon_as_it_is_kept(opened: Open, tmp_path: Path) -> None:
    report, frame = opened(), result(nodeid="pkg/test_m.py::test_a")

    report.keep([frame])

    form = written(tmp_path, frame)
    assert form["relations"] == {
        "suite": {"data": [{"public_id": None, "title": "pkg"}, {"public_id": None, "title": "test_m"}]}
    }
    assert {name: form[name] for name in ("id", "title", "testops_ids", "testops_project_mapping", "muted")} == {
        "id": frame.head.id,
        "title": "test_a",
        "testops_ids": None,
        "testops_project_mapping": None,
        "muted": False,
    }


def test_the_run_counts_its_results(opened: Open, tmp_path: Path) -> None:
    report = opened(environment="staging")
    report.keep(
        [
            result(nodeid="pkg/test_m.py::test_a", thread="gw0"),
            result(nodeid="pkg/test_m.py::test_b", thread="gw0", status="failed"),
            result(nodeid="pkg/test_m.py::test_c", thread="gw0", status="blocked", muted=True),
            result(nodeid="pkg/test_m.py::test_d", thread="gw0", status="untested"),
        ]
    )

    outcome = report.finish()

    run = read(tmp_path / "report" / "run.json")
    counts = {"passed": 1, "failed": 1, "skipped": 0, "blocked": 1, "invalid": 0, "muted": 1, "total": 4}
    assert run["stats"] == counts
    assert [each["title"] for each in run["results"]] == ["test_a", "test_b", "test_c", "test_d"]
    assert (run["environment"], run["threads"], run["suites"]) == ("staging", ["gw0"], ["pkg/test_m"])
    assert run["execution"]["start_time"] <= run["execution"]["end_time"]
    assert run["host_data"]["language"]
    assert outcome.delivered == {"passed": 1, "failed": 1, "blocked": 1, "untested": 1}
    assert (outcome.undelivered, outcome.where) == (0, ("report: report",))


def test_a_report_whose_session_never_ends_can_be_read(opened: Open, tmp_path: Path) -> None:
    report = opened()
    assert read(tmp_path / "report" / "run.json")["stats"]["total"] == 0

    report.keep([result()])
    while read(tmp_path / "report" / "run.json")["stats"]["total"] == 0:
        report.report.sync()


def test_no_half_file_is_ever_there(opened: Open, tmp_path: Path) -> None:
    report = opened()
    digest, frames = attachment(b"abc", pieces=3)
    _, cut_off = attachment(b"xyz", name="cut.txt")
    report.keep([result(), *frames, result("test_b", attached={"a.txt": digest}), *cut_off[:1]])

    report.finish()

    assert not [path for path in (tmp_path / "report").rglob("*") if path.suffix == ".part"]


def test_a_result_that_comes_twice_is_one(opened: Open, tmp_path: Path) -> None:
    report, frame = opened(), result()

    report.keep([frame, frame])

    assert report.finish().delivered.total() == 1
    assert read(tmp_path / "report" / "run.json")["stats"]["total"] == 1


def test_jsonp(opened: Open, tmp_path: Path) -> None:
    report, frame = opened(report_connection_format="jsonp"), result()
    report.keep([frame])
    report.finish()

    for path in (tmp_path / "report" / "run.jsonp", tmp_path / "report" / "results" / f"{frame.head.id}.jsonp"):
        found = re.fullmatch(r"qaseJsonp\((.*)\);", path.read_text(), re.DOTALL)
        assert found is not None
        assert json.loads(found[1])
    assert not list((tmp_path / "report").rglob("*.json"))


# Steps


def step(step_type: str, status: str = "passed", steps: tuple[Any, ...] = (), **data: str) -> dict[str, Any]:
    execution = {"status": status, "start_time": 1.0, "end_time": 2.0, "duration": 1000, "attachments": []}
    return {"id": str(uuid.uuid4()), "step_type": step_type, "data": data, "execution": execution, "steps": list(steps)}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (step("text", action="a", expected_result="e", input_data="i"), ("a", "e", "i")),
        (step("text", action="a"), ("a", None, None)),
        (step("assert", action="", message="m", expected="1", actual="2"), ("Assert: m", "1", "2")),
        (step("gherkin", action="x", keyword="Given", name="a thing", data="| a |"), ("Given a thing", None, "| a |")),
        (step("request", action="GET http://x", status_code="200"), ("GET http://x", "Status: 200", None)),
        (step("db_query", action="x", query="SELECT 1", connection_info="c"), ("SQL: SELECT 1", None, "c")),
        (step("sleep", action="Sleep for 2 seconds", duration="2"), ("Sleep for 2 seconds", None, None)),
    ],
    ids=lambda value: value["step_type"] if isinstance(value, dict) else None,
)
def test_a_step_of_any_type_is_text(
    given: dict[str, Any], text: tuple[str, str | None, str | None], opened: Open, tmp_path: Path
) -> None:
    report, frame = opened(), result(steps=[given])
    report.keep([frame])

    (form,) = written(tmp_path, frame)["steps"]
    assert form["step_type"] == "text"
    assert (form["data"]["action"], form["data"]["expected_result"], form["data"]["input_data"]) == text


def test_steps_know_their_parents(opened: Open, tmp_path: Path) -> None:
    inner = step("text", action="inner")
    outer = step("text", action="outer", steps=(inner,))
    report, frame = opened(), result(steps=[outer])
    report.keep([frame])

    (form,) = written(tmp_path, frame)["steps"]
    assert form["parent_id"] is None
    assert [each["parent_id"] for each in form["steps"]] == [outer["id"]]


def test_a_step_that_never_ran_is_untested(opened: Open, tmp_path: Path) -> None:
    waiting = step("text", "skipped", action="waits")
    waiting["execution"].update(start_time=None, end_time=None)
    report, frame = opened(), result(steps=[waiting, step("text", "skipped", action="skips")])
    report.keep([frame])

    assert [each["execution"]["status"] for each in written(tmp_path, frame)["steps"]] == ["untested", "skipped"]


# Attachments


def test_an_attachment_of_a_step_whose_parent_has_none_is_there(opened: Open, tmp_path: Path) -> None:
    digest, frames = attachment(b"deep", name="deep.txt")
    frame = result()
    inner = step("text", action="inner")
    inner["execution"]["attachments"] = [{"id": reference(frame.head.id, digest), "file_name": "deep.txt"}]
    body = {**json.loads(frame.body), "steps": [step("text", action="outer", steps=(inner,))]}
    opened().keep([*frames, Frame(frame.head, to_json(body))])

    (entry,) = written(tmp_path, frame)["steps"][0]["steps"][0]["execution"]["attachments"]
    assert (tmp_path / entry["file_path"]).read_bytes() == b"deep"
    assert (entry["file_name"], entry["mime_type"], entry["content"]) == ("deep.txt", "text/plain", None)
    assert entry["file_path"] == f"report/attachments/{entry['id']}-deep.txt"


def test_two_workers_may_send_the_same_content_side_by_side(opened: Open, tmp_path: Path) -> None:
    digest, frames = attachment(bytes(range(100)), name="a.bin", pieces=4)
    again = attachment(bytes(range(100)), name="a.bin", pieces=4)[1]
    frame = result(attached={"a.bin": digest})

    opened().keep([*(each for pair in zip(frames, again, strict=True) for each in pair), *again, frame])

    assert attached_to(tmp_path, frame) == {"a.bin": bytes(range(100))}


def test_what_a_dead_worker_has_begun_to_send_another_one_ends(opened: Open, tmp_path: Path) -> None:
    digest, frames = attachment(bytes(range(100)), name="a.bin", pieces=4)
    frame = result(attached={"a.bin": digest})

    opened().keep([*frames[:2], *frames, frame])

    assert attached_to(tmp_path, frame) == {"a.bin": bytes(range(100))}


def test_one_content_under_two_names_is_two_files(opened: Open, tmp_path: Path) -> None:
    digest, frames = attachment(b"same")
    frame = result(attached={"a.txt": digest, "b.txt": digest})

    opened().keep([*frames, frame])

    assert attached_to(tmp_path, frame) == {"a.txt": b"same", "b.txt": b"same"}
    assert len({each["id"] for each in written(tmp_path, frame)["attachments"]}) == 2


def test_a_name_that_is_too_long_for_a_file_keeps_its_suffix(opened: Open, tmp_path: Path) -> None:
    name = "\N{CYRILLIC SMALL LETTER A}" * 300 + ".png"
    digest, frames = attachment(b"png", name=name)
    frame = result(attached={name: digest})

    opened().keep([*frames, frame])

    (entry,) = written(tmp_path, frame)["attachments"]
    assert entry["file_name"] == name
    assert entry["file_path"].endswith("\N{CYRILLIC SMALL LETTER A}.png")
    assert attached_to(tmp_path, frame) == {name: b"png"}


@pytest.mark.parametrize(
    ("sent", "words"), [(0, "no content"), (2, "no content"), ("gap", "a part of its content is missing")]
)
def test_an_attachment_whose_content_never_came_is_named_in_the_message(
    sent: Any, words: str, opened: Open, tmp_path: Path
) -> None:
    digest, frames = attachment(b"abcdef", pieces=3)
    frame = result(attached={"a.txt": digest}, message="said")

    opened().keep([*(frames[:1] + frames[-1:] if sent == "gap" else frames[:sent]), frame])

    form = written(tmp_path, frame)
    assert (form["attachments"], form["message"]) == ([], f"said\nAttachment left out: a.txt: {words}")


# The directory


def test_an_old_report_is_removed_and_nothing_else(opened: Open, tmp_path: Path) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    old = ["run.json", "run.jsonp", f"results/{ids[0]}.json", f"results/{ids[1]}.jsonp", f"attachments/{ids[2]}-a.txt"]
    kept = ["notes.txt", "results/mine.json", "attachments/mine.txt", "other/run.json"]
    for name in (*old, *kept):
        path = tmp_path / "report" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    opened().finish()

    files = {str(path.relative_to(tmp_path / "report")) for path in (tmp_path / "report").rglob("*") if path.is_file()}
    assert files == {*kept, "run.json"}
    assert read(tmp_path / "report" / "run.json")["stats"]["total"] == 0


def test_a_second_session_writes_its_report_beside_the_first_ones(opened: Open, tmp_path: Path) -> None:
    said: list[str] = []
    first, mine = opened(), result("test_first")
    first.keep([mine])

    second, theirs = opened(said=said.append), result("test_second")
    second.keep([theirs])

    name = second.report.header()[0].rpartition(" ")[2]
    assert said == [f"another session writes its report to report; this one's is in {name}"]
    assert re.fullmatch(r"report-[\da-f]{8}", name)
    assert written(tmp_path, mine)["title"] == "test_first"
    assert written(tmp_path, theirs, name)["title"] == "test_second"


def test_a_second_session_in_the_working_directory_itself_has_a_directory_of_its_own(
    opened: Open, tmp_path: Path
) -> None:
    opened(".")

    (line,) = opened(".").report.header()

    assert re.fullmatch(rf"famacase: report in {re.escape(str(tmp_path))}-[\da-f]{{8}}", line)


def test_a_session_that_has_ended_lets_go_of_the_directory(opened: Open) -> None:
    opened().finish()

    assert opened().report.header() == ["famacase: report in report"]


def test_a_directory_that_cannot_be_made_is_said(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ReportError, match=r"^the report in file/report cannot be written: Not a directory$"):
        opened("file/report")


def test_what_cannot_be_written_is_counted_and_the_rest_goes_on(opened: Open, tmp_path: Path) -> None:
    report, lost, kept = opened(), result("test_lost"), result("test_kept")
    # A directory in the way of the file, because permissions do not stop root.
    os.mkdir(tmp_path / "report" / "results" / f"{lost.head.id}.json")

    report.keep([lost, kept])

    outcome = report.finish()
    assert (outcome.delivered, outcome.undelivered) == ({"passed": 1}, 1)
    assert dict(outcome.causes) == {"Is a directory [t.py::test_lost]": 1}
    assert [each["title"] for each in read(tmp_path / "report" / "run.json")["results"]] == ["test_kept"]


# The journal


def test_what_is_written_leaves_the_outbox_and_in_the_end_that_is_gone(opened: Open, tmp_path: Path) -> None:
    writer = opened()
    digest, frames = attachment(b"x")
    writer.keep([*frames, result(attached={"a.txt": digest})])

    assert (writer.outbox.undelivered(), writer.report.left()) == (0, 0)
    writer.finish()
    assert not writer.journal.files.path.exists()


def test_what_no_disk_of_the_journal_took_is_in_the_report_and_told(opened: Open, tmp_path: Path) -> None:
    writer, frame = opened(), result(attached={"a.txt": attachment(b"x")[0]})
    writer.report.accept("", [*attachment(b"x")[1], frame], "no space")
    writer.accepted.update(passed=1)

    outcome = writer.finish()

    assert attached_to(tmp_path, frame) == {"a.txt": b"x"}
    assert (outcome.delivered, outcome.undelivered) == ({"passed": 1}, 0)
    assert outcome.problems == ("results were kept in memory only: no space",)


def test_a_record_that_cannot_be_read_is_counted_and_the_rest_is_written(opened: Open, tmp_path: Path) -> None:
    writer = opened()
    writer.journal.append([result("test_a"), result("test_DAMAGED")])
    writer.accepted.update(passed=2)
    (journal,) = writer.journal.files.path.glob("*.journal")
    journal.write_bytes(journal.read_bytes().replace(b'::test_DAMAGED"', b'::TEST_damaged"'))

    outcome = writer.finish()

    assert (outcome.delivered, dict(outcome.causes)) == ({"passed": 1}, {"wrong checksum": 1})
    assert outcome.undelivered == 1


def test_a_report_of_a_session_that_died_has_the_tests_that_ran(opened: Open, tmp_path: Path) -> None:
    writer = opened()
    writer.keep([begun("t.py::test_a"), result("test_a"), begun("t.py::test_b")])
    writer.journal.close()

    writer.report.bury()
    outcome = writer.report.close()
    writer.report.release()

    statuses = {each["title"]: each["status"] for each in read(tmp_path / "report" / "run.json")["results"]}
    assert statuses == {"test_a": "passed", "test_b": "invalid"}
    assert (outcome.delivered, outcome.undelivered) == ({"passed": 1, "invalid": 1}, 0)
    assert not writer.journal.files.path.exists()


@pytest.mark.parametrize("form", ["json", "jsonp"])
@pytest.mark.parametrize("is_beside", [False, True], ids=["alone", "beside-another"])
def test_another_courier_goes_on_with_the_report_of_the_first_one(
    form: str, is_beside: bool, opened: Open, tmp_path: Path
) -> None:
    if is_beside:
        opened()
    first = opened(report_connection_format=form)
    first.keep([result("test_a"), result("test_b", status="failed", thread="gw0")])
    directory = tmp_path / first.report._shown
    began = first.report._run.form(0)["execution"]["start_time"]
    (directory / "results" / f"mine.{form}").write_text("[]")
    first.report._unlock_directory()
    first.outbox.close()

    second = Writer(first.report._settings, tmp_path, first.journal)
    second.accepted = first.accepted
    second.report.start(print)
    second.keep([result("test_c")])
    outcome = second.finish()

    text = (directory / f"run.{form}").read_text().removeprefix("qaseJsonp(").removesuffix(");")
    run = json.loads(text)
    assert sorted(each["title"] for each in run["results"]) == ["test_a", "test_b", "test_c"]
    assert (run["stats"]["total"], run["threads"].count("gw0"), run["execution"]["start_time"]) == (3, 1, began)
    assert (outcome.delivered, outcome.undelivered) == ({"passed": 2, "failed": 1}, 0)
    assert outcome.where == (f"report: {first.report._shown}",)


def test_a_result_that_a_dying_courier_had_just_written_is_one(opened: Open, tmp_path: Path) -> None:
    first, frame = opened(), result()
    first.report.copy()
    first.journal.append([frame])
    first.accepted.update(passed=1)
    first.outbox.follow()
    first.report.copy()  # it did not come to note that
    first.report._unlock_directory()
    first.outbox.close()

    second = Writer(first.report._settings, tmp_path, first.journal)
    second.accepted = first.accepted
    second.report.start(print)
    second.report.follow()

    assert (second.finish().delivered, read(tmp_path / "report" / "run.json")["stats"]["total"]) == ({"passed": 1}, 1)
