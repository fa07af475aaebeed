"""The output of one remote command, between the callbacks that fill it and the reader that takes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from service.errors import LinkDown

BUFFER_BYTES_MAX = 1 << 20
# Holds the ledger of an attempt: 64 KiB of records, and what stands before each of a thousand.
STDERR_BYTES_MAX = 128 * 1024


class Channel(Protocol):
    """What a stream needs of the SSH channel that fills it."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Stream:
    """Chunks of bytes with back-pressure: ``received`` and ``finished`` fill it, ``async for`` takes them.

    ``received_at``: when the first byte of the chunk that was taken last came, by the event loop's clock. ``call``:
    calls the reader's wake-up, now or soon (see wake_ups.py).

    Above ``BUFFER_BYTES_MAX`` the channel pauses. The reader always takes all that waits before the channel resumes:
    asyncssh grants the whole window again with the first packet that it hands over, though more may wait behind it, so
    a reader that left something would let the buffer grow with every turn.
    """

    def __init__(self, call: Callable[[Callable[[], None]], None]) -> None:
        self._call = call
        self.stderr = b""
        self.exit_status: int | None = None
        self.channel: Channel | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._is_paused = False
        self._has_finished = False
        self._first_at = 0.0
        self.received_at = 0.0
        self._error: Exception | None = None
        self._waits: asyncio.Future[None] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Raises LinkDown when the link breaks."""
        while not self._chunks:
            if isinstance(self._error, LinkDown):
                raise self._error
            if self._error is not None:
                raise LinkDown(f"the link broke: {self._error or type(self._error).__name__}") from self._error
            if self._has_finished:
                raise StopAsyncIteration
            self._waits = asyncio.get_running_loop().create_future()
            await self._waits
        chunk = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered_bytes = 0
        self.received_at = self._first_at
        self._resume()
        return chunk

    @property
    def is_read(self) -> bool:
        """Whether all that came was taken: the reader waits for the instance, and not the other way round."""
        return not self._chunks

    def received(self, data: bytes) -> None:
        """Standard output."""
        if not self._chunks:
            self._first_at = asyncio.get_running_loop().time()
            self._call(self._wake)
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        if self._buffered_bytes > BUFFER_BYTES_MAX and not self._is_paused and self.channel is not None:
            self._is_paused = True
            self.channel.pause_reading()

    def received_error(self, data: bytes) -> None:
        """Standard error, of which the last bytes are kept."""
        self.stderr = (self.stderr + data)[-STDERR_BYTES_MAX:]

    def finished(self, error: Exception | None, exit_status: int | None) -> None:
        """The session has ended. Without a status its link ended (or its sshd), not its command."""
        self._has_finished = True
        self.exit_status = exit_status
        if error is not None or exit_status is None:
            self._error = error or ConnectionError("the session ended without a status")
        self._wake()

    def _wake(self) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def _resume(self) -> None:
        if self._is_paused and self.channel is not None:
            self.channel.resume_reading()
            self._is_paused = False
