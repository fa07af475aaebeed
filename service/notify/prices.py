"""What an hour of an instance costs, as the site that rents it out says: for the messages, which tell what an install
has cost so far."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from service.errors import InstallerError, KeyNeeded
from service.events.event_types import JobStarted, JobTakenOver
from service.events.job import Job
from service.store.append import Append
from service.store.background import BackgroundLoop

logger = logging.getLogger(__name__)

# However many installs begin.
PAUSE_SECONDS = 10.0
AGAIN_SECONDS = 60.0
_BEGINS = (JobStarted.type, JobTakenOver.type)

# Host and port -> dollars an hour.
ByAddress = Mapping[tuple[str, int], float]


class Prices:
    """Looks at its start, and when an install begins here: the same address may be another instance by then. ``ask``
    answers with all that the site knows; ``is_wanted``: whether anybody is to be told. Where they raise InstallerError,
    what was known stays; it asks again, but not with a key that is refused."""

    def __init__(self, ask: Callable[[], Awaitable[ByAddress]], is_wanted: Callable[[], Awaitable[bool]]) -> None:
        self._ask = ask
        self._is_wanted = is_wanted
        self._known: ByAddress = {}
        self._may_ask_at = 0.0
        self._loop = BackgroundLoop("prices", self._look)

    def start(self) -> None:
        self._loop.start()
        self._loop.wake()

    async def stop(self) -> None:
        await self._loop.stop()

    def of(self, job: Job) -> float | None:
        """In dollars; None where nobody knows. May be called on any thread."""
        return self._known.get((job.ssh_host, job.ssh_port))

    def committed(self, appends: Sequence[Append]) -> None:
        for append in appends:
            if append.events[0].type in _BEGINS:
                self._loop.wake()

    async def _look(self) -> float | None:
        wait = self._may_ask_at - time.monotonic()
        if wait > 0:
            return wait
        self._may_ask_at = time.monotonic() + PAUSE_SECONDS
        try:
            if await self._is_wanted():
                self._known = dict(await self._ask())
        except InstallerError as error:
            logger.info("what instances cost is not known now: %s", error)
            return None if isinstance(error, KeyNeeded) else AGAIN_SECONDS
        return None
