"""A server of files over plain HTTP: as many bytes as the path says, as fast as it says, on request one that hangs."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

BLOCKS_A_SECOND = 50
BLOCK_BYTES_MAX = 1_000_000


class FileServer:
    """``/<bytes>/<anything>``: a file of that many bytes. ``?bytes_per_second=`` drips it, ``?hangs`` stops halfway,
    ``?disposition`` gives it the name ``named.bin``."""

    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None
        self._ended = asyncio.Event()
        self.port = 0
        self.requests: list[str] = []

    async def start(self) -> FileServer:
        app = web.Application()
        app.router.add_get("/{size}/{name:.*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def stop(self) -> None:
        self._ended.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, size: int, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{size}/{name}"

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        size = int(request.match_info["size"])
        rate = int(request.query.get("bytes_per_second", "0"))
        headers = {"Content-Disposition": 'attachment; filename="named.bin"'} if "disposition" in request.query else {}
        response = web.StreamResponse(headers=headers)
        response.content_length = size
        response.content_type = "application/octet-stream"
        await response.prepare(request)
        # A client that has gone is none of this server's business.
        with contextlib.suppress(ConnectionError):
            if "hangs" in request.query:
                await response.write(b"x" * (size // 2))
                await self._ended.wait()
            else:
                block_bytes = max(1, rate // BLOCKS_A_SECOND) if rate else BLOCK_BYTES_MAX
                start = asyncio.get_running_loop().time()
                for begin in range(0, size, block_bytes):
                    await response.write(b"x" * min(block_bytes, size - begin))
                    due = start + (begin + block_bytes) / rate if rate else 0.0
                    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        return response
