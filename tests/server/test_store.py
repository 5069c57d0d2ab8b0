"""The SQLite file: what it keeps, which files are refused, and which files are left beside it."""

from __future__ import annotations

import functools
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from famacase_xdist.errors import StoreError, StoreVersionError
from famacase_xdist.server import database
from famacase_xdist.server.records import NewRun, Upload
from famacase_xdist.server.store import Store


def test_everything_is_there_after_reopening(tmp_path: Path, result: Any, leftovers: Any) -> None:
    path = tmp_path / "s.sqlite3"
    with Store(path) as store:
        project = store.add_project("DEMO", "Demo")
        environment = store.add_environment("DEMO", "stage")
        plan = store.add_plan("DEMO", [5, 6], plan_id=40)
        run = store.create_run("DEMO", NewRun("Run", tags=("a",), key="k"))
        payloads = [result("a"), result("b")]
        store.add_results(run, payloads)
        [kept] = store.add_attachments("DEMO", [Upload("f.txt", "text/plain", b"content")])
        before = store.run(run)
    assert leftovers(path) == []
    with Store(path) as again:
        assert again.project("DEMO") == project
        assert again.environments("DEMO") == [environment]
        assert (plan, again.plan_cases("DEMO", 40)) == (40, [5, 6])
        assert again.run(run) == before
        assert again.runs() == [before]
        assert again.results(run) == payloads
        assert again.create_run("DEMO", NewRun("Run", tags=("a",), key="k")) == run
        file = again.attachment(kept.id)
        assert file is not None
        assert (file.file_name, file.content) == ("f.txt", b"content")
    assert leftovers(path) == []


def test_wal_is_used_and_gone_after_close(tmp_path: Path, leftovers: Any) -> None:
    path = tmp_path / "s.sqlite3"
    store = Store(path)
    store.add_project("DEMO")
    assert leftovers(path) == ["s.sqlite3-shm", "s.sqlite3-wal"]
    store.close()
    store.close()
    assert leftovers(path) == []


def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite3") as store:
        store.add_project("DEMO")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3


def test_newer_schema_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match=r"99.*update famacase-xdist") as caught:
        Store(path)
    assert (caught.value.found, caught.value.supported) == (99, 1)
    assert path.read_bytes() == before


def test_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    path.write_text("hello " * 1000)
    with pytest.raises(StoreError, match=r"s\.sqlite3"):
        Store(path)
    assert path.read_text().startswith("hello")


def test_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(StoreError, match="another program"):
        Store(path)


@pytest.mark.parametrize("name", ["missing/s.sqlite3", "."])
def test_path_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot open the database"):
        Store(tmp_path / name)


def test_failed_batch_leaves_nothing(store: Store, result: Any) -> None:
    store.add_project("DEMO")
    run = store.create_run("DEMO", NewRun("Run"))
    with pytest.raises(sqlite3.IntegrityError):
        store.add_results(run, [result(), result(status="no such status")])
    assert store.results(run) == []
    store.add_results(run, [result()])
    assert len(store.results(run)) == 1


def test_many_threads_write_and_read(store: Store, result: Any) -> None:
    store.add_project("DEMO")
    run = store.create_run("DEMO", NewRun("Run"))

    def write(number: int) -> int:
        store.add_results(run, [result(f"{number}-{i}") for i in range(10)])
        return len(store.results(run))

    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(write, range(40)))
    assert max(seen) == 400
    titles = [payload["title"] for payload in store.results(run)]
    assert len(set(titles)) == 400
    for number in range(40):
        assert [t for t in titles if t.startswith(f"{number}-")] == [f"{number}-{i}" for i in range(10)]


MANY_OPENERS = """
import sys
from famacase_xdist.server.records import NewRun
from famacase_xdist.server.store import Store
with Store(sys.argv[1]) as store:
    store.add_project("DEMO")
    print(store.create_run("DEMO", NewRun("Run", key="one")))
"""


@pytest.mark.process
def test_processes_that_open_one_new_file_together(tmp_path: Path, leftovers: Any) -> None:
    path = tmp_path / "s.sqlite3"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MANY_OPENERS, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    outputs = [process.communicate(timeout=60) for process in started]
    assert [(out.strip(), err) for out, err in outputs] == [("1", "")] * 6
    assert leftovers(path) == []


def test_another_process_makes_the_tables_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, check = tmp_path / "s.sqlite3", database._check

    def overtaken(connection: sqlite3.Connection, looked_at: Path) -> int:
        monkeypatch.setattr(database, "_check", check)
        with Store(path) as other:
            other.add_project("FIRST")
        return 0

    # The first check has seen an empty file when the other process comes.
    monkeypatch.setattr(database, "_check", overtaken)
    with Store(path) as store:
        assert store.project("FIRST") is not None


def test_the_first_look_sees_one_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process makes the tables between two reads, the file must not look like another program's."""
    path, connect = tmp_path / "s.sqlite3", sqlite3.connect
    other = threading.Thread(target=lambda: Store(path).close())

    class Overtaken(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if "sqlite_master" in sql and other.ident is None:
                monkeypatch.setattr(sqlite3, "connect", connect)
                other.start()
                other.join(0.5)  # it is kept out until the check is over, or it would have ended by now
            return super().execute(sql, *values)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(connect, factory=Overtaken))
    Store(path).close()
    other.join(30)
    assert other.ident is not None
    assert not other.is_alive()


@pytest.mark.process
def test_killed_process_loses_nothing_committed(tmp_path: Path, leftovers: Any) -> None:
    path = tmp_path / "s.sqlite3"
    code = (
        "import os, sys; from famacase_xdist.server.store import Store; "
        "Store(sys.argv[1]).add_project('DEMO'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], timeout=60).returncode == 9
    assert "s.sqlite3-wal" in leftovers(path)
    with Store(path) as store:
        assert store.project("DEMO") is not None
    assert leftovers(path) == []
