"""HTTP servers that are out of order."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, TypeAlias
from urllib.error import HTTPError

Fault: TypeAlias = Literal["silent", "html", "broken json", "no http", "reset"] | int
"""What a server does: a number is the status of its answer, ``reset`` closes the connection."""

_BODIES: dict[Fault, bytes] = {
    "html": b"<html><body>Welcome to the wireless network of this hotel</body></html>",
    "broken json": b'{"experiments": [{"experiment_id": "1", ',
}


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


PAGE = Answer(200, b"<!doctype html><title>Log in</title>", {"Content-Type": "text/html"})

Rule: TypeAlias = Callable[[str, str, Callable[[], Answer]], Answer]
"""Answers a request, by its method and path; the third argument asks the server behind."""


def only(part: str, answer: Answer, method: str | None = None) -> Rule:
    """Return a rule that gives this answer where the path has that part; the rest is passed on."""

    def rule(asked: str, path: str, ask: Callable[[], Answer]) -> Answer:
        return answer if part in path and method in (None, asked) else ask()

    return rule


def repeating(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
    """Send each POST twice, as a gateway that was told to try again, and give the second answer."""
    if method == "POST":
        ask()
    return ask()


class FaultyServer(ThreadingHTTPServer):
    """A server with a fault."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, fault: Fault | Rule, behind: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault = fault
        self.behind = behind
        self.closing = threading.Event()

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about connections that break: that is what this server is for."""


_OWN = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


def _passed_on(headers: Message) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in _OWN}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault
        if callable(fault):
            answer = fault(self.command, self.path, lambda: self._ask_behind(body))
            self._reply(answer.status, answer.headers, answer.body)
            return
        if fault == "silent":
            self.server.closing.wait()
        elif fault == "no http":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        elif isinstance(fault, int):
            self._reply(fault, {"Content-Type": "text/plain"}, b"out of order")
        elif fault in _BODIES:
            kind = "text/html" if fault == "html" else "application/json"
            self._reply(200, {"Content-Type": kind}, _BODIES[fault])
        if fault in ("silent", "no http", "reset"):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815

    def _ask_behind(self, body: bytes) -> Answer:
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _OWN}
        request = urllib.request.Request(
            self.server.behind + self.path, body or None, headers, method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Answer(response.status, response.read(), _passed_on(response.headers))
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read(), _passed_on(error.headers))

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
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
