"""The kind of lock that works in a state directory: its file system decides, and its first user decides for all.

On one machine, and on file systems that carry it between machines, the kind is ``flock``: the system releases the lock
together with the process, however the process ends, so clocks and pids need not be compared. If flock stays on the
machine or is missing, the kind is ``lease``: a file that its owner refreshes. All users of a directory need the same
kind, so the first one writes it into the file ``locks``. A person who knows better may write ``flock`` or ``lease``
there before.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from famacase_xdist.errors import SharingError

from .directory import StateDirectory

#: The kinds, as the file ``locks`` names them.
FLOCK, LEASE = "flock", "lease"
#: File systems that several machines may mount and whose flock the other machines do not see; so are all fuse.*.
_SHARED_WITHOUT_FLOCK = frozenset(
    {"9p", "afs", "beegfs", "cifs", "davfs", "fuse", "lustre", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs"}
)
#: The only FUSE file system that is a container's own disk.
_LOCAL_FUSE = "fuse.fuse-overlayfs"
_MOUNTS = Path("/proc/self/mountinfo")


def lock_kind(state: StateDirectory) -> str:
    """Return the kind of lock that all users of a state directory use, `FLOCK` or `LEASE`; the first user writes it.

    Raises:
        SharingError: The file ``locks`` names no kind, or names flock although other machines do not see ours.
        OSError: The directory cannot be used.
    """
    path = state.lock_kind
    fitting, file_system = fitting_kind(state.runs)
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(fitting)
    # The file is empty while its maker is between creating and writing it; the maker comes to the same answer.
    said = path.read_text(errors="replace").strip() or fitting
    if said not in (FLOCK, LEASE):
        raise SharingError(f"{path} says {said!r}; allowed: {FLOCK} or {LEASE}")
    if said == FLOCK and fitting == LEASE:
        raise SharingError(f"{path} says {FLOCK}, which does not leave this machine on {file_system}; write {LEASE}")
    return said


def fitting_kind(directory: Path, mounts: Path = _MOUNTS) -> tuple[str, str]:
    """Return the kind that fits a directory's file system, and the name of that file system.

    Args:
        directory: The directory.
        mounts: The system's list of mounts.
    """
    name, options = _file_system(directory.resolve(), mounts)
    if name in ("nfs", "nfs4"):
        is_local = bool({"nolock", "local_lock=all", "local_lock=flock"} & set(options))
        return (LEASE if is_local else FLOCK), name
    is_lease = name in _SHARED_WITHOUT_FLOCK or (name.startswith("fuse.") and name != _LOCAL_FUSE)
    return (LEASE if is_lease else FLOCK), name


def _file_system(path: Path, mounts: Path) -> tuple[str, list[str]]:
    """Return type and options of the mount that a path is on; the type is empty if the system has no such list."""
    found: tuple[str, list[str]] = ("", [])
    depth = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in mounts.read_text().splitlines():
            before, _, after = line.partition(" - ")
            place = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split()[4]))
            # A later mount hides an earlier one at the same place.
            if path.is_relative_to(place) and len(place.parts) >= depth:
                depth = len(place.parts)
                name, _, *options = after.split()
                found = name, [*",".join(options).split(","), *before.split()[5].split(",")]
    return found


def is_lease(state: StateDirectory) -> bool:
    """Return whether the locks of a state directory are of the kind `LEASE`; nothing is written."""
    with contextlib.suppress(OSError):
        return state.lock_kind.read_text(errors="replace").strip() == LEASE
    return fitting_kind(state.path)[0] == LEASE
