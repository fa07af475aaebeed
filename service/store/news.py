"""News of streams that another replica appends to: a hint that something is new, then a look into the log.

A hint costs time when it is lost, never an event: whatever a stream's watchers have not been told is read once the
listener is connected again, and every few seconds anyway. However many streams have news, one query reads them all; all
commits of a few milliseconds are one hint.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby

from service.errors import StoreUnavailable
from service.events.recorded_event import RecordedEvent
from service.store.append import Append
from service.store.background import BackgroundLoop
from service.store.pages import PAGE_EVENTS
from service.store.shared import Shared

logger = logging.getLogger(__name__)

# From the begin of a hint to that of the next: longer the more the last one told, so that a replica whose jobs all have
# news all the time spends little on telling, and the others look less often, for more at once.
HINT_SECONDS_MIN, HINT_SECONDS_A_JOB, HINT_SECONDS_MAX = 0.005, 0.0001, 0.02
# From the begin of a look to that of the next: the hints of many replicas that come meanwhile are one look.
LOOK_SECONDS_MIN = 0.002
LOOK_SECONDS_MAX = 5.0
AGAIN_SECONDS = 0.5
# A hint is less than 8,000 bytes: 36 of an id, up to 11 more a job. More jobs than this are told as all of them.
HINT_JOBS_MAX = 160
ALL = "*"
# Among the jobs of a hint: some job may be waiting for whoever has room.
WORK = "+"
RECONNECT_SECONDS_MIN = 0.1
RECONNECT_SECONDS_MAX = 5.0

Advance = Callable[[str, Sequence[RecordedEvent]], Awaitable[None]]


class News:
    """``start``, ``committed`` after each commit of this replica, ``stop``.

    ``watched``: the streams that somebody here watches, each with the last sequence that was published here.
    ``advance``: publishes what follows. ``sender``: a name that no other replica has. ``on_work``: called when a job
    may be waiting for whoever has room.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        sender: str,
        watched: Callable[[], Mapping[str, int]],
        advance: Advance,
        on_work: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._sender = sender
        self._watched = watched
        self._advance = advance
        self._on_work = on_work
        self._clock = clock
        self._to_tell: dict[str, int] = {}
        self._has_work = False
        # Told by others, and not looked at since.
        self._to_look: dict[str, int] = {}
        self._look_at_all = False
        self._telling = BackgroundLoop("news-telling", self._tell)
        self._looking = BackgroundLoop("news-looking", self._look)
        self._listening: asyncio.Task[None] | None = None
        self.reconnects = -1
        self.is_listening = False
        self._pause = RECONNECT_SECONDS_MIN
        self._looked_at = self._looked_at_all = clock()

    @property
    def lag_seconds(self) -> float:
        """Since the last look into the log that came to its end."""
        return self._clock() - self._looked_at

    def start(self) -> None:
        self._telling.start()
        self._looking.start()
        self._listening = asyncio.create_task(self._listen(), name="news-listening")

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._telling.stop()
        await self._looking.stop()
        # The last of all tells the others that they may take over.
        await self._tell()

    def committed(self, appends: Sequence[Append]) -> None:
        """This replica has appended these."""
        for append in appends:
            self._to_tell[append.after.job_id] = append.after.last_sequence
        self._telling.wake()

    def has_work(self) -> None:
        """This replica has made a job that any of them may take, or has left jobs behind."""
        self._has_work = True
        self._telling.wake()

    def heard(self, hint: str) -> None:
        """A hint has come: ``sender:job=sequence,…``, or ``sender:*``. One that makes no sense counts as
        a hint of all streams."""
        sender, _, told = hint.partition(":")
        if sender == self._sender:
            return
        # As cheap as can be: each hint of each replica comes here, and most are of jobs that nobody watches here.
        for part in told.split(","):
            job_id, _, sequence = part.partition("=")
            if part == WORK:
                self._on_work()
            elif sequence.isascii() and sequence.isdigit():
                self._to_look[job_id] = max(int(sequence[:19]), self._to_look.get(job_id, 0))
            else:
                self._look_at_all = True
        if self._to_look or self._look_at_all:
            self._looking.wake()

    async def _tell(self) -> float | None:
        if not (self._to_tell or self._has_work):
            return None
        begun = self._clock()
        told, self._to_tell = self._to_tell, {}
        parts = [f"{job_id}={sequence}" for job_id, sequence in told.items()] if len(told) <= HINT_JOBS_MAX else [ALL]
        if self._has_work:
            self._has_work = False
            parts.append(WORK)
        try:
            await self._shared.tell(f"{self._sender}:{','.join(parts)}")
        except StoreUnavailable as error:
            logger.debug("a hint is lost: %s", error)
        # What is committed meanwhile goes into one hint: a wake does not end this wait.
        pause = min(HINT_SECONDS_MAX, HINT_SECONDS_MIN + HINT_SECONDS_A_JOB * len(told))
        await asyncio.sleep(pause - (self._clock() - begun))
        return 0.0 if self._to_tell else None

    async def _look(self) -> float:
        begun = self._clock()
        watched, told = self._watched(), self._to_look
        # However many hints come: one of them may have been lost.
        is_due = begun - self._looked_at_all >= LOOK_SECONDS_MAX
        if self._look_at_all or is_due or not told:
            after = dict(watched)
            self._looked_at_all = begun
        else:
            after = {
                job_id: watched[job_id] for job_id in told.keys() & watched.keys() if watched[job_id] < told[job_id]
            }
        self._look_at_all, self._to_look = False, {}
        try:
            while after and not self._looking.is_stopping:
                after = await self._read(after)
        except StoreUnavailable as error:
            logger.warning("news cannot be read now: %s", error)
            self._look_at_all = True
            return AGAIN_SECONDS
        self._looked_at = self._clock()
        await asyncio.sleep(LOOK_SECONDS_MIN - (self._looked_at - begun))
        return max(0.0, self._looked_at_all + LOOK_SECONDS_MAX - self._looked_at)

    async def _read(self, after: Mapping[str, int]) -> dict[str, int]:
        """Publish what follows; the streams that may have more, with their last sequence."""
        more: dict[str, int] = {}
        found = await self._shared.read_after(after, PAGE_EVENTS)
        for job_id, group in groupby(found, key=lambda event: event.job_id):
            events = list(group)
            await self._advance(job_id, events)
            if len(events) == PAGE_EVENTS:
                more[job_id] = events[-1].sequence
        return more

    async def _listen(self) -> None:
        while True:
            try:
                await self._shared.listen(self._begun, self.heard)
            except StoreUnavailable as error:
                logger.info("hints are not heard for now: %s", error)
            finally:
                self.is_listening = False
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, RECONNECT_SECONDS_MAX)

    def _begun(self) -> None:
        self.reconnects += 1
        self.is_listening = True
        self._pause = RECONNECT_SECONDS_MIN
        self._look_at_all = True
        self._looking.wake()
