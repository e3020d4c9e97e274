"""Optuna's dashboard on copies of searches, which follow the ledgers while it is served."""

from __future__ import annotations

import gzip
import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from vitnas.errors import InputError
from vitnas.report.mirror import Mirror

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
POLL = 1.0  # seconds between looks at the ledgers
FAST = 1  # compression level; a slower one makes it little smaller
SHARE = 0.25  # of a core that copying may take, so that it does not slow the search


@contextmanager
def dashboard(runs: Sequence[Path], host: str = LOOPBACK, port: int = 8080) -> Iterator[str]:
    """Serve the searches of some runs and follow them, while entered; gives the address.

    Port 0 is any free one. The ledgers are only read; what the dashboard would change is refused.

    Raises:
        InputError: the dashboard is not installed, the runs have no search, or the port is taken.
    """
    app = _application()
    mirror = Mirror(runs)
    mirror.update()
    if not len(mirror):
        raise InputError(f"no search to view in {', '.join(map(str, runs))}")
    guarded = _guarded(_packed(app(mirror.storage), mirror.lock), host)
    try:
        server = make_server(host, port, guarded, server_class=_Server, handler_class=_Handler)
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or error
        raise InputError(f"can't serve at {host}:{port}: {told}; choose another --port") from error
    ended = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, daemon=True),
        threading.Thread(target=_follow, args=(mirror, ended), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://{host}:{server.server_port}/dashboard/"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def _application() -> Callable[[Any], WSGIApplication]:
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise InputError(
            "Optuna's dashboard is not installed; install it with `pip install vitnas[view]`"
        ) from error
    found: Callable[[Any], WSGIApplication] = wsgi
    return found


def _follow(mirror: Mirror, ended: threading.Event) -> None:
    pause = POLL
    while not ended.wait(pause):
        began = time.thread_time()
        try:
            mirror.update()
        except Exception:  # the page goes on with what it has
            _log.exception("can't follow the searches")
        took = time.thread_time() - began
        pause = max(POLL, took * (1 / SHARE - 1))


def _guarded(app: WSGIApplication, host: str) -> WSGIApplication:
    """Refuse what would change something, and, on loopback, pages of other sites.

    A foreign page can make a browser ask its own name at this machine's address; then the request
    names that host.
    """

    def serve(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        asked = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if _is_loopback(host) and not _is_loopback(str(asked)):
            return _refuse(start, "403 Forbidden", f"this page is served to {host} alone")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start, "403 Forbidden", "this is a copy to look at; nothing is changed")
        return app(environ, start)

    return serve


def _packed(app: WSGIApplication, lock: threading.Lock) -> WSGIApplication:
    """Hold a lock while data is asked for, and send it compressed where the browser takes that."""

    def serve(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/api/"):
            return app(environ, start)
        told: list[tuple[str, list[tuple[str, str]]]] = []

        def keep(status: str, headers: list[tuple[str, str]], error: Any = None, /) -> Any:
            told.append((status, headers))

        with lock:
            body = b"".join(app(environ, keep))
        status, headers = told[-1]
        headers = [header for header in headers if header[0].lower() != "content-length"]
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, FAST)
            headers.append(("Content-Encoding", "gzip"))
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    return serve


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _refuse(start: StartResponse, status: str, reason: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json")])
    return [f'{{"reason": "{reason}"}}'.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at once."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
