"""Queries as steps: a test's own become its steps, and what the database does for the test stays the same."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from qase.commons.models.result import Result
from qase.commons.profilers.db import DatabaseProfilerSingleton
from qase.commons.utils import QaseUtils

from famacase_xdist import clock
from famacase_xdist.recording.integrations.database import Database
from famacase_xdist.recording.integrations.taken_steps import TakenSteps
from famacase_xdist.recording.runtime import StepRuntime

DEADLINE = 10.0


@pytest.fixture(autouse=True)
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace upstream's clock, which starts a process at each call, as the recorder's installation does."""
    monkeypatch.setattr(QaseUtils, "get_real_time", staticmethod(clock.now))


class Bench:
    """A profiler with the runtime of a test that runs."""

    def __init__(self) -> None:
        self.runtime = StepRuntime()
        self.runtime.result = Result("test", "")
        self.steps = TakenSteps(self.runtime)
        self.database = Database(self.steps)

    def told(self) -> list[tuple[str, str]]:
        """Return query and status of each step."""
        return [(step.data.query, step.execution.status) for step in self.runtime.steps.values()]


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A profiler that looks at all libraries, outside a phase of a test."""
    bench = Bench()
    bench.database.enable()
    yield bench
    bench.database.disable()


@pytest.fixture
def inside(bench: Bench) -> Iterator[Bench]:
    """A profiler in a phase of a test."""
    with bench.steps.of_this_thread():
        yield bench


@pytest.fixture
def db(inside: Bench) -> Iterator[sqlite3.Connection]:
    """A connection that the test has opened, to a database with a table of two books."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript("create table books (title, price); insert into books values ('a', 1), ('b', 2);")
        inside.runtime.steps.clear()
        yield db


# Steps


Act = Callable[[sqlite3.Connection], Any]


@pytest.mark.parametrize(
    ("act", "query"),
    [
        (lambda db: db.execute("select 1"), "select 1"),
        (lambda db: db.execute("select ?", (1,)), "select ?"),
        (lambda db: db.cursor().execute("select ?", [1]), "select ?"),
        (
            lambda db: db.executemany("insert into books values (?, ?)", [(1, 2), (3, 4)]),
            "insert into books values (?, ?)",
        ),
        (
            lambda db: db.cursor().executemany("delete from books where title = ?", ["a"]),
            "delete from books where title = ?",
        ),
        (lambda db: db.executescript("select 1; select 2"), "select 1; select 2"),
        (lambda db: db.cursor().executescript("select 1; select 2"), "select 1; select 2"),
    ],
    ids=["execute", "args", "cursor", "many", "cursor-many", "script", "cursor-script"],
)
def test_a_query_is_one_step(act: Act, query: str, db: sqlite3.Connection, inside: Bench) -> None:
    act(db)

    assert inside.told() == [(query, "passed")]


def test_a_step_says_what_was_asked_and_how_many_rows_changed(db: sqlite3.Connection, inside: Bench) -> None:
    db.executemany("insert into books values (?, ?)", [(1, 2), (3, 4), (5, 6)])

    (step,) = inside.runtime.steps.values()
    assert step.step_type.value == "db_query"
    assert vars(step.data) == {
        "query": "insert into books values (?, ?)",
        "expected_result": None,
        "database_type": "SQLite",
        "execution_time": step.data.execution_time,
        "rows_affected": 3,
        "connection_info": "SQLite",
    }


def test_a_step_took_as_long_as_its_query(db: sqlite3.Connection, inside: Bench) -> None:
    """Also where the test freezes time."""
    counting = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9999) select max(i) from n"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("time", "monotonic", "perf_counter"):
            patch.setattr(time, name, lambda: 1000.0)
        patch.setattr(QaseUtils, "get_real_time", staticmethod(lambda: 1000.0))
        begun = time.clock_gettime(time.CLOCK_MONOTONIC)
        db.execute(counting)
        passed = time.clock_gettime(time.CLOCK_MONOTONIC) - begun

    (step,) = inside.runtime.steps.values()
    assert 0 < step.data.execution_time <= passed
    assert step.execution.end_time == 1000.0
    assert step.execution.start_time == 1000.0 - step.data.execution_time


def test_a_query_is_nested_into_the_step_that_is_open(db: sqlite3.Connection, inside: Bench) -> None:
    span = inside.runtime.begin_span()
    inside.runtime.open(span, "outer")
    db.execute("select 1")
    inside.runtime.end_span(span, "passed")
    db.execute("select 2")

    outer, first, second = inside.runtime.steps.values()
    assert (first.parent_id, second.parent_id) == (outer.id, None)
    assert inside.runtime.step_id is None


def test_an_error_goes_to_the_test_and_fails_the_step(db: sqlite3.Connection, inside: Bench) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        db.execute("select * from nowhere")
    with pytest.raises(sqlite3.ProgrammingError):
        db.cursor().executemany("insert into books values (?, ?)", [(1,)])
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        db.executescript("select 1; nonsense")
    db.execute("select 1")

    assert inside.told() == [
        ("select * from nowhere", "failed"),
        ("insert into books values (?, ?)", "failed"),
        ("select 1; nonsense", "failed"),
        ("select 1", "passed"),
    ]


def test_a_query_that_is_no_text_is_refused_by_sqlite_itself(db: sqlite3.Connection, inside: Bench) -> None:
    with pytest.raises(TypeError):
        db.execute(7)  # type: ignore[arg-type]

    assert inside.told() == [("7", "failed")]


# What the test gets


def test_a_connection_is_one_of_sqlites_and_a_context(db: sqlite3.Connection, inside: Bench) -> None:
    def insert(title: str, price: int) -> None:
        with db:
            db.execute("insert into books values (?, 1)", (title,))
            assert price >= 0

    insert("c", 1)
    with pytest.raises(AssertionError):
        insert("d", -1)

    assert isinstance(db, sqlite3.Connection)
    assert [title for (title,) in db.execute("select title from books")] == ["a", "b", "c"]
    assert [status for _, status in inside.told()] == ["passed"] * 3


def test_a_cursor_is_one_of_sqlites_and_can_be_iterated_and_closed(db: sqlite3.Connection) -> None:
    db.row_factory = sqlite3.Row
    with contextlib.closing(db.cursor()) as cursor:
        assert isinstance(cursor, sqlite3.Cursor)
        assert cursor.connection is db
        assert cursor.execute("select * from books order by price") is cursor
        assert [name for name, *_ in cursor.description] == ["title", "price"]
        assert next(cursor)["title"] == "a"
        assert [row["title"] for row in cursor] == ["b"]
        assert cursor.execute("select title from books").fetchall() != []
        assert cursor.fetchone() is None

    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        cursor.fetchone()


def test_queries_return_cursors_with_their_rows(db: sqlite3.Connection) -> None:
    assert db.execute("select price from books where title = ?", ("b",)).fetchone() == (2,)
    inserted = db.executemany("insert into books values (?, ?)", [("c", 3)])
    assert (inserted.rowcount, isinstance(inserted, sqlite3.Cursor)) == (1, True)
    assert db.execute("insert into books values ('d', 4)").lastrowid == 4
    assert isinstance(db.executescript("select 1"), sqlite3.Cursor)


class OwnConnection(sqlite3.Connection):
    """A class of the test's own."""


class OwnCursor(sqlite3.Cursor):
    """A class of the test's own."""


def test_a_factory_of_the_tests_own_is_left_alone(inside: Bench) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", factory=OwnConnection)) as db:
        db.execute("select 1")

    assert type(db) is OwnConnection
    assert inside.told() == []


@pytest.mark.filterwarnings("ignore:Passing more than 1 positional argument:DeprecationWarning")
def test_a_factory_that_is_given_by_its_position_is_left_alone(inside: Bench) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", 5.0, 0, "DEFERRED", True, OwnConnection)) as db:
        assert type(db) is OwnConnection
    with contextlib.closing(sqlite3.connect(":memory:", 5.0, 0, "DEFERRED", True)) as db:
        db.execute("select 1")

    assert inside.told() == [("select 1", "passed")]


def test_a_cursor_class_of_the_tests_own_is_left_alone(db: sqlite3.Connection, inside: Bench) -> None:
    for cursor in (db.cursor(OwnCursor), db.cursor(factory=OwnCursor)):
        assert type(cursor) is OwnCursor
        cursor.execute("select 1")

    assert inside.told() == []


# What is not the test's


def test_outside_a_phase_of_a_test_a_connection_is_sqlites_own(bench: Bench) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        assert type(db) is sqlite3.Connection
        with bench.steps.of_this_thread():
            db.execute("select 1")

    assert bench.told() == []


def test_a_connection_of_a_test_makes_no_steps_outside_its_phases(bench: Bench) -> None:
    """As one of a fixture that several tests share."""
    with bench.steps.of_this_thread():
        db = sqlite3.connect(":memory:")
    with contextlib.closing(db):
        assert db.execute("select 1").fetchall() == [(1,)]
        with bench.steps.of_this_thread():
            db.execute("select 2")

    assert bench.told() == [("select 2", "passed")]


def test_a_test_that_is_not_reported_gets_no_steps(inside: Bench) -> None:
    inside.runtime.clear()

    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        assert type(db) is sqlite3.Connection

    assert inside.told() == []


def test_a_query_of_another_thread_is_no_step(db: sqlite3.Connection, inside: Bench) -> None:
    types: list[type] = []

    def work() -> None:
        with contextlib.closing(sqlite3.connect(":memory:")) as own:
            types.append(type(own))
            own.execute("select 1")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(DEADLINE)

    assert types == [sqlite3.Connection]
    assert inside.told() == []


def test_a_query_of_another_thread_on_the_tests_connection_is_no_step(inside: Bench) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as db:
        rows: list[object] = []
        thread = threading.Thread(target=lambda: rows.extend(db.execute("select 1")))
        thread.start()
        thread.join(DEADLINE)

    assert rows == [(1,)]
    assert inside.told() == []


# Other libraries


class Redis:
    """As the library's client, as far as upstream looks at it."""

    connection_pool = SimpleNamespace(connection_kwargs={"host": "cache", "port": 1})

    def execute_command(self, command: str, *args: object) -> object:
        if command == "NONSENSE":
            raise ValueError("unknown command")
        return (command, *args)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> type[Redis]:
    """A library that upstream's own wrapper is for; its steps come through upstream's singleton."""
    monkeypatch.setattr(Redis, "execute_command", Redis.execute_command)
    monkeypatch.setitem(sys.modules, "redis", SimpleNamespace(Redis=Redis))
    return Redis


def test_a_library_that_only_upstream_knows_makes_steps(redis: type[Redis], inside: Bench) -> None:
    assert redis().execute_command("GET", "key") == ("GET", "key")
    with pytest.raises(ValueError, match="unknown command"):
        redis().execute_command("NONSENSE")

    assert inside.told() == [("GET key", "passed"), ("NONSENSE ", "failed")]
    first, _ = inside.runtime.steps.values()
    assert (first.data.database_type, first.data.connection_info) == ("Redis", "Redis: cache:1")


def test_a_library_that_only_upstream_knows_makes_no_steps_outside_a_test(redis: type[Redis], bench: Bench) -> None:
    assert redis().execute_command("GET", "key") == ("GET", "key")

    assert bench.told() == []


# Begin and end


def test_what_was_replaced_is_put_back(redis: type[Redis]) -> None:
    before = (sqlite3.connect, redis.execute_command, DatabaseProfilerSingleton._instance)

    bench = Bench()
    bench.database.enable()
    assert DatabaseProfilerSingleton._instance is bench.database
    assert sqlite3.connect is not before[0]
    assert redis.execute_command is not before[1]
    bench.database.disable()

    assert (sqlite3.connect, redis.execute_command, DatabaseProfilerSingleton._instance) == before


def test_after_the_end_a_connection_is_sqlites_own(inside: Bench) -> None:
    inside.database.disable()

    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        assert type(db) is sqlite3.Connection


def test_a_profiler_that_is_enabled_for_each_test_wraps_once(inside: Bench) -> None:
    wrapped = sqlite3.connect
    inside.database.enable()

    assert sqlite3.connect is wrapped
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("select 1")
    assert inside.told() == [("select 1", "passed")]


def test_a_session_within_a_session_gives_back_the_profiler_of_the_outer_one(inside: Bench) -> None:
    inner = Bench()
    inner.database.enable()
    inner.database.disable()

    assert DatabaseProfilerSingleton._instance is inside.database
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("select 1")
    assert inside.told() == [("select 1", "passed")]
    assert inner.told() == []


def test_a_profiler_that_never_looked_is_put_away_too() -> None:
    before = (sqlite3.connect, DatabaseProfilerSingleton._instance)

    Bench().database.disable()

    assert (sqlite3.connect, DatabaseProfilerSingleton._instance) == before


def test_the_function_that_connects_keeps_its_name_and_words(bench: Bench) -> None:
    assert sqlite3.connect.__name__ == "connect"
    assert "database" in (sqlite3.connect.__doc__ or "")
