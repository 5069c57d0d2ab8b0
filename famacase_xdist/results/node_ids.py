"""The suites, the name and the signature of a test, made of its node id. Both sides of the wire need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def path_of(nodeid: str) -> tuple[list[str], str]:
    """Return the suites of a node id (folder, module and every class) and the test's name without params.

    If the node id is that of a module, its path is also the name. Dots separate suites, as in upstream.
    """
    path, _, rest = nodeid.partition("::")
    names = [name for name in rest.split("[", 1)[0].split("::") if name]
    folder, _, file = path.rpartition("/")
    parts = [folder, file.split(".")[0], *names[:-1]]
    return ".".join(filter(None, parts)).split("."), names[-1] if names else path


def signature_of(nodeid: str, testops_ids: Sequence[int] | None = None, params: Mapping[str, str] | None = None) -> str:
    """Return the text by which the server recognizes a test, in upstream's form, so that tests keep their history."""
    ids = ["-".join(map(str, testops_ids))] if testops_ids else []
    path = [part.lower().replace(" ", "_") for part in nodeid.split("/")]
    return "::".join([*ids, *path, *(f"{{{name}:{value}}}" for name, value in (params or {}).items())])
