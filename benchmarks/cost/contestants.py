"""Who is measured: environment, arguments, variables, and how to see that a session reported all it had to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .suites import Suite

TOKEN = "rep_of-the-benchmark"
#: Counts results, and attachments, in the directory that a session had for itself.
Witness = Callable[[Path], tuple[int, int]]


@dataclass(frozen=True)
class Contestant:
    """One way to run the same tests.

    Attributes:
        name: As in the tables.
        environment: Where it is installed, see `environments`.
        dialect: What its tests are written with where they have steps or attachments.
        args: Of pytest.
        settings: Variables; {port} is the server's.
        delay: Seconds that the server waits before each answer.
        reports: Whether it reports to the server.
        witness: Counts what it wrote into files.
        attaches: Whether it has attachments.
        is_slow: Whether it takes so long that it has fewer rounds, and no large suites.
    """

    name: str
    environment: str
    dialect: str = "bare"
    args: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    reports: bool = False
    witness: Witness | None = None
    attaches: bool = False
    is_slow: bool = False

    def variables(self, port: int) -> dict[str, str]:
        """Return its settings."""
        return {name: value.format(port=port) for name, value in self.settings}

    def expected(self, suite: Suite) -> tuple[int, int]:
        """Return how many results and attachments a session has to report."""
        return suite.tests, suite.tests if suite.attached and self.attaches else 0

    def reported(self, directory: Path, seen: Mapping[str, int]) -> tuple[int, int] | None:
        """Return how many are there, in the session's own directory or at the server; None: it reports nothing."""
        if self.reports:
            # A run that is not complete is not whole, whatever it has.
            return (seen["results"], seen["attachments"]) if seen["completed"] and not seen["unknown"] else (0, 0)
        return self.witness(directory) if self.witness else None


def in_junit(directory: Path) -> tuple[int, int]:
    """Count in a file of --junitxml."""
    return (directory / "report.xml").read_text().count("<testcase "), 0


def in_log(directory: Path) -> tuple[int, int]:
    """Count in a file of pytest-reportlog."""
    return len(re.findall(r'"when": "call"', (directory / "report.jsonl").read_text())), 0


def in_allure(directory: Path) -> tuple[int, int]:
    """Count in a directory of allure-pytest."""
    path = directory / "allure"
    return len([*path.glob("*-result.json")]), len([*path.glob("*-attachment*")])


def settings(prefix: str, host: str) -> tuple[tuple[str, str], ...]:
    """Return the variables that make a plugin report."""
    return (
        (f"{prefix}_MODE", "testops"),
        (f"{prefix}_TESTOPS_API_TOKEN", TOKEN),
        (f"{prefix}_TESTOPS_PROJECT", "DEMO"),
        (host, "http://127.0.0.1:{port}"),
    )


def ours(name: str, delay: float) -> Contestant:
    """Return us, named first as the README advises, against a server as fast as that."""
    variables = settings("FAMACASE", "FAMACASE_API_URL")
    return Contestant(
        name, "ours", "qase", ("-p", "famacase_xdist.plugin"), variables, delay, reports=True, attaches=True
    )


#: What is installed beside a contestant is not loaded.
_NO_LOG, _NO_ALLURE = ("-p", "no:pytest_reportlog"), ("-p", "no:allure_pytest")
BARE = Contestant("bare pytest", "peers", args=(*_NO_LOG, *_NO_ALLURE))
OURS = ours("famacase-xdist", 0.0)
OURS_FAR = ours("famacase-xdist, 100 ms away", 0.1)
JUNIT = Contestant("--junitxml", "peers", args=(*BARE.args, "--junitxml=report.xml"), witness=in_junit)
LOG = Contestant("pytest-reportlog", "peers", args=(*_NO_ALLURE, "--report-log=report.jsonl"), witness=in_log)
ALLURE = Contestant(
    "allure-pytest", "peers", "allure", (*_NO_LOG, "--alluredir=allure"), witness=in_allure, attaches=True
)
QASE = Contestant(
    "qase-pytest",
    "qase",
    "qase",
    ("-p", "plain_http"),
    # It puts https://api- in front: what is left of the @ is taken for a user's name.
    (*settings("QASE", "QASE_URL")[:3], ("QASE_TESTOPS_API_HOST", "user@127.0.0.1:{port}")),
    reports=True,
    attaches=True,
    is_slow=True,
)
FORMER = Contestant(
    "famacasepytest 0.1.6",
    "famacasepytest",
    "famacase",
    (),
    settings("FAMACASE", "FAMACASE_API_URL"),
    reports=True,
    attaches=True,
    is_slow=True,
)
ALL = (BARE, OURS, OURS_FAR, JUNIT, LOG, ALLURE, QASE, FORMER)

#: What start-up is compared with: our environment, with both plugins switched off, idle, or only imported.
_OFF = ("-p", "no:famacase_xdist.plugin", "-p", "no:qase_pytest")
INSTALLED = Contestant("bare pytest where we are installed", "ours", args=_OFF)
IDLE = Contestant("famacase-xdist, inactive", "ours", args=("-p", "no:qase_pytest"))
IMPORTED = Contestant("bare pytest that imports qase.pytest", "ours", args=(*_OFF, "-p", "qase.pytest"))
#: Entry points load in a directory's order: where upstream's comes before ours, it is imported before we can say no.
UNNAMED = replace(OURS, name="famacase-xdist without -p famacase_xdist.plugin", args=())
REFERENCES = (INSTALLED, IDLE, IMPORTED, UNNAMED)
