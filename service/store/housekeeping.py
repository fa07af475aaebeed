"""Old jobs take less space: first their streams are thinned, later they are deleted.

Thinning deletes only what a tool printed, and keeps the last progress of each stage; the service's own decisions stay
until the whole job is deleted. A thinned stream keeps its sequences and so has holes; its row has the time of
the thinning.

Both are done in pieces of a bounded number of events, each a transaction of some milliseconds, with a pause after it:
the appends of running jobs go in between. While a stream is being thinned, or deleted by hand, the time in its row is
that of the job's end; once it is thin, it is that of the round. So what was left half done is found, by any replica,
and thinned again from its beginning: what is thin already costs next to nothing. Only a job that is thin is deleted,
since what is left of it is short.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update

from service.errors import StoreError
from service.events.event_types import PRINTED_TYPES, Progress
from service.events.job import ACTIVE_STATES
from service.store.background import BackgroundLoop
from service.store.database import Database
from service.store.deletion import PIECE_EVENTS, delete_streams
from service.store.deliveries import PENDING
from service.store.tables import deliveries, events, jobs

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
# A job is thinned after the days of the setting, and deleted after four times as many.
DELETED_AFTER = 4
# Of one transaction.
PIECE_JOBS = 20
PAUSE_SECONDS = 0.01
# Looked up at once.
LOOK_JOBS = 500
ROUND_SECONDS = 3600.0

T = TypeVar("T")


class _Thin(NamedTuple):
    """What is thin of a stream: up to which sequence, and the last progress there by resource, attempt and stage."""

    upto: int = 0
    kept: Mapping[tuple[Any, ...], int] = MappingProxyType({})


class _Done(NamedTuple):
    """How many streams are thin now, and what is thin of the next one."""

    jobs: int
    thin: _Thin


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
        thinned = await self._thin_all(now_ms - self._keep_ms, now_ms)
        deleted = await self._delete_all(now_ms - DELETED_AFTER * self._keep_ms)
        if thinned or deleted:
            logger.info("old jobs: %d thinned, %d deleted", thinned, deleted)
        return thinned, deleted

    async def _step(self) -> float:
        try:
            await self.round()
        except StoreError as error:
            logger.warning("old jobs stay for now: %s", error)
        return ROUND_SECONDS

    async def _thin_all(self, before_ms: int, now_ms: int) -> int:
        is_half_done = jobs.c.thinned_at_ms <= jobs.c.ended_at_ms
        due = and_(_ended_before(before_ms), or_(jobs.c.thinned_at_ms.is_(None), is_half_done))
        count = 0
        while job_ids := await self._look(due):
            thin = _Thin()
            while job_ids:
                done = await self._piece(partial(self._thin, job_ids=job_ids, thin=thin, now_ms=now_ms))
                if done is None:
                    return count
                thin, job_ids = done.thin, job_ids[done.jobs :]
                count += done.jobs
        return count

    async def _delete_all(self, before_ms: int) -> int:
        due = and_(_ended_before(before_ms), jobs.c.thinned_at_ms > jobs.c.ended_at_ms)
        count = 0
        while job_ids := await self._look(due):
            pieces = _in_pieces(await self._lengths(job_ids))
            for piece in pieces:
                if await self._piece(partial(_delete, job_ids=piece)) is None:
                    return count
                count += len(piece)
        return count

    async def _look(self, due: ColumnElement[bool]) -> list[str]:
        """The oldest of these jobs."""
        async with self._database.read() as connection:
            query = select(jobs.c.job_id).where(due).order_by(jobs.c.ended_at_ms).limit(LOOK_JOBS)
            return list((await connection.execute(query)).scalars())

    async def _lengths(self, job_ids: Sequence[str]) -> list[tuple[str, int]]:
        """How many events each of these jobs has. A reader counts, one job at a time: where a server still keeps what
        was deleted, the first who looks passes over all of it, and the next ones do not."""
        found = []
        for job_id in job_ids:
            async with self._database.read() as connection:
                of_job = select(func.count()).select_from(events).where(events.c.job_id == job_id)
                found.append((job_id, int((await connection.execute(of_job)).scalar_one())))
        return found

    async def _piece(self, work: Callable[[Connection], T]) -> T | None:
        """Do it in a transaction, then leave the writer to others. None: the service stops, or another replica cleans
        up: two at once would wait for each other's rows."""
        if self._loop.is_stopping:
            return None
        found = await self._database.write(partial(self._alone, work))
        await asyncio.sleep(PAUSE_SECONDS)
        return found

    def _alone(self, work: Callable[[Connection], T], connection: Connection) -> T | None:
        return work(connection) if self._database.takes_chores(connection) else None

    def _thin(self, connection: Connection, *, job_ids: Sequence[str], thin: _Thin, now_ms: int) -> _Done:
        """Thin these streams as far as a piece goes. ``thin``: what is thin of the first one."""
        left = PIECE_EVENTS
        for done, job_id in enumerate(job_ids[:PIECE_JOBS]):
            if not left:
                return _Done(done, _Thin())
            if not thin.upto:
                # Before there is a hole, so that who reads the stream knows what holes are.
                begun = update(jobs).where(jobs.c.job_id == job_id)
                connection.execute(begun.values(thinned_at_ms=jobs.c.ended_at_ms))
            of_job = select(events.c.sequence).where(events.c.job_id == job_id, events.c.sequence > thin.upto)
            piece = of_job.order_by(events.c.sequence).limit(left).subquery()
            count, upto = connection.execute(select(func.count(), func.max(piece.c.sequence))).one()
            if count:
                thin = self._thinned(connection, job_id, thin, upto)
            if count == left:
                return _Done(done, thin)
            connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(thinned_at_ms=now_ms))
            left, thin = left - count, _Thin()
        return _Done(min(PIECE_JOBS, len(job_ids)), _Thin())

    def _thinned(self, connection: Connection, job_id: str, thin: _Thin, upto: int) -> _Thin:
        """Delete what was printed after ``thin`` up to this sequence, but for the last progress of each stage; and what
        was the last before. Nothing else of what was deleted already is passed over: a server may still keep it."""
        piece = and_(events.c.job_id == job_id, events.c.sequence > thin.upto, events.c.sequence <= upto)
        stage = self._database.json_field(events.c.data_json, "stage").label("stage")
        group = (events.c.resource, events.c.attempt, stage)
        last = select(func.max(events.c.sequence), *group).where(piece, events.c.type == Progress.type)
        found: dict[tuple[Any, ...], int] = {
            row[1:]: row[0] for row in map(tuple, connection.execute(last.group_by(*group)))
        }
        is_printed = events.c.type.in_(PRINTED_TYPES)
        connection.execute(delete(events).where(piece, is_printed, events.c.sequence.not_in(found.values())))
        before = [thin.kept[of] for of in found.keys() & thin.kept.keys()]
        if before:
            connection.execute(delete(events).where(events.c.job_id == job_id, events.c.sequence.in_(before)))
        return _Thin(upto, {**thin.kept, **found})


def _in_pieces(lengths: Sequence[tuple[str, int]]) -> list[list[str]]:
    """These jobs in order, as many in a piece as it may have events, and at least one."""
    pieces: list[list[str]] = []
    left = 0
    for job_id, count in lengths:
        if not pieces or count > left or len(pieces[-1]) == PIECE_JOBS:
            pieces.append([])
            left = PIECE_EVENTS
        pieces[-1].append(job_id)
        left -= count
    return pieces


def _delete(connection: Connection, *, job_ids: Sequence[str]) -> int:
    delete_streams(connection, job_ids)
    return len(job_ids)


def _ended_before(before_ms: int) -> ColumnElement[bool]:
    """A job that ended before then and of which nobody has still to be told."""
    untold = exists().where(deliveries.c.job_id == jobs.c.job_id, deliveries.c.state == PENDING)
    return and_(jobs.c.ended_at_ms < before_ms, jobs.c.state.not_in(ACTIVE_STATES), ~untold)
