"""Read the answers of a tracking server: MLflow takes some errors for successes."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, final
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from .errors import ASKED_PAUSE, LOGIN

_API = re.compile(r"/(?:ajax-)?api/\d+\.\d+/(mlflow|mlflow-artifacts)/(.*)")
_READING = ("GET", "HEAD")
# What these answers must have: a run without an id would be filled without an error, too.
_EXPECTED = {
    "runs/create": "run",
    "runs/get": "run",
    "runs/update": "run_info",
    "experiments/create": "experiment_id",
    "experiments/get": "experiment",
    "experiments/get-by-name": "experiment",
}
# The answer of these is an empty object.
_EMPTY = frozenset({"runs/log-batch", "runs/log-inputs", "runs/set-tag", "runs/log-metric"})
# A status that is to be retried must reach the tracker with its headers and its reason.
_NO_RETRIES = Retry(0, status_forcelist=(), respect_retry_after_header=False)
# A page of 500 runs with thousands of metrics each is smaller. The time is that of all reads; each
# of them may take the timeout of the request.
_LONGEST, _TIMEOUTS, _TIMEOUT = 200_000_000, 4, 30.0
_READ = 65_536


@final
class EndlessAnswerError(Exception):
    """An answer is too long, or takes too long; the text is for the user."""


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """What an answer means in truth: a status, one of MLflow's error codes, and words for it."""

    status: int
    code: str
    message: str

    def response(self, request: PreparedRequest) -> Response:
        """Return the answer as a server would have given it that speaks MLflow's language."""
        response = Response()
        response.request, response.url = request, request.url or ""
        response.status_code, response.encoding = self.status, "utf-8"
        response.headers["Content-Type"] = "application/json"
        # MLflow reads the body alone, and there is no public way to set it.
        response._content = json.dumps({"error_code": self.code, "message": self.message}).encode()
        response._content_consumed = True
        return response


@contextmanager
def checked_answers() -> Iterator[None]:
    """Give MLflow, in this process, the true status of answers that it would misunderstand."""
    send = HTTPAdapter.send

    def checked(
        self: HTTPAdapter, request: PreparedRequest, stream: bool = False, **options: Any
    ) -> Response:
        path = urlsplit(request.url or "").path
        if api := _API.search(path):
            self.max_retries = _NO_RETRIES
        response = send(self, request, stream=stream, **options)
        try:
            if not (stream and request.method == "GET" and response.ok):
                _read(response, options.get("timeout"))
            found = _refusal(request, response, api, stream=stream)
        except EndlessAnswerError as error:
            found = Refusal(502, "TEMPORARILY_UNAVAILABLE", f"{error} ({_place(response)})")
        if found is None:
            return response
        response.close()
        return found.response(request)

    HTTPAdapter.send = checked  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        HTTPAdapter.send = send  # type: ignore[method-assign]


def _read(response: Response, timeout: object) -> None:
    """Read the body of an answer that stays in memory; downloads go to files, however large.

    Raises:
        EndlessAnswerError: the body does not end.
    """
    seconds = _TIMEOUTS * (float(timeout) if isinstance(timeout, int | float) else _TIMEOUT)
    raw, ends = response.raw, time.monotonic() + seconds
    # Returns what is there; older releases of urllib3 can only wait for all of it.
    read = getattr(raw, "read1", raw.read)

    def stream(_size: int, decode_content: bool = True) -> Iterator[bytes]:
        length = 0
        while data := read(_READ, decode_content=decode_content):
            yield data
            length += len(data)
            if length > _LONGEST:
                size = f"{_LONGEST / 1e6:,.0f} MB"
                raise EndlessAnswerError(f"its answer does not end: it was cut after {size}")
            if time.monotonic() > ends:
                text = f"its answer does not end: it was cut after {seconds:.3g} seconds"
                raise EndlessAnswerError(text)
        # Gives the connection back, which before Python 3.13 a last read does not.
        yield raw.read(decode_content=decode_content)

    # Here, for requests knows what the errors of urllib3 mean.
    raw.stream = stream
    response.content  # noqa: B018


def _refusal(
    request: PreparedRequest, response: Response, api: re.Match[str] | None, *, stream: bool
) -> Refusal | None:
    """Return what is wrong with an answer; None if it may be taken as it is."""
    status = response.status_code
    # The answer of a login page elsewhere, to which a download was sent, is looked at as well, and
    # that to an upload to a plain web server, which tells with other statuses that it has the file.
    if api is None:
        is_told = request.method == "GET" or (request.method == "PUT" and status == 200)
        return _page(request, response) if is_told else None
    # A download, of whatever the user has kept.
    is_file = stream and request.method == "GET"
    if response.is_redirect:
        return _redirect(request, response, is_file=is_file)
    if not response.ok:
        return _error(request, response, api)
    if is_file:
        return _page(request, response)
    return _content(response, api)


def _page(request: PreparedRequest, response: Response) -> Refusal | None:
    """Return the refusal of a web page; those that users keep as artifacts are told from it."""
    if response.status_code >= 300 or "text/html" not in response.headers.get("Content-Type", ""):
        return None
    is_artifact = "attachment" in response.headers.get("Content-Disposition", "")
    is_artifact |= urlsplit(request.url or "").path.lower().endswith((".html", ".htm"))
    return None if is_artifact and request.method == "GET" else _web_page(response)


def _web_page(response: Response) -> Refusal:
    text = f"the answer is a web page: {LOGIN} ({_place(response)})"
    return Refusal(502, "TEMPORARILY_UNAVAILABLE", text)


def _place(response: Response) -> str:
    """Return the status and the URL of an answer without credentials."""
    return f"status {response.status_code} of {_bare(response.url)}"


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _content(response: Response, api: re.Match[str]) -> Refusal | None:
    """Return the refusal of what is no answer of MLflow in spite of its status."""
    body = response.content.strip()
    if body.startswith((b"<", b"\xef\xbb\xbf<")):
        return _web_page(response)
    expected, is_empty = _EXPECTED.get(api[2]), api[2] in _EMPTY
    data: object = None
    if b'"error_code"' in body or expected or is_empty:
        with suppress(ValueError):
            data = json.loads(body)
    if isinstance(data, dict) and data.get("error_code"):
        code = str(data["error_code"])
        said = data.get("message") or "no reason given"
        text = (
            f"it answers with an error in spite of status {response.status_code} ({code}: {said})"
        )
        return Refusal(500, code, text)
    if not body and (expected or is_empty):
        text = f"its answer is empty ({_place(response)}): is it a server of MLflow?"
        return Refusal(502, "TEMPORARILY_UNAVAILABLE", text)
    # What is no JSON is MLflow's to refuse.
    if isinstance(data, dict) and (expected not in data if expected else is_empty and data):
        lacks = f"has no {expected!r}" if expected else f"is not empty, but has {sorted(data)[0]!r}"
        text = f"its answer {lacks} ({_place(response)}): is it a server of MLflow?"
        return Refusal(502, "TEMPORARILY_UNAVAILABLE", text)
    return None


def _redirect(request: PreparedRequest, response: Response, *, is_file: bool) -> Refusal | None:
    """Return the refusal of a redirect that loses what was sent, or that leads to a login."""
    target = urljoin(request.url or "", response.headers["Location"])
    is_api = _API.search(urlsplit(target).path) is not None
    keeps = request.method in _READING or response.status_code in (307, 308)
    if keeps and (is_api or is_file):
        return None
    start = f"it redirects to {_bare(target)} (status {response.status_code})"
    if is_api:
        return Refusal(404, "ENDPOINT_NOT_FOUND", f"{start}: use its address as the tracking URI")
    return Refusal(502, "TEMPORARILY_UNAVAILABLE", f"{start}: {LOGIN}")


def _error(request: PreparedRequest, response: Response, api: re.Match[str]) -> Refusal | None:
    """Return words for an error that MLflow has none for."""
    status, pause = response.status_code, _pause(response)
    asks = "" if pause is None else f" and asks for {ASKED_PAUSE.format(pause)}"
    if status == 429:
        text = f"it gets too many requests at once (429){asks}: send the rest later"
        return Refusal(429, "REQUEST_LIMIT_EXCEEDED", text)
    if status == 413:
        text = (
            "it takes nothing as large as this (413): raise the limit of the server, or of the "
            "proxy in front of it"
        )
        return Refusal(413, "MAX_BLOCK_SIZE_EXCEEDED", text)
    if status == 507:
        text = "the server's disk is full (507 Insufficient Storage): make room there"
        return Refusal(507, "RESOURCE_EXHAUSTED", text)
    if status == 503 and pause is not None:
        return Refusal(503, "TEMPORARILY_UNAVAILABLE", f"it answers with status 503{asks}")
    is_upload = request.method == "PUT" and api[1] == "mlflow-artifacts"
    if status == 500 and is_upload and b"No space left" not in response.content:
        # MLflow keeps to itself why it could not write a file.
        text = (
            "it answers with status 500 to an upload; the reason is in its log (is the disk of "
            "its artifacts full?)"
        )
        return Refusal(500, "INTERNAL_ERROR", text)
    return None


def _pause(response: Response) -> int | None:
    """Return the seconds that ``Retry-After`` asks for, which may be a date; None without it."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return int(value)
    with suppress(ValueError, TypeError):
        until = parsedate_to_datetime(value).timestamp()
        now = time.time()
        # The clock of the server may be wrong.
        with suppress(ValueError, TypeError):
            now = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
        return max(0, math.ceil(until - now))
    return None
