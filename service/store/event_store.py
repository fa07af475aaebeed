"""The event log: append with group commit, and reads in order.

Appends of all jobs that wait while one commit runs go into the next one together. One task writes; no caller can
cancel it. Whatever one append does wrong fails that append alone. The same task publishes
the events of a commit before it wakes any caller, so that a stream's events are published in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, delete, func, or_, select
from sqlalchemy.exc import IntegrityError

from service.crash_points import crash_point
from service.errors import ReplyLost, SequenceConflict, StoreUnavailable
from service.events.event_types import PRINTED_TYPES, Progress
from service.events.recorded_event import RecordedEvent
from service.store.append import Append, Commit, Statements
from service.store.background import BackgroundLoop
from service.store.damage import recorded_of
from service.store.database import Database
from service.store.pages import PAGE_EVENTS
from service.store.tables import events, job_resources, jobs

logger = logging.getLogger(__name__)

COMMIT_EVENTS_MAX = 4_096
LOOK_SECONDS = 0.2

Observe = Callable[[Sequence[Append], float, float], None]


class Submitter(Protocol):
    """The writer's view of whatever submits an append. Exactly one ``settled`` follows each append; ``committed`` comes
    before it when the events are durable."""

    async def committed(self, events: Sequence[RecordedEvent]) -> None:
        """Publish the events. An error is logged and loses nothing: they can be read from the log."""

    def settled(self, error: Exception | None) -> None:
        """The append is over. ``error``: why none of its events was written; None: all were."""


class _Waiting(NamedTuple):
    append: Append
    submitter: Submitter
    done: asyncio.Future[None]


class EventStore:
    """Owns the writer. ``start`` before the first append, ``stop`` after the last.

    ``observe`` is called after each commit with what was appended, the seconds of the commit and those of the
    publication. ``clock``: monotonic seconds.
    """

    def __init__(
        self, database: Database, *, clock: Callable[[], float] | None = None, observe: Observe | None = None
    ) -> None:
        self._database = database
        self._statements = Statements(database)
        self._clock = clock or _no_clock
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer = BackgroundLoop("event-store-writer", self._write_what_waits)

    def start(self) -> None:
        self._writer.start()

    async def stop(self) -> None:
        """End the writer, then write what still waits."""
        await self._writer.stop()
        await self._write_what_waits()

    def submit(self, append: Append, submitter: Submitter) -> asyncio.Future[None]:
        """Hand an append to the writer; from here on it belongs to the writer, even if the caller is cancelled.

        The writer commits it, calls the submitter, and then wakes the tasks that await the future. The future raises
        StoreUnavailable (nothing was written: the same append may be tried again) or SequenceConflict. Cancelling the
        future only stops the wait. Raises StoreUnavailable when the store has stopped.
        """
        if not self._writer.is_running:
            raise StoreUnavailable("the event log is closed: the service is stopping")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(append, submitter, done))
        self._idle.clear()
        self._writer.wake()
        return done

    async def drain(self) -> None:
        """Wait until everything that was submitted is settled."""
        await self._idle.wait()

    async def read(
        self, job_id: str, after: int = 0, limit: int = PAGE_EVENTS, types: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """At most ``limit`` events of the stream after the sequence ``after``, in order."""
        query = select(events).where(events.c.job_id == job_id, events.c.sequence > after)
        if types is not None:
            query = query.where(events.c.type.in_(types))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(events.c.sequence).limit(limit))).all()
        return [recorded_of(row) for row in rows]

    async def read_compact(self, job_id: str, after: int, upto: int) -> list[RecordedEvent]:
        """What a late screen needs of the events after ``after`` up to ``upto``: all but what tools printed, and the
        last progress of each resource and stage."""
        mine = (events.c.job_id == job_id, events.c.sequence > after, events.c.sequence <= upto)
        stage = self._database.json_field(events.c.data_json, "stage")
        last = select(func.max(events.c.sequence)).where(*mine, events.c.type == Progress.type)
        kept = or_(events.c.type.not_in(PRINTED_TYPES), events.c.sequence.in_(last.group_by(events.c.resource, stage)))
        async with self._database.read() as connection:
            rows = (await connection.execute(select(events).where(*mine, kept).order_by(events.c.sequence))).all()
        return [recorded_of(row) for row in rows]

    async def last_at_ms(self) -> int:
        """When the newest event was appended, in milliseconds since the epoch; 0 for an empty log."""
        newest = select(events.c.at_ms).order_by(events.c.position.desc()).limit(1)
        async with self._database.read() as connection:
            return (await connection.execute(newest)).scalar() or 0

    async def forget(self, *job_ids: str) -> None:
        """Delete these streams and their rows."""
        await self._database.write(lambda connection: delete_streams(connection, job_ids))

    async def _write_what_waits(self) -> None:
        while self._waiting:
            await self._commit(self._take())
        self._idle.set()

    def _take(self) -> list[_Waiting]:
        """The appends of the next commit: all that wait, up to a bound."""
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].append.events) <= COMMIT_EVENTS_MAX):
            taken.append(self._waiting.popleft())
            size += len(taken[-1].append.events)
        return taken

    async def _commit(self, batch: list[_Waiting]) -> None:
        begun = self._clock()
        try:
            commit = self._statements.commit([waiting.append for waiting in batch])
            await self._write(commit, batch[0].append)
        except StoreUnavailable as error:
            # The database's fault, not an append's: each of them may be tried again.
            _fail(batch, error)
        except Exception as error:
            if not isinstance(error, IntegrityError):
                logger.exception("a commit of %d appends failed", len(batch))
            if len(batch) == 1:
                _fail(batch, _fault(batch[0].append, error))
                return
            # Whatever it is, it is the fault of one append, and fails that one alone.
            for waiting in batch:
                await self._commit([waiting])
        else:
            crash_point("after_commit")
            committed = self._clock()
            await self._publish(batch)
            crash_point("after_emit")
            if self._observe is not None:
                appends = [waiting.append for waiting in batch]
                self._observe(appends, committed - begun, self._clock() - committed)

    async def _write(self, commit: Commit, first: Append) -> None:
        """Raises StoreUnavailable only when nothing was written: where the reply is lost, the log says which."""
        try:
            await self._database.write(commit.write)
        except ReplyLost as error:
            if not await self._stands(first):
                raise StoreUnavailable(str(error)) from error
            logger.info("the reply to a commit was lost, and the commit was made")

    async def _stands(self, append: Append) -> bool:
        """Whether the log has this append, asked until the database answers: before that nobody is told anything about
        it. What waits behind it was not written, and need not wait for that."""
        first = append.events[0]
        while True:
            try:
                found = await self.read(first.job_id, first.sequence - 1, limit=1)
            except StoreUnavailable as error:
                if self._writer.is_stopping:
                    raise
                _fail([self._waiting.popleft() for _ in range(len(self._waiting))], error)
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return bool(found) and found[0]._replace(position=None) == first

    async def _publish(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            try:
                await waiting.submitter.committed(waiting.append.events)
            except Exception:
                logger.exception("publishing events of job %s failed", waiting.append.after.job_id)
            waiting.submitter.settled(None)
            if not waiting.done.done():
                waiting.done.set_result(None)


def delete_streams(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the events and the rows of these jobs."""
    for table in (events, job_resources, jobs):
        connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))


def _fault(append: Append, error: Exception) -> Exception:
    """Why this append, alone in its commit, could not be written."""
    if isinstance(error, IntegrityError):
        return SequenceConflict(f"another writer was faster than an append to job {append.after.job_id}")
    return error


def _no_clock() -> float:
    return 0.0


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        waiting.submitter.settled(error)
        if not waiting.done.done():
            waiting.done.set_exception(error)
