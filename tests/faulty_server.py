"""HTTP servers that are out of order, and one that stands between a tracker and a real server."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

Fault: TypeAlias = Literal["silent", "html", "broken json", "no http", "reset", "lost"] | int
"""What a server does instead of answering: a number is a status; ``reset`` closes the connection
before the request takes effect, ``lost`` after it did."""

_BODIES: dict[Fault, bytes] = {
    "html": b"<html><body>Welcome to the wireless network of this hotel</body></html>",
    "broken json": b'{"experiments": [{"experiment_id": "1", ',
}
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}


class FaultyServer(ThreadingHTTPServer):
    """A server with a fault, or in front of ``upstream`` with a fault now and then.

    ``fault`` concerns every request, and may be changed at any time; without one a request fails
    with the probability ``share``. ``requests`` and ``faults`` count.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        fault: Fault | None = None,
        *,
        upstream: str | None = None,
        share: float = 0.0,
        kinds: tuple[Fault, ...] = (500, 429, "reset", "lost"),
        seed: int = 0,
        port: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.fault = fault
        self.upstream = upstream
        self.requests = 0
        self.faults = 0
        self.closing = threading.Event()
        self._share = share
        self._kinds = kinds
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def draw(self) -> Fault | None:
        """Return what is to go wrong with a request."""
        with self._lock:
            self.requests += 1
            fault = self.fault
            if fault is None and self._random.random() < self._share:
                fault = self._random.choice(self._kinds)
            self.faults += fault is not None
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about connections that break: that is what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.draw()
        if fault == "silent":
            self.server.closing.wait()
        elif fault == "no http":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        elif isinstance(fault, int):
            self._reply(fault, {"Content-Type": "text/plain"}, b"out of order")
        elif fault in _BODIES:
            self._reply(200, {"Content-Type": "text/html"}, _BODIES[fault])
        elif fault != "reset":
            reply = self._forward(body)
            if fault != "lost":
                return self._reply(*reply)
        if fault in ("silent", "no http", "reset", "lost"):
            self.close_connection = True
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self.server.upstream or "")
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in (*_HOP_BY_HOP, "host")
            }
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in _HOP_BY_HOP
            }
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
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
