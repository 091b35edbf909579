"""Send requests to a tracking server as MLflow's client does, without loading MLflow."""

from __future__ import annotations

import base64
import configparser
import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, ClassVar, Final, final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import connection, connectionpool

from .errors import StoreError

# Whatever makes MLflow send requests in another way than here.
_SPECIAL: Final = re.compile(
    r"MLFLOW_TRACKING_(AUTH|AWS_SIGV4)|MLFLOW_HTTP_(POOL|TCP)_\w+|_MLFLOW_DATABRICKS_TRAFFIC_ID"
    r"|DATABRICKS_RUNTIME_VERSION"
)
_TIMEOUT: Final = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_USUAL_TIMEOUT: Final = "120"
_SWITCH: Final = {"true": True, "1": True, "false": False, "0": False}
_INFO: Final = "/api/3.0/mlflow/server-info"
# As many cases and as many files are sent at the same time.
_CONNECTIONS: Final = 16


@final
class Server:
    """A tracking server at ``host``, which is a URI; connections are kept, by all threads."""

    def __init__(
        self,
        host: str,
        headers: Mapping[str, str],
        verify: str | bool = True,
        cert: str | None = None,
    ) -> None:
        self.host = host
        self._headers = headers
        self._options: dict[str, Any] = {"verify": verify, "cert": cert}
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_maxsize=_CONNECTIONS))

    @classmethod
    def of(cls, tracking_uri: str) -> Server | None:
        """Return the server at a URI; None where only MLflow knows how to ask it."""
        environ, parts = os.environ, urlsplit(tracking_uri)
        insecure = _SWITCH.get(environ.get("MLFLOW_TRACKING_INSECURE_TLS", "false").lower())
        certificates = environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or any(mark in tracking_uri for mark in "?#;")
            or any(_SPECIAL.fullmatch(name) for name, value in environ.items() if value)
            or not environ.get(_TIMEOUT, _USUAL_TIMEOUT).isdecimal()
            or insecure is None
            or (insecure and certificates is not None)
            or _has_plugins(parts.scheme)
        ):
            return None
        found = cls(
            tracking_uri.removesuffix("/"),
            _headers(),
            not insecure if certificates is None else certificates,
            environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
        )
        return found if _WORKSPACE not in found._headers or found._has_workspaces() else None

    def _has_workspaces(self) -> bool:
        with suppress(StoreError, ValueError, LookupError, TypeError):
            data = self.request("GET", _INFO, seconds=3).json()
            return bool(data["workspaces_enabled"])
        return False

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def ask(
        self, method: str, endpoint: str, data: Mapping[str, Any], part: str | None = None
    ) -> Any:
        """Return what the server's REST API answers, or the named part of it.

        Raises:
            StoreError: it refuses, or it can't be asked; text and code are those of MLflow's error.
        """
        path = f"/api/2.0/mlflow/{endpoint}"
        if method == "GET":
            found = _content(self.request(method, path, params=data), path)
        else:
            found = _content(self.request(method, path, json=data), path)
        if part is None:
            return found
        if part not in found:
            text = f"its answer has no {part!r}: is it a server of MLflow?"
            raise StoreError(text, "TEMPORARILY_UNAVAILABLE")
        return found[part]

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        **options: Any,
    ) -> requests.Response:
        """Send a request, and return the answer, whatever its status.

        Raises:
            StoreError: there is no answer.
        """
        url = f"{self.host}{path}"
        redirects = os.environ.get("MLFLOW_ALLOW_HTTP_REDIRECTS", "true").lower() in ("true", "1")
        try:
            return self._session.request(
                method,
                url,
                headers={**self._headers, **(headers or {})},
                timeout=timeout() if seconds is None else seconds,
                allow_redirects=redirects,
                **self._options,
                **options,
            )
        except requests.exceptions.Timeout as error:
            text = (
                f"API request to {url} failed with timeout exception {error}. To increase the "
                f"timeout, set the environment variable {_TIMEOUT} (default: {_USUAL_TIMEOUT}) "
                "to a larger value."
            )
            raise StoreError(text, "INTERNAL_ERROR") from error
        except requests.exceptions.InvalidURL as error:
            raise StoreError(f"Invalid url: {url}", "INTERNAL_ERROR") from error
        except Exception as error:
            text = f"API request to {url} failed with exception {error}"
            raise StoreError(text, "INTERNAL_ERROR") from error


def timeout() -> int:
    """Return for how many seconds a server may say nothing."""
    return int(os.environ.get(_TIMEOUT, _USUAL_TIMEOUT))


def _has_plugins(scheme: str) -> bool:
    stores = entry_points(group="mlflow.tracking_store", name=scheme)
    return bool(stores or entry_points(group="mlflow.request_header_provider"))


_WORKSPACE: Final = "X-MLFLOW-WORKSPACE"


def _headers() -> dict[str, str]:
    """Return the headers of each request, as MLflow's client sends them."""
    release = version("mlflow")
    headers = {
        "User-Agent": f"mlflow-python-client/{release}",
        "X-MLflow-Client-Version": release,
    }
    if workspace := os.environ.get("MLFLOW_WORKSPACE", "").strip():
        headers[_WORKSPACE] = workspace
    user, password = map(_credential, ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"))
    if user and password:
        basic = base64.standard_b64encode(f"{user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {basic}"
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _credential(name: str) -> str | None:
    """Return a name or a password from the environment, or from MLflow's file of credentials."""
    if value := os.environ.get(name):
        return value
    parser = configparser.ConfigParser()
    parser.read(Path("~/.mlflow/credentials").expanduser())
    return parser.get("mlflow", name.lower(), fallback=None)


_OF_STATUS: Final = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CODES: Final = frozenset({
    *_OF_STATUS.values(),
    *("INTERNAL_ERROR", "INVALID_STATE", "DATA_LOSS", "ABORTED", "NOT_FOUND"),
    *("REQUEST_LIMIT_EXCEEDED", "RESOURCE_CONFLICT", "RESOURCE_DOES_NOT_EXIST"),
    *("CUSTOMER_UNAUTHORIZED", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE"),
    *("MAX_BLOCK_SIZE_EXCEEDED", "FEATURE_DISABLED"),
})  # fmt: skip


def _content(response: requests.Response, path: str) -> dict[str, Any]:
    """Return the object in an answer.

    Raises:
        StoreError: it is an error, or has no object in it.
    """
    status, text = response.status_code, response.text
    if status == 200 and text.strip() in ("", "200 OK"):
        return {}
    found: Any = None
    with suppress(ValueError):
        found = json.loads(text)
    if status == 200 and isinstance(found, dict):
        return found
    if status == 200:
        said = "was successful but the response body was not in a valid JSON format"
        raise StoreError(f"API request to endpoint {said}. Response body: '{text}'", _UNKNOWN)
    if not isinstance(found, dict):
        said = f"endpoint {path} failed with error code {status} != 200"
        code = _OF_STATUS.get(status, _UNKNOWN)
        raise StoreError(f"API request to {said}. Response body: '{text}'", code)
    code = found.get("error_code") or _UNKNOWN
    if code not in _CODES:
        # MLflow knows many more.
        from mlflow.exceptions import RestException

        error: Callable[[dict[str, Any]], Exception] = RestException
        raise error(found)
    raise StoreError(f"{code}: {found.get('message', f'Response: {found}')}", code)


_UNKNOWN: Final = "INTERNAL_ERROR"


def raise_for_status(response: requests.Response) -> None:
    """Raise an error for an answer that is one, as MLflow does for artifacts.

    Raises:
        requests.HTTPError: it is an error, with its text.
    """
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        if not response.text:
            raise
        text = f"{error}. Response text: {response.text}"
        raise requests.HTTPError(text, request=error.request, response=response) from None


# Where a server sends an answer in two parts, and waits for the first one to be acknowledged, as
# MLflow's does with several workers, Linux would take 40 ms to acknowledge it.
_ACKNOWLEDGE: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


# Errors name these classes, as they name those that MLflow uses.
class HTTPConnection(connection.HTTPConnection):
    """A connection that acknowledges the first part of an answer at once."""

    def getresponse(self) -> Any:
        """Return the answer, of which the headers are there."""
        response = super().getresponse()
        if _ACKNOWLEDGE is not None and isinstance(self.sock, socket.socket):
            with suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE, 1)
        return response


class HTTPSConnection(HTTPConnection, connection.HTTPSConnection):
    """The same, encrypted."""


class HTTPConnectionPool(connectionpool.HTTPConnectionPool):
    """A pool of such connections."""

    ConnectionCls = HTTPConnection


class HTTPSConnectionPool(connectionpool.HTTPSConnectionPool):
    """The same, encrypted."""

    ConnectionCls = HTTPSConnection


class _Adapter(HTTPAdapter):
    """Keeps connections for all threads."""

    _pools: ClassVar[dict[str, Any]] = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools of connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools
