"""Profilers make steps of a test's requests, queries and sleeps, and of nothing that is not the test's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.server import Backend
from harness.suites import Suite

SHOP = """
    import http.server
    import sqlite3
    import threading
    import time

    import pytest
    import requests
    import urllib3
    from qase.pytest import qase

    ORIGINALS = (time.sleep, sqlite3.connect, requests.Session.send, urllib3.PoolManager.request)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/there")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = b"no such book" if self.path == "/missing" else b"a book"
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Shop", "open")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *args):
            pass

    @pytest.fixture(scope="session")
    def shop():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()

    @pytest.fixture
    def closed():
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        server.server_close()
        return f"http://127.0.0.1:{server.server_port}/"

    def test_requests(shop):
        with qase.step("buys"):
            assert requests.post(f"{shop}/buy", data="two books", headers={"X-Buyer": "Ada"}).text == "a book"
        assert requests.get(f"{shop}/missing").content == b"no such book"
        assert requests.get(f"{shop}/moved").text == "a book"
        with urllib3.PoolManager() as pool:
            assert pool.request("GET", f"{shop}/pool").data == b"a book"

    def test_no_connection(closed):
        with pytest.raises(requests.ConnectionError):
            requests.get(closed)

    def test_queries():
        with sqlite3.connect(":memory:") as db:
            db.execute("create table books (title)")
            cursor = db.cursor()
            cursor.executemany("insert into books values (?)", [("a",), ("b",)])
            assert list(cursor.execute("select title from books")) == [("a",), ("b",)]
            assert [title for (title,) in cursor.execute("select title from books where title > ?", "a")] == ["b"]
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            db.execute("select * from nowhere")
        assert isinstance(db, sqlite3.Connection)
        db.close()

    def test_sleeps():
        with qase.step("waits"):
            time.sleep(0.05)
        time.sleep(0)

    def test_excluded(shop):
        requests.get(f"{shop}/?host=left-out.test")

    def test_other_threads_are_not_the_tests(shop):
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                time.sleep(0.001)
                requests.get(shop)
                with sqlite3.connect(":memory:") as db:
                    db.execute("select 1")
                db.close()

        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()

    @pytest.fixture(scope="module")
    def database():
        db = sqlite3.connect(":memory:")
        yield db
        db.close()

    def test_fixture_first(database):
        database.execute("select 1")

    def test_fixture_second(database):
        database.execute("select 2")

    @qase.ignore()
    def test_ignored():
        time.sleep(0)

    def test_its_own_sleep(monkeypatch):
        slept = []
        monkeypatch.setattr(time, "sleep", slept.append)
        time.sleep(100)
        assert slept == [100]

    @pytest.mark.timeout(0.3, method="signal")
    def test_timeout():
        with qase.step("hangs"):
            time.sleep(60)

    def test_nothing():
        pass
"""
CONFTEST = """
    import sqlite3
    import time

    import requests

    BEFORE = (time.sleep, sqlite3.connect, requests.Session.send)

    def pytest_runtest_logreport():
        time.sleep(0)

    def pytest_unconfigure(config):
        config.add_cleanup(check)

    def check():
        assert (time.sleep, sqlite3.connect, requests.Session.send) == BEFORE
"""
PROFILERS = {"FAMACASE_PROFILERS": "network,db,sleep", "FAMACASE_PROFILER_NETWORK_EXCLUDE_HOSTS": "left-out.test"}


def told(step: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a reader sees of a step, and the same of the steps below it."""
    kind, status = step["step_type"], step["execution"]["status"]
    return (kind, step["data"]["action"], status, *map(told, step["steps"]))


def files(step: dict[str, Any], backend: Backend) -> dict[str, str]:
    stored = {entry["file_name"]: backend.store.attachment(entry["id"]) for entry in step["attachments"]}
    return {name: file.content.decode() for name, file in stored.items() if file is not None}


@pytest.mark.parametrize("args", [("-p", "no:xdist"), ("-n2", "--dist", "loadfile")], ids=["no-xdist", "n2"])
def test_what_a_test_does_becomes_its_steps(args: tuple[str, ...], suite: Suite, backend: Backend) -> None:
    suite.write("test_shop.py", SHOP)
    suite.write("conftest.py", CONFTEST)
    # Small batches: results are posted while tests run.
    env = {**backend.environment(), **PROFILERS, "FAMACASE_TESTOPS_BATCH_SIZE": "1"}

    ran = suite.run(*args, **env)

    assert ran.status == 1, ran.text
    assert "1 failed, 11 passed" in ran.stdout, ran.text
    assert "AssertionError" not in ran.text
    steps = {result["title"]: result["steps"] for result in backend.results()}
    shop = steps["test_requests"][1]["data"]["request_url"].removesuffix("/missing")
    closed = steps["test_no_connection"][0]["data"]["request_url"]
    assert {title: list(map(told, each)) for title, each in steps.items()} == {
        "test_requests": [
            ("text", "buys", "passed", ("request", f"POST {shop}/buy", "passed")),
            ("request", f"GET {shop}/missing", "failed"),
            ("request", f"GET {shop}/moved", "passed", ("request", f"GET {shop}/there", "passed")),
            ("request", f"GET {shop}/pool", "passed"),
        ],
        "test_no_connection": [("request", f"GET {closed}", "failed")],
        "test_queries": [
            ("db_query", "[SQLite] create table books (title)", "passed"),
            ("db_query", "[SQLite] insert into books values (?)", "passed"),
            ("db_query", "[SQLite] select title from books", "passed"),
            ("db_query", "[SQLite] select title from books where title > ?", "passed"),
            ("db_query", "[SQLite] select * from nowhere", "failed"),
        ],
        "test_sleeps": [
            ("text", "waits", "passed", ("sleep", "Sleep for 0.05 seconds", "passed")),
            ("sleep", "Sleep for 0 seconds", "passed"),
        ],
        "test_excluded": [],
        "test_other_threads_are_not_the_tests": [("sleep", "Sleep for 0.2 seconds", "passed")],
        "test_fixture_first": [("db_query", "[SQLite] select 1", "passed")],
        "test_fixture_second": [("db_query", "[SQLite] select 2", "passed")],
        "test_its_own_sleep": [],
        "test_timeout": [("text", "hangs", "failed", ("sleep", "Sleep for 60 seconds", "failed"))],
        "test_nothing": [],
    }
    check_what_steps_hold(steps, backend)


def check_what_steps_hold(steps: dict[str, list[dict[str, Any]]], backend: Backend) -> None:
    (bought,), missing = steps["test_requests"][0]["steps"], steps["test_requests"][1]
    assert (bought["data"]["request_method"], bought["data"]["status_code"]) == ("POST", "200")
    assert set(files(bought, backend)) == {"request_body.txt", "request_headers.txt"}
    assert files(bought, backend)["request_body.txt"] == "two books"
    assert "'X-Buyer': 'Ada'" in files(bought, backend)["request_headers.txt"]
    assert missing["data"]["status_code"] == "404"
    assert set(files(missing, backend)) == {"request_headers.txt", "response_body.txt", "response_headers.txt"}
    assert files(missing, backend)["response_body.txt"] == "no such book"
    assert "'X-Shop': 'open'" in files(missing, backend)["response_headers.txt"]
    inserted = steps["test_queries"][1]
    assert (inserted["data"]["rows_affected"], inserted["data"]["connection_info"]) == ("2", "SQLite")
    assert float(inserted["data"]["execution_time"]) > 0
    slept = steps["test_sleeps"][0]["steps"][0]["execution"]
    assert 50 <= slept["duration"] < 10_000


def test_upstreams_profilers_change_what_a_test_does(suite: Suite) -> None:
    """The reason for classes of our own: its proxies are no context managers."""
    suite.write("test_shop.py", SHOP)
    chosen = ("-k", "queries", "-pno:famacase_xdist.plugin")

    ran = suite.run(*chosen, QASE_MODE="report", QASE_PROFILERS="db")

    assert ran.status == 1, ran.text
    assert "context manager protocol" in ran.stdout


@pytest.mark.parametrize("form", ["famacase.config.json", "qase.config.json"])
def test_only_the_profilers_that_a_file_names_look(form: str, suite: Suite, backend: Backend) -> None:
    suite.write("test_shop.py", SHOP)
    profilers = ["sleep", {"name": "network", "excludeHosts": ["127.0.0.1"]}]
    suite.write(form, json.dumps({"profilers": profilers}))

    suite.run("-n1", "-k", "sleeps or test_requests or queries", **backend.environment())

    steps = {result["title"]: [step["step_type"] for step in result["steps"]] for result in backend.results()}
    assert steps == {"test_sleeps": ["text", "sleep"], "test_requests": ["text"], "test_queries": []}
