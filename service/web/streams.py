"""Answers without a known length, whose chunks are sent as they are made."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from service.web.guard import cors_headers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """``chunks`` is closed at the end, also when the client leaves in the middle, which is not an error."""

    content_type: str
    chunks: AsyncGenerator[bytes]

    async def send(self, request: web.Request) -> web.StreamResponse:
        headers = {
            "Content-Type": f"{self.content_type}; charset=utf-8",
            "Cache-Control": "no-store",
            # A proxy passes each chunk on at once.
            "X-Accel-Buffering": "no",
        }
        response = web.StreamResponse(headers={**headers, **cors_headers(request)})
        async with aclosing(self.chunks) as chunks:
            try:
                await response.prepare(request)
                async for chunk in chunks:
                    await response.write(chunk)
                await response.write_eof()
            except ConnectionResetError:
                logger.debug("a client left the stream %s", request.path)
        return response
