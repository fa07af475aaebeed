"""The one kind of background loop: woken, or due after a time; asked to stop, then awaited.

A loop is never cancelled: a step that has begun is finished, so that no write stops in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

ERROR_SECONDS = 1.0


class BackgroundLoop:
    """Calls ``step`` at ``start``, and again after each ``wake`` or once the seconds have passed that the last step
    returned (None: only when woken). A wake during a step counts for the next one.

    A step that takes long looks at ``is_stopping`` between its parts. A step that raises is logged and repeated after
    a pause: an error ends one step, not the loop.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[float | None]]) -> None:
        self._name = name
        self._step = step
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        self._woken.set()

    async def stop(self) -> None:
        """Start no further step, and wait for the one that runs."""
        self._is_stopping = True
        self.wake()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            try:
                seconds = await self._step()
            except Exception:
                logger.exception("a step of %s failed", self._name)
                seconds = ERROR_SECONDS
            await self._wait(seconds)

    async def _wait(self, seconds: float | None) -> None:
        if seconds is None:
            # Without a timeout, which would cost each of the writer's commits some microseconds.
            await self._woken.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
