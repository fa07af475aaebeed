"""Looks names up, each in a thread of its own.

A resolver may let a look-up hang for half a minute, and nothing can end it. The event loop's own threads are few, so a
handful of names that somebody chose badly would keep every other job from its instance. And a process waits at its end
for the threads of a pool: these are daemons.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading

# More than the jobs that run at once have look-ups that hang, with the ones that they gave up before.
LOOKUPS_MAX = 100


class Lookups:
    """At most ``LOOKUPS_MAX`` at once; further ones wait for a place."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(LOOKUPS_MAX)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Raises OSError, UnicodeError. A caller that is cancelled leaves the thread behind, which keeps its
        place to its end."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str], error: Exception | None) -> None:
            self._places.release()
            if future.done():
                return
            if error is None:
                future.set_result(found)
            else:
                future.set_exception(error)

        def look_up() -> None:
            found: list[str] = []
            error: Exception | None = None
            try:
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found = [str(entry[4][0]) for entry in entries]
            except (OSError, UnicodeError) as raised:
                error = raised
            # The loop may be closed by now.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, found, error)

        try:
            threading.Thread(target=look_up, name="look-up", daemon=True).start()
        except RuntimeError as error:
            self._places.release()
            raise OSError(errno.EAGAIN, "no thread is left to look a name up") from error
        return await future
