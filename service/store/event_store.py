"""The event log: append with group commit, and reads in order.

Appends of all jobs that wait while one commit runs go into the next one together: the writer's thread takes whatever
waits when it begins. So while a commit runs, the next one is asked for already, and begins without waiting for the
event loop. No caller can cancel a commit. Whatever one append does wrong fails that append alone. What was committed is
published before any caller is woken, so that a stream's events are published in order.

A stream may have several appends under way. An append is written only if the one before it in its stream is written, or
is in the same commit: nothing later is ever stored without what came earlier, whatever became of that. Only the
writer's thread can know this in time, since the next commit begins before the event loop hears of the last one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from sqlalchemy import Connection, func, or_, select, text
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


class _Waiting:
    """An append under way. ``earlier``: the one before it in its stream, while that one is under way too. ``batch``:
    of the commit that has it."""

    __slots__ = ("append", "batch", "done", "earlier", "is_stored", "submitter")

    def __init__(
        self, append: Append, submitter: Submitter, done: asyncio.Future[None] | None, earlier: _Waiting | None
    ) -> None:
        self.append = append
        self.submitter = submitter
        self.done = done
        self.earlier = earlier
        self.batch: _Batch | None = None
        self.is_stored = False

    def may_follow(self, batch: _Batch) -> bool:
        """Whether what came before it in its stream is stored, or will be in the same commit."""
        earlier = self.earlier
        return earlier is None or earlier.is_stored or earlier.batch is batch


class _Batch:
    """The appends of one commit. ``refused``: those whose stream lacks what came before."""

    __slots__ = ("appends", "refused")

    def __init__(self) -> None:
        self.appends: list[_Waiting] = []
        self.refused: list[_Waiting] = []

    def add(self, waiting: _Waiting) -> None:
        if waiting.may_follow(self):
            waiting.batch = self
            self.appends.append(waiting)
        else:
            self.refused.append(waiting)


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
        # The newest append under way of each stream.
        self._newest: dict[str, _Waiting] = {}
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
        """Hand an append to the writer, and await the future. It raises StoreUnavailable (nothing was written: the same
        append may be tried again, after those before it in its stream) or SequenceConflict. Cancelling it only stops
        the wait. Raises StoreUnavailable when the store has stopped."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.put(append, submitter, done)
        return done

    def put(self, append: Append, submitter: Submitter, done: asyncio.Future[None] | None = None) -> None:
        """Hand an append to the writer; from here on it belongs to the writer, even if the caller is cancelled. The
        writer commits it, calls the submitter, and then wakes the tasks that await the future. Raises StoreUnavailable
        when the store has stopped."""
        if not self._is_open:
            raise StoreUnavailable("the event log is closed: the service is stopping")
        job_id = append.after.job_id
        waiting = self._newest[job_id] = _Waiting(append, submitter, done, self._newest.get(job_id))
        self._waiting.append(waiting)
        if not self._unsettled:
            self._idle.clear()
        self._unsettled += 1
        if not self._is_asked:
            self._is_asked = True
            if self._commits:
                self._ask()
            else:
                # At the end of this turn of the loop, with all that is submitted in it.
                asyncio.get_running_loop().call_soon(self._ask)

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
        self._commit(self._take)

    def _commit(self, take: Callable[[_Batch], None]) -> None:
        """``take`` fills the batch on the writer's thread, when its commit begins."""
        if not self._commits:
            self._begun = self._clock()
        self._commits += 1
        loop, batch = asyncio.get_running_loop(), _Batch()

        def prepare() -> Work | None:
            take(batch)
            return self._statements.commit(_by_stream(batch.appends)).write if batch.appends else None

        def settled(error: Exception | None) -> None:
            if error is None:
                for waiting in batch.appends:
                    waiting.is_stored = True
            loop.call_soon_threadsafe(self._settled, batch, error)

        self._database.commit(prepare, settled)

    def _take(self, batch: _Batch) -> None:
        """On the writer's thread: the appends of the next commit, all that wait, up to a bound."""
        # Before the look at what waits: an append that comes after the look asks for another commit.
        self._is_asked = False
        size = 0
        while self._waiting and (not size or size + len(self._waiting[0].append.events) <= COMMIT_EVENTS_MAX):
            waiting = self._waiting.popleft()
            batch.add(waiting)
            size += len(waiting.append.events)

    def _settled(self, batch: _Batch, error: Exception | None) -> None:
        if isinstance(error, ReplyLost):
            self.lost_replies += 1
            # Nobody is told yet. Commits after this one go on, without what follows in these streams.
            look = asyncio.get_running_loop().create_task(self._look(batch, error))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
            return
        begun, self._begun = self._begun, self._clock()
        self._commits -= 1
        appends = batch.appends
        if batch.refused:
            self._fail(batch.refused, StoreUnavailable("what comes before it in its stream is not stored"))
        if error is None:
            self._committed(appends, self._begun - begun)
        elif isinstance(error, StoreUnavailable | LeaseLost):
            # Not the fault of an append: of the database, or of a lease that has ended.
            self._fail(appends, error)
        else:
            if not isinstance(error, IntegrityError):
                logger.error("a commit of %d appends failed", len(appends), exc_info=error)
            if len(appends) == 1:
                fault = _fault(appends[0].append, error)
                self.conflicts += isinstance(fault, SequenceConflict)
                self._fail(appends, fault)
            else:
                # Whatever it is, it is the fault of one append, and fails that one alone.
                for waiting in appends:
                    waiting.batch = None
                    self._commit(partial(_Batch.add, waiting=waiting))
        if self._waiting and not self._is_asked:
            # More waited than one commit may hold.
            self._is_asked = True
            self._ask()

    async def _look(self, batch: _Batch, lost: ReplyLost) -> None:
        """A commit is made whole or not at all: its first event says which."""
        is_made = await self._stands(batch.appends[0].append)
        if is_made:
            logger.info("the reply to a commit was lost, and the commit was made")
            for waiting in batch.appends:
                waiting.is_stored = True
        self._settled(batch, None if is_made else StoreUnavailable(str(lost)))

    async def _stands(self, append: Append) -> bool:
        """Whether the log has this append, asked until the database answers. Of a service that stops nobody asks on:
        its next start reads the log."""
        first = append.events[0]
        while self._is_open:
            try:
                found = await self._database.write(lambda connection: _durable(connection, first))
            except Exception as error:
                # Whoever waits for the commit waits until there is an answer.
                if not isinstance(error, StoreUnavailable):
                    logger.exception("it cannot be looked up whether a commit was made: it is tried again")
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return found is not None and found._replace(position=None) == first
        return False

    def _committed(self, appends: list[_Waiting], seconds: float) -> None:
        if not appends:
            return
        crash_point("after_commit")
        for waiting in appends:
            try:
                waiting.submitter.committed(waiting.append.events)
            except Exception:
                logger.exception("publishing events of job %s failed", waiting.append.after.job_id)
            self._settle(waiting, None)
        crash_point("after_emit")
        if self._observe is not None:
            self._observe([waiting.append for waiting in appends], seconds, self._clock() - self._begun)

    def _fail(self, appends: list[_Waiting], error: Exception) -> None:
        for waiting in appends:
            self._settle(waiting, error)

    def _settle(self, waiting: _Waiting, error: Exception | None) -> None:
        # Otherwise each would keep all before it, and those of a commit each other, until the collector comes.
        waiting.earlier = waiting.batch = None
        job_id = waiting.append.after.job_id
        if self._newest.get(job_id) is waiting:
            del self._newest[job_id]
        waiting.submitter.settled(error)
        done = waiting.done
        if done is None or done.done():
            pass
        elif error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            # The submitter was told: nobody else has to ask.
            done.exception()
        self._unsettled -= 1
        if not self._unsettled:
            self._idle.set()


def _by_stream(appends: Sequence[_Waiting]) -> list[Append]:
    """One append for each stream: a row may be written once in a commit."""
    streams: dict[str, Append] = {}
    for waiting in appends:
        append, job_id = waiting.append, waiting.append.after.job_id
        earlier = streams.get(job_id)
        if earlier is not None:
            append = Append(earlier.before, append.after, [*earlier.events, *append.events])
        streams[job_id] = append
    return list(streams.values())


def _durable(connection: Connection, event: RecordedEvent) -> RecordedEvent | None:
    """What the log holds at this event's place. By the writer, with a write after the look: what that write's commit
    does not make sure of, a standby that takes over may lack, though it is seen here."""
    place = (events.c.job_id == event.job_id, events.c.sequence == event.sequence)
    row = connection.execute(select(events).where(*place)).one_or_none()
    connection.execute(text("update alembic_version set version_num = version_num"))
    return None if row is None else recorded_of(row)


def _fault(append: Append, error: Exception) -> Exception:
    """Why this append, alone in its commit, could not be written."""
    if isinstance(error, IntegrityError):
        return SequenceConflict(f"another writer was faster than an append to job {append.after.job_id}")
    return error


def _no_clock() -> float:
    return 0.0
