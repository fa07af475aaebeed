"""A receiver of webhooks on loopback: it keeps what it was sent, in order, and does what a test tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Sent(NamedTuple):
    """One request, whatever it was answered."""

    path: str
    headers: dict[str, str]
    body: str
    status: int

    @property
    def told(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """``status``: of the answer, also as a function of the request's body. ``seconds``: how long it takes.
    ``location``: where it sends its clients on to."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.status: int | Callable[[str], int] = 204
        self.seconds = 0.0
        self.headers: dict[str, str] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def target(self) -> str:
        """What lets it in."""
        return f"127.0.0.1:{self.port}"

    @property
    def accepted(self) -> list[Sent]:
        return [each for each in self.sent if 200 <= each.status < 300]

    def kinds(self, job_id: str) -> list[str]:
        """What it was told of this job, each once, in the order of the first time."""
        found = [each.told["type"] for each in self.accepted if each.told["data"].get("job_id") == job_id]
        return list(dict.fromkeys(found))

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.text()
        await asyncio.sleep(self.seconds)
        status = self.status(body) if callable(self.status) else self.status
        self.sent.append(Sent(request.path, dict(request.headers), body, status))
        return web.Response(status=status, headers=self.headers)


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    found.port = int(runner.addresses[0][1])
    try:
        yield found
    finally:
        await runner.cleanup()
