"""Who is let in, by Host, Origin and token; and every error on its way out becomes a refusal in the contract's shape.

Hosts are an allow-list: a name that was rebound to this address would pass any check of origins. Socket.IO is behind
the same guard.

No page of another origin is let in unless it is listed, not even one of this machine: the line by which people reach a
rented instance forwards a port of loopback to it, so that a page at http://localhost:8080 is the instance's own. The
service's own pages prove themselves by an Origin that equals the Host, or, where a browser sends no Origin (a GET of
the same origin), by Sec-Fetch-Site. What is not a browser sends neither, and needs only the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.errors import (
    BodyTooLarge,
    Forbidden,
    InstallerError,
    InvalidRequest,
    StoreUnavailable,
    Unauthorized,
    is_shortage,
)
from service.web import refusals
from service.web.connection import CONNECTION
from service.web.peers import TokenBrake

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 1 << 20
# Socket.IO asks for the token itself.
SOCKET_PATH = "/socket.io/"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# An answer is data: no browser may guess another type, keep it, or show it inside of another page. Server names no
# versions.
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A name or an address, and a port. Anything else is nobody's name, whatever a lenient reader would make of it.
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
_ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID"
_ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_OTHER_SITE = "a page of another site asked: only pages of INSTALLER_CORS_ORIGINS may"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The rules of one service. ``hosts``: names it answers to, beside those of loopback and of the address it is bound
    to. ``is_open``: whether a path is answered without a token. ``brake``: slows down who guesses the token."""

    bound_host: str
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    api_token: str | None = None
    is_open: Callable[[str], bool] = lambda _path: False
    brake: TokenBrake = field(default_factory=TokenBrake)

    def middlewares(self) -> list[Middleware]:
        """Outermost first."""
        return [self._check_host_and_origin, refuse, self._check_token]

    def allows_host(self, header: str | None) -> bool:
        name = _host_name(header or "")
        allowed = (*LOOPBACK_NAMES, self.bound_host.lower(), *(_host_name(h) or h.lower() for h in self.hosts))
        return name is not None and name in allowed

    def allows_origin(self, origin: str, host_header: str | None) -> bool:
        if origin in self.origins:
            return True
        try:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or parts.hostname is None or parts.port == 0:
                return False
        except ValueError:
            return False
        return host_header is not None and parts.netloc.lower() == host_header.lower()

    def allows_socket_origin(self, origin: str, environ: Any) -> bool:
        """The same question as Engine.IO asks it."""
        return self.allows_origin(origin, environ.get("HTTP_HOST"))

    def allows_token(self, authorization: str | None) -> bool:
        if self.api_token is None:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(_bytes(token.strip()), _bytes(self.api_token))

    @web.middleware
    async def _check_host_and_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        if not self.allows_host(host):
            message = f'host "{(host or "")[:100]}" is not let in: add it to INSTALLER_ALLOWED_HOSTS'
            return refusals.response(Forbidden(message))
        origin = request.headers.get("Origin")
        if origin is None:
            if not _may_come_without_origin(request):
                return refusals.response(Forbidden(_OTHER_SITE))
            return await handler(request)
        if not self.allows_origin(origin, host):
            return refusals.response(Forbidden(self._refused_origin(origin)))
        if request.path.startswith(SOCKET_PATH):
            return await handler(request)
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        response = web.Response(status=204) if preflight else await handler(request)
        if not response.prepared:
            response.headers.update(_cors(origin))
        return response

    def _refused_origin(self, origin: str) -> str:
        listed = ",".join((*self.origins, origin[:100]))
        return f'origin "{origin[:100]}" is not let in: INSTALLER_CORS_ORIGINS={listed} would let its pages in'

    @web.middleware
    async def _check_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not (request.path.startswith(SOCKET_PATH) or self.is_open(request.path)):
            self._check(request)
        return await handler(request)

    def _check(self, request: web.Request) -> None:
        """Raises Unauthorized, TooManyGuesses."""
        given = request.headers.get("Authorization")
        connection = request.get(CONNECTION)
        peer = connection.peer if connection is not None else None
        if self.api_token is not None and given is not None:
            self.brake.check(peer)
        if not self.allows_token(given):
            if given is not None:
                self.brake.wrong(peer)
            raise Unauthorized("wrong or missing token: send Authorization: Bearer <token>")
        if self.api_token is not None and connection is not None:
            connection.know()


def _may_come_without_origin(request: web.Request) -> bool:
    """A browser sends no Origin with a GET of its own origin, with one that a person typed or followed to a page, and
    with one for an image or a script of any site: Sec-Fetch-Site tells them apart."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site in ("none", "same-origin"):
        return True
    mode, destination = request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest")
    return request.method in ("GET", "HEAD") and mode == "navigate" and destination == "document"


async def set_safe_headers(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """For every response, also of a stream: a signal of aiohttp, sent before the headers are. What a handler has set
    stays."""
    for name, value in _SAFE_HEADERS.items():
        response.headers.setdefault(name, value)
    # aiohttp has set its own already.
    response.headers["Server"] = "resource-installer"


@web.middleware
async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error becomes a refusal in the contract's shape."""
    try:
        return await handler(request)
    except InstallerError as error:
        if error.status == 500:
            logger.exception("%s %s failed", request.method, request.path)
        return refusals.response(error)
    except web.HTTPRequestEntityTooLarge:
        return refusals.response(BodyTooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes"))
    except web.RequestPayloadError:
        message = "the body cannot be read: its Content-Encoding or its chunks are broken"
        return refusals.response(InvalidRequest(message))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return refusals.http_response(error, f"{request.method} {request.path[:200]}")
    except ConnectionError:
        raise
    except Exception as error:
        if is_shortage(error):
            return refusals.response(StoreUnavailable(f"it is short of descriptors or memory ({error})"))
        logger.exception("%s %s failed", request.method, request.path)
        return refusals.response(InstallerError())


def cors_headers(request: web.Request) -> dict[str, str]:
    """For a response that is prepared before the middleware sees it; the origin was checked before."""
    origin = request.headers.get("Origin")
    return _cors(origin) if origin is not None else {}


def _cors(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": _ALLOWED_METHODS,
        "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
        "Access-Control-Expose-Headers": "ETag, Location",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def _bytes(text: str) -> bytes:
    """A header may hold bytes that are not UTF-8; aiohttp makes surrogates of them."""
    return text.encode("utf-8", "surrogateescape")


def _host_name(header: str) -> str | None:
    """The name in a Host header, in lower case and without its port; None if there is none."""
    found = _HOST.fullmatch(header.strip())
    if found is None:
        return None
    name = (found["address"] or found["name"]).lower()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.rstrip(".")
