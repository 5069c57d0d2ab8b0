"""The profiler of databases: upstream's, except for sqlite3.

For sqlite3, upstream returns proxies of connections and cursors, which are no context managers and cannot be iterated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from qase.commons.models.step import StepDbQueryData, StepType
from qase.commons.profilers.db import DatabaseProfiler, DatabaseProfilerSingleton

from famacase_xdist import clock
from famacase_xdist.results.status import FAILED
from famacase_xdist.results.text import text_of

from .taken_steps import TakenSteps

if TYPE_CHECKING:
    import sqlite3

P = ParamSpec("P")
T = TypeVar("T")


class Database(DatabaseProfiler):  # type: ignore[misc]  # upstream has no types
    """Steps for queries, through all libraries that upstream knows."""

    def __init__(self, steps: TakenSteps) -> None:
        super().__init__(steps)
        self._steps = steps
        self._is_enabled = False
        # Upstream's wrappers find their profiler there.
        self._previous = DatabaseProfilerSingleton._instance
        DatabaseProfilerSingleton._instance = self

    def enable(self) -> None:
        """Watch all libraries that are installed. Done once, because the search for a missing one takes time."""
        if not self._is_enabled:
            self._is_enabled = True
            super().enable()

    def disable(self) -> None:
        """Restore everything that `enable` replaced."""
        super().disable()
        DatabaseProfilerSingleton._instance = self._previous

    def _log_db_query(
        self,
        query: object,
        database_type: str,
        execution_time: float,
        rows_affected: int | None = None,
        connection_info: str | None = None,
        error: str | None = None,
    ) -> None:
        """Add a step for a query that has ended; upstream gives such a step no duration."""
        if not self._steps.are_taken:
            return
        data = StepDbQueryData(
            query=text_of(query),
            database_type=database_type,
            execution_time=execution_time,
            rows_affected=rows_affected,
            connection_info=connection_info,
        )
        with self._steps.one(StepType.DB_QUERY, data) as step:
            step.execution.start_time -= execution_time
            if error:
                step.execution.set_status(FAILED)

    def _sqlite3_connect_wrapper(self, connect: Callable[P, T]) -> Callable[P, T]:
        """Make the connections of the test instances of a class of ours, unless the test asks for another."""
        library = sys.modules["sqlite3"]
        factory = _connection_class(library, _cursor_class(library, self._log_db_query))

        @wraps(connect)
        def connecting(*args: P.args, **options: P.kwargs) -> T:
            # The sixth positional argument is a factory.
            if self._steps.are_taken and len(args) < 6:
                options.setdefault("factory", factory)
            return connect(*args, **options)

        return connecting


def _cursor_class(library: ModuleType, log: Callable[..., None]) -> type[sqlite3.Cursor]:
    """Return a class of cursors whose queries are logged."""

    class Cursor(library.Cursor):  # type: ignore[misc, name-defined]
        def execute(self, sql: str, *args: object) -> object:
            return self._logged(super().execute, sql, *args)

        def executemany(self, sql: str, *args: object) -> object:
            return self._logged(super().executemany, sql, *args)

        def executescript(self, sql: str) -> object:
            return self._logged(super().executescript, sql)

        def _logged(self, call: Callable[..., T], sql: str, *args: object) -> T:
            start = clock.monotonic()
            error = None
            try:
                return call(sql, *args)
            except BaseException as raised:
                error = repr(raised)
                raise
            finally:
                log(sql, "SQLite", clock.monotonic() - start, self.rowcount, "SQLite", error)

    return Cursor


def _connection_class(library: ModuleType, cursors: type[sqlite3.Cursor]) -> type:
    """Return a class of connections with these cursors, unless the test asks for others."""

    class Connection(library.Connection):  # type: ignore[misc, name-defined]
        def cursor(self, factory: type[sqlite3.Cursor] = cursors) -> sqlite3.Cursor:
            return super().cursor(factory)  # type: ignore[no-any-return]

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return self.cursor().execute(sql, *args)

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return self.cursor().executemany(sql, *args)

        def executescript(self, sql: str) -> sqlite3.Cursor:
            return self.cursor().executescript(sql)

    return Connection
