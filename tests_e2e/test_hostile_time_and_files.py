"""Tests that stop the clock, or live in another file system: what they did is reported with its real times."""

from __future__ import annotations

import time

import pytest
from harness.compared import Compared

SUITE = """
    import datetime, time
    from arrival import wait_for
    from qase.pytest import qase

    def test_attaches():
        with qase.step("attaches"):
            qase.attach(("one", "text/plain", "1.txt"))

    def test_waits():
        wait_for("test_attaches")

    def test_fails():
        with qase.step("waits"):
            wait_for("test_waits")
        assert 0

    def test_is_elsewhere():
        assert datetime.datetime.now().year == 2001
        assert time.gmtime().tm_year == 2001
"""
CLOCKS = {
    "freezegun": "freezegun.freeze_time('2001-02-03')",
    "freezegun-no-ignore": "freezegun.config.configure(default_ignore_list=[]) or freezegun.freeze_time('2001-02-03')",
    "time-machine": "time_machine.travel('2001-02-03', tick=False)",
}
#: The clock is stopped before all sessions begin, and goes again when each process ends.
CONFTEST = """
    import freezegun, time_machine

    def pytest_configure(config):
        frozen = CLOCK
        frozen.start()
        config.add_cleanup(frozen.stop)
"""
OF_FILE = """
    import freezegun, pytest, time_machine

    @pytest.fixture(scope="module", autouse=True)
    def frozen():
        with CLOCK:
            yield
"""


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_session_has_its_clock_stopped(clock: str, compared_mode: tuple[str, ...], compared: Compared) -> None:
    begun = time.time()
    compared.suite.write("conftest.py", CONFTEST.replace("CLOCK", clock))
    compared.suite.write("test_it.py", SUITE)

    compared.run(*compared_mode)

    compared.check()
    check_times(compared, begun)


def test_files_have_their_clocks_stopped(compared_mode: tuple[str, ...], compared: Compared) -> None:
    begun = time.time()
    for name, clock in CLOCKS.items():
        text = (SUITE + OF_FILE).replace("CLOCK", clock)
        compared.suite.write(f"test_{name.replace('-', '_')}.py", text)

    compared.run(*compared_mode)

    compared.check()
    check_times(compared, begun)


def check_times(compared: Compared, begun: float) -> None:
    """Check that all times of results and steps are between the beginning of the test and now."""
    results = compared.backend.results()
    for execution in (each["execution"] for result in results for each in (result, *result["steps"])):
        assert begun - 1 < execution["start_time"] <= execution["end_time"] < time.time() + 1
        assert execution["duration"] < 60_000


#: FS is the fixture of pyfakefs of one scope.
FAKED = """
    import os, pathlib
    import pytest
    from arrival import wait_for
    from qase.pytest import qase

    @pytest.fixture(autouse=True, scope="SCOPE")
    def fake(FS):
        return FS

    def test_attaches(fake):
        fake.create_file("/shop/receipt.txt", contents="paid")
        with qase.step("attaches"):
            qase.attach("/shop/receipt.txt")

    def test_waits():
        wait_for("test_attaches")
        pathlib.Path("/shop-of-nowhere").mkdir()

    def test_fails():
        assert 0

    def test_sees_its_own_files():
        wait_for("test_waits", "test_fails")
        found = [os.path.join(place, name) for place, _, names in os.walk("/") for name in names]
        assert [path for path in found if "famacase" in path or "outbox" in path or ".journal" in path] == []

    def test_attaches_many():
        for number in range(20):
            qase.attach((str(number) * 1000, "text/plain", f"{number}.txt"))

    def test_waits_again():
        wait_for("test_attaches_many")
"""


@pytest.mark.parametrize(("fs", "scope"), [("fs", "function"), ("fs_module", "module"), ("fs_session", "session")])
def test_the_file_system_is_faked(fs: str, scope: str, compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.plugins = ("fakefs",)
    compared.suite.write("test_it.py", FAKED.replace("FS", fs).replace("SCOPE", scope))

    compared.run(*compared_mode)

    compared.check()
    results = {each["title"]: each for each in compared.backend.results()}
    (step,) = results["test_attaches"]["steps"]
    (receipt,) = step["attachments"]
    file = compared.backend.store.attachment(receipt["id"])
    assert file is not None
    assert (receipt["file_name"], file.content) == ("receipt.txt", b"paid")
    assert len(results["test_attaches_many"]["attachments"]) == 20


MOVED = """
    import os, shutil, tempfile
    from arrival import wait_for
    from qase.pytest import qase

    def test_changes_its_directory():
        os.chdir(tempfile.mkdtemp())
        shutil.rmtree(os.getcwd())
        qase.attach(("one", "text/plain", "1.txt"))

    def test_has_another_home():
        for name in ("HOME", "XDG_STATE_HOME", "TMPDIR", "FAMACASE_STATE_DIR", "PATH", "PYTHONPATH"):
            os.environ[name] = "/nowhere"
        os.umask(0o777)
        tempfile.tempdir = "/nowhere"
        wait_for("test_changes_its_directory")
        qase.attach(("two", "text/plain", "2.txt"))

    def test_fails():
        wait_for("test_has_another_home")
        os.umask(0o022)
        assert 0
"""


def test_the_process_is_elsewhere(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", MOVED)

    compared.run(*compared_mode)

    compared.check()
