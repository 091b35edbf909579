"""Stand-ins for the parts of GitHub's and GitLab's APIs that comments need."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, final
from urllib.parse import parse_qs, urlsplit

TOKEN = "a-very-secret-token"


@final
@dataclass
class Forge:
    """A server with one pull request: number 7 of ``me/models``, or of the project 12.

    ``comments`` are bodies and authors by number; ``page`` is how many are on a page at most.
    ``users`` are the names of those whose token may ask who it is. ``answers`` are statuses and
    bodies in place of the real ones, by method. The first ``busy`` requests are turned away.
    ``pulls`` are the open pull requests from the branch ``mallory:faster``.
    """

    url: str = ""
    page: int = 100
    comments: dict[int, tuple[str, str]] = field(default_factory=dict)
    user: str | None = None
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    next_server: str = ""
    busy: int = 0
    pulls: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def bodies(self) -> list[str]:
        """The bodies of the comments."""
        return [body for body, _ in self.comments.values()]


class _Handler(BaseHTTPRequestHandler):
    forge: ClassVar[Forge]

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PUT(self) -> None:
        self.answer("PUT")

    def do_PATCH(self) -> None:
        self.answer("PATCH")

    def answer(self, method: str) -> None:
        forge = self.forge
        length = int(self.headers.get("Content-Length") or 0)
        data = json.loads(self.rfile.read(length)) if length else {}
        forge.requests.append((method, self.path, dict(self.headers)))
        if len(forge.requests) <= forge.busy:
            return self.send(503, {"message": "Unavailable"})
        if method in forge.answers:
            return self.send(*forge.answers[method])
        if TOKEN not in (
            self.headers.get("Authorization", "").removeprefix("Bearer "),
            self.headers.get("PRIVATE-TOKEN"),
            self.headers.get("JOB-TOKEN"),
        ):
            return self.send(401, {"message": "Bad credentials"})
        where = urlsplit(self.path)
        if where.path.endswith("/user"):
            if forge.user is None:
                return self.send(403, {"message": "Resource not accessible by integration"})
            return self.send(200, {"login": forge.user, "id": forge.user})
        if where.path == "/api/repos/me/models/pulls":
            is_asked = parse_qs(where.query)["head"] == ["mallory:faster"]
            return self.send(200, forge.pulls if is_asked else [])
        lists = "/api/repos/me/models/issues/7/comments", "/api/projects/12/merge_requests/7/notes"
        singles = "/api/repos/me/models/issues/comments/", f"{lists[1]}/"
        if where.path in lists and method == "GET":
            return self.list_comments(where.path, parse_qs(where.query))
        if where.path in lists and method == "POST":
            number = max(forge.comments, default=0) + 1
            forge.comments[number] = (data["body"], forge.user or "github-actions[bot]")
            return self.send(201, self.shown(number))
        for prefix, verb in zip(singles, ("PATCH", "PUT"), strict=True):
            number_text = where.path.removeprefix(prefix)
            if method == verb and re.fullmatch(r"\d+", number_text):
                number = int(number_text)
                forge.comments[number] = (data["body"], forge.comments[number][1])
                return self.send(200, self.shown(number))
        return self.send(404, {"message": "Not Found"})

    def list_comments(self, path: str, query: dict[str, list[str]]) -> None:
        forge = self.forge
        number = int(query.get("page", ["1"])[0])
        size = min(forge.page, int(query["per_page"][0]))
        found = [self.shown(one) for one in sorted(forge.comments)]
        headers = {}
        if len(found) > number * size:
            server = forge.next_server or forge.url
            page = f"{server}{path.removeprefix('/api')}?per_page={size}&page={number + 1}"
            headers["Link"] = f'<{page}>; rel="next", <{page}>; rel="last"'
        self.send(200, found[(number - 1) * size : number * size], headers)

    def shown(self, number: int) -> dict[str, Any]:
        body, author = self.forge.comments[number]
        kind = "Bot" if author.endswith("[bot]") else "User"
        return {
            "id": number,
            "body": body,
            "html_url": f"{self.forge.url}/comment-{number}",
            "user": {"login": author, "type": kind},
            "author": {"id": author},
        }

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def open_forge() -> Iterator[Forge]:
    """Serve a forge on this machine."""
    forge = Forge()
    handler = type("Handler", (_Handler,), {"forge": forge})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        forge.url = f"http://127.0.0.1:{server.server_port}/api"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield forge
        finally:
            server.shutdown()
            thread.join()
