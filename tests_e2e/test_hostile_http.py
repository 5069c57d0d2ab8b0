"""Tests, or their conftest, that mock or block HTTP: neither do they harm what is reported, nor do they see it."""

from __future__ import annotations

from textwrap import dedent

import pytest
from harness.compared import Compared

#: `hostile` has `mocked`, a context manager which yields a function that returns the user's calls, `get`, and what
#: `get` returns while `mocked` is entered.
SUITE = """
    import json
    from arrival import wait_for
    from hostile import ANSWER, get
    from qase.pytest import qase

    def test_attaches():
        qase.attach(("attached", "text/plain", "a.txt"))
        assert get() == ANSWER

    def test_fails():
        assert get() == "something else"

    def test_waits():
        wait_for("test_attaches", "test_fails")

    def test_calls(calls):
        with open("calls.json", "w") as file:
            json.dump(calls(), file)
"""
#: It is mocked as long as the file's tests run.
OF_FILE = """
    import pytest
    from hostile import mocked

    @pytest.fixture(scope="module", autouse=True)
    def calls():
        with mocked() as calls:
            yield calls
"""
#: It is mocked in each process from its start to its end.
CONFTEST = """
    import json, os
    import pytest
    from hostile import mocked

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(config):
        context = mocked()
        config.calls = context.__enter__()
        config.has_run = "PYTEST_XDIST_WORKER" not in os.environ

        def leave():
            calls = config.calls()
            context.__exit__(None, None, None)
            if config.has_run:
                kind = "worker" if "PYTEST_XDIST_WORKER" in os.environ else "main"
                with open(f"calls-{kind}.json", "w") as file:
                    json.dump(calls, file)

        config.add_cleanup(leave)

    def pytest_runtest_setup(item):
        item.config.has_run = True

    @pytest.fixture
    def calls(request):
        return request.config.calls
"""


def suite_with(name: str) -> str:
    """Return a file of tests with a mock of its own."""
    text = dedent(SUITE) + dedent(OF_FILE)
    return text.replace("from hostile", f"from hostile_{name}").replace("calls.json", f"calls-{name}.json")


RESPONSES = """
    import re
    from contextlib import contextmanager
    import requests, responses

    @contextmanager
    def mocked():
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            for method in (responses.GET, responses.POST, responses.PUT, responses.PATCH):
                mock.add(method, re.compile(".*"), json={})
            yield lambda: [call.request.url for call in mock.calls]

    def get():
        return requests.get("http://shop.invalid/").status_code

    ANSWER = 200
"""
REQUESTS_MOCK = """
    from contextlib import contextmanager
    import requests, requests_mock

    @contextmanager
    def mocked():
        with requests_mock.Mocker() as mock:
            mock.register_uri(requests_mock.ANY, requests_mock.ANY, json={})
            yield lambda: [request.url for request in mock.request_history]

    def get():
        return requests.get("http://shop.invalid/").status_code

    ANSWER = 200
"""
#: TARGET is what is patched.
PATCHED = """
    import io
    from contextlib import contextmanager
    from unittest import mock
    import requests, urllib3

    def answer(*args, **kwargs):
        if "urlopen" in "TARGET":
            return urllib3.HTTPResponse(body=io.BytesIO(b"{}"), status=200, preload_content=False)
        answer = requests.Response()
        answer.status_code, answer._content = 200, b"{}"
        return answer

    @contextmanager
    def mocked():
        with mock.patch("TARGET", side_effect=answer) as patched:
            yield lambda: patched.call_count

    def get():
        return requests.get("http://shop.invalid/").status_code

    ANSWER = 200
"""
#: The mock has no answer prepared, as in a test that does not look at the answer.
MAGIC = """
    from contextlib import contextmanager
    from unittest import mock
    import requests

    @contextmanager
    def mocked():
        with mock.patch("requests.Session.send") as patched:
            yield lambda: [call.args[0].url for call in patched.call_args_list]

    def get():
        return type(requests.get("http://shop.invalid/")).__name__

    ANSWER = "MagicMock"
"""
NO_SOCKETS = """
    from contextlib import contextmanager
    from unittest import mock
    import requests

    @contextmanager
    def mocked():
        with mock.patch("socket.socket", side_effect=OSError("no sockets")) as patched:
            yield lambda: patched.call_count > 0

    def get():
        try:
            return requests.get("http://127.0.0.1:9/").status_code
        except requests.ConnectionError:
            return "blocked"

    ANSWER = "blocked"
"""
VCR = """
    import http.server, os, threading
    from contextlib import contextmanager
    import requests, vcr

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args):
            pass

    kind = "worker" if "PYTEST_XDIST_WORKER" in os.environ else "main"
    shop = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=shop.serve_forever, daemon=True).start()

    @contextmanager
    def mocked():
        with vcr.use_cassette(f"cassette-{kind}.yaml", record_mode="all") as cassette:
            yield lambda: [request.path for request in cassette.requests]

    def get():
        return requests.get(f"http://127.0.0.1:{shop.server_port}/shop").status_code

    ANSWER = 200
"""
VCR_NONE = """
    from contextlib import contextmanager
    import requests, vcr
    from vcr.errors import CannotOverwriteExistingCassetteException

    @contextmanager
    def mocked():
        with vcr.use_cassette("none.yaml", record_mode="none") as cassette:
            yield lambda: [request.uri for request in cassette.requests]

    def get():
        try:
            return requests.get("http://shop.invalid/").status_code
        except CannotOverwriteExistingCassetteException:
            return "blocked"

    ANSWER = "blocked"
"""
PYTEST_SOCKET = """
    import socket
    from contextlib import contextmanager
    import urllib3  # makes a socket when it is imported
    from pytest_socket import SocketBlockedError, disable_socket, enable_socket

    @contextmanager
    def mocked():
        disable_socket(allow_unix_socket=True)
        try:
            yield lambda: socket.socket.__name__
        finally:
            enable_socket()

    def get():
        try:
            socket.socket()
        except SocketBlockedError:
            return "blocked"

    ANSWER = "blocked"
"""
PROXY = """
    import os
    from contextlib import contextmanager

    @contextmanager
    def mocked():
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            os.environ[name] = "http://127.0.0.1:9"
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            os.environ[name] = "/nowhere"
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
        yield lambda: sorted(name for name in os.environ if name.lower().endswith("_proxy"))

    def get():
        return None

    ANSWER = None
"""
#: Patched and never taken back, because gevent cannot.
GEVENT = """
    from contextlib import contextmanager
    import gevent, gevent.monkey

    @contextmanager
    def mocked():
        gevent.monkey.patch_all()
        yield lambda: gevent.monkey.is_module_patched("socket")

    def get():
        return gevent.spawn(lambda: 7).get()

    ANSWER = 7
"""

#: What a file may do, and leaves as it was.
IN_A_FILE = {
    "responses": RESPONSES,
    "requests_mock": REQUESTS_MOCK,
    "session_request": PATCHED.replace("TARGET", "requests.Session.request"),
    "session_send": PATCHED.replace("TARGET", "requests.Session.send"),
    "session_send_magic": MAGIC,
    "adapter_send": PATCHED.replace("TARGET", "requests.adapters.HTTPAdapter.send"),
    "urlopen": PATCHED.replace("TARGET", "urllib3.connectionpool.HTTPConnectionPool.urlopen"),
    "socket": NO_SOCKETS,
    "vcr": VCR,
    "vcr_none": VCR_NONE,
    "pytest_socket": PYTEST_SOCKET,
}
#: What a conftest may do. A conftest that sets a proxy means it.
IN_A_CONFTEST = {name: text for name, text in IN_A_FILE.items() if name not in ("session_request", "adapter_send")}


def test_files_are_mocked(compared_mode: tuple[str, ...], compared: Compared) -> None:
    for name, text in IN_A_FILE.items():
        compared.suite.write(f"hostile_{name}.py", text)
        compared.suite.write(f"test_{name}.py", suite_with(name))

    compared.run(*compared_mode)

    compared.check()


@pytest.mark.parametrize("name", ["proxy", "gevent"])
def test_a_file_changes_its_process_for_good(name: str, compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write(f"hostile_{name}.py", {"proxy": PROXY, "gevent": GEVENT}[name])
    compared.suite.write(f"test_{name}.py", suite_with(name))

    compared.run(*compared_mode)

    compared.check()


@pytest.mark.parametrize("name", IN_A_CONFTEST)
def test_a_session_is_mocked(name: str, compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.write("hostile.py", IN_A_CONFTEST[name])
    compared.suite.write("conftest.py", CONFTEST)
    compared.suite.write("test_it.py", SUITE)

    compared.run(*compared_mode)

    compared.check()


def test_sockets_are_disabled_by_an_option(compared_mode: tuple[str, ...], compared: Compared) -> None:
    compared.suite.plugins = ("socket",)
    compared.suite.write("hostile.py", PYTEST_SOCKET)
    compared.suite.write("test_it.py", SUITE.replace("(calls)", "()").replace("dump(calls()", "dump([]"))

    compared.run(*compared_mode, "--disable-socket", "--allow-unix-socket")

    compared.check()
