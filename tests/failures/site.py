"""A site with one page for each thing that can go wrong, with and without TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter

from aiohttp import web

SIZES = {"drop": 2_000_000, "eof": 2_000_000, "big": 8_000_000, "slow": 50_000_000, "cdn": 2_000_000}
DROP_AT_BYTES = 500_000
CHUNK_BYTES = 100_000


class Site:
    """``start`` returns its address. ``/STATUS`` answers so; other pages are named after what they do."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []
        self._asked: Counter[str] = Counter()

    async def start(self, tls: ssl.SSLContext | None = None) -> str:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self._runners.append(runner)
        return f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        word, _, rest = request.path.lstrip("/").partition("/")
        self._asked[word] += 1
        if word.isdigit():
            return _status(int(word))
        if word.startswith("hf-"):
            _, status, code = word.split("-")
            return web.Response(status=int(status), headers={"X-Error-Code": code, "X-Request-Id": "Root=1-0"})
        match word:
            case "hang":
                await asyncio.sleep(30)
            case "empty" if request.transport is not None:
                request.transport.close()
            case "storage" | "s3":
                return _stored(request, word)
            case _ if word.startswith("signed-"):
                raise web.HTTPFound(f"/cdn-{word[-1]}/{rest}?X-Amz-Expires=60&X-Amz-Signature=abc")
            case _ if word.startswith("cdn-") and self._asked[word] > 1:
                return web.Response(status=403)
        return await _body(request, "drop" if word.startswith("cdn-") else word)


def _status(status: int) -> web.Response:
    headers = {"Retry-After": "30"} if status == 429 else {}
    headers |= {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    headers |= {"Content-Range": "bytes */1000"} if status == 416 else {}
    return web.Response(status=status, headers=headers)


def _stored(request: web.Request, word: str) -> web.Response:
    """A storage that refuses a signed address with a key beside it."""
    if word == "storage":
        raise web.HTTPFound("/s3/x?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=abc")
    return web.Response(status=400 if "Authorization" in request.headers else 200)


async def _body(request: web.Request, word: str) -> web.StreamResponse:
    response = web.StreamResponse()
    size = SIZES.get(word.removeprefix("chunked-"), 2_000_000 if word == "reset" else 1_000)
    if not word.startswith("chunked-") and word != "reset":
        response.content_length = size
    await response.prepare(request)
    sent = 0
    while sent < size:
        if sent >= DROP_AT_BYTES and request.transport is not None:
            if word.endswith("drop") or word == "reset":
                request.transport.abort()
                return response
            if word == "eof":
                request.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
                return response
        part = min(CHUNK_BYTES, size - sent)
        await response.write(b"x" * part)
        sent += part
        await asyncio.sleep(0.1 if word == "slow" else 0)
    return response
