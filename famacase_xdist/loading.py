"""How the rest of us, and upstream with it, is imported: in less time than an import statement takes in pytest.

pytest rewrites the assertions of each distribution that has a plugin. Upstream comes with 200 modules of generated API
clients, which assert nothing; to read and compile them costs each process half a second more, and to look for garbage
among what they make, all of which stays, a tenth.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def quick(config: pytest.Config) -> Iterator[None]:
    """Import what is imported in this block as it is, and without looking for garbage."""
    hook = getattr(config.pluginmanager, "rewrite_hook", None)
    # Under --assert=plain pytest has a stand-in that is no finder of modules.
    index = next((index for index, finder in enumerate(sys.meta_path) if finder is hook), None)
    is_collecting = gc.isenabled()
    gc.disable()
    if index is not None:
        del sys.meta_path[index]
    try:
        yield
    finally:
        if index is not None:
            sys.meta_path.insert(index, hook)  # type: ignore[arg-type]
        if is_collecting:
            gc.enable()
