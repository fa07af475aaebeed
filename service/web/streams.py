"""Answers without a known length, whose chunks are sent as they are made."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from aiohttp import web

from service.errors import StoreUnavailable
from service.web.connection import CONNECTION, Connection
from service.web.guard import cors_headers

logger = logging.getLogger(__name__)

PIECE_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """``chunks`` is closed at the end, also when the client leaves in the middle, which is not an error.

    ``is_subscription``: the client follows something, so its connection gives way to nobody. ``end`` is called when the
    client leaves: ``chunks`` may be waiting.
    """

    content_type: str
    chunks: AsyncGenerator[bytes]
    is_subscription: bool = False
    end: Callable[[], None] | None = None

    async def send(self, request: web.Request) -> web.StreamResponse:
        headers = {
            "Content-Type": f"{self.content_type}; charset=utf-8",
            "Cache-Control": "no-store",
            # A proxy passes each chunk on at once.
            "X-Accel-Buffering": "no",
        }
        response = web.StreamResponse(headers={**headers, **cors_headers(request)})
        connection: Connection | None = request.get(CONNECTION)
        async with aclosing(self.chunks) as chunks:
            try:
                with self._carried_by(connection):
                    await response.prepare(request)
                    if request.method != "HEAD":
                        async for chunk in chunks:
                            await self._write(response, chunk, connection)
                    await response.write_eof()
            except ConnectionResetError:
                logger.debug("a client left the stream %s", request.path)
            except StoreUnavailable as error:
                if not response.prepared:
                    raise
                # Neither an answer of another kind in the middle of this one, nor an end that looks whole.
                logger.info("the stream %s breaks off: %s", request.path, error)
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("the stream broke off") from error
        return response

    async def _write(self, response: web.StreamResponse, chunk: bytes, connection: Connection | None) -> None:
        """In pieces: what a client does not read waits in memory, for each client, and a chunk may be a whole page."""
        whole = memoryview(chunk)
        for begin in range(0, len(chunk), PIECE_BYTES):
            await response.write(whole[begin : begin + PIECE_BYTES])
            if connection is not None:
                connection.moves()

    @contextmanager
    def _carried_by(self, connection: Connection | None) -> Iterator[None]:
        if connection is None:
            yield
            return
        if self.end is not None:
            connection.when_lost.add(self.end)
        if self.is_subscription:
            connection.subscribe()
        try:
            yield
        finally:
            if self.is_subscription:
                connection.unsubscribe()
            if self.end is not None:
                connection.when_lost.discard(self.end)
