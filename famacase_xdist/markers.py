"""Upstream's markers, registered by us while upstream is kept out, so that --strict-markers knows them."""

from __future__ import annotations

import pytest

#: Name and meaning of each marker that upstream's decorators set.
MARKERS = {
    "qase_id": "ids of the test's cases",
    "qase_project_id": "ids of the test's cases in one project",
    "qase_title": "title of the test",
    "qase_ignore": "leave the test out of the report",
    "qase_muted": "a failure of the test is reported as blocked",
    "qase_author": "author of the test",
    "qase_fields": "fields of the test",
    "qase_suite": "suite of the test",
    "qase_description": "description of the test",
    "qase_preconditions": "preconditions of the test",
    "qase_postconditions": "postconditions of the test",
    "qase_layer": "layer of the test",
    "qase_severity": "severity of the test",
    "qase_priority": "priority of the test",
    "qase_tags": "tags of the test",
    "qase_ignore_parameters": "params of the test that are not reported",
    "qase_parametrize_ignore": "params of the test that are not reported",
}


def add(config: pytest.Config) -> None:
    """Register the markers."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
