"""A server that takes results as Famacase and Qase do, at the least cost, and counts. A process of its own.

    python stand_in.py

It writes its port as the first line. ``POST /reset`` with ``{"delay": seconds}`` begins a session, ``GET /seen`` tells
what came since. Bodies of results are only kept while a session runs and are parsed when the count is asked for, so
that this process takes little of the machine that is measured.
"""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: In the head of an upload's part; no content that this benchmark makes looks like it.
FILE_NAME = re.compile(rb'filename="([^"]*)"')
RUN_ID = 1
FAMACASE = "/api/v1/reporter/v1/projects/[^/]+"
#: Method, pattern of the whole path, status and body of the answer; the first that matches counts.
ANSWERS: tuple[tuple[str, str, int, object], ...] = (
    ("GET", FAMACASE, 200, {"id": 1, "code": "DEMO", "title": "DEMO"}),
    ("POST", f"{FAMACASE}/runs", 200, {"id": RUN_ID}),
    ("GET", f"{FAMACASE}/runs/\\d+", 200, {"id": RUN_ID}),
    ("POST", f"{FAMACASE}/runs/\\d+/results", 200, {}),
    ("POST", f"{FAMACASE}/runs/\\d+/complete", 200, {}),
    ("GET", "/v1/project/[^/]+", 200, {"status": True, "result": {"code": "DEMO", "title": "DEMO"}}),
    ("POST", "/v1/run/[^/]+", 200, {"status": True, "result": {"id": RUN_ID}}),
    ("GET", "/v1/run/[^/]+/\\d+", 200, {"status": True, "result": {"id": RUN_ID, "status": 0}}),
    ("POST", "/v1/run/[^/]+/\\d+/complete", 200, {"status": True}),
    ("POST", "/v2/[^/]+/run/\\d+/results", 202, {"status": True}),
)


class Counts:
    """What came since the last reset; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset(0.0)

    def reset(self, delay: float) -> None:
        """Forget all; answer `delay` seconds late from now on."""
        with self._lock:
            self.delay = delay
            self._bodies: list[bytes] = []
            self._counts = {"requests": 0, "connections": 0, "attachments": 0, "completed": 0, "unknown": 0}

    def add(self, **counts: int) -> None:
        """Count."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count

    def keep(self, body: bytes) -> None:
        """Keep a body of results."""
        with self._lock:
            self._bodies.append(body)

    def seen(self) -> dict[str, int]:
        """Return the counts; a result that came twice counts once."""
        with self._lock:
            ids = {result["id"] for body in self._bodies for result in json.loads(body)["results"]}
            return {**self._counts, "results": len(ids)}


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet: else Nagle's algorithm and the client's delayed acknowledgement cost 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    counts = Counts()
    _is_counted = False

    def do_GET(self) -> None:
        """Answer."""
        self._handle()

    def do_POST(self) -> None:
        """Answer."""
        self._handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path == "/reset":
            self.counts.reset(json.loads(body)["delay"])
            self._answer(200, {})
        elif path == "/seen":
            self._answer(200, self.counts.seen())
        else:
            self.counts.add(requests=1, connections=not self._is_counted)
            self._is_counted = True
            answer = self._take(path, body)
            time.sleep(self.counts.delay)
            self._answer(*answer)

    def _take(self, path: str, body: bytes) -> tuple[int, object]:
        if path.endswith("/attachments"):
            return 200, {"attachments": [{**each, "id": each["hash"]} for each in self._files(body)]}
        if path.startswith("/v1/attachment/"):
            return 200, {"status": True, "result": self._files(body)}
        for method, pattern, status, answer in ANSWERS:
            if method == self.command and re.fullmatch(pattern, path):
                if path.endswith("/results"):
                    self.counts.keep(body)
                self.counts.add(completed=path.endswith("/complete"))
                return status, answer
        self.counts.add(unknown=1)
        return 404, {"detail": f"no route {self.command} {path}"}

    def _files(self, body: bytes) -> list[dict[str, Any]]:
        names = [name.decode() for name in FILE_NAME.findall(body)]
        self.counts.add(attachments=len(names))
        mime = {
            "mime_type": "text/plain",
            "mime": "text/plain",
            "file_size": 0,
            "extension": "txt",
            "url": "",
            "team": "",
        }
        return [
            {"hash": f"{number}", "file_name": name, "filename": name, **mime} for number, name in enumerate(names, 1)
        ]

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until stdin ends, so that no server outlives the benchmark."""
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        while input_left():
            pass


def input_left() -> bool:
    """Wait for stdin; False at its end."""
    try:
        input()
    except EOFError:
        return False
    return True


if __name__ == "__main__":
    main()
