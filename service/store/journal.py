"""The first two promises, and nothing else: appended before broadcast; history first, then live, without a gap.

A lock for each job, and *lock, append, publish* as one piece that its caller cannot break: once the append is
submitted, the lock is given back by its completion and by nothing else. A caller that is cancelled in the middle leaves
either nothing or an event that is both committed and published. Whoever subscribes pages through the history without
the lock, then takes it, reads the rest and joins: what is appended later reaches it live.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import uuid4
from weakref import WeakValueDictionary

import orjson

from service.errors import FieldError, InvalidRequest, StoreUnavailable
from service.events.event_types import TERMINAL_TYPES, JobQueued
from service.events.fold import apply
from service.events.job import Job
from service.events.recorded_event import NewEvent, RecordedEvent
from service.store.event_store import PAGE_EVENTS, Append, EventStore
from service.store.jobs import Jobs

Publish = Callable[[str, Sequence[RecordedEvent]], Awaitable[None]]
Deliver = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
Decide = Callable[[Job], Sequence[NewEvent]]


class _Stream:
    """What the journal knows of one stream while somebody uses it."""

    __slots__ = ("__weakref__", "job", "lock", "news", "published")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.job: Job | None = None
        self.published = 0
        self.news = asyncio.Event()


class Journal:
    """Records events and hands them over. ``clock_ms``: milliseconds since the epoch, in UTC."""

    def __init__(self, event_store: EventStore, jobs: Jobs, *, clock_ms: Callable[[], int], publish: Publish) -> None:
        self._event_store = event_store
        self._jobs = jobs
        self._clock_ms = clock_ms
        self._publish = publish
        self._streams: WeakValueDictionary[str, _Stream] = WeakValueDictionary()
        self._active: dict[str, _Stream] = {}

    async def enqueue(self, queued: JobQueued) -> Job:
        """A new stream that begins with this event, at the end of the queue. Durable when it returns; raises
        StoreUnavailable."""
        job_id = str(uuid4())
        queued = replace(queued, place=await self._jobs.next_place())
        await self._record(job_id, [NewEvent(event=queued)])
        return await self._jobs.get(job_id)

    async def record(self, job_id: str, events: Sequence[NewEvent]) -> Job:
        """Append these events in one piece and publish them. Returns the job behind them.

        Raises StoreUnavailable (nothing was recorded; the same call may be made again), TransitionRefused.
        """
        return await self._record(job_id, lambda _job: events)

    async def decide(self, job_id: str, decide: Decide) -> Job:
        """Record what ``decide`` says of the job as it stands: nothing can come between the look and the append.

        Whatever ``decide`` raises is raised, and nothing is recorded. Raises UnknownJob, and what ``record`` raises.
        """
        return await self._record(job_id, decide)

    async def hand_over(self, job_id: str, after: int, deliver: Deliver, join: Callable[[int], None]) -> None:
        """Deliver all events behind ``after`` in order, then call ``join(last)`` at the one moment when none can be
        missed or come twice. ``deliver`` may take its time; under the lock it is called at most once, for a rest
        shorter than a page."""
        stream = self._stream(job_id)
        while True:
            page = await self._event_store.read(job_id, after)
            if page:
                await deliver(page)
                after = page[-1].sequence
            if len(page) == PAGE_EVENTS:
                continue
            async with stream.lock:
                rest = await self._event_store.read(job_id, after)
                if len(rest) < PAGE_EVENTS:
                    if rest:
                        await deliver(rest)
                        after = rest[-1].sequence
                    join(after)
                    return

    async def follow(self, job_id: str, after: int) -> AsyncIterator[Sequence[RecordedEvent]]:
        """History, then live, page by page, until behind the terminal event. Everything comes from the log."""
        stream = self._stream(job_id)
        while True:
            stream.news.clear()
            page = await self._event_store.read(job_id, after)
            if page:
                yield page
                after = page[-1].sequence
                if page[-1].type in TERMINAL_TYPES:
                    return
            elif await self._is_behind_the_end(job_id, after):
                return
            elif stream.published <= after:
                await stream.news.wait()

    async def _is_behind_the_end(self, job_id: str, after: int) -> bool:
        """The end never overtakes the last event: an ended job may have one more that was appended a moment ago."""
        job = await self._jobs.get(job_id)
        return job.is_terminal and after >= job.last_sequence

    async def compact(self, job_id: str, after: int) -> tuple[list[RecordedEvent], int]:
        """What a late screen needs of the history behind ``after``, and the sequence up to which that is."""
        upto = max(after, (await self._jobs.get(job_id)).last_sequence)
        return await self._event_store.read_compact(job_id, after, upto), upto

    async def check_after(self, job_id: str, after: int) -> Job:
        """The job, when ``after`` is a sequence that it has reached. Raises UnknownJob, InvalidRequest."""
        job = await self._jobs.get(job_id)
        if after > job.last_sequence:
            message = f"after is {after}, but the job has {job.last_sequence} events: send the last sequence you saw"
            raise InvalidRequest(message, [FieldError("after", message)])
        return job

    async def forget(self, job_id: str) -> None:
        """Take an ended job out of the log, with all that was known of it."""
        async with self._stream(job_id).lock:
            await self._event_store.forget(job_id)

    async def drain(self) -> None:
        """Wait for every record that is under way."""
        await self._event_store.drain()

    async def _record(self, job_id: str, events: Sequence[NewEvent] | Decide) -> Job:
        """``events``: those that begin a stream, or who decides what is added to one."""
        stream = self._stream(job_id)
        await stream.lock.acquire()
        try:
            before = stream.job
            if callable(events):
                before = before if before is not None else await self._jobs.get(job_id)
                events = events(before)
                if not events:
                    stream.lock.release()
                    return before
            after, recorded = self._fold(job_id, before, events)

            async def committed(batch: Sequence[RecordedEvent]) -> None:
                stream.published = batch[-1].sequence
                stream.news.set()
                await self._publish(job_id, batch)

            def settle(error: Exception | None) -> None:
                if error is None:
                    self._keep(job_id, stream, after)
                else:
                    stream.job = before if isinstance(error, StoreUnavailable) else None
                stream.lock.release()

            done = self._event_store.submit(Append(before=before, after=after, events=recorded), committed, settle)
        except BaseException:
            stream.lock.release()
            raise
        # From here on the append belongs to the writer, and so does the lock: a caller that is cancelled while it waits
        # leaves both alone.
        await done
        return after

    def _fold(self, job_id: str, before: Job | None, events: Sequence[NewEvent]) -> tuple[Job, Sequence[RecordedEvent]]:
        at_ms = self._clock_ms()
        job, recorded = before, []
        for new in events:
            recorded.append(
                RecordedEvent(
                    position=None,
                    job_id=job_id,
                    sequence=1 if job is None else job.last_sequence + 1,
                    type=new.event.type,
                    version=new.event.version,
                    at_ms=at_ms,
                    resource=new.resource,
                    attempt=new.attempt,
                    source_offset=new.source_offset,
                    data_json=orjson.dumps(new.event).decode(),
                )
            )
            job = apply(job, recorded[-1], new.event)
        assert job is not None
        return job, recorded

    def _stream(self, job_id: str) -> _Stream:
        stream = self._streams.get(job_id)
        if stream is None:
            stream = self._streams[job_id] = _Stream()
        return stream

    def _keep(self, job_id: str, stream: _Stream, job: Job) -> None:
        """Keep the fold of a job that is being worked on; let it go behind the terminal event."""
        stream.job = job
        if job.is_terminal:
            self._active.pop(job_id, None)
        elif job.last_sequence > 1:
            self._active[job_id] = stream
