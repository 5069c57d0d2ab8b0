"""Ids of results and steps, which a test that patches `uuid.uuid4` or seeds `random` can neither repeat nor use up."""

from __future__ import annotations

import os
from hashlib import sha1
from random import Random

from famacase_xdist.system import System

#: The bits of a UUID that its version and variant take, and their values for versions 4 and 5.
_FIXED = 0xF000 << 64 | 0xC000 << 48
_VERSION_4, _VERSION_5 = (version << 76 | 0x8000 << 48 for version in (4, 5))


def _seed() -> int:
    return int.from_bytes(System.urandom(32))


#: Not the generator of the functions of `random`, which tests seed and draw their own numbers from.
_generator = Random(_seed())  # noqa: S311  # ids are no secrets
_bits = _generator.getrandbits


def _seed_again() -> None:
    """Make a forked child's ids others than its parent's."""
    _generator.seed(_seed())


os.register_at_fork(after_in_child=_seed_again)


def new_id() -> str:
    """Return a random UUID of version 4; any thread."""
    return _text(_bits(128), _VERSION_4)


def id_in(project: str, result_id: str) -> str:
    """Return the id of a result in a project, a UUID of version 5, the same each time.

    Each project needs an id of its own, because a server may not keep the ids of different runs apart.
    """
    namespace = bytes.fromhex(result_id.replace("-", ""))
    digest = sha1(namespace + project.encode(), usedforsecurity=False).digest()
    return _text(int.from_bytes(digest[:16]), _VERSION_5)


def _text(bits: int, version: int) -> str:
    digits = f"{bits & ~_FIXED | version:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
