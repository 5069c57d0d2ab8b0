"""The projects of mode testops_multi, as upstream has them in its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .parsers import number, parse_bool, parse_list, parse_slug, parse_text
from .run_reference import parse_run


@dataclass(frozen=True, slots=True)
class Projects:
    """The projects of mode testops_multi.

    Attributes:
        default: The code of the one that has the tests without `@qase.project_id`.
        settings: For each project the settings that are its own.
    """

    default: str
    settings: tuple[Mapping[str, Any], ...]


#: What a project of mode testops_multi may have: the setting that it stands for, and its type.
_OF_A_PROJECT: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "code": ("testops_project", parse_slug),
    "environment": ("environment", parse_text),
    "plan.id": ("testops_plan_id", number(int, 1)),
    "run.id": ("testops_run_id", parse_run),
    "run.title": ("testops_run_title", parse_text),
    "run.description": ("testops_run_description", parse_text),
    "run.complete": ("testops_run_complete", parse_bool),
    "run.tags": ("testops_run_tags", parse_list),
    "run.externalLink.type": ("testops_run_external_link_type", parse_text),
    "run.externalLink.link": ("testops_run_external_link_url", parse_text),
}


def parse_projects(raw: object) -> Projects:
    """Take an object as upstream has it in its file, or the JSON of one."""
    try:
        given = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        raise ValueError(_A_PROJECT) from None
    if not isinstance(given, dict) or not isinstance(given.get("projects"), list) or not given["projects"]:
        raise ValueError(_A_PROJECT)
    projects = tuple(_project(each) for each in given["projects"])
    codes = [project["testops_project"] for project in projects]
    default = given.get("default_project") or codes[0]
    if len(set(codes)) < len(codes) or default not in codes or set(given) - {"default_project", "projects"}:
        raise ValueError(f"{_A_PROJECT}; each code once, and default_project is one of them")
    return Projects(default, projects)


_A_PROJECT = f"an object with default_project and projects, each with a code and some of {', '.join(_OF_A_PROJECT)}"


def _project(raw: object) -> dict[str, Any]:
    values = dict(_set_values(raw, ""))
    if not values.keys() <= _OF_A_PROJECT.keys() or "code" not in values:
        raise ValueError(_A_PROJECT)
    settings = {}
    for path, value in values.items():
        name, parse = _OF_A_PROJECT[path]
        try:
            settings[name] = parse(value)
        except ValueError as error:
            raise ValueError(f"for {path} of a project {error}") from None
    return settings


def _set_values(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the values of an object by dotted path; what is empty is not set."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _set_values(each, f"{path}.{key}" if path else str(key))
    elif value not in (None, ""):
        yield path, value
