"""Tells the jobs that wait for an instance how many go before them.

Only those near the front are told, each in its own stream and only when its position changed: a long queue would
otherwise cost an event a job for every job that ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from service.errors import StoreError, UnknownJob
from service.events.event_types import QueuePositionChanged
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent
from service.store.jobs import Jobs
from service.store.journal import Journal

logger = logging.getLogger(__name__)

POSITIONS_TOLD_MAX = 100


class QueuePositions:
    """``start``, ``changed`` whenever an instance's queue may have changed, ``stop``."""

    def __init__(self, *, journal: Journal, jobs: Jobs) -> None:
        self._journal = journal
        self._jobs = jobs
        self._changed: dict[str, None] = {}
        self._news = asyncio.Event()
        self._teller: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._teller = asyncio.create_task(self._tell_until_stopped(), name="queue-positions")

    async def stop(self) -> None:
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.wait([self._teller])

    def changed(self, instance_key: str) -> None:
        self._changed[instance_key] = None
        self._news.set()

    async def _tell_until_stopped(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._changed:
                instance_key = next(iter(self._changed))
                del self._changed[instance_key]
                try:
                    await self._tell(instance_key)
                except StoreError as error:
                    # The position is looked up anew whenever a job is asked for; the next change tells it as well.
                    logger.info("queue positions of %s were not told: %s", instance_key, error)

    async def _tell(self, instance_key: str) -> None:
        queue = await self._jobs.queue_of(instance_key, limit=POSITIONS_TOLD_MAX)
        news = [(row.job_id, position) for position, row in enumerate(queue, start=1) if row.queue_position != position]
        await asyncio.gather(*(self._tell_one(job_id, position) for job_id, position in news))

    async def _tell_one(self, job_id: str, position: int) -> None:
        def still_waits(job: Job) -> Sequence[NewEvent]:
            if job.state is not JobState.QUEUED or job.queue_position == position:
                return []
            return [NewEvent(event=QueuePositionChanged(queue_position=position))]

        try:
            await self._journal.append(job_id, still_waits)
        except UnknownJob:
            logger.info("job %s was deleted while its position was told", job_id)
