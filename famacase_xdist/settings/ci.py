"""The variables of CI systems: the run, the shard, branch, commit and link that they describe."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

_VARIABLE = re.compile(r"{(\w+)}")
_NUMBER = re.compile(r"[0-9]{1,6}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}", re.IGNORECASE)
_REF = re.compile(r"^(?:refs/(?:heads/|tags/|remotes/origin/)?|origin/)")
#: The host must be a name, the port a number, and no @ may follow, because anything else may be part of a password.
_LINK = re.compile(
    r"(https?://)(?:[^/?#]*@)?((?:[\w.-]+|\[[\da-f:.]+\])(?::\d+)?(?:[/?#][^@]*)?)", re.IGNORECASE | re.ASCII
)
#: The part that GitLab adds to the name of a parallel job: ``unit 1/4``, ``unit: [linux, 3.13]``.
_PART = re.compile(r" \d+/\d+$|: \[.*\]$")
#: The beginning of RUN_DISPLAY_URL if Jenkins does not know its own address.
_NO_LINK = "http://unconfigured-jenkins-location/"
_SCHEME = re.compile(r"https?://(?:[^/?#]*@)?", re.IGNORECASE)
#: A Jenkins matrix project has a job for each cell, ``shop/PYTHON=3.13,OS=linux``, with the number of its parent.
_CELL = re.compile(r"/[^/=]+=[^/]*(?=-\d+$)")
_SLASHES = re.compile(r"(?<!:)/{2,}")
_LONGEST_KEY = 160


@dataclass(frozen=True, slots=True)
class CI:
    """One run of a CI system; unknown attributes are empty.

    Attributes:
        name: The system's name.
        key: A run key that all jobs of the run share; if the system counts attempts of a run, each has its own key.
        branch: The branch or the tag; for a pull request, its source branch.
        commit: The whole id of the commit.
        url: The address of the run's page, without credentials.
    """

    name: str
    key: str
    branch: str
    commit: str
    url: str


@dataclass(frozen=True, slots=True)
class _System:
    """One row of the table.

    If there are several templates, the first one whose variables are all set is used.

    Attributes:
        marker: The variables that reveal the system, and the beginning of their values in lower case; all must match.
        shard: The variables of index and total, and the first index.
        job: The templates of a text that the shards of one job have in common.
    """

    name: str
    marker: Mapping[str, str]
    key: tuple[str, ...]
    branch: tuple[str, ...]
    commit: str
    url: tuple[str, ...]
    shard: tuple[str, str, int] | None = None
    job: tuple[str, ...] = ()


_SYSTEMS: tuple[_System, ...] = (
    # Forgejo, Gitea and act set the variables of GitHub Actions, so they come first; Forgejo sets Gitea's too.
    # There GITHUB_RUN_ATTEMPT counts per job, and the addresses of pages contain GITHUB_RUN_NUMBER.
    *(
        _System(
            name=f"{name} Actions",
            marker={f"{name.upper()}_ACTIONS": "true"},
            key=(name.lower() + "-{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}-{GITHUB_RUN_ID}",),
            branch=("{GITHUB_HEAD_REF}", "{GITHUB_REF_NAME}"),
            commit="{GITHUB_SHA}",
            url=("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_NUMBER}",),
        )
        for name in ("Forgejo", "Gitea")
    ),
    # No key, because act, which runs workflows on a developer's machine, numbers each run 1.
    _System(
        name="act",
        marker={"ACT": "true", "GITHUB_ACTIONS": "true"},
        key=(),
        branch=("{GITHUB_HEAD_REF}", "{GITHUB_REF_NAME}"),
        commit="{GITHUB_SHA}",
        url=(),
    ),
    # A run's id is unique within its repository only.
    _System(
        name="GitHub Actions",
        marker={"GITHUB_ACTIONS": "true"},
        key=("github-{GITHUB_REPOSITORY}-{GITHUB_RUN_ID}-{GITHUB_RUN_ATTEMPT}",),
        branch=("{GITHUB_HEAD_REF}", "{GITHUB_REF_NAME}"),
        commit="{GITHUB_SHA}",
        url=("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",),
    ),
    # A retried job stays in its pipeline.
    _System(
        name="GitLab CI",
        marker={"GITLAB_CI": "true"},
        key=("gitlab-{CI_SERVER_HOST}-{CI_PIPELINE_ID}", "gitlab-{CI_PIPELINE_ID}"),
        branch=("{CI_MERGE_REQUEST_SOURCE_BRANCH_NAME}", "{CI_COMMIT_REF_NAME}"),
        commit="{CI_COMMIT_SHA}",
        url=("{CI_PIPELINE_URL}",),
        shard=("CI_NODE_INDEX", "CI_NODE_TOTAL", 1),
        job=("{CI_JOB_NAME}",),
    ),
    # A rerun, of failed jobs too, is another workflow.
    _System(
        name="CircleCI",
        marker={"CIRCLECI": "true"},
        key=("circleci-{CIRCLE_WORKFLOW_ID}",),
        branch=("{CIRCLE_BRANCH}", "{CIRCLE_TAG}"),
        commit="{CIRCLE_SHA1}",
        url=("{CIRCLE_BUILD_URL}",),
        shard=("CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL", 0),
        job=("{CIRCLE_JOB}",),
    ),
    # BUILDKITE_RETRY_COUNT counts per job, so with it in the key, a retried job would leave the run of the others.
    _System(
        name="Buildkite",
        marker={"BUILDKITE": "true"},
        key=("buildkite-{BUILDKITE_BUILD_ID}",),
        branch=("{BUILDKITE_BRANCH}", "{BUILDKITE_TAG}"),
        commit="{BUILDKITE_COMMIT}",
        url=("{BUILDKITE_BUILD_URL}",),
        shard=("BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT", 0),
        job=("{BUILDKITE_STEP_ID}",),
    ),
    # JENKINS_URL is set only if an administrator has configured it. BUILD_TAG is always set, but it is the same for
    # the jobs shop/main and shop-main.
    _System(
        name="Jenkins",
        marker={"BUILD_TAG": "jenkins-"},
        key=("jenkins-{JENKINS_URL}/{JOB_NAME}-{BUILD_NUMBER}", "jenkins-{JOB_NAME}-{BUILD_NUMBER}", "{BUILD_TAG}"),
        branch=("{CHANGE_BRANCH}", "{BRANCH_NAME}", "{GIT_BRANCH}"),
        commit="{GIT_COMMIT}",
        url=("{RUN_DISPLAY_URL}", "{BUILD_URL}"),
    ),
    # SYSTEM_JOBATTEMPT counts per job. A retry of failed jobs is another attempt of their stage.
    _System(
        name="Azure Pipelines",
        marker={"TF_BUILD": "true"},
        key=(
            "azure-{SYSTEM_COLLECTIONURI}/{BUILD_BUILDID}-{SYSTEM_STAGEATTEMPT}",
            "azure-{SYSTEM_COLLECTIONURI}/{BUILD_BUILDID}",
        ),
        branch=("{SYSTEM_PULLREQUEST_SOURCEBRANCH}", "{BUILD_SOURCEBRANCH}", "{BUILD_SOURCEBRANCHNAME}"),
        commit="{BUILD_SOURCEVERSION}",
        url=("{SYSTEM_COLLECTIONURI}/{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",),
        shard=("SYSTEM_JOBPOSITIONINPHASE", "SYSTEM_TOTALJOBSINPHASE", 1),
        job=("{SYSTEM_PHASENAME}",),
    ),
    # BITBUCKET_PARALLEL_STEP is not a shard, because the steps of a group may do different things.
    _System(
        name="Bitbucket Pipelines",
        marker={"BITBUCKET_BUILD_NUMBER": ""},
        key=("bitbucket-{BITBUCKET_PIPELINE_UUID}", "bitbucket-{BITBUCKET_REPO_FULL_NAME}-{BITBUCKET_BUILD_NUMBER}"),
        branch=("{BITBUCKET_BRANCH}", "{BITBUCKET_TAG}"),
        commit="{BITBUCKET_COMMIT}",
        url=("{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
    ),
)


def detect(environ: Mapping[str, str]) -> CI | None:
    """Return the run of the first CI system whose variables are set; None if there is none.

    Its key is empty if the variables are not enough to keep two runs apart.
    """
    system = _system(environ)
    if system is None:
        return None
    commit = _filled((system.commit,), environ)
    key = _filled(system.key, environ)
    return CI(
        name=system.name,
        key=_key("-".join(filter(None, (key, key and _job(system, environ))))),
        branch=_REF.sub("", _filled(system.branch, environ)),
        commit=commit if _COMMIT.fullmatch(commit) else "",
        url=_link(_filled(system.url, environ)),
    )


def _job(system: _System, environ: Mapping[str, str]) -> str:
    """Return the job that this shard belongs to, so that two jobs of one run that are both split up have two keys."""
    if system.shard is None or _shard(environ, *system.shard) is None:
        return ""
    return _PART.sub("", _filled(system.job, environ))


def shard(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the number of this shard, from 1, and the number of shards, if the CI system splits a job up.

    The variables of the detected system come first. The result is None if there is only one job, or if the values
    make no sense, because a CI system must not stop a session.
    """
    detected = _system(environ)
    systems = _SYSTEMS if detected is None else (detected, *_SYSTEMS)
    found = (_shard(environ, *system.shard) for system in systems if system.shard is not None)
    return next(filter(None, found), None)


def _shard(environ: Mapping[str, str], index_name: str, total_name: str, first: int) -> tuple[int, int] | None:
    index, total = _value(environ, index_name), _value(environ, total_name)
    if not (_NUMBER.fullmatch(index) and _NUMBER.fullmatch(total)):
        return None
    position, count = int(index) - first + 1, int(total)
    return (position, count) if count > 1 and 1 <= position <= count else None


def described(ci: CI) -> str:
    """Return all known facts in one line: ``GitHub Actions, branch main, commit 1a2b3c4d, https://...``."""
    branch = ci.branch and f"branch {ci.branch}"
    commit = ci.commit and f"commit {ci.commit[:8]}"
    return ", ".join(filter(None, (ci.name, branch, commit, ci.url)))


def titled(ci: CI) -> str:
    """Return a title for a run, ``main 1a2b3c4d (GitHub Actions)``; empty if branch and commit are unknown."""
    source = " ".join(filter(None, (ci.branch, ci.commit[:8])))
    return source and f"{source} ({ci.name})"


def _system(environ: Mapping[str, str]) -> _System | None:
    for system in _SYSTEMS:
        values = {name: _value(environ, name).lower() for name in system.marker}
        if all(value and value.startswith(system.marker[name]) for name, value in values.items()):
            return system
    return None


def _value(environ: Mapping[str, str], name: str) -> str:
    """Return a variable as one line, without the surrogates that os.environ makes of bytes that are not UTF-8."""
    return "".join(filter(str.isprintable, environ.get(name, ""))).strip()


def _filled(templates: tuple[str, ...], environ: Mapping[str, str]) -> str:
    for template in templates:
        values = {name: _value(environ, name) for name in _VARIABLE.findall(template)}
        if all(values.values()):
            return template.format_map(values)
    return ""


def _key(text: str) -> str:
    """Return a run key made of a filled template; slashes become colons, because no part of a path contains one."""
    path = _CELL.sub("", _SLASHES.sub("/", _SCHEME.sub("", text)))
    key = re.sub(r"[^\w.:-]", "-", re.sub(r"[{}]", "", path).replace("/", ":"), flags=re.ASCII)
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{key[: _LONGEST_KEY - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _link(text: str) -> str:
    found = _LINK.fullmatch(_SLASHES.sub("/", text))
    if found is None or text.startswith(_NO_LINK):
        return ""
    return quote("".join(found.groups()), safe="%/:?#[]=&+,;~!$'()*")
