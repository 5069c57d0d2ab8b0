"""Tests that look at threads, descriptors and logs of their process, or close descriptors: they find none of ours."""

from __future__ import annotations

import re

import pytest
from harness.compared import Compared

#: What celery's own tests ask of a process, and the same of its descriptors.
LINGERING = """
    import os, threading
    import pytest

    def alive():
        return [thread for thread in threading.enumerate() if thread.is_alive()]

    def descriptors():
        found = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                found[name] = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                pass  # the directory itself
        return found

    @pytest.fixture(scope="session", autouse=True)
    def startup(request):
        request.session.at_startup = alive(), descriptors()

    @pytest.fixture(autouse=True)
    def nothing_lingers(request):
        yield
        threads, files = request.session.at_startup
        assert threads == alive()
        assert files == descriptors()
"""
LOOKS = """
    import json, os, socket, threading
    from arrival import wait_for
    from conftest import descriptors
    from qase.pytest import qase

    def test_attaches():
        qase.attach(("one", "text/plain", "1.txt"))

    def test_waits():
        wait_for("test_attaches")
        qase.attach(("two", "text/plain", "2.txt"))

    def test_waits_again():
        wait_for("test_waits")

    def test_fails():
        assert 0

    def test_tells():
        threads = sorted(thread.name for thread in threading.enumerate())
        sockets = [link for link in descriptors().values() if link.startswith("socket:")]
        with open("seen.json", "w") as file:
            json.dump({"threads": threads, "sockets": len(sockets)}, file)
"""


def test_threads_and_descriptors_are_looked_at(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("conftest.py", LINGERING)
    compared.suite.write("test_it.py", LOOKS)

    compared.run(*compared_mode)

    compared.check()


THREADLEAK = """
    import threading
    from arrival import wait_for
    from qase.pytest import qase

    def test_attaches():
        for number in range(5):
            qase.attach(("one", "text/plain", f"{number}.txt"))

    def test_waits():
        wait_for("test_attaches")

    def test_fails_with_a_leak():
        threading.Thread(target=threading.Event().wait, daemon=True).start()

    def test_waits_again():
        wait_for("test_waits")
"""


def test_threadleak_finds_the_tests_own_threads_only(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.plugins = ("threadleak",)
    compared.suite.write("test_it.py", THREADLEAK)

    compared.run(*compared_mode, "--threadleak")

    compared.check()


LOGS = """
    import json, logging
    from arrival import wait_for
    from qase.pytest import qase

    def test_attaches():
        qase.attach(("one", "text/plain", "1.txt"))

    def test_quiet(caplog):
        wait_for("test_attaches")
        assert [record.name for record in caplog.records] == []

    def test_fails():
        logging.getLogger("mine").debug("mine")
        wait_for("test_quiet")
        assert 0

    def test_handlers():
        with open("seen.json", "w") as file:
            json.dump([[type(handler).__name__ for handler in logging.root.handlers], logging.root.level], file)
"""


def test_logs_at_debug_are_the_tests_own(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("test_it.py", LOGS)
    options = ("-olog_level=DEBUG", "-olog_cli=true", "-olog_cli_level=DEBUG", "-olog_format=LOG %(name)s %(message)s")

    compared.run(*compared_mode, *options, "--log-file=log.txt", "--log-file-level=DEBUG")

    compared.check()
    logged = [re.findall("LOG .*", told.ran.stdout) for told in (compared.without, compared.reported)]
    assert logged[0] == logged[1]
    assert logged[0]


#: Under xdist these tests would close the descriptors with which a worker talks to its controller.
CLOSES = """
    import os
    import pytest
    from arrival import wait_for
    from qase.pytest import qase

    HELD = {}

    def test_before():
        qase.attach(("one", "text/plain", "1.txt"))

    @pytest.mark.parametrize("number", range(TIMES))
    def test_closes(number):
        wait_for("test_before")
        CLOSE

    def test_opens():
        for number in range(12):
            HELD[number] = open(f"{number}.txt", "w")
            HELD[number].write(f"mine {number}")
            HELD[number].flush()

    def test_after():
        qase.attach(("two", "text/plain", "2.txt"))

    def test_fails():
        assert 0

    def test_has_its_files():
        for number in HELD:
            assert open(f"{number}.txt").read() == f"mine {number}"
"""


@pytest.mark.parametrize("times", ["1", "3"])
def test_descriptors_are_closed_and_used_again(times: str, compared: Compared) -> None:
    compared.suite.write("test_it.py", CLOSES.replace("CLOSE", "os.closerange(3, 512)").replace("TIMES", times))

    compared.run("-pno:xdist", "--capture=sys", "-pno:faulthandler")

    compared.check()


def test_descriptors_get_another_file(compared: Compared) -> None:
    replace = """HELD["log"] = open("log.txt", "w")
        for number in range(3, 64):
            if number != HELD["log"].fileno():
                os.dup2(HELD["log"].fileno(), number)
        HELD.pop("log").flush()"""
    compared.suite.write("test_it.py", CLOSES.replace("CLOSE", replace).replace("TIMES", "1"))

    compared.run("-pno:xdist", "--capture=sys", "-pno:faulthandler")

    compared.check()
    assert compared.reported.files["log.txt"] == ""
