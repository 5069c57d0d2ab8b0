"""What `doctor` finds, and the forms in which it is printed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from famacase_xdist.results.text import encodable

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        level: `OK`, `WARNING`, or `PROBLEM`, with which reporting would not work.
        check: What was checked, in a word.
    """

    level: str
    check: str
    text: str


@dataclass(slots=True)
class Diagnosis:
    """Everything that was found.

    Attributes:
        settings: The text and the source of each setting that is set, by name; tokens are masked.
        versions: The version of each package, by name.
        secret: The token, which no form shows; empty if there is none to hide.
    """

    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, tuple[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)

    @property
    def is_ok(self) -> bool:
        """Whether reporting would work."""
        return all(finding.level != PROBLEM for finding in self.findings)

    def add(self, level: str, check: str, text: object) -> None:
        """Add a finding, whose text becomes one line. Any thread may call this."""
        self.findings.append(Finding(level, check, " ".join(str(text).split())))

    def formatted(self, form: str) -> str:
        """Return the diagnosis as ``plain`` text or as ``json``, without the token."""
        text = self._json() if form == "json" else "\n".join(self._lines())
        return encodable(text.replace(self.secret, "***") if self.secret else text)

    def _lines(self) -> list[str]:
        return [f"{finding.level}: {finding.check}: {finding.text}" for finding in list(self.findings)]

    def _json(self) -> str:
        settings = {name: {"value": value, "source": source} for name, (value, source) in self.settings.items()}
        found = [asdict(finding) for finding in list(self.findings)]
        return json.dumps(
            {"ok": self.is_ok, "settings": settings, "versions": self.versions, "findings": found}, indent=2
        )
