"""A pytest plugin that reports suites written for qase-pytest to Famacase, and does it right under pytest-xdist."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recording.decorators import qase
    from .recording.user_fixtures import Famacase, FamacaseRun

    famacase = qase

__version__ = "0.1.0"

__all__ = ["Famacase", "FamacaseRun", "__version__", "famacase", "qase"]

#: Each public name: its module in `recording`, and its name there.
_DOORS = {
    "qase": ("decorators", "qase"),
    "famacase": ("decorators", "qase"),
    "Famacase": ("user_fixtures", "Famacase"),
    "FamacaseRun": ("user_fixtures", "FamacaseRun"),
}


def __getattr__(name: str) -> object:
    """Load a public name on first use: the decorators take a second to load, and an inactive plugin must be quick."""
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _DOORS[name]
    return getattr(importlib.import_module(f"{__name__}.recording.{module}"), attribute)
