"""The pages for contributors agree with the code."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import famacase_xdist
from famacase_xdist.client import api
from famacase_xdist.client.transport import File
from famacase_xdist.errors import RETRYABLE_STATUSES
from famacase_xdist.results import body, status
from famacase_xdist.settings.run_reference import RunId

ROOT = Path(__file__).parents[1]
PACKAGE = Path(famacase_xdist.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = ("docs/architecture.md", "docs/reporter-api.md", "CONTRIBUTING.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
ARCHITECTURE, REPORTER_API = (TEXTS[name] for name in PAGES[:2])

ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
#: The words that have one meaning each.
WORDS = """
    lease, plan, record, report, phase, step, run, flush, result, attempt, run key, shard, sink, inbox, outbox, journal,
    batch, ledger, undelivered, resend, destination, controller, worker
"""

RUN = RunId("RUN")
#: How each public method of `Api` is called; what sends nothing is left out.
CALLS: dict[str, Callable[[api.Api], object]] = {
    "check_project": lambda each: each.check_project(),
    "environment_id": lambda each: each.environment_id("SLUG"),
    "plan_cases": lambda each: each.plan_cases(4711),
    "create_run": lambda each: each.create_run(api.RunRequest("title", "", "key")),
    "check_run": lambda each: each.check_run(RUN),
    "run": lambda each: each.run(RUN),
    "send_results": lambda each: each.send_results(RUN, [b"{}"]),
    "upload": lambda each: each.upload([File("file", "text/plain", b"")]),
    "complete_run": lambda each: each.complete_run(RUN),
    "publish_run": lambda each: each.publish_run(RUN),
}
SEND_NOTHING = {"close", "run_url"}


class Answering:
    """A transport that notes each call in the form of the page and has an answer for all of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def send(self, method: str, url: str, **_: Any) -> Any:
        path = url.partition("/api/v1/reporter/v1/")[2]
        for value, name in (("CODE", "{code}"), ("SLUG", "{slug}"), ("4711", "{plan}"), ("RUN", "{id}")):
            path = path.replace(value, name)
        self.calls.append(f"{method} {path}")
        if "environments" in path:
            return [{"id": 1}]
        return {"id": 1, "url": "https://f", "case_ids": [1], "attachments": [{"id": 1}]}

    def close(self) -> None:
        """Do nothing."""


def test_every_method_of_the_api_is_called_here() -> None:
    public = {name for name in vars(api.Api) if not name.startswith("_")}

    assert public - SEND_NOTHING == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_the_reporter_api_names_each_call(name: str) -> None:
    transport = Answering()
    CALLS[name](api.Api(transport, "https://famacase.example.com", "CODE", timeout=1.0))

    (call,) = transport.calls
    assert f"| `{call}` |" in REPORTER_API


def test_the_reporter_api_names_each_limit() -> None:
    section = REPORTER_API.partition("## Limits")[2].partition("\n## ")[0]
    mebibytes = (f"{size // 1024**2} MiB" for size in (api.MOST_FILE_BYTES, api.MOST_REQUEST_BYTES))
    values = [row.split("|")[2].strip() for row in section.splitlines() if row.startswith("| ")][2:]

    assert values == [str(api.MOST_RESULTS), str(api.MOST_FILES), *mebibytes]


def test_the_reporter_api_names_the_statuses_to_retry() -> None:
    section = REPORTER_API.partition("## Statuses to retry")[2].partition("\n## ")[0]

    assert {code for code in map(str, RETRYABLE_STATUSES) if code not in section} == set()


@pytest.mark.parametrize(
    "kind", [body.Body, body.ExecutionBody, body.StepBody, body.StepExecutionBody], ids=lambda kind: kind.__name__
)
def test_the_reporter_api_names_each_field(kind: type) -> None:
    # Only the frame of a test that begins has it; no result is sent with it.
    fields = set(get_type_hints(kind)) - {"testops_project_mapping"}

    assert {name for name in fields if f"`{name}`" not in REPORTER_API} == set()


def test_the_reporter_api_names_the_statuses() -> None:
    assert ", ".join(f"`{each}`" for each in status.STATUSES) in REPORTER_API


def section(text: str, title: str) -> str:
    """Return a section of a page, without its heading."""
    found = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found
    return found


def named_paths(text: str) -> set[str]:
    """Return what a page names that can only be a file or a directory of the repository."""
    in_code = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return {
        *re.findall(r"[\w./-]*\w\.(?:py|md|toml|ini|css)\b", re.sub(r"\[[^]]*\]\([^)]*\)", "", text)),
        *re.findall(r"(?<![\w./-])(?:docs|examples|benchmarks|tests|tests_e2e|famacase_xdist|\.ci)/[\w./-]*\w", text),
        *(span for span in in_code if "/" in span and re.fullmatch(r"[\w./-]+", span)),
    }


@pytest.mark.parametrize("page", PAGES)
def test_each_path_that_a_page_names_is_there(page: str) -> None:
    paths = named_paths(TEXTS[page])

    assert paths
    assert {path for path in paths if not ((ROOT / path).exists() or (PACKAGE / path).exists())} == set()


@pytest.mark.parametrize("page", PAGES)
def test_each_module_that_a_page_names_is_there(page: str) -> None:
    modules = set(re.findall(r"\bfamacase_xdist\.(\w+(?:\.\w+)*)", TEXTS[page]))
    paths = [PACKAGE.joinpath(*module.split(".")) for module in modules]

    assert [path for path in paths if not (path.is_dir() or path.with_suffix(".py").is_file())] == []


@pytest.mark.parametrize("page", PAGES)
def test_each_link_of_a_page_leads_somewhere(page: str) -> None:
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", TEXTS[page]) if "://" not in link]

    assert [target for target in targets if target and not (ROOT / page).parent.joinpath(target).exists()] == []


def test_the_architecture_names_each_room() -> None:
    rows = section(ARCHITECTURE, "Rooms").splitlines()

    assert sorted(row.split("`")[1] for row in rows if row.startswith("| `")) == ROOMS


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each room or module at the top of the package that a module imports, and whether in a function."""

    def within(node: ast.AST, *, is_late: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.ImportFrom):
                for name in _from(child):
                    yield name, is_late
            late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from within(child, is_late=is_late or late)

    def _from(node: ast.ImportFrom) -> list[str]:
        above = list(path.relative_to(PACKAGE).parts[: -node.level]) if node.level else []
        named = (node.module or "").split(".") if node.module else []
        whole = [*above, *named] if node.level else named[1:]
        if not node.level and named[:1] != [PACKAGE.name]:
            return []
        return [whole[0]] if whole else [alias.name for alias in node.names]

    yield from within(ast.parse(path.read_text(encoding="utf-8")), is_late=False)


def imported() -> dict[tuple[str, str], bool]:
    """Return which room, or plugin.py, imports which, and whether in functions only."""
    found: dict[tuple[str, str], bool] = {}
    for path in MODULES:
        importer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name, is_late in imports(path):
            if importer in (*ROOMS, "plugin") and name in ROOMS and name != importer:
                found[importer, name] = found.get((importer, name), True) and is_late
    return found


def test_the_arrows_between_rooms_are_the_imports_of_the_code() -> None:
    diagram = re.findall(r"```mermaid\n(.*?)```", section(ARCHITECTURE, "Rooms"), re.DOTALL)[0]
    arrows = re.findall(r"^ +(\w+)\S* (-->|-\.->) (\w+)$", diagram, re.MULTILINE)
    assert len(arrows) == len(diagram.splitlines()) - 1
    found = imported()

    assert {(start, end): kind == "-.->" for start, kind, end in arrows}.items() <= found.items()

    reached: defaultdict[str, set[str]] = defaultdict(set)
    for _ in arrows:
        for start, _, end in arrows:
            reached[start] |= {end, *reached[end]}
    assert [edge for edge in found if edge[1] not in reached[edge[0]]] == []


def thread_names() -> Iterator[str]:
    """Yield what the code calls its threads; a pool puts a number behind."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] not in ("Thread", "Pool"):
                continue
            values = [*node.args, *(each.value for each in node.keywords if each.arg in (None, "name"))]
            literals = [each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            # A pool itself makes its threads' names of what it was given.
            assert literals or path.name == "pool.py", f"{path}: a thread without a name"
            yield from literals


def test_the_architecture_names_each_thread() -> None:
    names = set(thread_names())

    assert {"famacase-inbox", "famacase-sender", "famacase-upload", "famacase-server", "famacase-doctor"} <= names
    table = section(ARCHITECTURE, "Processes and threads")
    assert {name for name in names if not re.search(rf"^\| `{name}(-N)?` \|", table, re.MULTILINE)} == set()


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    rows = [row.split("|")[1].strip() for row in section(ARCHITECTURE, "Glossary").splitlines() if row[:1] == "|"][2:]

    assert rows == sorted(set(rows))
    assert {" ".join(word.split()) for word in WORDS.split(",")} <= set(rows)
