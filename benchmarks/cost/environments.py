"""The environments of the contestants: one for each set of packages that may not be mixed; kept between runs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What they all have in one version, that of the first environment.
SHARED = ("pytest", "pytest-xdist", "execnet")
#: Bare pytest is measured in the first, which has nothing of the others' and nothing of ours.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "peers": ("pytest-reportlog", "allure-pytest"),
    "ours": (str(ROOT),),
    "qase": ("qase-pytest",),
    "famacasepytest": ("famacasepytest==0.1.6",),
}
SHOWN = (*SHARED, "famacase-xdist", "pytest-reportlog", "allure-pytest", "qase-pytest", "famacasepytest")


class Environments:
    """Virtual environments of this Python under one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._versions: dict[str, dict[str, str]] = {}

    def make(self) -> None:
        """Make those that are not there or not of these packages; takes a minute and the network then."""
        pins: tuple[str, ...] = SHARED
        for name, packages in PACKAGES.items():
            self._make(name, (*pins, *packages))
            versions = self._versions[name] = self._installed(name)
            pins = pins if pins is not SHARED else tuple(f"{each}=={versions[each]}" for each in SHARED)

    def python(self, name: str) -> Path:
        """Return the interpreter of an environment."""
        return self._root / name / "bin" / "python"

    def versions(self) -> dict[str, str]:
        """Return the versions of what is compared, one for each package unless the environments differ."""
        found: dict[str, set[str]] = {}
        for versions in self._versions.values():
            for package in SHOWN:
                found.setdefault(package, set()).update(filter(None, [versions.get(package)]))
        return {package: " and ".join(sorted(each)) for package, each in found.items()}

    def _make(self, name: str, packages: tuple[str, ...]) -> None:
        stamp = self._root / name / "made-of.json"
        made_of = json.dumps([sys.version, packages, source_digest() if str(ROOT) in packages else ""])
        if stamp.exists() and stamp.read_text() == made_of:
            return
        print(f"making the environment {name}", file=sys.stderr, flush=True)
        venv.create(self._root / name, clear=True, with_pip=True)
        self._pip(name, "install", "--upgrade", "pip")
        self._pip(name, "install", *packages)
        stamp.write_text(made_of)

    def _installed(self, name: str) -> dict[str, str]:
        listed = json.loads(self._pip(name, "list", "--format=json"))
        return {each["name"].lower().replace("_", "-"): each["version"] for each in listed}

    def _pip(self, name: str, *args: str) -> str:
        command = [str(self.python(name)), "-m", "pip", "--disable-pip-version-check", *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip failed in the environment {name}:\n{done.stderr}")
        return done.stdout


def source_digest() -> str:
    """Tell our sources apart."""
    digest = hashlib.sha256()
    for path in sorted([*ROOT.glob("famacase_xdist/**/*.*"), ROOT / "pyproject.toml"]):
        if path.suffix != ".pyc":
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
