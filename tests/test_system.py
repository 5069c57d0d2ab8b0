"""The system as it was when we were imported, descriptors that know their file, and objects that know their process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from harness.forking import status_in_child

from famacase_xdist import system
from famacase_xdist.system import Descriptor, Origin, System

CALLS = [name for name in vars(System) if not name.startswith("_")]


@pytest.mark.parametrize("name", [name for name in CALLS if hasattr(os, name)])
def test_a_call_that_a_test_patches_is_still_ours(name: str) -> None:
    before = getattr(System, name)

    with mock.patch(f"os.{name}", side_effect=AssertionError) as patched:
        assert getattr(os, name) is patched
        assert getattr(System, name) is before is not patched


def test_no_patch_of_another_module_reaches_us() -> None:
    with mock.patch("fcntl.lockf") as lockf, mock.patch("subprocess.Popen") as popen:
        assert System.lockf is not lockf
        assert System.popen is not popen


def test_a_module_that_takes_the_place_of_os_in_ours_is_not_used(tmp_path: Path) -> None:
    """pyfakefs does so in all modules."""
    with mock.patch.object(system, "os"):
        descriptor = Descriptor(System.open(tmp_path / "a.txt", os.O_CREAT | os.O_WRONLY))
        System.write(descriptor.number, b"text")
        descriptor.close()

    assert (tmp_path / "a.txt").read_bytes() == b"text"


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[Descriptor]:
    descriptor = Descriptor(os.open(tmp_path / "ours", os.O_CREAT | os.O_WRONLY))
    yield descriptor
    descriptor.close()


def test_a_descriptor_is_ours_until_it_is_closed(descriptor: Descriptor) -> None:
    assert descriptor.is_ours

    descriptor.close()

    assert not descriptor.is_ours
    descriptor.close()


def test_a_descriptor_whose_number_has_another_file_is_not_ours_and_stays_open(
    descriptor: Descriptor, tmp_path: Path
) -> None:
    with (tmp_path / "users").open("wb") as file:
        os.dup2(file.fileno(), descriptor.number)

        assert not descriptor.is_ours
        descriptor.close()

        assert os.path.sameopenfile(descriptor.number, file.fileno())
        os.close(descriptor.number)


def test_a_file_that_is_renamed_or_removed_is_still_ours(descriptor: Descriptor, tmp_path: Path) -> None:
    (tmp_path / "ours").rename(tmp_path / "renamed")
    assert descriptor.is_ours

    (tmp_path / "renamed").unlink()
    assert descriptor.is_ours


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)

    with pytest.raises(OSError, match="Bad file descriptor"):
        Descriptor(reader)


@pytest.mark.process
def test_a_forked_child_is_not_the_process_that_an_object_was_made_in() -> None:
    origin = Origin()

    def act() -> None:
        assert not origin.is_here
        own = Origin()
        assert own.is_here
        assert status_in_child(lambda: _assert_not(own)) == 0
        assert own.is_here

    assert status_in_child(act) == 0
    assert origin.is_here


def _assert_not(origin: Origin) -> None:
    assert not origin.is_here


def test_a_test_that_patches_getpid_is_no_fork() -> None:
    origin = Origin()

    with mock.patch("os.getpid", return_value=1) as getpid:
        assert origin.is_here

    assert not getpid.called
