"""What import-linter can't say of the house: how long a function may be, and what is loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import famacase_xdist

PACKAGE = Path(famacase_xdist.__file__).parent
NAME = famacase_xdist.__name__
FILES = {str(path.relative_to(PACKAGE).with_suffix("")): path for path in sorted(PACKAGE.rglob("*.py"))}
MOST_LINES = 40

HEAVY = ("qase", "requests", "sqlite3", "tenacity", "platformdirs", "pydantic", "fastapi", "execnet")
#: What stays unloaded in a process that runs tests for a controller; filelock, upstream itself loads.
NOT_IN_A_WORKER = ("requests", "sqlite3", "platformdirs", "tenacity")


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _loaded(code: str, names: tuple[str, ...]) -> str:
    """Return which of some modules a process has loaded after some code."""
    code = f"import sys; {code}; print([name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", FILES)
def test_no_function_is_longer_than_a_screen(name: str) -> None:
    functions = _functions(ast.parse(FILES[name].read_text(encoding="utf-8")))
    lengths = {each.name: (each.end_lineno or 0) - each.lineno + 1 for each in functions}

    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "manager"])
def test_no_module_is_a_drawer_for_everything(name: str) -> None:
    assert not [path for path in FILES if path.split("/")[-1] == name]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("/__init__")])
def test_a_room_has_a_word_on_what_it_is_for_and_nothing_else(name: str) -> None:
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))

    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.process
def test_the_entry_point_imports_nothing_of_ours_before_it_is_active() -> None:
    of_ours = tuple(f"{NAME}.{name.replace('/', '.')}" for name in FILES if name not in ("__init__", "plugin"))

    assert _loaded(f"import {NAME}.plugin", of_ours) == "[]"


@pytest.mark.process
def test_importing_the_entry_point_loads_nothing_heavy() -> None:
    assert _loaded(f"import {NAME}.plugin", HEAVY) == "[]"


@pytest.mark.process
def test_a_worker_loads_nothing_of_the_transport() -> None:
    rooms = tuple(f"{NAME}.{room}" for room in ("client", "state", "runs", "delivery", "controller", "server"))

    assert _loaded(f"import {NAME}.recording.worker", (*NOT_IN_A_WORKER, *rooms)) == "[]"


@pytest.mark.process
def test_the_process_that_owns_the_run_loads_nothing_of_the_transport() -> None:
    rooms = tuple(f"{NAME}.{room}" for room in ("client", "runs", "delivery", "server", "courier.child"))

    assert _loaded(f"import {NAME}.controller.hooks", (*NOT_IN_A_WORKER, *rooms)) == "[]"
