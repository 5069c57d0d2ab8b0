"""Tests that replace functions which we call too: no result is lost, and the tests see no call of ours."""

from __future__ import annotations

import pytest
from harness.compared import COMPARED_MODES, Compared

ONE, TWO = COMPARED_MODES.values()

#: What the tests of a file replace by a mock, one after the other, each for as long as two tests and what is between.
TARGETS = [
    "uuid.uuid4",
    "uuid.uuid1",
    "os.getpid",
    "os.getppid",
    "os.urandom",
    "random.random",
    "random.getrandbits",
    "random.Random",
    "threading.Thread",
    "threading.Lock",
    "threading.Event",
    "queue.SimpleQueue",
    "select.poll",
    "select.select",
    "json.dumps",
    "json.loads",
    "json.JSONEncoder",
    "pickle.dumps",
    "pickle.loads",
    "struct.pack",
    "zlib.crc32",
    "hashlib.sha256",
    "os.write",
    "os.read",
    "os.pread",
    "os.fsync",
    "os.fstat",
    "os.close",
    "os.pipe",
    "os.kill",
    "os.rename",
    "os.replace",
    "os.unlink",
    "os.ftruncate",
    "fcntl.lockf",
    "fcntl.flock",
    "subprocess.Popen",
    "os.fork",
    "os.posix_spawn",
    "socket.socket",
    "socket.create_connection",
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.perf_counter",
    "time.sleep",
    "datetime.datetime",
    "builtins.open",
    "os.open",
    "os.path.exists",
    "os.path.abspath",
    "pathlib.Path.open",
    "pathlib.Path.mkdir",
    "pathlib.Path.read_bytes",
    "tempfile.mkdtemp",
    "mimetypes.guess_type",
    "logging.getLogger",
    "logging.Logger.handle",
]
#: The same in a worker, where xdist itself does not work without many of the others.
IN_A_WORKER = [
    "uuid.uuid4",
    "os.getpid",
    "random.random",
    "random.Random",
    "threading.Thread",
    "json.dumps",
    "json.loads",
    "pickle.dumps",
    "pickle.loads",
    "hashlib.sha256",
    "zlib.crc32",
    "os.write",
    "os.fsync",
    "os.fstat",
    "os.pipe",
    "subprocess.Popen",
    "os.fork",
    "socket.socket",
    "builtins.open",
    "os.open",
    "pathlib.Path.open",
    "mimetypes.guess_type",
    "logging.getLogger",
    "logging.Logger.handle",
]

SUITE = """
    import json, uuid
    from unittest import mock
    import pytest
    from arrival import wait_for
    from qase.pytest import qase

    KEPT = json.dump, open
    SAME = uuid.UUID("031667ea-1758-441f-92c7-995a428d2d14")

    @pytest.fixture(scope="module", params=TARGETS, ids=TARGETS, autouse=True)
    def target(request):
        answers = {"uuid.uuid1": SAME, "uuid.uuid4": SAME, "os.urandom": bytes(16)}
        answer = {"return_value": answers[request.param]} if request.param in answers else {}
        with mock.patch(request.param, **answer) as patched:
            yield patched

    def test_steps():
        with qase.step("outer"):
            with qase.step("inner"):
                pass
        with qase.step("next"):
            qase.attach(("attached", "text/plain", "a.txt"))

    def test_waits(request):
        wait_for(f"test_steps[{request.node.callspec.id}]")
"""


@pytest.mark.parametrize(("args", "targets"), [(ONE, TARGETS), (TWO, IN_A_WORKER)], ids=["no-xdist", "n2"])
def test_a_function_is_replaced(args: tuple[str, ...], targets: list[str], compared: Compared) -> None:
    compared.suite.write("test_it.py", SUITE.replace("TARGETS", repr(targets), 2))

    compared.run(*args)

    compared.check()
    steps = [each["steps"] for each in compared.backend.results() if each["title"] == "test_steps"]
    assert len(steps) == len(targets)
    for outer, following in steps:
        assert [outer["data"]["action"], following["data"]["action"]] == ["outer", "next"]
        assert [inner["data"]["action"] for inner in outer["steps"]] == ["inner"]
        assert [each["file_name"] for each in following["attachments"]] == ["a.txt"]


DECORATED = """
    import os, uuid
    from unittest import mock
    from arrival import wait_for
    from qase.pytest import qase

    U = uuid.UUID("031667ea-1758-441f-92c7-995a428d2d14")

    def test_before():
        pass

    @mock.patch("uuid.uuid4", return_value=U)
    def test_one_after_the_other(uuid4):
        with qase.step("one"):
            pass
        with qase.step("two"):
            pass

    @mock.patch("uuid.uuid4", return_value=U)
    def test_nested(uuid4):
        with qase.step("outer"):
            with qase.step("inner"):
                pass

    def test_fails_with_all_of_them():
        names = ("os.getpid", "os.write", "json.dumps", "threading.Thread", "time.time", "builtins.open")
        patches = [mock.patch(name) for name in names]
        mocks = [patch.start() for patch in patches]
        try:
            with qase.step("fails"):
                assert [each.call_count for each in mocks] == [0] * len(names)
                assert 0
        finally:
            for patch in patches:
                patch.stop()

    def test_waits():
        wait_for("test_before", "test_one_after_the_other", "test_nested", "test_fails_with_all_of_them")
"""


def test_ids_are_replaced_by_a_decorator(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", DECORATED)

    compared.run(*compared_mode)

    compared.check()
    steps = {each["title"]: [step["data"]["action"] for step in each["steps"]] for each in compared.backend.results()}
    assert steps["test_one_after_the_other"] == ["one", "two"]
    assert steps["test_nested"] == ["outer"]
    assert steps["test_fails_with_all_of_them"] == ["fails"]


ENVIRONMENT = """
    import os
    import pytest
    from arrival import wait_for

    def test_clears():
        os.environ.clear()

    def test_sees_none_of_ours():
        assert [name for name in os.environ if "FAMACASE" in name] == []
        wait_for("test_clears")

    @pytest.mark.parametrize("number", range(150))
    def test_changes(number):
        for each in range(300):
            os.environ[f"CHANGED_{number}_{each}"] = "x"
        for each in range(300):
            del os.environ[f"CHANGED_{number}_{each}"]

    def test_fails():
        wait_for("test_changes[0]", "test_changes[149]")
        assert 0
"""


def test_the_environment_changes(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", ENVIRONMENT)

    compared.run(*compared_mode)

    compared.check()
