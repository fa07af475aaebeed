"""A site whose addresses say how it behaves: ``http://127.0.0.1:<port>/<case>/<behaviour,…>/<name>``.

It runs on a thread of its own, so that a test may block. It counts the bytes that it sends, by case. The name's suffix
gives the file its format (see contents.py).

Behaviours, joined by commas:

- ``whole``: none of these. ``size=3000000``, ``rate=1000000`` (bytes a second), ``no-ranges``, ``no-length`` (chunked);
- ``drops=1``: so many downloads are cut at half (without a number: all that come past it); ``resets=1``: the same by a
  reset; ``hangs=1``: silence there; ``stops``: nothing past that place is ever sent; ``at=0.9``: where the place is;
- ``changes``, ``gone``: other bytes of the same length, or 404, once the first download has ended;
- ``status=404``; ``busy=1``: so many answers are 503 first; ``empty``: no answer at all; ``token=abc``: 401 without it;
- ``body=login|json|lfs|<text>``: with ``status``, or with 200;
- ``named=x.safetensors``: a Content-Disposition; ``claims=9000000000000``: the length that it announces;
- ``signed``: a redirect to an address that drops once, then answers 403, until a new redirect is asked for;
  ``moved``: a plain redirect; ``storage``: a redirect to a storage that answers 400 to an Authorization header.

What is sent is what is received only where the rate is limited: without a limit, megabytes lie in the sockets of a
download that is given up. aria2c gives one up each time that it continues: it asks for the whole first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import trustme
from aiohttp import web

from tests.realwork.contents import SIZE_BYTES, Body

BLOCK_BYTES = 64 * 1024
STEPS_A_SECOND = 50
BODIES = {
    "login": ("text/html", "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Log in</body></html>\n"),
    "json": ("application/json", '{"error":"Unauthorized","message":"The creator of this asset requires a login"}'),
    "lfs": (
        "application/octet-stream",
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 6938040682\n",
    ),
    "expired": ("application/xml", "<?xml version='1.0'?><Error><Code>AccessDenied</Code>Request has expired</Error>"),
    "two-auths": (
        "application/xml",
        "<?xml version='1.0'?><Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed; only the "
        "X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be "
        "specified</Message></Error>",
    ),
}
STATUS_BODIES = {404: "Entry not found", 401: BODIES["json"][1], 429: "Too many requests, slow down"}
Result = TypeVar("Result")


@dataclass(slots=True, kw_only=True)
class Download:
    """One request for a file and its answer. ``sent``: bytes of a body with status 200 or 206."""

    case: str
    path: str
    status: int = 0
    range: str | None = None
    sent: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """``start`` it, ``stop`` it; ``downloads`` are the requests of a case, in order."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runners: list[web.AppRunner] = []
        self._stopping: asyncio.Event
        self._counts: Counter[tuple[str, str]] = Counter()
        self._ended: set[str] = set()
        self._all: list[Download] = []
        self.port = 0
        self.tls_port = 0

    def start(self) -> Site:
        self._thread.start()
        self._do(self._start())
        return self

    def stop(self) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, case: str, *, tls: bool = False) -> str:
        """What stands for ``@`` in a case."""
        return f"https://127.0.0.1:{self.tls_port}/{case}" if tls else f"http://127.0.0.1:{self.port}/{case}"

    def downloads(self, case: str) -> list[Download]:
        return [download for download in list(self._all) if download.case == case]

    def sent(self, case: str, name: str = "") -> int:
        """The bytes of files that were sent for this case, or for its files of that name."""
        return sum(d.sent for d in self.downloads(case) if d.path.partition("?")[0].endswith(name))

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        self._stopping = asyncio.Event()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # Nobody trusts this authority.
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        self.port, self.tls_port = await self._serve(None), await self._serve(context)

    async def _serve(self, context: ssl.SSLContext | None) -> int:
        app = web.Application()
        app.router.add_get("/{case}/{rest:.*}", self._answer)
        app.router.add_post("/{case}/{rest:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    async def _stop(self) -> None:
        self._stopping.set()
        for runner in self._runners:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        download = Download(
            case=request.match_info["case"],
            path=str(request.rel_url),
            range=request.headers.get("Range"),
            headers=dict(request.headers),
        )
        if request.method != "HEAD":
            self._all.append(download)
        first, _, rest = request.match_info["rest"].partition("/")
        options = dict(part.partition("=")[::2] for part in unquote(first).split(","))
        # A client that has gone is none of this server's business.
        with contextlib.suppress(ConnectionError):
            response = await self._behave(request, download, options, rest)
            download.status = response.status
            return response
        return web.Response()

    def _takes(self, request: web.Request, what: str, times: str) -> bool:
        """Whether this request is one of the first so many of its path ("": all) that something happens to."""
        if request.method == "HEAD":
            return False
        key = (what, request.path)
        if times and self._counts[key] >= int(times):
            return False
        self._counts[key] += 1
        return True

    async def _behave(
        self, request: web.Request, download: Download, options: dict[str, str], rest: str
    ) -> web.StreamResponse:
        case = request.match_info["case"]
        for word, target in (("signed", "for"), ("moved", "stored"), ("storage", "one-auth")):
            if word in options:
                left = [f"{k}={v}" if v else k for k, v in options.items() if k != word]
                number = self._counts[word, request.path]
                self._counts[word, request.path] += request.method == "GET"
                there = (
                    f"/{case}/{','.join([f'{target}={number}', *left])}/{rest}?X-Amz-Signature=5ec2e7&X-Amz-Expires=1"
                )
                return web.Response(status=302, headers={"Location": there})
        if options.get("for") == "0" and self._counts["first", request.path]:
            return _text(403, *BODIES["expired"])
        if "for" in options:
            self._counts["first", request.path] += request.method == "GET"
            options |= {"drops": "1"} if options["for"] == "0" else {}
        if "one-auth" in options and "Authorization" in request.headers:
            return _text(400, *BODIES["two-auths"])
        if "token" in options and request.headers.get("Authorization") != f"Bearer {options['token']}":
            return _text(401, *BODIES["json"])
        if "busy" in options and self._takes(request, "busy", options["busy"]):
            return _text(503, "text/plain", "Service Unavailable")
        if rest == "api/agent-harnesses":  # hf asks for it before each download
            return _text(404, "text/plain", "Not Found")
        if "empty" in options and request.transport is not None:
            request.transport.abort()
            raise ConnectionResetError
        status = 404 if "gone" in options and request.path in self._ended else int(options.get("status") or 200)
        if status != 200 or "body" in options:
            body = options.get("body", STATUS_BODIES.get(status, f"Error {status}"))
            kind, text = BODIES.get(body, ("text/plain", body))
            headers = {"Retry-After": "1"} if status == 429 else {}
            return _text(status, kind, text, headers)
        return await self._send(request, download, options, rest)

    async def _send(
        self, request: web.Request, download: Download, options: dict[str, str], rest: str
    ) -> web.StreamResponse:
        version = int("changes" in options and request.path in self._ended)
        name = options.get("named") or rest.rpartition("/")[2]
        body = Body(name=name, size_bytes=int(options.get("size") or SIZE_BYTES), version=version)
        content = body.content()
        first, last = 0, len(content) - 1
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{body.sha256()}"',
            # What the client of Hugging Face asks for.
            "X-Repo-Commit": "c0ffee" * 6 + "c0de",
            "X-Linked-Size": str(len(content)),
        }
        if "named" in options:
            headers["Content-Disposition"] = f'attachment; filename="{options["named"]}"'
        asked = request.http_range if download.range and "no-ranges" not in options else slice(None)
        if "no-ranges" not in options:
            headers["Accept-Ranges"] = "bytes"
        is_part = asked.start is not None or asked.stop is not None
        if is_part:
            first, stop, _ = asked.indices(len(content))
            last = stop - 1
            if first >= len(content):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        response = web.StreamResponse(status=206 if is_part else 200, headers=headers)
        if "no-length" in options:
            response.enable_chunked_encoding()
        else:
            response.content_length = int(options.get("claims") or last - first + 1)
        download.status = response.status
        await response.prepare(request)
        if request.method != "HEAD":
            try:
                await self._send_blocks(request, response, download, options, content, (first, last + 1))
            finally:
                self._ended.add(request.path)
        return response

    async def _send_blocks(
        self,
        request: web.Request,
        response: web.StreamResponse,
        download: Download,
        options: dict[str, str],
        content: bytes,
        span: tuple[int, int],
    ) -> None:
        at, end = span
        cut = end
        place = int(len(content) * float(options.get("at") or 0.5))
        breaks = next((w for w in ("drops", "hangs", "stops", "resets") if w in options), None)
        if breaks == "stops":
            cut = max(at, place)
        elif breaks and at < place < end and self._takes(request, breaks, options[breaks]):
            cut = place
        rate = int(options.get("rate") or 0)
        block_bytes = max(1, rate // STEPS_A_SECOND) if rate else BLOCK_BYTES
        loop = asyncio.get_running_loop()
        due = loop.time()
        while at < cut:
            block = content[at : min(cut, at + block_bytes)]
            await response.write(block)
            at += len(block)
            download.sent += len(block)
            if rate:
                due += len(block) / rate
                await asyncio.sleep(max(0.0, due - loop.time()))
        if cut < end and breaks == "hangs":
            await self._stopping.wait()
        if cut < end and breaks == "resets" and request.transport is not None:
            await asyncio.sleep(0.1)
            raw = request.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        elif cut < end and request.transport is not None:
            # All that was sent arrives, then the end: a tool always sees the same part.
            request.transport.close()
        if "claims" in options:
            await self._stopping.wait()


def _text(status: int, kind: str, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, content_type=kind, headers=headers)
