"""The projects of mode testops_multi, in the form of upstream's configuration file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Required, TypedDict, cast

from .parsers import number, parse_bool, parse_list, parse_slug, parse_text
from .run_reference import parse_run


class ProjectSettings(TypedDict, total=False):
    """The settings that one project has for itself; their names are those of the table."""

    testops_project: Required[str]
    environment: str
    testops_plan_id: int
    testops_run_id: str
    testops_run_title: str
    testops_run_description: str
    testops_run_complete: bool
    testops_run_tags: tuple[str, ...]
    testops_run_external_link_type: str
    testops_run_external_link_url: str


@dataclass(frozen=True, slots=True)
class Projects:
    """The projects of mode testops_multi.

    Attributes:
        default: The code of the project that gets the tests without `@qase.project_id`.
        settings: The own settings of each project.
    """

    default: str
    settings: tuple[ProjectSettings, ...]


#: The keys of a project by dotted path: the name of a `ProjectSettings` item, and its parser.
_OF_A_PROJECT: Mapping[str, tuple[str, Callable[[object], object]]] = {
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

_A_PROJECT = f"an object with default_project and projects, each with a code and some of {', '.join(_OF_A_PROJECT)}"


def parse_projects(raw: object) -> Projects:
    """Parse an object of upstream's form, or the JSON of one.

    Raises:
        ValueError: The value is something else; the text says what is allowed.
    """
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


def _project(raw: object) -> ProjectSettings:
    values = dict(_set_values(raw, ""))
    if not values.keys() <= _OF_A_PROJECT.keys() or "code" not in values:
        raise ValueError(_A_PROJECT)
    settings = {}
    for path, value in values.items():
        name, parse = _OF_A_PROJECT[path]
        try:
            settings[name] = parse(value)
        except ValueError as error:
            raise ValueError(f"{error} as {path} of a project") from None
    return cast("ProjectSettings", settings)


def _set_values(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the values of an object by dotted path; null and empty text are no values."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _set_values(each, f"{path}.{key}" if path else str(key))
    elif value not in (None, ""):
        yield path, value
