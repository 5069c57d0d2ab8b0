"""The recorder under tests that patch, fake and fork: each result is complete, and no mock counts a call of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from harness.recorders import Ran, Session, steps_of

TESTS = Path(__file__).parents[1]

#: A test with all that can be in one, and one before and after it.
TEXT = """
    import contextlib, uuid
    from unittest import mock
    from qase.pytest import qase as theirs

    {prefix}

    def test_before(): pass

    {decorator}
    @qase.id(7)
    @pytest.mark.parametrize("number", [1])
    def test_hostile({arguments}number):
        {patch}
        with theirs.step("outer"):
            with theirs.step("inner"), qase.step("innermost"): pass
        with contextlib.suppress(KeyError), theirs.step("raises"), qase.step("in it"):
            raise KeyError
        qase.attach(("content", "text/plain", "a.txt"), ({{"a": 1}}, "application/json", "a.json"), "disk.txt")
        {check}

    def test_after(): pass
"""
STEPS = [
    ("outer", "passed", [("inner", "passed", [("innermost", "passed", [])])]),
    ("raises", "failed", [("in it", "failed", [])]),
]


def run(session: Session, **pieces: str) -> Ran:
    empty = dict.fromkeys(("prefix", "decorator", "arguments", "patch", "check"), "")
    (session.directory / "disk.txt").write_text("of the disk")
    try:
        return session.run(TEXT.format(**{**empty, **pieces}))
    finally:
        mock.patch.stopall()  # a test that fails has not stopped its own


def assert_complete(ran: Ran) -> None:
    assert ran.verdicts == [
        ("test_before", "passed", None),
        ("test_hostile", "passed", None),
        ("test_after", "passed", None),
    ]
    assert ran.recorder.failures == 0
    hostile: Any = ran.bodies[1]
    assert steps_of(hostile) == STEPS
    assert (hostile["testops_ids"], hostile["params"]) == ([7], {"number": "1"})
    assert ran.contents == [
        ("a.txt", b"content"),
        ("a.json", b'{\n    "a": 1\n}'),
        ("disk.txt", b"of the disk"),
    ]
    assert [each["file_name"] for each in hostile["attachments"]] == ["a.txt", "a.json", "disk.txt"]
    steps = [hostile["steps"][0], *hostile["steps"][0]["steps"], *hostile["steps"][1]["steps"]]
    ids = [each["id"] for each in [*ran.bodies, *steps]]
    assert len({str(uuid.UUID(each)) for each in ids}) == len(ids)


U = 'uuid.UUID("031667ea-1758-441f-92c7-995a428d2d14")'
FIXTURE = f"""
    @pytest.fixture(autouse=True)
    def same(monkeypatch): monkeypatch.setattr(uuid, "uuid4", lambda: {U})
"""


def for_the_module(arguments: str) -> str:
    """Return code that patches from the import of a module to its end."""
    return f"patch = mock.patch({arguments})\n    patch.start()\n    teardown_module = patch.stop"


@pytest.mark.parametrize(
    "pieces",
    [
        {"decorator": f'@mock.patch("uuid.uuid4", return_value={U})', "arguments": "uuid4, "},
        {"prefix": FIXTURE},
        {"prefix": for_the_module(f'"uuid.uuid4", return_value={U}')},
        {
            "decorator": '@mock.patch("uuid.uuid4", side_effect=[1])',
            "arguments": "uuid4, ",
            "check": "assert uuid.uuid4() == 1 and uuid4.call_count == 1",
        },
    ],
    ids=["in a decorator", "in a fixture", "in a module", "with one value, for the test"],
)
def test_a_patched_uuid4_loses_and_merges_nothing(pieces: dict[str, str], session: Session) -> None:
    ran = run(session, **pieces)

    assert ran.status == 0
    assert_complete(ran)


@pytest.mark.parametrize(
    "name",
    [
        *("os.getpid", "os.stat", "os.getcwd", "os.path.abspath", "os.path.basename", "os.path.join", "os.urandom"),
        *("builtins.open", "json.dumps", "json.JSONEncoder.encode", "uuid.uuid4"),
        *("time.time", "threading.Thread", "threading.get_ident"),
    ],
)
def test_no_function_that_a_test_patches_is_called_by_us(name: str, session: Session) -> None:
    """The patch begins and ends in the test, because pytest itself calls some of these."""
    ran = run(
        session,
        patch=f'patch = mock.patch("{name}", side_effect=AssertionError("ours"))\n        patched = patch.start()',
        check="patch.stop()\n        assert not patched.called",
    )

    assert ran.status == 0
    assert_complete(ran)


@pytest.mark.parametrize("name", ["json.dumps", "hashlib.sha256", "mimetypes.guess_type", "uuid.UUID"])
def test_a_function_that_is_patched_until_the_session_ends_is_not_called_by_us(name: str, session: Session) -> None:
    ran = run(session, prefix=for_the_module(f'"{name}", side_effect=AssertionError("ours")'))

    assert ran.status == 0
    assert_complete(ran)


@pytest.mark.parametrize("module", ["asyncio", "unittest"])
@pytest.mark.parametrize("other", ["None", "mock.MagicMock()"])
def test_a_module_that_a_test_replaces_is_not_asked_for(module: str, other: str, session: Session) -> None:
    ran = run(
        session,
        prefix="import asyncio, sys, unittest",
        patch=f"patch = mock.patch.dict(sys.modules, {{'{module}': {other}}})\n        patch.start()",
        check="patch.stop()",
    )

    assert_complete(ran)


def test_a_file_is_read_as_it_is_though_open_is_a_mock(session: Session) -> None:
    (session.directory / "page.txt").write_text("of the disk")

    ran = session.run("""
        from unittest import mock

        def test_a():
            with mock.patch("builtins.open", mock.mock_open(read_data="of the mock")) as opened:
                with mock.patch("os.stat") as stat, mock.patch("os.getcwd", return_value="/elsewhere") as getcwd:
                    qase.attach("page.txt")
            assert not (opened.called or stat.called or getcwd.called)
    """)

    assert ran.status == 0
    assert ran.contents == [("page.txt", b"of the disk")]


def test_a_frozen_clock_is_none_of_the_reports(session: Session) -> None:
    ran = session.run("""
        import freezegun

        def test_a():
            with freezegun.freeze_time("2001-02-03"), qase.step("frozen"):
                qase.attach(("content", "text/plain", "a.txt"))
    """)

    body: Any = ran.body
    begin, end = body["execution"]["start_time"], body["execution"]["end_time"]
    assert begin > 1_500_000_000
    assert begin <= body["steps"][0]["execution"]["start_time"] <= body["steps"][0]["execution"]["end_time"] <= end


def test_a_fake_file_system_has_the_files_that_are_attached(session: Session) -> None:
    """Fixtures that are set up and fail in it are reported as elsewhere."""
    pytest.importorskip("pyfakefs")
    (session.directory / "real.txt").write_text("of the disk")

    ran = session.run(
        """
        import os
        from pathlib import Path

        @pytest.fixture
        def files(fs):
            fs.create_file("/fake/page.txt", contents="of the fake")
            with qase.step("in the fixture"): pass
            yield
            assert False, "in the end"

        def test_a(files):
            qase.attach("/fake/page.txt")
            os.chdir("/fake")
            qase.attach(Path("page.txt"), REAL)

        def test_b(): pass

        REAL = str(Path(__file__).with_name("real.txt"))
    """,
        options=("-ppyfakefs.pytest_plugin",),
    )

    assert [verdict[:2] for verdict in ran.verdicts] == [("test_a", "invalid"), ("test_b", "passed")]
    assert (ran.bodies[0]["message"] or "").startswith("AssertionError: in the end")
    assert "in the teardown of fixture files (function, test_recorded.py)" in (ran.bodies[0]["message"] or "")
    assert [each["file_name"] for each in ran.bodies[0]["attachments"]] == ["page.txt", "page.txt", "real.txt"]
    assert ran.contents == [("page.txt", b"of the fake"), ("real.txt", b"of the disk")]
    assert steps_of(ran.bodies[0]) == [("in the fixture", "passed", [])]
    assert ran.recorder.failures == 0


@pytest.mark.process
def test_a_forked_child_that_reports_changes_nothing(session: Session) -> None:
    ran = session.run("""
        import multiprocessing

        def work(number):
            with qase.step("in the child"):
                qase.attach(("of the child", "text/plain", "a.txt"))
            return number

        def test_a():
            with qase.step("in the parent"), multiprocessing.get_context("fork").Pool(1) as pool:
                assert pool.map(work, [1, 2]) == [1, 2]
            with qase.step("after it"): pass
    """)

    assert ran.verdicts == [("test_a", "passed", None)]
    assert steps_of(ran.body) == [("in the parent", "passed", []), ("after it", "passed", [])]
    assert ran.contents == []


GEVENT = """
    import threading
    from gevent import monkey, sleep, spawn

    def test_before():
        with qase.step("before"): pass

    def test_patches():
        with qase.step("outer"):
            monkey.patch_all()
            with qase.step("inner"): pass

            def act():
                with qase.step("aside"): sleep(0)

            threads = [threading.Thread(target=act) for _ in range(2)]
            for each in threads: each.start()
            for each in threads: each.join()
            with qase.step("last"): pass
        qase.attach(("content", "text/plain", "a.txt"))

    def test_after():
        with qase.step("after"): pass
"""


@pytest.mark.process
def test_gevent_that_is_patched_in_a_test_leaves_steps_whole(tmp_path: Path) -> None:
    """In a process of its own, because gevent stays."""
    pytest.importorskip("gevent")
    code = f"""
import json, pathlib, sys
from harness.recorders import Session, steps_of
ran = Session(pathlib.Path(sys.argv[1])).run({GEVENT!r})
print(json.dumps([ran.verdicts, [steps_of(body) for body in ran.bodies], ran.recorder.failures]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=TESTS, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    verdicts, steps, failures = json.loads(ended.stdout.splitlines()[-1])
    assert [verdict[:2] for verdict in verdicts] == [
        [f"test_{name}", "passed"] for name in ("before", "patches", "after")
    ]
    inside = [[name, "passed", []] for name in ("inner", "aside", "aside", "last")]
    assert steps == [[["before", "passed", []]], [["outer", "passed", inside]], [["after", "passed", []]]]
    assert failures == 0
