"""Old jobs take less space: first their streams are thinned, later they are deleted.

Thinning deletes only what a tool printed, and keeps the last progress of each stage; the service's own decisions stay
until the whole job is deleted. A thinned stream keeps its sequences and so has holes; its row has the time of
the thinning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection, delete, exists, func, select, update

from service.errors import StoreError
from service.events.event_types import PRINTED_TYPES, Progress
from service.events.job import ACTIVE_STATES
from service.store.background import BackgroundLoop
from service.store.database import Database
from service.store.deliveries import PENDING
from service.store.event_store import delete_streams
from service.store.tables import deliveries, events, jobs

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
# A job is thinned after the days of the setting, and deleted after four times as many.
DELETED_AFTER = 4
JOBS_A_STEP = 20
ROUND_SECONDS = 3600.0


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
        """Thin and delete the jobs that are old enough. Returns how many were thinned, and how many deleted."""
        now_ms = self._clock_ms()
        deleted = await self._all(lambda connection: _delete(connection, now_ms - DELETED_AFTER * self._keep_ms))
        thinned = await self._all(lambda connection: self._thin(connection, now_ms - self._keep_ms, now_ms))
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
        while not self._loop.is_stopping and (done := await self._database.write(partial(self._alone, step))):
            count += done
        return count

    def _alone(self, step: Callable[[Connection], int], connection: Connection) -> int:
        """Two replicas that clean up at once would wait for each other's rows."""
        return step(connection) if self._database.takes_chores(connection) else 0

    def _thin(self, connection: Connection, before_ms: int, now_ms: int) -> int:
        job_ids = _ended_before(connection, before_ms, only_whole=True)
        stage = self._database.json_field(events.c.data_json, "stage")
        for job_id in job_ids:
            kept = (
                select(func.max(events.c.sequence))
                .where(events.c.job_id == job_id, events.c.type == Progress.type)
                .group_by(events.c.resource, events.c.attempt, stage)
            )
            thinned = delete(events).where(
                events.c.job_id == job_id, events.c.type.in_(PRINTED_TYPES), events.c.sequence.not_in(kept)
            )
            connection.execute(thinned)
        connection.execute(update(jobs).where(jobs.c.job_id.in_(job_ids)).values(thinned_at_ms=now_ms))
        return len(job_ids)


def _delete(connection: Connection, before_ms: int) -> int:
    job_ids = _ended_before(connection, before_ms, only_whole=False)
    delete_streams(connection, job_ids)
    return len(job_ids)


def _ended_before(connection: Connection, before_ms: int, *, only_whole: bool) -> list[str]:
    """The oldest jobs that ended before then and of which nobody has still to be told. ``only_whole``: only those that
    were not thinned yet."""
    untold = exists().where(deliveries.c.job_id == jobs.c.job_id, deliveries.c.state == PENDING)
    query = select(jobs.c.job_id).where(jobs.c.ended_at_ms < before_ms, jobs.c.state.not_in(ACTIVE_STATES), ~untold)
    if only_whole:
        query = query.where(jobs.c.thinned_at_ms.is_(None))
    return list(connection.execute(query.order_by(jobs.c.ended_at_ms).limit(JOBS_A_STEP)).scalars())
