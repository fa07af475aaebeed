"""How tasks are ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any

CANCEL_AGAIN_SECONDS = 0.5


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Until all of them have ended. A library below may swallow a cancellation, so it is repeated."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_SECONDS)
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            task.result()
