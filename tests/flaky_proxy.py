"""An HTTP proxy, a process of its own, that fails one request in five in every way there is.

``python flaky_proxy.py TARGET SEED SHARE`` prints its port, serves until it is ended, tells at
``/flaky-counts`` how often it did what, and at ``/flaky-fate`` takes what it is to do always.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

STATUSES: Final = {"500": 500, "503": 503, "429": 429}
"""Failures that are an answer of the proxy's own; the request does not reach the server."""

FAILURES: Final = (*STATUSES, "reset before", "reset after", "cut off", "delay")
"""All that goes wrong. After the last three the server has done what it was asked for."""

SHARE: Final = 0.2
_COUNTS: Final = "/flaky-counts"
_FATE: Final = "/flaky-fate"
_DELAY: Final = 0.3
_HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs."""

    uri: str

    def counts(self) -> Counter[str]:
        """Return how many requests were forwarded as they were, and failed in which way."""
        with urllib.request.urlopen(self.uri + _COUNTS, timeout=30) as answer:
            return Counter(json.load(answer))

    def always(self, failure: str = "") -> None:
        """Let every request fail in this way from now on, or as many as before without one."""
        urllib.request.urlopen(self.uri + _FATE, failure.encode(), timeout=30).close()


@contextmanager
def flaky(target: str, *, seed: int, share: float = SHARE) -> Iterator[Proxy]:
    """Run a proxy in front of a server.

    Args:
        target: the server's URI.
        seed: of the choice of requests that fail, and how.
        share: of the requests that fail, from 0 to 1.
    """
    command = [sys.executable, str(Path(__file__)), target, str(seed), str(share)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port, "the proxy did not start"
        yield Proxy(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str, seed: int, share: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host, self.target_port = urlsplit(target).hostname, urlsplit(target).port
        self.counts: Counter[str] = Counter()
        self.fate = ""
        self._random = random.Random(seed)
        self._share = share
        self._lock = threading.Lock()

    def choose(self) -> str:
        """Decide what becomes of the next request, and count it."""
        with self._lock:
            chance, failure = self._random.random(), self._random.choice(FAILURES)
            fate = self.fate or (failure if chance < self._share else "forwarded")
            self.counts[fate] += 1
        return fate

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that go away are usual here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One segment for each answer, at once.
    wbufsize = -1
    disable_nagle_algorithm = True
    _upstream: HTTPConnection | None = None

    def __getattr__(self, name: str) -> Any:
        """Take every method of HTTP for the same."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        server = cast(_Server, self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == _COUNTS:
            self._answer(200, [], json.dumps(server.counts).encode())
            return
        if self.path == _FATE:
            server.fate = body.decode()
            self._answer(200, [], b"")
            return
        fate = server.choose()
        if fate in STATUSES:
            self._answer(STATUSES[fate], [("Retry-After", "0")], b"the proxy says so")
        elif fate == "reset before":
            self._reset()
        else:
            if fate == "delay":
                time.sleep(_DELAY)
            status, headers, content = self._forward(server, body)
            if fate == "reset after":
                self._reset()
            else:
                self._answer(status, headers, content, cut=fate == "cut off")

    def _forward(self, server: _Server, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {
            key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP
        }
        if self._upstream is None:
            self._upstream = HTTPConnection(server.host or "", server.target_port, timeout=300)
        self._upstream.request(self.command, self.path, body, headers)
        response = self._upstream.getresponse()
        content = response.read()
        return response.status, response.getheaders(), content

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in _HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def _reset(self) -> None:
        """Close the connection so that the client's system says "reset by peer"."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError, ValueError, HTTPException):
            super().finish()
        if self._upstream is not None:
            self._upstream.close()

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    target, seed, share = sys.argv[1:]
    with _Server(target, int(seed), float(share)) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
