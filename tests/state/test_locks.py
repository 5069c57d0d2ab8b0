"""Locks between processes: the holder of a lock, its death, and which kind of lock fits a file system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from famacase_xdist.errors import LockTimeout, SharingError
from famacase_xdist.state import file_system, locks
from famacase_xdist.state.directory import RunKeyFiles, StateDirectory
from famacase_xdist.state.file_system import FLOCK, LEASE, fitting_kind, is_lease, lock_kind
from famacase_xdist.state.locks import KeyLock, Lease

KINDS = [FLOCK, LEASE]
HOLDER = """
import sys, pathlib
from famacase_xdist.state.directory import RunKeyFiles
from famacase_xdist.state.locks import KeyLock, Lease
what, path, kind = sys.argv[1:]
if what == "lock":
    context = KeyLock(RunKeyFiles(pathlib.Path(path)), kind).hold(10)
    context.__enter__()
else:
    lease = Lease(pathlib.Path(path), kind)
    lease.hold()
print("held", flush=True)
sys.stdin.read()
"""


class Holder:
    """Another process that holds a lock or a lease until it is killed."""

    def __init__(self, what: str, path: Path, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, what, str(path), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for holder in made:
        holder.kill()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# The lock around a key


@pytest.mark.process
def test_the_lock_is_for_one_at_a_time(tmp_path: Path, kind: str, holders: list[Holder]) -> None:
    holders.append(Holder("lock", tmp_path / "key", kind))

    with pytest.raises(LockTimeout), KeyLock(RunKeyFiles(tmp_path / "key"), kind).hold(0.2):
        pass


@pytest.mark.process
def test_who_gives_up_says_who_has_the_lock(tmp_path: Path, kind: str, holders: list[Holder]) -> None:
    holders.append(Holder("lock", tmp_path / "key", kind))

    with pytest.raises(LockTimeout) as caught, KeyLock(RunKeyFiles(tmp_path / "key"), kind).hold(0.2):
        pass

    said = f"waited 0 s for pid {holders[0].process.pid} on {os.uname().nodename}, which has had the lock since 20"
    assert str(caught.value).startswith(said)


@pytest.mark.process
def test_who_waits_can_be_asked_for_whom(tmp_path: Path, kind: str, holders: list[Holder]) -> None:
    holders.append(Holder("lock", tmp_path / "key", kind))
    lock = KeyLock(RunKeyFiles(tmp_path / "key"), kind)
    got = threading.Event()

    def wait() -> None:
        with lock.hold(30):
            got.set()

    thread = threading.Thread(target=wait)
    assert lock.waits_for == ""
    thread.start()
    while not lock.waits_for:
        assert thread.is_alive()
    assert lock.waits_for.startswith(f"pid {holders[0].process.pid} on ")
    holders[0].kill()
    assert got.wait(20)
    thread.join()
    assert lock.waits_for == ""


@pytest.mark.process
def test_a_holder_that_is_killed_lets_go(tmp_path: Path, kind: str, holders: list[Holder]) -> None:
    holders.append(Holder("lock", tmp_path / "key", kind))
    holders[0].kill()

    with KeyLock(RunKeyFiles(tmp_path / "key"), kind).hold(20):
        assert json.loads((tmp_path / "key" / "holder").read_text())["pid"] == os.getpid()


@pytest.mark.process
def test_who_is_told_to_give_up_does_not_wait(tmp_path: Path, kind: str, holders: list[Holder]) -> None:
    holders.append(Holder("lock", tmp_path / "key", kind))

    with pytest.raises(LockTimeout), KeyLock(RunKeyFiles(tmp_path / "key"), kind).hold(3600, lambda: True):
        pass


@pytest.mark.process
@pytest.mark.parametrize("holder", ["", "{", "[]", '{"pid": 1}'])
def test_a_holder_that_has_not_said_who_it_is_is_no_error(
    holder: str, tmp_path: Path, kind: str, holders: list[Holder]
) -> None:
    holders.append(Holder("lock", tmp_path / "key", kind))
    (tmp_path / "key" / "holder").write_text(holder)

    with (
        pytest.raises(LockTimeout, match="a process that has not said who it is"),
        KeyLock(RunKeyFiles(tmp_path / "key"), kind).hold(0.1),
    ):
        pass


def test_a_key_that_is_swept_while_others_wait_is_locked_anew(tmp_path: Path) -> None:
    """flock holds an inode: a process that waits for a file that was removed must not believe that it has the lock."""
    first, second, third = (KeyLock(RunKeyFiles(tmp_path / "key"), FLOCK) for _ in range(3))
    entered = threading.Event()
    leave = threading.Event()

    def wait() -> None:
        with second.hold(20):
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=wait)
    with first.hold(1):
        thread.start()
        while not second.waits_for:
            assert thread.is_alive()
        for path in (tmp_path / "key").iterdir():
            path.unlink()
        (tmp_path / "key").rmdir()
    assert entered.wait(20)
    with pytest.raises(LockTimeout), third.hold(0.2):
        pass
    leave.set()
    thread.join()


# Leases


def test_a_session_lives_until_it_says_goodbye(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "leases" / "a"
    own, others = Lease(path, kind), Lease(path, kind)

    assert not others.is_alive()
    own.hold()
    assert others.is_alive()
    own.drop()
    assert not others.is_alive()
    own.drop()
    assert not path.exists()


@pytest.mark.process
def test_a_session_that_is_killed_does_not_live(tmp_path: Path, kind: str, holders: list[Holder]) -> None:
    path = tmp_path / "leases" / "a"
    holders.append(Holder("lease", path, kind))
    lease = Lease(path, kind)
    assert lease.is_alive()

    holders[0].kill()

    assert not lease.is_alive()


def test_to_look_whether_a_session_lives_does_not_take_its_lease(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "leases" / "a"
    Lease(path, kind).is_alive()
    own = Lease(path, kind)
    own.hold()

    assert [Lease(path, kind).is_alive() for _ in range(3)] == [True] * 3


@pytest.mark.process
def test_a_forked_child_does_not_keep_its_parent_alive(tmp_path: Path) -> None:
    """A daemon that a test forks inherits every descriptor, and flock lasts as long as any of them."""
    path = tmp_path / "lease"
    code = (
        "import os, pathlib, sys, time\n"
        "from famacase_xdist.state.locks import Lease\n"
        f"lease = Lease(pathlib.Path({str(path)!r}), 'flock')\n"
        "lease.hold()\n"
        "child = os.fork()\n"
        "if child == 0:\n    os.close(1)\n    time.sleep(60)\n    os._exit(0)\n"
        "print(child, flush=True)\n"
        "os._exit(0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, timeout=20)
    child = int(ran.stdout)
    try:
        os.kill(child, 0)
        assert not Lease(path, FLOCK).is_alive()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.process
def test_a_lease_of_another_host_counts_as_alive_until_it_was_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holders: list[Holder]
) -> None:
    """Neither pids nor clocks tell of another machine: only a file that nobody refreshes while we look at it."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.5)
    path = tmp_path / "lease"
    other = "other-host"
    code = (
        f"import pathlib, time, socket\nsocket.gethostname = lambda: {other!r}\n"
        "from famacase_xdist.state import locks\nlocks.LEASE_SECONDS = 0.5\n"
        f"lease = locks.Lease(pathlib.Path({str(path)!r}), 'lease')\nlease.hold()\nprint('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        lease = Lease(path, LEASE)
        begun = threading.Event()
        # Watched for twice its time while it is refreshed.
        for _ in range(10):
            assert lease.is_alive()
            begun.wait(0.1)
        process.kill()
        process.wait()
        assert lease.is_alive()
        for _ in range(100):
            if not lease.is_alive():
                break
            begun.wait(0.1)
        else:
            pytest.fail("a lease that nobody refreshes lives for ever")


# Which kind

ROOT = "21 1 8:1 / / rw - ext4 /dev/sda1 rw"


@pytest.mark.parametrize(
    ("mount", "kind"),
    [
        ("ext4 /dev/sdb1 rw", FLOCK),
        ("xfs /dev/sdb1 rw", FLOCK),
        ("tmpfs tmpfs rw", FLOCK),
        ("overlay overlay rw,lowerdir=/a", FLOCK),
        ("fuse.fuse-overlayfs fuse-overlayfs rw", FLOCK),
        ("fuseblk /dev/sdb1 rw", FLOCK),
        ("nfs server:/v rw,vers=3,local_lock=none", FLOCK),
        ("nfs4 server:/v rw,vers=4.2,local_lock=none", FLOCK),
        ("ceph mon:/ rw", FLOCK),
        ("nfs server:/v rw,vers=3,nolock,local_lock=all", LEASE),
        ("nfs server:/v rw,local_lock=flock", LEASE),
        ("cifs //server/v rw,nobrl", LEASE),
        ("smb3 //server/v rw", LEASE),
        ("9p share rw,trans=virtio", LEASE),
        ("virtiofs share rw", LEASE),
        ("vboxsf share rw", LEASE),
        ("lustre mgs:/v rw,localflock", LEASE),
        ("fuse.sshfs host:/v rw", LEASE),
        ("fuse.s3fs s3fs rw", LEASE),
        ("fuse share rw", LEASE),
    ],
)
def test_the_kind_goes_by_the_file_system(mount: str, kind: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"{ROOT}\n30 21 0:50 / {tmp_path} rw,relatime shared:1 - {mount}\n")

    assert fitting_kind(tmp_path, mounts) == (kind, mount.split()[0])


def test_the_innermost_and_latest_mount_counts(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    escaped = str(tmp_path / "a b").replace(" ", r"\040")
    lines = [f"30 21 0:50 / {escaped} rw - ext4 x rw", f"31 21 0:51 / {escaped} rw - cifs x rw", ROOT]
    mounts = tmp_path / "mountinfo"
    mounts.write_text("\n".join(lines))

    assert fitting_kind(tmp_path / "a b", mounts) == (LEASE, "cifs")
    assert fitting_kind(tmp_path, mounts) == (FLOCK, "ext4")


@pytest.mark.parametrize("text", [None, "nonsense", "1 2 3 4 /\n"])
def test_a_system_without_such_a_list_has_flock(text: str | None, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    if text is not None:
        mounts.write_text(text)

    assert fitting_kind(tmp_path, mounts) == (FLOCK, "")


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path)
    made.runs.mkdir()
    return made


def test_the_first_user_writes_the_kind_for_all(state: StateDirectory, tmp_path: Path) -> None:
    assert lock_kind(state) == fitting_kind(tmp_path)[0]
    assert state.lock_kind.read_text() == fitting_kind(tmp_path)[0]


def test_whoever_knows_better_may_say_so(state: StateDirectory) -> None:
    state.lock_kind.write_text("lease\n")

    assert lock_kind(state) == LEASE


def test_a_kind_that_is_none_is_refused_with_what_is_allowed(state: StateDirectory) -> None:
    state.lock_kind.write_text("soft")

    with pytest.raises(SharingError, match="says 'soft'; allowed: flock or lease"):
        lock_kind(state)


def test_flock_where_it_reaches_nobody_else_is_refused(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    state.lock_kind.write_text("flock")
    monkeypatch.setattr(file_system, "fitting_kind", lambda directory: (LEASE, "cifs"))

    with pytest.raises(SharingError, match="does not leave this machine on cifs; write lease"):
        lock_kind(state)


def test_the_state_directory_says_what_its_locks_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_lease(StateDirectory(tmp_path))
    monkeypatch.setattr(file_system, "fitting_kind", lambda directory: (LEASE, "cifs"))
    assert is_lease(StateDirectory(tmp_path))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "locks").write_text("flock")
    assert not is_lease(StateDirectory(tmp_path))


def test_flock_that_is_missing_is_an_error_and_not_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """filelock would go on with a soft lock, which processes with flock do not see."""
    import errno
    import fcntl

    def missing(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "not here")

    monkeypatch.setattr(fcntl, "flock", missing)

    with pytest.raises(OSError, match="not here"), KeyLock(RunKeyFiles(tmp_path / "key"), FLOCK).hold(1):
        pass
