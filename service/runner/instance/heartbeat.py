"""Asks after an attempt that has been silent: silence of a tool is not silence of its instance.

A tool may download for hours without a word, and its instance is healthy all the same if it says so, beside the log,
that the attempt still runs and that its log holds nothing more. An instance that does not answer that, or whose answer
does not fit what the log shows, has lost its link: the next connection follows the log from where this one ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from service.errors import LinkDown, NoAnswer
from service.runner.instance.attachment import Attachment
from service.runner.instance.remote import Sign

ASK_SECONDS_FIRST = 15.0
ASK_SECONDS_MAX = 60.0
# How long what an instance says and what its log shows may differ: an attempt that only begins or ends may be slow.
DIFFER_SECONDS_MAX = 90.0


class Heartbeat:
    """``ask``: what the instance says of the attempt; it raises LinkDown. ``answered`` is called with each answer that
    proves the instance to be well. ``clock``: monotonic seconds."""

    def __init__(
        self,
        attachment: Attachment,
        *,
        ask: Callable[[], Awaitable[Sign]],
        answered: Callable[[], None],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._attachment = attachment
        self._ask = ask
        self._answered = answered
        self._clock = clock
        self._sleep = sleep
        self._differs_since: float | None = None

    async def watch(self) -> None:
        """Until it is cancelled. What it finds wrong reaches the reader of the log."""
        position, seconds = -1, ASK_SECONDS_FIRST
        while True:
            await self._sleep(seconds)
            is_quiet = self._attachment.has_begun and self._attachment.is_silent
            if not is_quiet or self._attachment.position != position:
                position, seconds = self._attachment.position, ASK_SECONDS_FIRST
                self._differs_since = None
                continue
            try:
                self._compare(await self._ask(), position)
            except LinkDown as error:
                self._attachment.give_up(error)
                return
            seconds = min(ASK_SECONDS_MAX, seconds * 2)

    def _compare(self, sign: Sign, position: int) -> None:
        """Raises NoAnswer."""
        if sign.is_running and sign.log_bytes == position:
            self._differs_since = None
            self._answered()
            return
        now = self._clock()
        if self._differs_since is None:
            self._differs_since = now
        if now - self._differs_since >= DIFFER_SECONDS_MAX:
            what = f"its log has {sign.log_bytes} bytes" if sign.is_running else "it has ended"
            raise NoAnswer(f"the log of the attempt stays silent after {position} bytes, although {what}")
