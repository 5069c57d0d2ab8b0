"""The courier's own process: ``python -m famacase_xdist.courier``, started by `parent`."""

from __future__ import annotations

import contextlib
import os
import resource
import signal

from .child import Child
from .line import Line


def main() -> None:
    """Deliver for the parent's session, and end with it."""
    # A terminal's Ctrl-C does not come here, because this process has a session of its own. Whoever ends all processes
    # of a job ends our parent too, and what the parent leaves has to be delivered.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The tests may run with few descriptors, and each connection needs one.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    line = Line(os.dup(0), os.dup(1))
    # Neither the embedded server nor anything else may write to the pipes.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    Child(line, has_parent=True).run()
    # All is closed. The parent waits for this process, and the interpreter's own end takes longer than that is worth.
    os._exit(0)


if __name__ == "__main__":
    main()
