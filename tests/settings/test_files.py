"""The configuration files: which one is read, and what is in it. `test_sources` reads them as a pytest run does."""

from __future__ import annotations

from pathlib import Path

import pytest

from famacase_xdist.errors import SettingsError
from famacase_xdist.settings import files

NAME = files.OWN_FILE


def test_the_first_folder_that_has_the_file_wins(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("without", "first", "second")]
    for folder in folders:
        folder.mkdir()
    (folders[1] / NAME).write_text('{"timeout": 1}')
    (folders[2] / NAME).write_text('{"timeout": 2}')

    assert files.read(NAME, folders) == {"timeout": 1}


def test_without_a_file_there_is_no_content(tmp_path: Path) -> None:
    assert files.read(NAME, [tmp_path, tmp_path / "missing"]) == {}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff")

    with pytest.raises(SettingsError, match=f"{tmp_path / NAME}: not readable as JSON"):
        files.read(NAME, [tmp_path])


@pytest.mark.parametrize(
    ("path", "value"), [("a", {"b": {"c": 1}}), ("a.b.c", 1), ("a.b.d", None), ("a.b.c.d", None), ("x.y", None)]
)
def test_a_dotted_path_leads_to_a_value_or_to_none(path: str, value: object) -> None:
    assert files.value_at({"a": {"b": {"c": 1}}}, path) == value


def test_hosts_in_upstreams_shape_stand_at_our_path_unless_that_is_set(tmp_path: Path) -> None:
    profilers = '"profilers": [{"name": "network", "excludeHosts": ["a.test"]}]'
    (tmp_path / NAME).write_text(f"{{{profilers}}}")
    (tmp_path / files.UPSTREAM_FILE).write_text(f'{{{profilers}, "networkProfiler": {{"excludeHosts": []}}}}')

    ours, upstreams = (files.read(name, [tmp_path]) for name in (NAME, files.UPSTREAM_FILE))

    assert files.value_at(ours, "networkProfiler.excludeHosts") == ["a.test"]
    assert files.value_at(upstreams, "networkProfiler.excludeHosts") == []
