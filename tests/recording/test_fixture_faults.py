"""Fixtures as steps and in messages: sessions in this process, with the frames that a controller would get."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.collecting import modules_forgotten

from famacase_xdist.recording import install
from famacase_xdist.results.frames import ResultHead
from famacase_xdist.results.sinks import ListSink
from famacase_xdist.settings.settings import Settings

ABSENT = ("famacase_xdist.plugin", "qase_pytest", "xdist", "rerunfailures", "cacheprovider", "faulthandler")
OTHERS = ("asyncio", "randomly", "playwright", "pytest-bdd")


class _Installed:
    def __init__(self, steps: str, worker: str) -> None:
        self.sink = ListSink()
        self._settings = Settings(mode="testops", fixture_steps=steps)
        self._worker = worker
        self.failures = 0

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        if self._worker:
            session.config.workerinput = {}  # type: ignore[attr-defined]
        thread = self._worker or "main"
        self.recorder = install.install(session.config, self._settings, self.sink, thread)

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        self.failures = self.recorder.failures
        install.uninstall(config)


def results(directory: Path, *args: str, steps: str = "all", worker: str = "", **files: str) -> dict[str, Any]:
    """Run a suite in this process and return the results that would be sent, by the test's name with its params."""
    (directory / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        file = directory / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"import pytest\nfrom famacase_xdist import qase\n{textwrap.dedent(text)}", encoding="utf-8")
    plugin = _Installed(steps, worker)
    without = [arg for name in (*ABSENT, *OTHERS) for arg in ("-p", f"no:{name}")]
    with pytest.MonkeyPatch.context() as patch, modules_forgotten(directory):
        patch.chdir(directory)
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        pytest.main(["-q", "-W", "ignore", "--import-mode=importlib", *without, *args, "."], plugins=[plugin])
    assert plugin.failures == 0
    frames = plugin.sink.frames
    return {
        frame.head.nodeid.rpartition("::")[2]: json.loads(frame.body)
        for frame in frames
        if isinstance(frame.head, ResultHead)
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Return a line for each step, indented as nested; a status other than passed is named."""

    def below(steps: list[dict[str, Any]], indent: str) -> Iterator[str]:
        for step in steps:
            status = step["execution"]["status"]
            yield f"{indent}{step['data']['action']}{'' if status == 'passed' else f' {status}'}"
            yield from below(step["steps"], f"{indent}  ")

    return list(below(result["steps"], ""))


def every_step(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all steps by their action."""

    def below(steps: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for step in steps:
            yield step["data"]["action"], step
            yield from below(step["steps"])

    return dict(below(result["steps"]))


REQUESTS = """
    @pytest.fixture(scope="module")
    def db():
        with qase.step("migrate"):
            pass
        yield
        with qase.step("drop"):
            pass

    @pytest.fixture
    def user(db, tmp_path):
        yield
        with qase.step("leave"):
            pass

    @pytest.fixture
    def cart(user): return []

    @pytest.fixture
    def by_name(request): return request.getfixturevalue("cart")

    @pytest.fixture
    def with_finalizers(request):
        request.addfinalizer(lambda: None)

    @pytest.fixture
    def factory(request):
        def make():
            request.addfinalizer(lambda: qase.step("unmake")(lambda: None)())
        return make

    def test_first(cart):
        with qase.step("act"):
            pass

    def test_requested_twice(user, cart): pass
    def test_by_name(by_name, monkeypatch): pass
    def test_later(request):
        with qase.step("act"):
            request.getfixturevalue("cart")
    def test_finalizer(with_finalizers): pass
    def test_factory(factory): factory()
    def test_last(db): pass
"""


def test_with_all_every_fixture_has_steps_nested_as_requested(tmp_path: Path) -> None:
    found = {name: lines(result) for name, result in results(tmp_path, test_it=REQUESTS).items()}

    assert found == {
        "test_first": [
            "setup: cart (function, test_it.py)",
            "  setup: user (function, test_it.py)",
            "    setup: db (module, test_it.py)",
            "      migrate",
            "act",
            "teardown: user (function, test_it.py)",
            "  leave",
        ],
        "test_requested_twice": [
            "setup: user (function, test_it.py)",
            "setup: cart (function, test_it.py)",
            "teardown: user (function, test_it.py)",
            "  leave",
        ],
        "test_by_name": [
            "setup: by_name (function, test_it.py)",
            "  setup: cart (function, test_it.py)",
            "    setup: user (function, test_it.py)",
            "teardown: user (function, test_it.py)",
            "  leave",
        ],
        "test_later": [
            "act",
            "  setup: cart (function, test_it.py)",
            "    setup: user (function, test_it.py)",
            "teardown: user (function, test_it.py)",
            "  leave",
        ],
        "test_finalizer": [
            "setup: with_finalizers (function, test_it.py)",
            "teardown: with_finalizers (function, test_it.py)",
        ],
        "test_factory": [
            "setup: factory (function, test_it.py)",
            "teardown: factory (function, test_it.py)",
            "  unmake",
        ],
        "test_last": ["teardown: db (module, test_it.py)", "  drop"],
    }


def test_with_failed_a_test_has_its_own_steps_and_those_of_its_fixtures(tmp_path: Path) -> None:
    found = {name: lines(result) for name, result in results(tmp_path, steps="failed", test_it=REQUESTS).items()}

    assert found == {
        "test_first": ["migrate", "act", "leave"],
        "test_requested_twice": ["leave"],
        "test_by_name": ["leave"],
        "test_later": ["act", "leave"],
        "test_finalizer": [],
        "test_factory": ["unmake"],
        "test_last": ["teardown: db (module, test_it.py)", "  drop"],
    }


def test_with_off_no_hook_of_a_fixture_is_ours(tmp_path: Path) -> None:
    conftest = """
        def pytest_sessionfinish(session):
            hook = session.config.hook.pytest_fixture_setup
            theirs = [each for each in hook.get_hookimpls() if "famacase" in each.plugin_name]
            assert theirs == []
    """

    found = {
        name: lines(result)
        for name, result in results(tmp_path, steps="off", test_it=REQUESTS, conftest=conftest).items()
    }

    assert found["test_first"] == ["migrate", "act", "leave"]
    assert found["test_last"] == ["drop"]


FAILURES = """
    @pytest.fixture
    def before():
        yield

    @pytest.fixture(scope="module")
    def broken(request):
        with qase.step("connect"):
            raise OSError("no server")

    @pytest.fixture
    def asking(request): return request.getfixturevalue("broken")

    @pytest.fixture(scope="class")
    def leaking():
        yield
        with qase.step("close"):
            raise OSError("cannot close")

    @pytest.fixture
    def leaking_twice(request):
        def first(): raise ValueError("first")
        def second(): raise KeyError("second")
        request.addfinalizer(first)
        request.addfinalizer(second)

    @pytest.fixture
    def skipping(): pytest.skip("not: here")

    @pytest.fixture
    def xfailing(): pytest.xfail("known: bug")

    @pytest.fixture(params=["postgres"])
    def db(request): raise OSError("no db")

    def test_setup(before, broken): pass
    def test_cached(broken): pass
    def test_asks_for_cached(asking): pass
    def test_skips(skipping): pass
    def test_xfails(xfailing): pass
    def test_param(db): pass
    def test_two_finalizers(leaking_twice): pass

    class TestClass:
        def test_innocent(self, leaking): pass
        def test_both(self, leaking, leaking_twice): assert False

    def setup_function(function):
        if function is test_xunit: raise OSError("xunit")

    def test_xunit(): pass

    @pytest.fixture(scope="module")
    def exiting(): pytest.exit("enough")

    def test_exits(exiting): pass
"""
BROKEN = "OSError: no server\nin the set-up of fixture broken (module, test_it.py)"
CACHED = 'cached: the module-scoped fixture "broken" failed in test_it.py::test_setup and was not set up again'
TWICE = "ValueError: first\nKeyError: 'second'\nin the teardown of fixture leaking_twice (function, test_it.py)"


@pytest.mark.parametrize("steps", ["off", "failed", "all"])
def test_a_message_names_the_fixture(steps: str, tmp_path: Path) -> None:
    found = {name: (each["execution"]["status"], each["message"]) for name, each in ran(tmp_path, steps).items()}

    assert found == {
        "test_setup": ("invalid", BROKEN),
        "test_cached": ("invalid", f"{BROKEN}\n{CACHED}"),
        "test_asks_for_cached": ("invalid", f"{BROKEN}\n{CACHED}"),
        "test_skips": ("skipped", "not: here"),
        "test_xfails": ("skipped", "known: bug"),
        "test_param[postgres]": (
            "invalid",
            "OSError: no db\nin the set-up of fixture db[postgres] (function, test_it.py)",
        ),
        "test_two_finalizers": ("invalid", TWICE),
        "test_innocent": ("passed", None),
        "test_both": (
            "failed",
            "AssertionError: assert False\n"
            "OSError: cannot close\nin the teardown of fixture leaking (class, test_it.py), whose class ended here\n"
            + TWICE,
        ),
        "test_xunit": ("invalid", "OSError: xunit\nin the set-up of fixture setup_function (function, test_it.py)"),
        "test_exits": ("invalid", "pytest.exit: enough"),
    }


def ran(tmp_path: Path, steps: str) -> dict[str, Any]:
    return results(tmp_path, steps=steps, test_it=FAILURES)


def test_with_failed_there_are_steps_of_what_failed(tmp_path: Path) -> None:
    found = {name: lines(result) for name, result in ran(tmp_path, "failed").items()}

    assert found == {
        "test_setup": ["setup: broken (module, test_it.py) failed", "  connect failed"],
        "test_cached": [],
        "test_asks_for_cached": ["setup: asking (function, test_it.py) failed"],
        "test_skips": [],
        "test_xfails": [],
        "test_param[postgres]": ["setup: db[postgres] (function, test_it.py) failed"],
        "test_two_finalizers": ["teardown: leaking_twice (function, test_it.py) failed"],
        "test_innocent": [],
        "test_both": [
            "teardown: leaking (class, test_it.py) failed",
            "  close failed",
            "teardown: leaking_twice (function, test_it.py) failed",
        ],
        "test_xunit": [],
        "test_exits": ["setup: exiting (module, test_it.py) failed"],
    }


def test_with_all_what_failed_says_so(tmp_path: Path) -> None:
    found = {name: lines(result) for name, result in ran(tmp_path, "all").items()}

    assert found == {
        "test_setup": ["setup: broken (module, test_it.py) failed", "  connect failed"],
        "test_cached": [],
        "test_asks_for_cached": ["setup: asking (function, test_it.py) failed"],
        "test_skips": ["setup: skipping (function, test_it.py) skipped"],
        "test_xfails": ["setup: xfailing (function, test_it.py) skipped"],
        "test_param[postgres]": ["setup: db[postgres] (function, test_it.py) failed"],
        "test_two_finalizers": [
            "setup: leaking_twice (function, test_it.py)",
            "teardown: leaking_twice (function, test_it.py) failed",
        ],
        "test_innocent": ["setup: leaking (class, test_it.py)"],
        "test_both": [
            "setup: leaking_twice (function, test_it.py)",
            "teardown: leaking_twice (function, test_it.py) failed",
            "teardown: leaking (class, test_it.py) failed",
            "  close failed",
        ],
        "test_xunit": [],
        "test_exits": ["setup: exiting (module, test_it.py) failed"],
    }


WIDE = """
    @pytest.fixture(scope="module", params=["pg", "lite"])
    def db(request):
        yield request.param
        if request.param == "pg":
            raise OSError("cannot drop")

    @pytest.fixture(scope="session", params=[1], ids=lambda value: None)
    def session(request):
        yield

    @pytest.fixture
    def table(db): return db

    def test_one(table): pass
    def test_two(session, table): pass
"""


def test_a_fixture_that_is_set_up_anew_is_torn_down_in_the_test_that_needs_it(tmp_path: Path) -> None:
    found = results(tmp_path, test_it=WIDE, worker="gw3")

    assert lines(found["test_one[pg]"]) == [
        "setup: table (function, test_it.py)",
        "  setup: db[pg] (module, test_it.py, gw3)",
    ]
    torn = next(each for each in found.values() if "teardown: db[pg] (module, test_it.py, gw3) failed" in lines(each))
    assert torn["execution"]["status"] == "invalid"
    assert torn["message"] == (
        "OSError: cannot drop\nin the teardown of fixture db (module, test_it.py), which is set up anew here"
    )
    everything = [line.strip() for each in found.values() for line in lines(each)]
    assert everything.count("setup: session[1] (session, test_it.py, gw3)") == 1
    assert everything.count("teardown: session[1] (session, test_it.py, gw3)") == 1


OVERRIDES = {
    "conftest": """
        pytest_plugins = ["company.shared"]

        def scope(fixture_name, config): return "session"

        @pytest.fixture
        def user(): yield "root"
        @pytest.fixture(scope=scope)
        def computed(): yield
        @pytest.fixture
        def direct(): yield "never"
    """,
    "company__shared": """
        @pytest.fixture
        def of_plugin(): return 1
    """,
    "api__conftest": """
        @pytest.fixture
        def user(user): return f"api {user}"
    """,
    "api__test_it": """
        pytestmark = pytest.mark.usefixtures("computed")

        @pytest.fixture(autouse=True)
        def always(): pass

        def test_folder(user): assert user == "api root"
        def test_plugin(of_plugin): pass

        class TestIt:
            @pytest.fixture
            def user(self, user): return f"class {user}"
            def test_class(self, user): assert user == "class api root"

        @pytest.mark.parametrize("direct", ["given"])
        def test_direct(direct): assert direct == "given"

        @pytest.fixture
        def taken(request): return request.param
        @pytest.mark.parametrize("taken", [pytest.param(1, id="one")], indirect=True)
        def test_indirect(taken): assert taken == 1
    """,
}


def test_the_fixture_that_ran_is_the_one_named(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        found = {name: lines(result) for name, result in results(tmp_path, **OVERRIDES).items()}

    always = "setup: always (function, api/test_it.py)"
    user = "setup: user (function, api/conftest.py)"
    assert found == {
        "test_folder": [
            "setup: computed (session, conftest.py)",
            always,
            user,
            "  setup: user (function, conftest.py)",
            "teardown: user (function, conftest.py)",
        ],
        "test_plugin": [always, "setup: of_plugin (function, company/shared.py)"],
        "test_class": [
            always,
            "setup: user (function, api/test_it.py)",
            f"  {user}",
            "    setup: user (function, conftest.py)",
            "teardown: user (function, conftest.py)",
        ],
        "test_direct[given]": [always],
        "test_indirect[one]": [
            always,
            "setup: taken[one] (function, api/test_it.py)",
            "teardown: computed (session, conftest.py)",
        ],
    }


TIMES = """
    import time

    @pytest.fixture
    def inner(): time.sleep(0.03)

    @pytest.fixture
    def outer(inner):
        time.sleep(0.03)
        yield
        time.sleep(0.03)

    @pytest.fixture
    def open_step():
        with qase.step("open"):
            yield

    def test_times(outer): pass

    @pytest.mark.xfail(reason="known")
    def test_step_over_yield(open_step):
        with qase.step("act"):
            pass
"""


def test_durations_are_those_of_the_fixture_and_what_it_requests(tmp_path: Path) -> None:
    found = results(tmp_path, test_it=TIMES)

    steps = every_step(found["test_times"])
    inner = steps["setup: inner (function, test_it.py)"]["execution"]
    outer = steps["setup: outer (function, test_it.py)"]["execution"]
    teardown = steps["teardown: outer (function, test_it.py)"]["execution"]
    assert 30 <= inner["duration"] < 60 <= outer["duration"]
    assert teardown["duration"] >= 30
    test = found["test_times"]["execution"]
    assert test["start_time"] - 0.01 <= outer["start_time"] == inner["start_time"]
    assert outer["end_time"] <= teardown["start_time"] < teardown["end_time"] <= test["end_time"] + 0.01


def test_a_step_that_is_open_over_yield_is_the_fixtures_and_not_around_the_test(tmp_path: Path) -> None:
    assert lines(results(tmp_path, test_it=TIMES)["test_step_over_yield"]) == [
        "setup: open_step (function, test_it.py)",
        "  open",
        "act",
        "teardown: open_step (function, test_it.py)",
    ]


LATE = """
    from famacase_xdist.plugin import famacase, famacase_run

    @pytest.fixture(scope="session")
    def make(request):
        def make(number):
            def unmake():
                with qase.step(f"unmake {number}"):
                    assert number != 2, "two is stuck"
            request.addfinalizer(unmake)
        return make

    @pytest.fixture(scope="session")
    def wide(famacase):
        famacase.attach(("wide", "text/plain", "wide.txt"))

    def test_makes(make): make(1)
    def test_makes_more(make): make(2)

    @pytest.mark.xfail(reason="known")
    def test_adds(famacase, wide, famacase_run):
        famacase.param("run", famacase_run.id)
        with famacase.step("act", expected="it opens"):
            famacase.attach((b"1", "text/plain", "a.txt"), (b"2", "text/plain", "b.txt"))
        assert False
"""


@pytest.mark.parametrize("steps", ["failed", "all"])
def test_what_a_factory_made_is_torn_down_in_its_step(steps: str, tmp_path: Path) -> None:
    found = results(tmp_path, steps=steps, test_it=LATE)

    last = found["test_adds"]
    assert lines(last)[-3:] == [
        "teardown: make (session, test_it.py) failed",
        "  unmake 2 failed",
        "  unmake 1",
    ]
    assert last["execution"]["status"] == "skipped"  # pytest skips a test with an error under xfail
    assert [line for line in lines(found["test_makes"]) + lines(found["test_makes_more"]) if "unmake" in line] == []


@pytest.mark.parametrize(("steps", "on_test"), [("failed", ["wide.txt"]), ("all", [])])
def test_a_test_adds_to_its_result(steps: str, on_test: list[str], tmp_path: Path) -> None:
    result = results(tmp_path, steps=steps, test_it=LATE)["test_adds"]

    step = every_step(result)["act"]
    assert step["data"]["expected_result"] == "it opens"
    assert [each["file_name"] for each in step["attachments"]] == ["a.txt", "b.txt"]
    assert [each["file_name"] for each in result["attachments"]] == on_test
    assert result["params"] == {"run": "None"}
