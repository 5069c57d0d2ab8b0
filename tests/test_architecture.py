"""The floors of the package: imports go down, and a worker never reaches the controller's side."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import famacase_xdist

PACKAGE = Path(famacase_xdist.__file__).parent
NAME = famacase_xdist.__name__

#: Each module's floor; a new module needs one.
FLOORS = {
    "plugin": 5,
    "cli": 5,
    "run_commands": 5,
    "__main__": 5,
    "controller": 4,
    "worker_exit": 3,
    "worker": 4,
    "resending": 4,
    "doctor": 4,
    "destination": 3,
    "wording": 3,
    "client_server": 3,
    "directory": 1,
    "run_reference": 1,
    "projects": 1,
    "findings": 3,
    "runs": 4,
    "recorder": 3,
    "installation": 3,
    "events": 3,
    "phases": 3,
    "fixtures": 3,
    "fixture_steps": 3,
    "testing": 3,
    "bdd": 3,
    "profilers": 3,
    "queries": 3,
    "artifacts": 3,
    "item": 3,
    "verdict": 3,
    "policy": 3,
    "steps": 3,
    "attachments": 3,
    "uploads": 3,
    "ledger": 3,
    "synthetic": 3,
    "mask": 3,
    "inbox": 3,
    "outbox": 3,
    "outbox_file": 3,
    "outbox_tail": 3,
    "sender": 3,
    "pool": 3,
    "retry": 3,
    "delivery": 3,
    "intake": 3,
    "deliveries": 3,
    "report": 3,
    "report_form": 1,
    "fallback": 3,
    "resend": 3,
    "summary": 3,
    "termination": 3,
    "run": 3,
    "plan": 3,
    "selection": 3,
    "sharing": 3,
    "record": 1,
    "locks": 2,
    "file_system": 1,
    "channel": 2,
    "frames": 1,
    "text": 0,
    "body": 1,
    "status": 0,
    "node_ids": 0,
    "pytest_reports": 1,
    "api": 2,
    "transport": 2,
    "settings": 1,
    "table": 1,
    "values": 1,
    "ci": 1,
    "payload": 1,
    "sources": 1,
    "markers": 1,
    "conflicts": 1,
    "log": 0,
    "clock": 0,
    "loading": 0,
    "guard": 0,
    "errors": 0,
    "decorators": 0,
    "__init__": 0,
}
#: The server stands apart from the floors; these start it, or say how to.
STARTS_SERVER = {"controller", "resend", "cli"}

WORKER_SIDE = (
    "worker",
    "recorder",
    "installation",
    "fixtures",
    "fixture_steps",
    "decorators",
    "testing",
    "bdd",
    "profilers",
    "queries",
    "artifacts",
    "item",
    "verdict",
    "policy",
    "steps",
    "attachments",
    "payload",
    "channel",
    "frames",
    "text",
    "body",
    "status",
    "node_ids",
    "pytest_reports",
    "clock",
    "guard",
    "selection",
    "settings",
    "table",
    "values",
    "projects",
    "run_reference",
)
CONTROLLER_SIDE = (
    "controller",
    "delivery",
    "intake",
    "deliveries",
    "report",
    "report_form",
    "fallback",
    "ledger",
    "phases",
    "synthetic",
    "mask",
    "inbox",
    "outbox",
    "outbox_tail",
    "sender",
    "pool",
    "uploads",
    "transport",
    "api",
    "run",
    "sharing",
    "record",
    "locks",
    "file_system",
    "retry",
    "plan",
    "log",
    "doctor",
    "findings",
    "runs",
    "resend",
    "resending",
    "summary",
    "termination",
    "server",
)
NOT_IN_A_WORKER = ("requests", "sqlite3", "platformdirs", "tenacity", "filelock")
MOST_LINES = 330

FILES = {str(path.relative_to(PACKAGE).with_suffix("")): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [name for name in FILES if "/" not in name]
SERVER = [name for name in FILES if name.startswith("server/")]


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(node: ast.AST, *, inside_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports below a node, without those that are for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif _is_for_types(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), inside_functions=inside_functions)
        elif inside_functions or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _imports(child, inside_functions=inside_functions)


def _targets(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """Yield absolute names of what an import may load: the module, and each name that may be one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
    module = ".".join(filter(None, (base, node.module)))
    yield from (f"{module}.{alias.name}" for alias in node.names)


@cache
def imported_by(name: str, *, inside_functions: bool = True) -> frozenset[str]:
    """Give the absolute names that a module of ours imports."""
    package = ".".join([NAME, *name.split("/")[:-1]])
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    found = _imports(tree, inside_functions=inside_functions)
    return frozenset(target for node in found for target in _targets(node, package))


@cache
def ours_in(name: str) -> frozenset[str]:
    """Give the modules of ours, "server" for all of the server's, that a module imports."""
    found = set()
    for target in imported_by(name):
        root, _, rest = target.partition(".")
        if root == NAME:
            first = rest.partition(".")[0]
            found.add(first if first == "server" or first in MODULES else "__init__")
    return frozenset(found)


def _reached(name: str) -> set[str]:
    """Give all modules of ours that load, sooner or later, where a module is used."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        for each in ours_in(waiting.pop()) - reached:
            reached.add(each)
            if each in MODULES:
                waiting.append(each)
    return reached


@pytest.mark.parametrize(
    ("source", "package", "names"),
    [
        ("import a.b", "p", {"a.b"}),
        ("from . import wire", "p", {"p.wire"}),
        ("from .wire import x", "p", {"p.wire.x"}),
        ("from ..errors import x", "p.server", {"p.errors.x"}),
        ("from p import wire", "p", {"p.wire"}),
        ("def f():\n    from . import wire", "p", {"p.wire"}),
        ("class A:\n    def f(self):\n        if 1:\n            import a", "p", {"a"}),
        ("try:\n    import a\nexcept ImportError:\n    import b", "p", {"a", "b"}),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", "p", {"b"}),
        ("if typing.TYPE_CHECKING:\n    import a", "p", set()),
    ],
)
def test_the_reader_of_imports_sees_every_form(source: str, package: str, names: set[str]) -> None:
    found = _imports(ast.parse(source), inside_functions=True)

    assert {target for node in found for target in _targets(node, package)} == names


def test_the_reader_of_imports_can_leave_functions_out() -> None:
    tree = ast.parse("import a\ndef f():\n    import b")

    assert len(list(_imports(tree, inside_functions=False))) == 1


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_floor(name: str) -> None:
    assert name in FLOORS


@pytest.mark.parametrize("name", MODULES)
def test_imports_stay_on_the_floor_or_go_down(name: str) -> None:
    assert {each for each in ours_in(name) - {"server"} if FLOORS[each] > FLOORS[name]} == set()


def test_no_other_module_starts_the_server() -> None:
    assert {name for name in MODULES if "server" in ours_in(name)} == STARTS_SERVER


def test_the_public_face_imports_floors_0_and_1_only() -> None:
    assert {each for each in ours_in("__init__") if FLOORS[each] > 1} == set()


@pytest.mark.parametrize("name", WORKER_SIDE)
def test_a_module_of_the_worker_has_no_network_and_no_disk_queue(name: str) -> None:
    roots = {target.partition(".")[0] for target in imported_by(name)}

    assert roots.isdisjoint(NOT_IN_A_WORKER)


@pytest.mark.parametrize("name", WORKER_SIDE)
def test_a_module_of_the_worker_reaches_no_module_of_the_controller(name: str) -> None:
    assert _reached(name).isdisjoint(CONTROLLER_SIDE)


def test_all_that_a_worker_reaches_is_known_as_the_workers_side() -> None:
    assert _reached("worker") - {"errors", "__init__"} <= set(WORKER_SIDE) | {"markers"}


def test_the_entry_point_imports_nothing_of_ours_before_it_is_active() -> None:
    assert {target for target in imported_by("plugin", inside_functions=False) if target.startswith(NAME)} == set()


def test_importing_the_entry_point_loads_nothing_heavy() -> None:
    heavy = ("qase", "requests", "sqlite3", "tenacity", "platformdirs", "pydantic", "fastapi", "execnet")
    code = f"import sys, {NAME}.plugin; print([name for name in {heavy} if name in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("name", SERVER)
def test_the_server_imports_nothing_of_ours_but_errors(name: str) -> None:
    assert ours_in(name) <= {"server", "errors", "status"}


@pytest.mark.parametrize("name", FILES)
def test_a_module_has_one_job_and_so_not_too_many_lines(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "manager"])
def test_no_module_is_a_drawer_for_everything(name: str) -> None:
    assert not [path for path in FILES if path.split("/")[-1] == name]
