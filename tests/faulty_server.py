"""HTTP servers that are out of order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, TypeAlias

Fault: TypeAlias = Literal["silent", "html", "broken json", "no http", "reset"] | int
"""What a server does: a number is the status of its answer, ``reset`` closes the connection."""

_BODIES: dict[Fault, bytes] = {
    "html": b"<html><body>Welcome to the wireless network of this hotel</body></html>",
    "broken json": b'{"experiments": [{"experiment_id": "1", ',
}


class FaultyServer(ThreadingHTTPServer):
    """A server with a fault."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault = fault
        self.closing = threading.Event()

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about connections that break: that is what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault
        if fault == "silent":
            self.server.closing.wait()
        elif fault == "no http":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        elif isinstance(fault, int):
            self._reply(fault, "text/plain", b"out of order")
        elif fault in _BODIES:
            self._reply(200, "text/html", _BODIES[fault])
        if fault in ("silent", "no http", "reset"):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def running(server: FaultyServer) -> Iterator[FaultyServer]:
    """Let a server answer; at the end its port is closed."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        with suppress(OSError):
            server.server_close()
        thread.join()
