"""Which process is at the other end of a loopback connection: read off /proc, so that the server is the witness."""

from __future__ import annotations

import os
from pathlib import Path


def pid_of_port(port: int) -> int | None:
    """Give the pid that owns the TCP connection with this local port, or None if it is gone."""
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
        pass  # the process, or one of its descriptors, ended while we looked
    return links
