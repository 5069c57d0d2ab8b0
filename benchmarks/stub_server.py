"""A server that acknowledges all it is sent, in a process of its own: cheap, so that it is not what is measured.

with running() as server:
    ...  # server.url
    server.ids()
"""

from __future__ import annotations

import http.server
import json
import socketserver
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stub:
    """A stub that runs: its address and its process."""

    url: str
    process: subprocess.Popen[str]

    def counts(self) -> dict[str, int]:
        """Return the requests, the results and the attachments that came; a result that came twice counts twice."""
        return dict(self._ask("/counts"))

    def ids(self) -> set[str]:
        """Return the ids of all results that came."""
        return set(self._ask("/ids"))

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)


@contextmanager
def running() -> Iterator[Stub]:
    """Run a stub for as long as the context lives."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Stub(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
    finally:
        process.kill()
        process.communicate()


class Handler(http.server.BaseHTTPRequestHandler):
    """Acknowledges; one thread a connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    ids: set[str] = set()  # noqa: RUF012
    seen = {"requests": 0, "results": 0, "attachments": 0}  # noqa: RUF012

    def do_GET(self) -> None:
        """Say what came, or that a project or run is there."""
        special = {"/counts": self.seen, "/ids": sorted(self.ids)}
        self._answer(special.get(self.path, {"id": 1}))

    def do_POST(self) -> None:
        """Take what comes."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer: Any = {"id": 1}
        self.seen["requests"] += 1
        if self.path.endswith("/results"):
            ids = [result["id"] for result in json.loads(body)["results"]]
            self.ids.update(ids)
            self.seen["results"] += len(ids)
        elif self.path.endswith("/attachments"):
            files = body.count(b'name="files"')
            self.seen["attachments"] += files
            answer = {"attachments": [{"id": str(number)} for number in range(files)]}
        self._answer(answer)

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Ends with its process."""

    daemon_threads = True


def main() -> None:
    """Say which port, and serve."""
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
