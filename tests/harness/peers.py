"""Find the process at the other end of a loopback connection, so that a test can ask the server who connected.

Linux only: it is read in /proc.
"""

from __future__ import annotations

import os
from pathlib import Path


def pid_of_port(port: int) -> int | None:
    """Return the pid of the process that has the TCP connection with this local port, or None if it is closed."""
    inode = _inode(port)
    if inode is None:
        return None
    link = f"socket:[{inode}]"
    return next((pid for pid in _pids() if link in _links(pid)), None)


def _inode(port: int) -> str | None:
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
                return fields[9]
    return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _links(pid: int) -> set[str]:
    links = set()
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            links.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    except OSError:
        pass  # the process ended, or closed one of its descriptors, in the meantime
    return links
