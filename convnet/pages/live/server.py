"""Serves one page on this machine alone, to those who know its address.

Every answer comes from here, so that each of these rules holds for all of them (SECURITY.md says against whom):
the address has a token, and without it there is nothing; requests name this machine as their host, which those of a
foreign name that leads here do not; GET changes nothing, and POST is taken from this page alone; whoever sends much, or
slowly, or opens many connections, is cut off. A client is never waited for, and what it does wrong is not told of.
"""

import contextlib
import hmac
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, BinaryIO, NamedTuple, Self
from urllib.parse import parse_qsl

from convnet.errors import OptionError, reason_of

PORT, _OTHERS = 8012, 20  # the first that is tried where none is named, and how many more
HERE = "127.0.0.1"
CONNECTIONS = 16  # at a time
HEAD = 16 << 10  # bytes of a request, which has no body
SECONDS, CROWDED = 10.0, 1.0  # that a request and its answer may take together, and where all connections are in use
_FIELDS = 8  # of a query
_LOOK = 0.2  # seconds between two looks at what is late, and at whether to end
_LOG = logging.getLogger("convnet.page")

# Styles may stand in the page, as drawings have them; they can load nothing, as nothing else here can.
_RULES = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Connection": "close",
}


class Answer(NamedTuple):
    """What is sent: its media type and its bytes."""

    kind: str
    body: bytes


Query = Mapping[str, str]
Routes = Mapping[str, Callable[[Query], Answer]]  # by the last part of the address


class PageServer:
    """Answers at ``address`` inside a ``with``: ``gets`` to GET, which change nothing, ``posts`` to POST.

    ``port`` 0 is 8012, or the next that is free. Routes are called in threads, several at a time. Raises ``OptionError``
    for a port that cannot be had.
    """

    def __init__(self, port: int, gets: Routes, posts: Routes) -> None:
        self._listener = _listener(port)
        self._listener.gets, self._listener.posts = gets, posts
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(_LOOK,), name="convnet-page", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.server_address[1])

    @property
    def address(self) -> str:
        """What a browser is given."""
        return f"http://{HERE}:{self.port}/{self._listener.token}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self.close()
        self._thread.join()

    def close(self) -> None:
        """Give the port back, of a server that was never entered too."""
        self._listener.server_close()


def _listener(port: int) -> "_Listener":
    ports = [port] if port else [*range(PORT, PORT + _OTHERS), 0]
    for number in ports:
        try:
            return _Listener(number)
        except OSError as error:
            fault = reason_of(error)
    if not port:
        raise OptionError(f"no port of {HERE} can be had: {fault}; a run without --live needs none")
    raise OptionError(f"port {port} of {HERE} cannot be had: {fault}; name another, or none: one that is free is taken")


class _Listener(ThreadingMixIn, TCPServer):
    """Takes connections, a thread for each, as many as there may be; ends those that are late."""

    daemon_threads, block_on_close = True, False
    allow_reuse_address = os.name == "posix"  # a port just left; elsewhere it would share one that is in use
    request_queue_size = CONNECTIONS
    gets: Routes
    posts: Routes

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe()
        self._since: dict[socket.socket, float] = {}
        self._one_at_a_time = threading.Lock()
        super().__init__((HERE, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._one_at_a_time:
            is_full = len(self._since) >= CONNECTIONS
            if not is_full:
                self._since[request] = time.monotonic()
        if is_full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._one_at_a_time:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        with self._one_at_a_time:
            late = time.monotonic() - (SECONDS if len(self._since) < CONNECTIONS else CROWDED)
            requests = [request for request, since in self._since.items() if since < late]
        for request in requests:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever left in the middle of something is gone, and the run goes on."""


class _Head:
    """The beginning of what a client sends, of ``left`` bytes; behind these it is as if the client had left."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self.file, self.left = file, left

    def readline(self, size: int) -> bytes:
        line = self.file.readline(min(size, self.left))
        self.left -= len(line)
        return line

    def close(self) -> None:
        self.file.close()


class _Handler(BaseHTTPRequestHandler):
    """One request, its answer, and the end of the connection."""

    timeout = SECONDS
    server: _Listener
    rfile: Any

    def setup(self) -> None:
        super().setup()
        self.rfile = _Head(self.rfile, HEAD)

    def do_GET(self) -> None:
        """Answer; Python finds this by its name."""
        status, answer = self._answer()
        self._send(status, answer)

    do_HEAD = do_POST = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer a request that Python cannot read, without a word of it."""
        self._send(code, Answer("", b""))

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: standard output and error are the run's."""

    def _answer(self) -> tuple[int, Answer]:
        """Return the status and what is sent with it, which is nothing unless the request keeps every rule."""
        refused, method, headers = Answer("", b""), self.command, self.headers
        path, _, fields = self.path.partition("?")
        token, slash, name = path.removeprefix("/").partition("/")
        is_known = hmac.compare_digest(token.encode("latin-1", "replace"), self.server.token.encode())
        if self.rfile.left <= 0:
            return 431, refused
        if headers.get_all("Host", []) not in self._hosts():
            return 403, refused
        if not (is_known and slash and path.startswith("/")):
            return 404, refused
        mine, others = self.server.gets, self.server.posts
        if method == "POST":
            mine, others = others, mine
            if not self._is_from_page():
                return 403, refused
        if name not in mine:
            return 405 if name in others else 404, refused
        if headers.get_all("Content-Length", ["0"]) != ["0"] or "Transfer-Encoding" in headers:
            return 413, refused
        try:
            query = dict(parse_qsl(fields, max_num_fields=_FIELDS))
        except ValueError:
            return 400, refused
        try:
            return 200, mine[name](query)
        except Exception:  # a fault of this program, which is no reason to disturb the run
            _LOG.debug("the page could not be made", exc_info=True)
            return 500, refused

    def _hosts(self) -> list[list[str]]:
        port = self.server.server_address[1]
        return [[name if port == 80 else f"{name}:{port}"] for name in (HERE, "localhost")]  # as browsers say it

    def _is_from_page(self) -> bool:
        """Whether a browser says that this page has sent the request; whoever is none has to say so, too."""
        headers = self.headers
        is_same = headers.get_all("Origin", []) == [f"http://{headers['Host']}"]
        return is_same and headers.get_all("Sec-Fetch-Site", ["same-origin"]) == ["same-origin"]

    def _send(self, status: int, answer: Answer) -> None:
        kind = {"Content-Type": answer.kind} if answer.kind else {}
        self.send_response_only(status)
        for name, value in (_RULES | kind | {"Content-Length": str(len(answer.body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
