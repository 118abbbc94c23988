"""`ssl-bench serve`: a store as web pages. It answers GET alone, and nothing that it does changes the store."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ssl_bench.errors import UserError
from ssl_bench.live.pages import TEMPLATES, MissingError, Pages
from ssl_bench.live.report_sites import ReportSites
from ssl_bench.live.snapshot import StoreReader
from ssl_bench.reporting.site import ASSETS
from ssl_bench.reporting.site import TEMPLATES as SITE_TEMPLATES

log = logging.getLogger("ssl_bench")

LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")
OPEN = ("0.0.0.0", "::", "")  # noqa: S104 - addresses that mean every one of this machine
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
OPTIONS: dict[str, Any] = {  # of uvicorn
    "log_level": "error", "access_log": False, "lifespan": "off", "ws": "none", "http": "h11", "server_header": False,
    "proxy_headers": False, "timeout_graceful_shutdown": 2,
}  # fmt: skip
STATIC = {
    **{name: SITE_TEMPLATES / name for name in ASSETS},
    **{name: TEMPLATES / name for name in ("live.css", "live.js")},
    "favicon.ico": TEMPLATES / "icon.svg",  # asked for by browsers, whatever its format
}


def make_app(pages: Pages, sites: ReportSites, hosts: Sequence[str]) -> Any:
    """Return the ASGI application.

    Args:
        pages: of the store.
        sites: of the reports.
        hosts: names by which a browser may call the server. Others are refused, so that no other site can read the
            store through a name that it lets point here (DNS rebinding).

    Raises:
        UserError: the extra `serve` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.requests import Request
        from starlette.responses import FileResponse, PlainTextResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise _missing(error) from None

    def page(request: Request, text: str, status: int = 200) -> Response:
        content = text.encode()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        if status == 200 and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(content, status, {"ETag": tag} if status == 200 else None, "text/html; charset=utf-8")

    def index(request: Request) -> Response:
        asked = request.query_params
        words = (asked.get(name, "") for name in ("state", "dataset", "method"))
        return page(request, pages.index(*words, every_run=asked.get("all") == "1"))

    def run(request: Request) -> Response:
        return page(request, pages.run(request.path_params["name"]))

    def compare(request: Request) -> Response:
        asked = request.query_params
        words = (asked.get(name, "") for name in ("metric", "x", "y"))
        return page(request, pages.compare(asked.getlist("run"), *words))

    def case(request: Request) -> Response:
        asked = request.query_params
        return page(request, pages.case(asked.getlist("run"), asked.get("case", "")))

    def picture(request: Request) -> Response:
        return Response(
            pages.picture(request.path_params["name"], request.path_params["number"]), media_type="image/png"
        )

    def reports(request: Request) -> Response:
        return page(request, pages.reports(sites.choices(pages.snapshot())))

    def site(request: Request) -> Response:
        snapshot, asked = pages.snapshot(), request.path_params
        choice = next((one for one in sites.choices(snapshot) if one.key == asked["choice"]), None)
        if choice is None:
            raise HTTPException(404)
        made = sites.ask(choice, snapshot)
        if (made.files is None or made.error) and asked["path"].endswith(".html"):
            if made.error:  # an earlier report would be shown as that of now
                return page(request, pages.message("The report cannot be made", made.error))
            text = "The tables, figures and claims are being made. This takes up to a minute."
            return page(request, pages.message("One moment", text, waits=True))
        found = None if made.files is None else made.files.get(asked["path"])
        if found is None or found.name.startswith("."):
            raise HTTPException(404)
        return FileResponse(found)

    def asset(request: Request) -> Response:
        return FileResponse(STATIC[request.url.path.removeprefix("/")])

    def missing(request: Request, error: Exception) -> Response:
        text = str(error) if isinstance(error, MissingError) else "There is no such page."
        return page(request, pages.message("Not found", text), 404)

    async def guarded(request: Request, answer: Callable[[Request], Any]) -> Response:
        if request.method not in ("GET", "HEAD"):
            response: Response = PlainTextResponse("Only GET", 405, {"Allow": "GET, HEAD"})
        else:
            response = await answer(request)
        response.headers.update(HEADERS)
        return response

    routes = [
        Route("/", index), Route("/index.html", index), Route("/runs/{name}.html", run), Route("/compare", compare),
        Route("/case", case), Route("/runs/{name}/cases/{number:int}.png", picture),
        Route("/report", reports), Route("/report/{choice}/{path:path}", site),
        *(Route(f"/{name}", asset) for name in STATIC),
    ]  # fmt: skip
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=guarded),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={404: missing, MissingError: missing},
    )


def serve(
    root: Path, host: str, port: int, allow_hosts: Sequence[str], every: float, make_sites: Callable[[], ReportSites]
) -> None:
    """Serve a store until Ctrl-C or SIGTERM; arguments as in `api.serve`, and what makes the sites of the reports.

    Raises:
        UserError: the extra `serve` is not installed, or the address cannot be listened on.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise _missing(error) from None
    names = host_names(host, allow_hosts)
    with _sigterm_as_ctrl_c(), make_sites() as sites:
        app = make_app(Pages(StoreReader(root), every), sites, names)
        with _listening(host, port) as listener:
            number = listener.getsockname()[1]
            shown = f"[{host}]" if ":" in host else host or "0.0.0.0"  # noqa: S104
            if not _is_local(host):
                log.warning(
                    "warning: --host %s: whoever reaches this machine's port %d can read the store", host, number
                )
            log.info("%s at http://%s:%d/ until Ctrl-C", root, shown, number)
            with suppress(KeyboardInterrupt):
                uvicorn.Server(uvicorn.Config(app, **OPTIONS)).run(sockets=[listener])


def host_names(host: str, allow_hosts: Sequence[str]) -> list[str]:
    """Return the names by which browsers may call a server at an address.

    Raises:
        UserError: a name is not one host's.
    """
    for name in allow_hosts:
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", name):
            raise UserError(f"--allow-host: expected the name of a host, found '{name}'")
    names = {*LOCAL, *allow_hosts}
    if not _is_local(host):
        own = socket.gethostname()
        names |= {own, socket.getfqdn()} | ({host} - {*OPEN})
        if host in OPEN:
            with suppress(OSError):
                names |= {str(entry[4][0]) for entry in socket.getaddrinfo(own, None)}
    bracketed = {f"[{name}]" for name in names if ":" in name and not name.startswith("[")}
    return sorted(names | bracketed)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Within `with`, SIGTERM raises KeyboardInterrupt in the main thread, so that it leaves nothing behind either."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        UserError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"--host {quote(host, safe=':')} --port {port}: cannot be listened on: {reason}") from None


def _missing(error: ImportError) -> UserError:
    return UserError(f"serve: the package {error.name} is not installed; `pip install 'ssl-bench[serve]'` installs it")
