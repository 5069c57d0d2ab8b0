"""Suites of tests that do nothing but what is measured. Half of the tests are parametrized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IN_A_MODULE = 100

#: What a test is written with, by dialect: import, step, attachment. Bare tests do neither.
DIALECTS = {
    "bare": ("", "", ""),
    "allure": (
        "import allure",
        "with allure.step('step {number}'):",
        "allure.attach({content}, name='page.txt', attachment_type=allure.attachment_type.TEXT)",
    ),
    "qase": (
        "from qase.pytest import qase",
        "with qase.step('step {number}'):",
        "qase.attach(({content}, 'text/plain', 'page.txt'))",
    ),
    "famacase": (
        "from famacase.pytest import qase",
        "with qase.step('step {number}'):",
        "qase.attach(({content}, 'text/plain', 'page.txt'))",
    ),
}


@dataclass(frozen=True, slots=True)
class Suite:
    """What the tests are.

    Attributes:
        tests: How many there are.
        seconds: How long each sleeps.
        steps: How many steps each has.
        attached: The bytes of the attachment that each makes; 0 for none.
    """

    tests: int
    seconds: float = 0.0
    steps: int = 0
    attached: int = 0

    def __str__(self) -> str:
        parts = [
            "1 test" if self.tests == 1 else f"{self.tests:,} tests",
            f"of {1000 * self.seconds:g} ms" if self.seconds else "",
            f"with {self.steps} steps" if self.steps else "",
            f"with {size(self.attached)} each" if self.attached else "",
        ]
        return " ".join(filter(None, parts))

    def write(self, root: Path, dialect: str) -> Path:
        """Write the suite where it is not yet, in a dialect if it needs one; give its directory."""
        spoken = dialect if self.steps or self.attached else "bare"
        path = root / f"{spoken}-{self.tests}-{1000 * self.seconds:g}ms-{self.steps}-{self.attached}"
        if not path.exists():
            path.mkdir(parents=True)
            (path / "pytest.ini").write_text("[pytest]\n")
            for first in range(0, self.tests, IN_A_MODULE):
                text = "\n".join(self._module(first, min(first + IN_A_MODULE, self.tests), spoken))
                (path / f"test_{first // IN_A_MODULE:04}.py").write_text(text)
        return path

    def _module(self, first: int, last: int, dialect: str) -> Iterator[str]:
        """Yield the lines of one module: functions, then one function with as many values."""
        yield "import time\nimport pytest"
        yield DIALECTS[dialect][0]
        functions = (last - first + 1) // 2
        for number in range(first, first + functions):
            yield f"def test_{number}():"
            yield from self._body(dialect, str(number))
        if last - first > functions:
            yield f"@pytest.mark.parametrize('number', range({first + functions}, {last}))"
            yield "def test_of_many(number):"
            yield from self._body(dialect, "number")

    def _body(self, dialect: str, number: str) -> Iterator[str]:
        _, step, attach = DIALECTS[dialect]
        yield f"    time.sleep({self.seconds})" if self.seconds else "    pass"
        for each in range(self.steps if step else 0):
            yield f"    {step.format(number=each)}\n        pass"
        if self.attached and attach:
            # No two contents are alike, so nobody can send one for all.
            yield "    " + attach.format(content=f"b'%d' % {number} + b'.' * {self.attached}")


#: The suite that shows what start-up costs.
START = Suite(1)


def size(count: int) -> str:
    """Name a number of bytes."""
    return f"{count // 1_000_000} MB" if count >= 1_000_000 else f"{count // 1000} kB"
