"""When the readers of what instances print are woken: where many instances print, together, once a few milliseconds.

A bar that is handled alone costs two to three times as much as one among others: before the next one comes, the
processor has done something else, and its caches have lost what handling a bar needs. With 300 installs that draw ten
bars a second each, readers that are woken every five milliseconds take a fifth of the whole process away. But who waits
is late by as much, so with fewer installs, whose bars leave the processor time enough, each reader is woken at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_SECONDS = 0.005
# Up to this many within that time are woken at once, which is 1,600 a second.
FEW = 8


class WakeUps:
    """Calls what it is given: the first few of a span of time at once, the others together at its end. After a span
    with more than a few, all of the next one wait for its end."""

    def __init__(self, every_seconds: float = EVERY_SECONDS, few: int = FEW) -> None:
        self._every_seconds = every_seconds
        self._few = few
        self._ends_at = 0.0
        self._count = 0
        self._waits = False
        self._due: list[Callable[[], None]] = []

    def call(self, wake: Callable[[], None]) -> None:
        """``wake`` waits for nobody, and may come when there is nothing to do any more."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._ends_at and not self._due:
            self._begin(now, is_next=now < self._ends_at + self._every_seconds)
        self._count += 1
        if self._waits or self._count > self._few:
            if not self._due:
                loop.call_later(max(0.0, self._ends_at - now), self._call_all)
            self._due.append(wake)
        else:
            wake()

    def _begin(self, now: float, *, is_next: bool) -> None:
        """A span of time, which may follow the one before it."""
        self._waits = is_next and self._count > self._few
        self._count = 0
        self._ends_at = now + self._every_seconds

    def _call_all(self) -> None:
        due, self._due = self._due, []
        self._begin(asyncio.get_running_loop().time(), is_next=True)
        for wake in due:
            wake()
