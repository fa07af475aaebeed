"""Tells waiting jobs their position in the queue.

Only the jobs near the front, each in its own stream and only when its position changed: a long queue would otherwise
cost an event per job for every job that ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from service.errors import LeaseLost, StoreError, UnknownJob
from service.events.event_types import QueuePositionChanged
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent
from service.store.background import BackgroundLoop
from service.store.jobs import Jobs
from service.store.journal import Journal

logger = logging.getLogger(__name__)

POSITIONS_MAX = 100


class QueuePositions:
    """``start``, ``renumber`` whenever an instance's queue may have changed, ``stop``."""

    def __init__(self, *, journal: Journal, jobs: Jobs) -> None:
        self._journal = journal
        self._jobs = jobs
        self._to_renumber: dict[str, None] = {}
        self._loop = BackgroundLoop("queue-positions", self._step)

    def start(self) -> None:
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def renumber(self, instance_key: str) -> None:
        """Tell the jobs of this queue their positions, soon."""
        self._to_renumber[instance_key] = None
        self._loop.wake()

    async def _step(self) -> None:
        while self._to_renumber and not self._loop.is_stopping:
            instance_key = next(iter(self._to_renumber))
            del self._to_renumber[instance_key]
            try:
                await self._append_positions(instance_key)
            except (StoreError, LeaseLost) as error:
                # A client that asks for a job gets a freshly counted position; the next change appends it as well.
                logger.info("queue positions of %s were not appended: %s", instance_key, error)

    async def _append_positions(self, instance_key: str) -> None:
        queue = await self._jobs.queue_of(instance_key, limit=POSITIONS_MAX)
        new = [(row.job_id, position) for position, row in enumerate(queue, start=1) if row.queue_position != position]
        await asyncio.gather(*(self._append_position(job_id, position) for job_id, position in new))

    async def _append_position(self, job_id: str, position: int) -> None:
        def still_waits(job: Job) -> Sequence[NewEvent]:
            if job.state is not JobState.QUEUED or job.queue_position == position:
                return []
            return [NewEvent(event=QueuePositionChanged(queue_position=position))]

        try:
            await self._journal.append(job_id, still_waits)
        except UnknownJob:
            logger.info("job %s was deleted while its queue position changed", job_id)
