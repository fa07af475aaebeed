"""The event log: append with group commit, and reads in order.

Appends of all jobs that wait while one commit runs go into the next one together: the writer's thread takes whatever
waits when it begins. So while a commit runs, the next one is asked for already, and begins without waiting for the
event loop. No caller can cancel a commit. Whatever one append does wrong fails that append alone. What was committed is
published before any caller is woken, so that a stream's events are published in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError

from service.crash_points import crash_point
from service.errors import LeaseLost, ReplyLost, SequenceConflict, StoreUnavailable
from service.events.event_types import PRINTED_TYPES, Progress
from service.events.recorded_event import RecordedEvent
from service.store.append import Append, Outbox, Statements
from service.store.damage import recorded_of
from service.store.database import Database, Work
from service.store.deletion import delete_job
from service.store.pages import PAGE_EVENTS
from service.store.tables import events

logger = logging.getLogger(__name__)

COMMIT_EVENTS_MAX = 4_096
LOOK_SECONDS = 0.2

Observe = Callable[[Sequence[Append], float, float], None]


class Submitter(Protocol):
    """The writer's view of whatever submits an append. Exactly one ``settled`` follows each append; ``committed`` comes
    before it when the events are durable."""

    def committed(self, events: Sequence[RecordedEvent]) -> None:
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
    publication. ``clock``: monotonic seconds. ``fence`` and ``outbox``: see Statements. ``conflicts`` counts the
    appends that another writer was faster than, ``lost_replies`` the commits whose reply did not come.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] | None = None,
        observe: Observe | None = None,
        fence: Work | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        self._database = database
        self._statements = Statements(database, fence, outbox)
        self._clock = clock or _no_clock
        self._observe = observe
        self._is_open = False
        self._waiting: deque[_Waiting] = deque()
        # A commit was asked for and has not begun: it will take what waits then.
        self._is_asked = False
        # Commits that were asked for and are not settled, and when the writer began with the first of them.
        self._commits = 0
        self._begun = 0.0
        self._unsettled = 0
        # Of commits whose reply was lost.
        self._looks: set[asyncio.Task[None]] = set()
        self.conflicts = 0
        self.lost_replies = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        self._is_open = True

    async def stop(self) -> None:
        """Refuse appends from now on, and wait for those that were submitted."""
        self._is_open = False
        await self.drain()

    def submit(self, append: Append, submitter: Submitter) -> asyncio.Future[None]:
        """Hand an append to the writer; from here on it belongs to the writer, even if the caller is cancelled.

        The writer commits it, calls the submitter, and then wakes the tasks that await the future. The future raises
        StoreUnavailable (nothing was written: the same append may be tried again) or SequenceConflict. Cancelling the
        future only stops the wait. Raises StoreUnavailable when the store has stopped.
        """
        if not self._is_open:
            raise StoreUnavailable("the event log is closed: the service is stopping")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append(_Waiting(append, submitter, done))
        self._unsettled += 1
        self._idle.clear()
        if not self._is_asked:
            self._is_asked = True
            if self._commits:
                self._ask()
            else:
                # At the end of this turn of the loop, with all that is submitted in it.
                loop.call_soon(self._ask)
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

    async def forget(self, job_id: str) -> None:
        """Delete the stream of an ended job and its rows."""
        await delete_job(self._database, job_id)

    def _ask(self) -> None:
        batch: list[_Waiting] = []
        self._commit(batch, partial(self._take, batch))

    def _commit(self, batch: list[_Waiting], prepare: Callable[[], Work | None]) -> None:
        if not self._commits:
            self._begun = self._clock()
        self._commits += 1
        self._database.commit(prepare, partial(self._settled, batch))

    def _take(self, batch: list[_Waiting]) -> Work | None:
        """On the writer's thread: the appends of the next commit, all that wait, up to a bound."""
        # Before the look at what waits: an append that comes after the look asks for another commit.
        self._is_asked = False
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].append.events) <= COMMIT_EVENTS_MAX):
            batch.append(self._waiting.popleft())
            size += len(batch[-1].append.events)
        return self._work_of(batch) if batch else None

    def _work_of(self, batch: list[_Waiting]) -> Work:
        return self._statements.commit([waiting.append for waiting in batch]).write

    def _settled(self, batch: list[_Waiting], error: Exception | None) -> None:
        if isinstance(error, ReplyLost):
            self.lost_replies += 1
            # Nobody is told yet. Commits after this one go on: no stream has appends in two of them.
            look = asyncio.get_running_loop().create_task(self._look(batch, error))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
            return
        begun, self._begun = self._begun, self._clock()
        self._commits -= 1
        if error is None:
            self._committed(batch, self._begun - begun)
        elif isinstance(error, StoreUnavailable | LeaseLost):
            # Not the fault of an append: of the database, or of a lease that has ended.
            self._fail(batch, error)
        else:
            if not isinstance(error, IntegrityError):
                logger.error("a commit of %d appends failed", len(batch), exc_info=error)
            if len(batch) == 1:
                fault = _fault(batch[0].append, error)
                self.conflicts += isinstance(fault, SequenceConflict)
                self._fail(batch, fault)
            else:
                # Whatever it is, it is the fault of one append, and fails that one alone.
                for waiting in batch:
                    self._commit([waiting], partial(self._work_of, [waiting]))
        if self._waiting and not self._is_asked:
            # More waited than one commit may hold.
            self._is_asked = True
            self._ask()

    async def _look(self, batch: list[_Waiting], lost: ReplyLost) -> None:
        """A commit is made whole or not at all: its first event says which."""
        is_made = await self._stands(batch[0].append)
        if is_made:
            logger.info("the reply to a commit was lost, and the commit was made")
        self._settled(batch, None if is_made else StoreUnavailable(str(lost)))

    async def _stands(self, append: Append) -> bool:
        """Whether the log has this append, asked until the database answers. Of a service that stops nobody asks on:
        its next start reads the log."""
        first = append.events[0]
        while self._is_open:
            try:
                found = await self.read(first.job_id, first.sequence - 1, limit=1)
            except StoreUnavailable:
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return bool(found) and found[0]._replace(position=None) == first
        return False

    def _committed(self, batch: list[_Waiting], seconds: float) -> None:
        if not batch:
            return
        crash_point("after_commit")
        for waiting in batch:
            try:
                waiting.submitter.committed(waiting.append.events)
            except Exception:
                logger.exception("publishing events of job %s failed", waiting.append.after.job_id)
            self._settle(waiting, None)
        crash_point("after_emit")
        if self._observe is not None:
            self._observe([waiting.append for waiting in batch], seconds, self._clock() - self._begun)

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        for waiting in batch:
            self._settle(waiting, error)

    def _settle(self, waiting: _Waiting, error: Exception | None) -> None:
        waiting.submitter.settled(error)
        if waiting.done.done():
            pass
        elif error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)
        self._unsettled -= 1
        if not self._unsettled:
            self._idle.set()


def _fault(append: Append, error: Exception) -> Exception:
    """Why this append, alone in its commit, could not be written."""
    if isinstance(error, IntegrityError):
        return SequenceConflict(f"another writer was faster than an append to job {append.after.job_id}")
    return error


def _no_clock() -> float:
    return 0.0
