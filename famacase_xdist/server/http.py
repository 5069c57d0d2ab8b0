"""The HTTP server: uvicorn on a listening socket, in a thread of its own."""

from __future__ import annotations

import ipaddress
import socket
import threading

import uvicorn
from fastapi import FastAPI

from famacase_xdist.errors import ListenError

_GRACEFUL_SECONDS = 1
#: Longer than a reporter waits between two batches, so that it does not have to connect for each of them.
_KEEP_ALIVE_SECONDS = 60


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. From now on a connection waits and is not refused.

    Args:
        host: An address or a name of this machine.
        port: 0 for a free one.

    Raises:
        ListenError: The port is in use, or the host is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ListenError(f"cannot listen on {host} port {port}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine can reach the socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """Return the URL of the socket for clients on this machine."""
    name, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(name)
    if address.is_unspecified:
        name = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.settled.set()


class ServerThread:
    """The application on a listening socket, served by the thread ``famacase-server``.

    Signals are left to the caller, because uvicorn handles them only if it runs in the main thread.
    """

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACEFUL_SECONDS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        self._server = _Uvicorn(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="famacase-server", daemon=True)

    def start(self) -> None:
        """Start the thread and return when it takes requests.

        Raises:
            ListenError: uvicorn did not start. It has written the reason to stderr.
        """
        self._thread.start()
        self._server.settled.wait()
        if not self._server.started:
            raise ListenError("the HTTP server did not start")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._server.settled.set()
            self._listener.close()

    def is_alive(self) -> bool:
        """Return whether the thread is still running."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def shutdown(self) -> None:
        """Finish the requests that are being answered, for about a second at most, and end the thread.

        A second call does nothing.
        """
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join()
