"""A link like a train's, in front of a port of this machine: late, with lost segments, slow, cut and frozen.

TCP hides a lost segment as a pause: all that comes after it waits until it was sent again. So that is what the proxy
does with one segment in twenty. netem would drop real packets, but needs the right to change the network's devices.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

SEGMENT_BYTES = 1460
SEGMENTS_UNDER_WAY_MAX = 256
RETRANSMISSION_SECONDS = (0.2, 1.0)


class LossyLink:
    """``delay_seconds``: in each direction, plus or minus a third. ``loss``: the share of segments. ``cut`` breaks all
    connections without a goodbye, ``frozen`` lets nothing through and closes nothing."""

    def __init__(
        self,
        target_port: int,
        *,
        delay_seconds: float,
        loss: float = 0.05,
        bytes_per_second: float | None = None,
        chance: random.Random,
    ) -> None:
        self.port = 0
        self.url = ""
        self.segments = 0
        self.lost = 0
        self.cuts = 0
        self._target_port = target_port
        self._delay_seconds = delay_seconds
        self._loss = loss
        self._seconds_per_byte = 1 / bytes_per_second if bytes_per_second else 0.0
        self._chance = chance
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> LossyLink:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=SEGMENT_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self.cuts += bool(self._writers)
        for writer in self._writers:
            writer.transport.abort()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._begin(self._connect(reader, writer))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, other_writer}
        try:
            await asyncio.gather(self._carry(reader, other_writer), self._carry(other_reader, writer))
        finally:
            self._writers -= {writer, other_writer}
            writer.transport.abort()
            other_writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction: each segment leaves when it is due, and never before the one in front of it."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(SEGMENTS_UNDER_WAY_MAX)
        delivering = asyncio.create_task(self._deliver(under_way, writer))
        loop, free_at = asyncio.get_running_loop(), 0.0
        try:
            while True:
                segment = await reader.read(SEGMENT_BYTES)
                free_at = max(free_at, loop.time()) + len(segment) * self._seconds_per_byte
                await under_way.put((free_at + self._late_seconds(), segment))
                if not segment:
                    await delivering
                    return
        except ConnectionError:
            writer.transport.abort()
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, segment = await under_way.get()
            await asyncio.sleep(due - loop.time())
            await self._flows.wait()
            try:
                if not segment:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(segment)
                await writer.drain()
            except (ConnectionError, OSError):
                return

    def _late_seconds(self) -> float:
        self.segments += 1
        seconds = self._delay_seconds * self._chance.uniform(2 / 3, 4 / 3)
        if self._chance.random() < self._loss:
            self.lost += 1
            seconds += self._chance.uniform(*RETRANSMISSION_SECONDS)
        return seconds
