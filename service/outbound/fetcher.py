"""Fetches one thing from a site, within bounds.

Names resolve before a connection and may resolve to something else a moment later, redirects lead anywhere, and an
address can be written in many ways. So the check is made where the socket is opened, of the very address that it will
be connected to, for each connection anew: none is kept, and no look-up is.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.errors import AddressRefused, OutboundError
from service.outbound.targets import check_address, check_name, origin_of, read_address, shown
from service.runner.instance.lookups import Lookups

REDIRECTS_MAX = 5
FETCHES_MAX = 8
SECONDS_MAX = 20.0
SILENCE_SECONDS_MAX = 10.0
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK_BYTES = 64 * 1024

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``url``: of what answered, after all redirects. ``body``: empty for HEAD, and for a redirect that is not
    followed."""

    status: int
    url: URL
    headers: Mapping[str, str]
    body: bytes = b""


class Outbound:
    """``allowed``: private targets that are let in. ``tokens``: the token of each origin now; it goes to no other.
    ``resolve``: the addresses of a host, given its name and port."""

    def __init__(
        self,
        *,
        allowed: Sequence[str] = (),
        tokens: Callable[[], Mapping[str, str]] = dict,
        resolve: Resolve | None = None,
        seconds_max: float = SECONDS_MAX,
        fetches_max: int = FETCHES_MAX,
    ) -> None:
        self._allowed = tuple(allowed)
        self._tokens = tokens
        self._resolve = resolve or Lookups().addresses
        self._seconds_max = seconds_max
        self._places = asyncio.Semaphore(fetches_max)

    def has_token(self, url: str) -> bool:
        return self._token(read_address(url)) is not None

    def _token(self, url: URL) -> str | None:
        wanted = origin_of(url)
        return next((token for at, token in self._tokens().items() if origin_of(read_address(at)) == wanted), None)

    async def fetch(
        self,
        url: str,
        *,
        bytes_max: int,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        follows: bool = True,
        reads: bool = True,
    ) -> Answer:
        """``body``: goes to the first address alone. ``reads``: whether the body of the answer is wanted. Raises
        AddressRefused; OutboundError: no answer, too late, too large, too many redirects."""
        place = read_address(url)
        try:
            async with asyncio.timeout(self._seconds_max), self._places:
                for _ in range(REDIRECTS_MAX + 1):
                    answer = await self._hop(place, method, headers or {}, bytes_max if reads else None, body)
                    following = answer.headers.get("Location")
                    if not follows or answer.status not in _REDIRECTS or following is None:
                        return answer
                    place, body = _next(place, following), None
        except TimeoutError as error:
            raise OutboundError(f"{_site(place)} did not answer in time: try again later") from error
        raise OutboundError(f"{_site(place)} sent the service on more than {REDIRECTS_MAX} times")

    async def _hop(
        self, url: URL, method: str, headers: Mapping[str, str], bytes_max: int | None, body: bytes | None = None
    ) -> Answer:
        """``bytes_max`` None: the body of the answer is not read."""
        check_name(url, self._allowed)
        gate = _Gate(url, self._allowed, self._resolve)
        token = self._token(url)
        sent = {"User-Agent": "resource-installer", "Accept-Encoding": "identity", **headers}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            async with (
                gate.session() as session,
                session.request(method, url, headers=sent, data=body, allow_redirects=False) as response,
            ):
                is_read = method != "HEAD" and response.status not in _REDIRECTS
                said = await _read(response, bytes_max) if is_read and bytes_max is not None else b""
                return Answer(status=response.status, url=url, headers=response.headers.copy(), body=said)
        except (aiohttp.ClientError, OSError, UnicodeError, ValueError) as error:
            if gate.refused is not None:
                raise gate.refused from error
            if isinstance(error, TimeoutError):
                raise
            raise OutboundError(f"{_site(url)} does not answer: {_reason(error)}") from error


class _Gate(AbstractResolver):
    """What stands before one connection: looks the name up and opens the socket, if its address may be connected to."""

    def __init__(self, url: URL, allowed: Sequence[str], resolve: Resolve) -> None:
        self._url = url
        self._allowed = allowed
        self._look_up = resolve
        self.refused: AddressRefused | None = None

    def session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self,
            socket_factory=self._open,
            use_dns_cache=False,
            force_close=True,
            # One address after the other: what the gate refuses is an error of that address, not of the race.
            happy_eyeballs_delay=None,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=SILENCE_SECONDS_MAX, sock_read=SILENCE_SECONDS_MAX),
            # A small body may unpack to gigabytes; the service asks for it as it is.
            auto_decompress=False,
            trust_env=False,
        )

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = dict.fromkeys(await self._look_up(host, port))
        if not found:
            # aiohttp takes it for granted that a name without an address is an error.
            raise OSError(errno.ENXIO, "its name has no address")
        return [_resolved(host, port, address) for address in found]

    async def close(self) -> None:
        """Nothing is kept."""

    def _open(self, info: Any) -> socket.socket:
        family, kind, protocol, _, place = info
        try:
            check_address(self._url, str(place[0]), self._allowed)
        except AddressRefused as error:
            self.refused = error
            raise _Refused(str(error)) from error
        return socket.socket(family=family, type=kind, proto=protocol)


class _Refused(OSError):
    """So that the next address is tried."""


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=0, flags=int(socket.AI_NUMERICHOST)
    )


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > bytes_max:
            raise OutboundError(f"{_site(response.url)} sent more than {bytes_max} bytes")
    if body and response.headers.get("Content-Encoding", "identity") != "identity":
        raise OutboundError(f"{_site(response.url)} sent its answer compressed, though it was asked not to")
    return bytes(body)


def _next(place: URL, location: str) -> URL:
    """Raises AddressRefused, OutboundError."""
    try:
        following = place.join(URL(location))
    except ValueError as error:
        raise OutboundError(f"{_site(place)} sent the service on to what is no address") from error
    if place.scheme == "https" and following.scheme == "http":
        raise OutboundError(f"{_site(place)} sent the service on to an address without TLS")
    return read_address(str(following))


def _site(url: URL) -> str:
    return shown(url.host or "")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return shown(error.os_error.strerror or str(error.os_error))
    return shown(str(error)) or type(error).__name__
