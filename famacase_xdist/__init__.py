"""Reports pytest suites written for qase-pytest to Famacase, right under pytest-xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .recording.decorators import qase

    famacase = qase

__version__ = "0.1.0"

__all__ = ["__version__", "famacase", "qase"]


def __getattr__(name: str) -> Any:
    """Load the decorators on first use: importing them costs a second that an inactive plugin must not."""
    if name in ("qase", "famacase"):
        from .recording.decorators import qase

        return qase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
