"""Imports our other modules, and upstream with them, in less time than an import statement takes under pytest.

pytest rewrites the assertions of each distribution that has a plugin. Upstream comes with 200 modules of generated API
clients, which contain no assertions. To read and compile them costs each process half a second more. To search for
garbage among their objects, all of which stay, costs a tenth of a second more.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def quick(config: pytest.Config) -> Iterator[None]:
    """Import modules in this block without rewriting their assertions and without collecting garbage.

    If that fails, for want of a descriptor for example, nothing of upstream stays imported: of a package that failed,
    Python keeps the modules that it had imported, and the tests' own import would then find a circle.
    """
    hook = getattr(config.pluginmanager, "rewrite_hook", None)
    # With --assert=plain pytest has another object there, which is no finder of modules.
    index = next((index for index, finder in enumerate(sys.meta_path) if finder is hook), None)
    is_collecting = gc.isenabled()
    before = set(sys.modules)
    gc.disable()
    if index is not None:
        del sys.meta_path[index]
    try:
        yield
    except BaseException:
        for name in sys.modules.keys() - before:
            if name.partition(".")[0] == "qase":
                del sys.modules[name]
        raise
    finally:
        if index is not None:
            sys.meta_path.insert(index, hook)  # type: ignore[arg-type]
        if is_collecting:
            gc.enable()
