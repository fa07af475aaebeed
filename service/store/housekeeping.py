"""Old jobs take less room: they are thinned to their lifecycle and the last progress of each stage, later deleted.

A thinned stream keeps its sequences and so has holes; its row says when that was done. What may be thinned is what a
tool printed: nothing that the service decided ever goes before the whole job does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection, delete, func, select, update

from service.errors import StoreError
from service.events.event_types import Output, Progress
from service.events.job import ACTIVE_STATES
from service.store.background import BackgroundLoop
from service.store.database import Database
from service.store.tables import events, job_resources, jobs

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
# Thinned after so many days, deleted after four times as many.
DELETED_AFTER = 4
JOBS_A_STEP = 20
ROUND_SECONDS = 3600.0
THINNED_TYPES = (Progress.type, Output.type)


class Housekeeping:
    """``start``, ``stop``. ``keep_days`` 0 keeps everything. ``clock_ms``: milliseconds since the epoch."""

    def __init__(self, *, database: Database, keep_days: int, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._keep_ms = keep_days * DAY_MS
        self._clock_ms = clock_ms
        self._loop = BackgroundLoop("housekeeping", self._step)

    def start(self) -> None:
        if self._keep_ms:
            self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def round(self) -> tuple[int, int]:
        """Thin and delete what is old enough. Returns how many jobs were thinned, and how many deleted."""
        now_ms = self._clock_ms()
        deleted = await self._all(lambda connection: _delete(connection, now_ms - DELETED_AFTER * self._keep_ms))
        thinned = await self._all(lambda connection: _thin(connection, now_ms - self._keep_ms, now_ms))
        if thinned or deleted:
            logger.info("old jobs: %d thinned, %d deleted", thinned, deleted)
        return thinned, deleted

    async def _step(self) -> float:
        try:
            await self.round()
        except StoreError as error:
            logger.warning("old jobs stay for now: %s", error)
        return ROUND_SECONDS

    async def _all(self, step: Callable[[Connection], int]) -> int:
        """In small steps: the appends of running jobs go between them."""
        count = 0
        while not self._loop.is_stopping and (done := await self._database.write(step)):
            count += done
        return count


def _thin(connection: Connection, before_ms: int, now_ms: int) -> int:
    job_ids = _ended_before(connection, before_ms, only_whole=True)
    for job_id in job_ids:
        kept = (
            select(func.max(events.c.sequence))
            .where(events.c.job_id == job_id, events.c.type == Progress.type)
            .group_by(events.c.resource, events.c.attempt, func.json_extract(events.c.data_json, "$.stage"))
        )
        thinned = delete(events).where(
            events.c.job_id == job_id, events.c.type.in_(THINNED_TYPES), events.c.sequence.not_in(kept)
        )
        connection.execute(thinned)
    connection.execute(update(jobs).where(jobs.c.job_id.in_(job_ids)).values(thinned_at_ms=now_ms))
    return len(job_ids)


def _delete(connection: Connection, before_ms: int) -> int:
    job_ids = _ended_before(connection, before_ms, only_whole=False)
    for table in (events, job_resources, jobs):
        connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))
    return len(job_ids)


def _ended_before(connection: Connection, before_ms: int, *, only_whole: bool) -> list[str]:
    query = select(jobs.c.job_id).where(jobs.c.ended_at_ms < before_ms, jobs.c.state.not_in(ACTIVE_STATES))
    if only_whole:
        query = query.where(jobs.c.thinned_at_ms.is_(None))
    return list(connection.execute(query.order_by(jobs.c.ended_at_ms).limit(JOBS_A_STEP)).scalars())
