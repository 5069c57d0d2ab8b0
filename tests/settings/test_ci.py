"""The variables of CI systems, and what is read from them. The environments are shortened ones of real jobs."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.settings import ci
from famacase_xdist.settings.ci import CI
from famacase_xdist.settings.run_reference import MOST_KEY, parse_run, run_id_of

SHA = "ffac537e6cbbf934b08745a378932722df287a53"
UUID = "4735ba57-80d0-46e2-8fa0-b28223a86586"

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_HEAD_REF": "",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_REF_NAME": "main",
    "GITHUB_REPOSITORY": "octocat/hello-world",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_RUN_ID": "1658821493",
    "GITHUB_RUN_NUMBER": "31",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_SHA": SHA,
}
GITEA = GITHUB | {
    "ACT": "true",
    "GITEA_ACTIONS": "true",
    "GITHUB_RUN_ID": "12",
    "GITHUB_SERVER_URL": "https://git.example.com/",
}
FORGEJO = GITEA | {"FORGEJO_ACTIONS": "true"}
ACT = GITHUB | {"ACT": "true", "GITHUB_RUN_ID": "1", "GITHUB_RUN_ATTEMPT": "1"}
GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_COMMIT_REF_NAME": "main",
    "CI_COMMIT_SHA": SHA,
    "CI_NODE_TOTAL": "1",
    "CI_PIPELINE_ID": "1212121212",
    "CI_PIPELINE_URL": "https://gitlab.com/shop/backend/-/pipelines/1212121212",
    "CI_SERVER_HOST": "gitlab.com",
}
CIRCLE = {
    "CI": "true",
    "CIRCLECI": "true",
    "CIRCLE_BRANCH": "main",
    "CIRCLE_BUILD_URL": "https://circleci.com/gh/shop/backend/123",
    "CIRCLE_NODE_INDEX": "0",
    "CIRCLE_NODE_TOTAL": "1",
    "CIRCLE_SHA1": SHA,
    "CIRCLE_WORKFLOW_ID": UUID,
}
BUILDKITE = {
    "CI": "true",
    "BUILDKITE": "true",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_BUILD_ID": UUID,
    "BUILDKITE_BUILD_URL": "https://buildkite.com/acme-inc/my-project/builds/1514",
    "BUILDKITE_COMMIT": SHA,
    "BUILDKITE_RETRY_COUNT": "0",
}
JENKINS = {
    "CI": "true",
    "BRANCH_NAME": "main",
    "BUILD_NUMBER": "42",
    "BUILD_TAG": "jenkins-shop-main-42",
    "BUILD_URL": "https://ci.example.com/jenkins/job/shop/job/main/42/",
    "GIT_BRANCH": "main",
    "GIT_COMMIT": SHA,
    "JENKINS_URL": "https://ci.example.com/jenkins/",
    "JOB_NAME": "shop/main",
    "RUN_DISPLAY_URL": "https://ci.example.com/jenkins/job/shop/job/main/42/display/redirect",
}
AZURE = {
    "TF_BUILD": "True",
    "BUILD_BUILDID": "4711",
    "BUILD_SOURCEBRANCH": "refs/heads/feature/tools",
    "BUILD_SOURCEBRANCHNAME": "tools",
    "BUILD_SOURCEVERSION": SHA,
    "SYSTEM_COLLECTIONURI": "https://dev.azure.com/fabrikamfiber/",
    "SYSTEM_JOBATTEMPT": "3",
    "SYSTEM_JOBPOSITIONINPHASE": "1",
    "SYSTEM_STAGEATTEMPT": "2",
    "SYSTEM_TEAMPROJECT": "Fabrikam Web",
    "SYSTEM_TOTALJOBSINPHASE": "1",
}
BITBUCKET = {
    "CI": "true",
    "BITBUCKET_BRANCH": "main",
    "BITBUCKET_BUILD_NUMBER": "127",
    "BITBUCKET_COMMIT": SHA,
    "BITBUCKET_GIT_HTTP_ORIGIN": "http://bitbucket.org/shop/backend",
    "BITBUCKET_PIPELINE_UUID": "{" + UUID + "}",
    "BITBUCKET_REPO_FULL_NAME": "shop/backend",
}
ENVIRONMENTS = {
    "GitHub Actions": GITHUB,
    "Gitea Actions": GITEA,
    "Forgejo Actions": FORGEJO,
    "act": ACT,
    "GitLab CI": GITLAB,
    "CircleCI": CIRCLE,
    "Buildkite": BUILDKITE,
    "Jenkins": JENKINS,
    "Azure Pipelines": AZURE,
    "Bitbucket Pipelines": BITBUCKET,
}

FOUND = {
    "GitHub Actions": CI(
        "GitHub Actions",
        "github-octocat:hello-world-1658821493-2",
        "main",
        SHA,
        "https://github.com/octocat/hello-world/actions/runs/1658821493",
    ),
    "Gitea Actions": CI(
        "Gitea Actions",
        "gitea-git.example.com:octocat:hello-world-12",
        "main",
        SHA,
        "https://git.example.com/octocat/hello-world/actions/runs/31",
    ),
    "Forgejo Actions": CI(
        "Forgejo Actions",
        "forgejo-git.example.com:octocat:hello-world-12",
        "main",
        SHA,
        "https://git.example.com/octocat/hello-world/actions/runs/31",
    ),
    "act": CI("act", "", "main", SHA, ""),
    "GitLab CI": CI(
        "GitLab CI",
        "gitlab-gitlab.com-1212121212",
        "main",
        SHA,
        "https://gitlab.com/shop/backend/-/pipelines/1212121212",
    ),
    "CircleCI": CI("CircleCI", f"circleci-{UUID}", "main", SHA, "https://circleci.com/gh/shop/backend/123"),
    "Buildkite": CI(
        "Buildkite", f"buildkite-{UUID}", "main", SHA, "https://buildkite.com/acme-inc/my-project/builds/1514"
    ),
    "Jenkins": CI(
        "Jenkins",
        "jenkins-ci.example.com:jenkins:shop:main-42",
        "main",
        SHA,
        "https://ci.example.com/jenkins/job/shop/job/main/42/display/redirect",
    ),
    "Azure Pipelines": CI(
        "Azure Pipelines",
        "azure-dev.azure.com:fabrikamfiber:4711-2",
        "feature/tools",
        SHA,
        "https://dev.azure.com/fabrikamfiber/Fabrikam%20Web/_build/results?buildId=4711",
    ),
    "Bitbucket Pipelines": CI(
        "Bitbucket Pipelines",
        f"bitbucket-{UUID}",
        "main",
        SHA,
        "http://bitbucket.org/shop/backend/pipelines/results/127",
    ),
}

#: For each system a variable that differs between the jobs of one run.
OF_A_JOB = {
    "Gitea Actions": {"GITHUB_RUN_ATTEMPT": "3"},
    "Forgejo Actions": {"GITHUB_RUN_ATTEMPT": "3"},
    "GitHub Actions": {"GITHUB_JOB": "integration"},
    "GitLab CI": {"CI_JOB_ID": "99", "CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "4"},
    "CircleCI": {"CIRCLE_BUILD_NUM": "124", "CIRCLE_NODE_INDEX": "1"},
    "Buildkite": {"BUILDKITE_RETRY_COUNT": "1", "BUILDKITE_PARALLEL_JOB": "1"},
    "Jenkins": {"JOB_NAME": "shop/main/PYTHON=3.13,label=linux", "BUILD_TAG": "jenkins-shop-main-PYTHON=3.13-42"},
    "Azure Pipelines": {"SYSTEM_JOBATTEMPT": "4", "SYSTEM_JOBPOSITIONINPHASE": "2"},
    "Bitbucket Pipelines": {"BITBUCKET_STEP_RUN_NUMBER": "2", "BITBUCKET_PARALLEL_STEP": "1"},
}

#: What makes another run of it.
OF_A_RUN = [
    (GITHUB, {"GITHUB_RUN_ID": "1658821494"}),
    (GITHUB, {"GITHUB_RUN_ATTEMPT": "3"}),
    (GITHUB, {"GITHUB_REPOSITORY": "octocat/goodbye-world"}),
    (GITEA, {"GITHUB_RUN_ID": "13"}),
    (GITEA, {"GITHUB_REPOSITORY": "octocat/goodbye-world"}),
    (GITEA, {"GITHUB_SERVER_URL": "https://mirror.example.com/"}),
    (FORGEJO, {"GITHUB_RUN_ID": "13"}),
    (GITLAB, {"CI_PIPELINE_ID": "1212121213"}),
    (GITLAB, {"CI_SERVER_HOST": "gitlab.example.com"}),
    (CIRCLE, {"CIRCLE_WORKFLOW_ID": UUID[::-1]}),
    (BUILDKITE, {"BUILDKITE_BUILD_ID": UUID[::-1]}),
    (JENKINS, {"BUILD_NUMBER": "43"}),
    (JENKINS, {"JENKINS_URL": "https://ci.example.org/jenkins/"}),
    (JENKINS, {"JOB_NAME": "shop-main"}),
    (AZURE, {"BUILD_BUILDID": "4712"}),
    (AZURE, {"SYSTEM_STAGEATTEMPT": "3"}),
    (AZURE, {"SYSTEM_COLLECTIONURI": "https://dev.azure.com/contoso/"}),
    (BITBUCKET, {"BITBUCKET_PIPELINE_UUID": "{" + UUID[::-1] + "}"}),
]

PULL_REQUESTS = [
    (GITHUB, {"GITHUB_HEAD_REF": "fix/login", "GITHUB_REF_NAME": "7/merge"}),
    (GITEA, {"GITHUB_HEAD_REF": "fix/login", "GITHUB_REF_NAME": "7/merge"}),
    (GITLAB, {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix/login", "CI_COMMIT_REF_NAME": "refs/merge-requests/7/head"}),
    (JENKINS, {"CHANGE_BRANCH": "fix/login", "BRANCH_NAME": "PR-7"}),
    (AZURE, {"SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/fix/login", "BUILD_SOURCEBRANCH": "refs/pull/7/merge"}),
    (AZURE, {"SYSTEM_PULLREQUEST_SOURCEBRANCH": "fix/login", "BUILD_SOURCEBRANCH": "refs/pull/7/merge"}),
]

TAGS = [
    (GITHUB, {"GITHUB_REF_NAME": "v1.2"}, ()),
    (GITLAB, {"CI_COMMIT_REF_NAME": "v1.2"}, ()),
    (CIRCLE, {"CIRCLE_TAG": "v1.2"}, ("CIRCLE_BRANCH",)),
    (BUILDKITE, {"BUILDKITE_TAG": "v1.2"}, ("BUILDKITE_BRANCH",)),
    (AZURE, {"BUILD_SOURCEBRANCH": "refs/tags/v1.2"}, ()),
    (BITBUCKET, {"BITBUCKET_TAG": "v1.2"}, ("BITBUCKET_BRANCH",)),
]

#: Variables of the link, each with its value before credentials come in.
LINKED = [
    (GITHUB, "GITHUB_SERVER_URL"),
    (GITEA, "GITHUB_SERVER_URL"),
    (GITLAB, "CI_PIPELINE_URL"),
    (CIRCLE, "CIRCLE_BUILD_URL"),
    (BUILDKITE, "BUILDKITE_BUILD_URL"),
    (JENKINS, "RUN_DISPLAY_URL"),
    (AZURE, "SYSTEM_COLLECTIONURI"),
    (BITBUCKET, "BITBUCKET_GIT_HTTP_ORIGIN"),
]

SPLIT = [
    (GITLAB, "CI_NODE_INDEX", "CI_NODE_TOTAL", 1),
    (CIRCLE, "CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL", 0),
    (BUILDKITE, "BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT", 0),
    (AZURE, "SYSTEM_JOBPOSITIONINPHASE", "SYSTEM_TOTALJOBSINPHASE", 1),
]
BY_TOTAL = [row[2] for row in SPLIT]


def _detected(environ: dict[str, str]) -> CI:
    found = ci.detect(environ)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_ci_system_tells_its_run_branch_commit_and_link(name: str) -> None:
    assert ci.detect(ENVIRONMENTS[name]) == FOUND[name]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CI": "true", "BUILD_NUMBER": "7"},
        {"GITLAB_CI": "false"},
        {"GITHUB_ACTIONS": ""},
        {"ACT": "true"},
        {"BUILD_TAG": "nightly"},
        {"JENKINS_HOME": "/var/jenkins_home"},
        {"BITBUCKET_BUILD_NUMBER": " "},
    ],
    ids=str,
)
def test_outside_of_any_ci_system_nothing_is_found(environ: dict[str, str]) -> None:
    assert ci.detect(environ) is None


@pytest.mark.parametrize("name", OF_A_JOB)
def test_all_jobs_of_a_run_share_its_key(name: str) -> None:
    assert _detected(ENVIRONMENTS[name] | OF_A_JOB[name]).key == FOUND[name].key


@pytest.mark.parametrize(("environ", "changed"), OF_A_RUN, ids=[str(changed) for _, changed in OF_A_RUN])
def test_two_runs_have_two_keys(environ: dict[str, str], changed: dict[str, str]) -> None:
    assert _detected(environ).key not in ("", _detected(environ | changed).key)


@pytest.mark.parametrize(
    ("environ", "missing", "key"),
    [
        (GITHUB, ["GITHUB_RUN_ID"], ""),
        (GITHUB, ["GITHUB_RUN_ATTEMPT"], ""),
        (GITLAB, ["CI_SERVER_HOST"], "gitlab-1212121212"),
        (GITLAB, ["CI_PIPELINE_ID"], ""),
        (CIRCLE, ["CIRCLE_WORKFLOW_ID"], ""),
        (JENKINS, ["JENKINS_URL"], "jenkins-shop:main-42"),
        (JENKINS, ["JENKINS_URL", "JOB_NAME"], "jenkins-shop-main-42"),
        (AZURE, ["SYSTEM_STAGEATTEMPT"], "azure-dev.azure.com:fabrikamfiber:4711"),
        (AZURE, ["BUILD_BUILDID"], ""),
        (BITBUCKET, ["BITBUCKET_PIPELINE_UUID"], "bitbucket-shop:backend-127"),
    ],
)
def test_a_key_does_with_what_there_is_or_is_empty(environ: dict[str, str], missing: list[str], key: str) -> None:
    rest = {name: value for name, value in environ.items() if name not in missing}
    assert _detected(rest).key == key


def test_a_matrix_cell_of_a_jenkins_without_address_shares_its_parents_key() -> None:
    parent = {"BUILD_TAG": "jenkins-shop-42", "BUILD_NUMBER": "42", "JOB_NAME": "shop"}
    cell = parent | {"BUILD_TAG": "jenkins-shop-OS=linux-42", "JOB_NAME": "shop/OS=linux"}
    assert _detected(cell).key == _detected(parent).key == "jenkins-shop-42"


@pytest.mark.parametrize(
    ("job", "key"),
    [
        ("Shop backend/nightly", "jenkins-ci.example.com:jenkins:Shop-backend:nightly-42"),
        ("shop/feature%2Flogin", "jenkins-ci.example.com:jenkins:shop:feature-2Flogin-42"),
        ("l\N{LATIN SMALL LETTER O WITH DIAERESIS}we", "jenkins-ci.example.com:jenkins:l-we-42"),
    ],
)
def test_a_key_has_only_letters_digits_and_marks(job: str, key: str) -> None:
    assert _detected(JENKINS | {"JOB_NAME": job}).key == key


def test_a_long_key_is_cut_but_stays_the_runs_own() -> None:
    first, second = (_detected(JENKINS | {"JOB_NAME": "deep/" * 60, "BUILD_NUMBER": number}).key for number in "12")
    assert first != second
    assert len(first) == len(second) <= MOST_KEY
    assert first.startswith("jenkins-ci.example.com:jenkins:deep:deep:")


def test_a_key_carries_no_credentials() -> None:
    environ = JENKINS | {"JENKINS_URL": "https://user:secret@ci.example.com/jenkins/"}
    assert _detected(environ).key == FOUND["Jenkins"].key


@pytest.mark.parametrize(("environ", "request_"), PULL_REQUESTS)
def test_the_branch_of_a_pull_request_is_its_source(environ: dict[str, str], request_: dict[str, str]) -> None:
    assert _detected(environ | request_).branch == "fix/login"


@pytest.mark.parametrize(("environ", "tag", "unset"), TAGS)
def test_a_tag_stands_in_for_the_branch(environ: dict[str, str], tag: dict[str, str], unset: tuple[str, ...]) -> None:
    rest = {name: value for name, value in environ.items() if name not in unset}
    assert _detected(rest | tag).branch == "v1.2"


@pytest.mark.parametrize(
    ("told", "branch"),
    [
        ("origin/main", "main"),
        ("refs/remotes/origin/main", "main"),
        ("fix/origin/main", "fix/origin/main"),
        ("fix\x1b[31m\nred", "fix[31mred"),
        ("caf\udce9", "caf"),
    ],
)
def test_a_branch_is_its_printable_name(told: str, branch: str) -> None:
    assert _detected({"BUILD_TAG": "jenkins-shop-42", "GIT_BRANCH": told}).branch == branch


@pytest.mark.parametrize("told", ["HEAD", "refs/heads/main", "", "1234567g"])
def test_a_symbolic_commit_is_none(told: str) -> None:
    assert _detected(BUILDKITE | {"BUILDKITE_COMMIT": told}).commit == ""


@pytest.mark.parametrize(("environ", "variable"), LINKED)
@pytest.mark.parametrize("credentials", ["user:secret@", "secret@", "user:se@cret@", "user:se%2Fcret@"])
def test_a_link_loses_its_credentials(environ: dict[str, str], variable: str, credentials: str) -> None:
    with_credentials = environ[variable].replace("://", f"://{credentials}")
    assert _detected(environ | {variable: with_credentials}).url == _detected(environ).url != ""


@pytest.mark.parametrize(
    "link",
    [
        "https://user:se/cret@ci.example.com/1",
        "https://user:12/cret@ci.example.com/1",
        "https://ci.example.com:port/1",
        "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example.com/1",
        "https://[::1/1",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ci.example.com/1",
        "https://",
        "http://unconfigured-jenkins-location/job/shop/42/display/redirect",
    ],
)
def test_what_is_no_address_is_no_link(link: str) -> None:
    assert _detected(JENKINS | {"RUN_DISPLAY_URL": link}).url == ""


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("http://localhost:8080/job/shop/42/", "http://localhost:8080/job/shop/42/"),
        ("http://[::1]:8080/job/shop/42/", "http://[::1]:8080/job/shop/42/"),
        ("https://ci.example.com", "https://ci.example.com"),
        ("https://ci.example.com/job/Shop backend//42/", "https://ci.example.com/job/Shop%20backend/42/"),
        ("https://ci.example.com/job/feature%252Flogin/42/", "https://ci.example.com/job/feature%252Flogin/42/"),
    ],
)
def test_a_link_can_be_followed_as_it_is_shown(link: str, shown: str) -> None:
    assert _detected(JENKINS | {"RUN_DISPLAY_URL": link}).url == shown


def test_the_builds_own_address_is_the_link_of_a_plain_jenkins() -> None:
    environ = {name: value for name, value in JENKINS.items() if name != "RUN_DISPLAY_URL"}
    assert _detected(environ).url == "https://ci.example.com/jenkins/job/shop/job/main/42/"


def test_of_two_systems_the_first_of_the_table_tells_all() -> None:
    both = AZURE | GITLAB | {"CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "3", "SYSTEM_TOTALJOBSINPHASE": "5"}
    assert ci.detect(both) == FOUND["GitLab CI"]
    assert ci.shard(both) == (2, 3)


@pytest.mark.parametrize(("environ", "index", "total", "first"), SPLIT, ids=BY_TOTAL)
def test_shards_count_from_1(environ: dict[str, str], index: str, total: str, first: int) -> None:
    jobs = [environ | {index: str(first + job), total: "3"} for job in range(3)]
    assert [ci.shard(job) for job in jobs] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("environ", "index", "total", "first"), SPLIT, ids=BY_TOTAL)
def test_a_shard_out_of_range_is_none(environ: dict[str, str], index: str, total: str, first: int) -> None:
    for outside in (first - 1, first + 3):
        assert ci.shard(environ | {index: str(outside), total: "3"}) is None


@pytest.mark.parametrize(("environ", "index", "total", "first"), SPLIT, ids=BY_TOTAL)
def test_one_job_alone_is_no_shard(environ: dict[str, str], index: str, total: str, first: int) -> None:
    for alone in ("1", "0", ""):
        assert ci.shard(environ | {index: str(first), total: alone}) is None


@pytest.mark.parametrize(
    ("environ", "name", "jobs"),
    [
        (GITLAB | {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "2"}, "CI_JOB_NAME", ("unit 1/2", "e2e 1/2")),
        (CIRCLE | {"CIRCLE_NODE_INDEX": "0", "CIRCLE_NODE_TOTAL": "2"}, "CIRCLE_JOB", ("unit", "e2e")),
        (
            BUILDKITE | {"BUILDKITE_PARALLEL_JOB": "0", "BUILDKITE_PARALLEL_JOB_COUNT": "2"},
            "BUILDKITE_STEP_ID",
            ("0195-a", "0195-b"),
        ),
        (
            AZURE | {"SYSTEM_JOBPOSITIONINPHASE": "1", "SYSTEM_TOTALJOBSINPHASE": "2"},
            "SYSTEM_PHASENAME",
            ("unit", "e2e"),
        ),
    ],
    ids=["GitLab", "CircleCI", "Buildkite", "Azure"],
)
def test_two_jobs_that_are_both_split_up_have_keys_of_their_own(
    environ: dict[str, str], name: str, jobs: tuple[str, str]
) -> None:
    keys = [_detected(environ | {name: job}).key for job in jobs]
    assert keys[0] != keys[1]
    assert keys[0].endswith(f"-{jobs[0].removesuffix(' 1/2')}")


@pytest.mark.parametrize("part", ["unit 1/4", "unit 4/4", "unit: [linux, 3.13]"])
def test_the_parts_of_a_gitlab_job_have_one_key(part: str) -> None:
    split = GITLAB | {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "4", "CI_JOB_NAME": part}
    assert _detected(split).key.endswith("-unit")
    assert not _detected(GITLAB | {"CI_JOB_NAME": "unit"}).key.endswith("-unit")


@pytest.mark.parametrize("nonsense", ["", "two", "1.0", "-1", "1_0", "\N{SUPERSCRIPT TWO}", "9" * 5000])
def test_a_shard_that_is_no_number_is_none(nonsense: str) -> None:
    assert ci.shard(GITLAB | {"CI_NODE_INDEX": nonsense, "CI_NODE_TOTAL": "4"}) is None
    assert ci.shard(GITLAB | {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": nonsense}) is None


@pytest.mark.parametrize("environ", [{}, GITHUB, JENKINS, BITBUCKET], ids=["none", "GitHub", "Jenkins", "Bitbucket"])
def test_a_shards_variables_count_without_their_system_too(environ: dict[str, str]) -> None:
    assert ci.shard(environ | {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "2"}) == (1, 2)


def test_parallel_steps_that_may_do_different_things_are_no_shards() -> None:
    assert ci.shard(BITBUCKET | {"BITBUCKET_PARALLEL_STEP": "1", "BITBUCKET_PARALLEL_STEP_COUNT": "2"}) is None


@pytest.mark.parametrize(
    ("untold", "line", "title"),
    [
        (
            (),
            "GitHub Actions, branch main, commit ffac537e,"
            " https://github.com/octocat/hello-world/actions/runs/1658821493",
            "main ffac537e (GitHub Actions)",
        ),
        (("url",), "GitHub Actions, branch main, commit ffac537e", "main ffac537e (GitHub Actions)"),
        (("url", "commit"), "GitHub Actions, branch main", "main (GitHub Actions)"),
        (("url", "branch"), "GitHub Actions, commit ffac537e", "ffac537e (GitHub Actions)"),
        (("url", "branch", "commit"), "GitHub Actions", ""),
    ],
)
def test_what_is_not_told_is_left_out_of_line_and_title(untold: tuple[str, ...], line: str, title: str) -> None:
    found = dataclasses.replace(FOUND["GitHub Actions"], **dict.fromkeys(untold, ""))
    assert ci.described(found) == line
    assert ci.titled(found) == title


@given(st.sampled_from(SPLIT), st.text() | st.integers().map(str), st.text() | st.integers(0, 9).map(str))
def test_whatever_the_variables_hold_a_shard_is_in_range_or_none(
    row: tuple[dict[str, str], str, str, int], index: str, total: str
) -> None:
    position, count = ci.shard(row[0] | {row[1]: index, row[2]: total}) or (1, 2)
    assert 1 <= position <= count
    assert count > 1


@given(st.sampled_from(sorted(ENVIRONMENTS)), st.data())
def test_whatever_the_variables_hold_a_run_can_be_named_and_shown(name: str, data: st.DataObject) -> None:
    texts = st.text(st.characters() | st.sampled_from("/:@{}= \udce9")) | st.text().map("https://{}".format)
    environ = {variable: data.draw(texts) for variable in ENVIRONMENTS[name]}
    marks = ("GITHUB_ACTIONS", "GITEA_ACTIONS", "FORGEJO_ACTIONS", "ACT", "GITLAB_CI", "CIRCLECI", "BUILDKITE")
    markers = {
        variable: ENVIRONMENTS[name][variable]
        for variable in (*marks, "BUILD_TAG", "TF_BUILD", "BITBUCKET_BUILD_NUMBER")
        if variable in ENVIRONMENTS[name]
    }
    found = _detected(environ | markers)
    assert re.fullmatch(r"[A-Za-z0-9._:-]*", found.key)
    assert len(found.key) <= MOST_KEY
    assert found.key == "" or (parse_run(found.key) == found.key and run_id_of(found.key) is None)
    assert "@" not in found.url
    assert re.match(r"(https?://.|$)", found.url)
    for line in (ci.described(found), ci.titled(found)):
        assert line.isprintable()
