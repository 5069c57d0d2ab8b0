"""The recipes of README and docs, played: their own commands, in the order and with the variables of the CI system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.server import COMPLETE, RUNS, Backend
from harness.suites import Suite

ROOT = Path(__file__).parents[1]
README, SHARING = (ROOT.joinpath(name).read_text(encoding="utf-8") for name in ("README.md", "docs/sharing.md"))
DOCS = f"{README}\n{SHARING}"
TESTS = 8
SETTINGS = {"FAMACASE_API_URL": "https://famacase.example.com", "FAMACASE_TESTOPS_PROJECT": "DEMO"}


def recipe(title: str, language: str) -> str:
    """Return the first block of a section."""
    section = DOCS.partition(f"### {title}\n")[2].partition("\n#")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


class Player:
    """Runs commands as the jobs of a CI system do, each in a shell of its own."""

    def __init__(self, suite: Suite, backend: Backend) -> None:
        self._suite = suite
        # Before the recipe's own, as our server is not at the recipe's address.
        self._ours = backend.environment()

    def environment(self, variables: dict[str, Any]) -> dict[str, str]:
        given = {name: str(value) for name, value in variables.items() if name not in self._ours}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        options = " ".join(self._suite.options())
        return {**self._suite.environment(**self._ours), **given, "PATH": path, "PYTEST_ADDOPTS": options}

    def start(self, commands: list[str], variables: dict[str, Any]) -> subprocess.Popen[str]:
        """Start the commands of one job, but for those that install."""
        installs = [each for each in commands if each.startswith("pip install")]
        assert all("famacase-xdist" in each for each in installs)
        script = "\n".join(["set -e", *(each for each in commands if each not in installs)])
        return subprocess.Popen(
            ["bash", "-c", script],
            cwd=self._suite.path,
            env=self.environment(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def play(self, *jobs: tuple[list[str], dict[str, Any]]) -> None:
        """Run jobs side by side; each ends well."""
        started = [self.start(commands, variables) for commands, variables in jobs]
        for each in started:
            said, _ = each.communicate(timeout=110)
            assert each.returncode == 0, said


@pytest.fixture
def player(suite: Suite, backend: Backend) -> Player:
    suite.write(
        "test_it.py",
        f"import pytest\n@pytest.mark.parametrize('number', range({TESTS}))\ndef test_one(number):\n    pass\n",
    )
    return Player(suite, backend)


def assert_one_complete_run(backend: Backend) -> None:
    (run,) = backend.store.runs()
    assert (run.status, run.counts["passed"]) == ("completed", TESTS)
    assert sorted(int(each["params"]["number"]) for each in backend.results()) == list(range(TESTS))
    assert len(backend.requests(RUNS)) == len(backend.requests(COMPLETE)) == 1


def steps(job: dict[str, Any], expressions: dict[str, object]) -> list[str]:
    """Return the commands of a job of GitHub or CircleCI, with the values of expressions."""
    runs = [each["run"] for each in job["steps"] if "run" in each]
    return [re.sub(r"\$\{\{ (.*?) \}\}", lambda found: str(expressions[found[1]]), each) for each in runs]


def test_github_actions(player: Player, suite: Suite, backend: Backend) -> None:
    flow = yaml.safe_load(recipe("GitHub Actions", "yaml"))
    jobs, env = flow["jobs"], flow["env"]
    assert SETTINGS.items() <= env.items()
    output = suite.path / "output"

    player.play((steps(jobs["create"], {}), {**env, "GITHUB_OUTPUT": output}))
    assert jobs["create"]["outputs"] == {"run": "${{ steps.create.outputs.run }}"}
    number = output.read_text().removeprefix("run=").strip()
    assert jobs["shard"]["env"] == {"FAMACASE_TESTOPS_RUN_ID": "${{ needs.create.outputs.run }}"}
    shards = [
        (steps(jobs["shard"], {"matrix.shard": shard}), {**env, "FAMACASE_TESTOPS_RUN_ID": number})
        for shard in jobs["shard"]["strategy"]["matrix"]["shard"]
    ]
    player.play(*shards)
    player.play((steps(jobs["complete"], {"needs.create.outputs.run": number}), env))

    assert_one_complete_run(backend)


def test_gitlab(player: Player, suite: Suite, backend: Backend) -> None:
    flow = yaml.safe_load(recipe("GitLab", "yaml"))
    assert SETTINGS.items() <= flow["variables"].items()
    assert flow["create"]["artifacts"]["reports"]["dotenv"] == "run.env"

    player.play((flow["create"]["script"], flow["variables"]))
    variables = {**flow["variables"], **dict([(suite.path / "run.env").read_text().strip().split("=")])}
    total = flow["shard"]["parallel"]
    shards = [
        (flow["shard"]["script"], {**variables, "CI_NODE_INDEX": index, "CI_NODE_TOTAL": total})
        for index in range(1, total + 1)
    ]
    player.play(*shards)
    player.play((flow["complete"]["script"], variables))

    assert_one_complete_run(backend)


def test_circleci(player: Player, backend: Backend) -> None:
    jobs = yaml.safe_load(recipe("CircleCI", "yaml"))["jobs"]

    player.play((steps(jobs["create"], {}), {}))
    total = jobs["shard"]["parallelism"]
    shards = [
        (steps(jobs["shard"], {}), {"CIRCLE_NODE_INDEX": index, "CIRCLE_NODE_TOTAL": total}) for index in range(total)
    ]
    player.play(*shards)
    player.play((steps(jobs["complete"], {}), {}))

    assert_one_complete_run(backend)


def test_jenkins(player: Player, suite: Suite, backend: Backend) -> None:
    text = recipe("Jenkins", "groovy")
    env = dict(re.findall(r"^    (FAMACASE_\w+) = '(.*)'$", text, re.MULTILINE))
    assert SETTINGS.items() <= env.items()
    (create,) = re.findall(r"script: '(.*?)'", text)
    shard, complete = re.findall(r"^ +sh '(.*)'$", text, re.MULTILINE)
    (names,) = re.findall(r"values (.*)", text)

    player.play(([f"{create} > number"], env))
    env["FAMACASE_TESTOPS_RUN_ID"] = (suite.path / "number").read_text().strip()
    player.play(*[([shard], {**env, "SHARD": name.strip("', ")}) for name in names.split()])
    player.play(([complete], env))

    assert_one_complete_run(backend)


def test_self_hosted_runners_with_a_shared_volume(player: Player, suite: Suite, backend: Backend) -> None:
    job = yaml.safe_load(recipe("Self-hosted runners with a shared volume", "yaml"))

    shards = []
    for shard in range(1, 5):
        values = {"matrix.shard": shard, "github.run_id": 4711}
        written = steps({"steps": [{"run": each} for each in job["env"].values()]}, values)
        env = dict(zip(job["env"], written, strict=True))
        shards.append((steps(job, values), {**env, "FAMACASE_STATE_DIR": suite.state}))
    player.play(*shards)

    assert_one_complete_run(backend)


def test_the_commands_of_the_readme(player: Player, backend: Backend) -> None:
    (block,) = re.findall(r"```bash\n(export FAMACASE_TESTOPS_RUN_ID=.*?)```", README, re.DOTALL)

    player.play((block.splitlines(), {}))

    assert_one_complete_run(backend)
    (run,) = backend.store.runs()
    assert (run.title, run.tags) == ("Nightly", ("nightly",))


def test_every_setting_that_is_named_is_one() -> None:
    from famacase_xdist.settings.settings import BY_NAME

    named = set(re.findall(r"\bFAMACASE_(\w+)", DOCS)) - {"TOKEN", "SERVER_TOKEN"}
    assert {name.lower() for name in named} <= set(BY_NAME)
