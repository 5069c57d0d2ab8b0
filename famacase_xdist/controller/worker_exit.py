"""How a worker's process ended, for the result of the test in which it died."""

from __future__ import annotations

import signal
import subprocess


def exit_of(node: object) -> str:
    """Return how a local worker's process ended; empty where that cannot be known.

    execnet keeps the process in a private attribute; a remote worker, or another execnet, has none.
    """
    process = getattr(getattr(getattr(node, "gateway", None), "_io", None), "popen", None)
    if not isinstance(process, subprocess.Popen):
        return ""
    try:
        status = process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return ""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"signal {name}" + (", out of memory?" if name == "SIGKILL" else "")
