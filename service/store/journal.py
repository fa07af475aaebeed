"""Keeps two promises, and does nothing else: appended before broadcast; history first, then live, without a gap.

*Lock, append, publish* is one step that a cancelled caller cannot interrupt (see stream.py): it leaves either nothing
or events that are both committed and published. A subscriber pages through the history without the lock, then takes it,
gets the rest and joins: a later append reaches it live. The rest was published meanwhile and is in memory, so that no
append waits for a read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

from service.errors import FieldError, InvalidRequest, SequenceConflict, StoreUnavailable
from service.events.event_types import JobQueued
from service.events.fold import apply
from service.events.formats import newest_format, readable
from service.events.job import Job
from service.events.recorded_event import NewEvent, RecordedEvent
from service.events.redaction import Secrets
from service.store.append import Append
from service.store.event_store import EventStore
from service.store.follower import Follower
from service.store.gate import Gate
from service.store.jobs import Jobs
from service.store.pages import PAGE_EVENTS, Pages
from service.store.stream import Followed, Hold, Publish, Stream, Streams, Told

Decide = Callable[[Job], Sequence[NewEvent]]

CONFLICTS_MAX = 100


class Subscriber(Protocol):
    """Receives a stream: first its history, page by page, then the call to become live. `web/replay.py` is the one that
    runs."""

    async def ready(self) -> None:
        """Wait until the subscriber can take a page more. It may take its time."""

    def deliver(self, events: Sequence[RecordedEvent]) -> None:
        """Take these events, the next ones in order. It waits for nobody: the stream may be locked."""

    def join(self, last: int) -> None:
        """Become live: every event up to the sequence ``last`` was delivered, and the next one will be published."""


class Journal:
    """Appends events and hands them over. ``clock_ms``: milliseconds since the epoch, in UTC. ``secrets``: texts that
    no event may hold.

    ``is_shared``: other replicas append too, and somebody calls ``watched`` and ``advance``. Then ``replica_id`` is
    this one's, and ``on_foreign`` is called with each job to which another appended something that is published here.
    ``events_format``: the newest that all of them can read.
    """

    def __init__(
        self,
        event_store: EventStore,
        jobs: Jobs,
        *,
        clock_ms: Callable[[], int],
        publish: Publish,
        secrets: Secrets | Iterable[str] = (),
        is_shared: bool = False,
        replica_id: Callable[[], int | None] = lambda: None,
        on_foreign: Callable[[str], None] = lambda _job_id: None,
        events_format: Callable[[], int] = newest_format,
    ) -> None:
        self._event_store = event_store
        self._is_shared = is_shared
        self._jobs = jobs
        self._clock_ms = clock_ms
        self._publish = publish
        self._replica_id = replica_id
        self._on_foreign = on_foreign
        self._events_format = events_format
        self._streams = Streams(self._is_ours if is_shared else None)
        self._gate = Gate(secrets)
        self._pages = Pages(event_store.read)
        # Kept alive, with what was published last: their events may come from another replica.
        self._watched: dict[str, Stream] = {}

    async def enqueue(self, queued: JobQueued) -> Job:
        """A new stream that begins with this event, at the end of the queue. Durable when it returns.

        Raises StoreUnavailable, and SequenceConflict when another was first: with a job in the same place, under the
        same Idempotency-Key, or with a retry of the same job. Then look for that job before you enqueue again.
        """
        job_id = str(uuid4())
        begin = NewEvent(event=replace(queued, place=await self._jobs.next_place()))
        with await self._hold(job_id) as hold:
            job, done = self._submit(hold, job_id, None, readable([begin], self._events_format()))
        await done
        return job

    async def append(self, job_id: str, events: Sequence[NewEvent] | Decide, *, owner: int | None = None) -> Job:
        """Append these events, all or none, and publish them. Returns the job after them.

        ``events`` may be a function that makes them from the job's current state: nothing can come between its look
        and the append. If there are none, nothing is appended. Raises whatever the function raises, UnknownJob,
        TransitionRefused, UnstorableEvent, and StoreUnavailable (the same call may be made again); nothing was
        appended then.

        ``owner``: the replica that owns the job from these events on, as its next epoch.

        Where another writer was first, what it appended is published, and ``events`` decides again over it. Raises
        SequenceConflict when nothing new is in the stream: then another job has what this one needs.
        """
        seen = 0
        for _ in range(CONFLICTS_MAX):
            before, after, done = await self._begin(job_id, events, owner)
            try:
                await done
                return after
            except SequenceConflict:
                if before.last_sequence <= seen:
                    raise
                seen = before.last_sequence
        raise StoreUnavailable(f"others append to job {job_id} faster than this append can follow: try again")

    async def submit(self, job_id: str, facts: Decide, told: Told) -> bool:
        """The same without the wait, for facts that hold whatever else is decided. ``told`` is called once with the job
        after them, and with None or what `append` would have raised at its first conflict. Returns False, and tells
        nothing, where there is nothing to append.

        A few submissions for a job may be under way at once, and ``facts`` is called with the job after them, at once
        before they are submitted. After one that fails, those that follow it fail too, with StoreUnavailable: append
        them again in their order.
        """
        stream = self._streams.of(job_id)
        if stream.lock.locked() or not stream.may_be_followed or stream.job is None:
            async with stream.lock:
                await stream.until_it_may_be_followed()
                before = stream.job or await self._caught_up(stream, job_id)
                return self._submit_followed(stream, before, facts, told)
        # Nothing is waited for, so nobody can come between: a lock would cost each line of a tool as much again.
        return self._submit_followed(stream, stream.job, facts, told)

    def _submit_followed(self, stream: Stream, before: Job, facts: Decide, told: Told) -> bool:
        new = readable(facts(before), self._events_format())
        if new:
            append = self._decided(before.job_id, before, new)
            Followed(stream, self._streams, self._publish, told).submit(self._event_store, append)
        return bool(new)

    async def hand_over(self, job_id: str, after: int, subscriber: Subscriber) -> None:
        """Deliver all events after the sequence ``after`` in order, then call ``join`` at the one moment when none can
        be missed or come twice.

        Only without the lock does it wait for the subscriber, so that a client that does not read holds up no append.
        Under the lock ``deliver`` is called at most once, for a rest shorter than a page. Raises StoreUnavailable.
        """
        stream = self._streams.of(job_id)
        while True:
            await subscriber.ready()
            with stream.joining():
                page = await self._pages.after(job_id, after)
                if page:
                    subscriber.deliver(page)
                    after = page[-1].sequence
                if len(page) == PAGE_EVENTS:
                    continue
                await subscriber.ready()
                async with stream.lock:
                    await stream.until_settled()
                    if await self._delivered_rest(job_id, stream, after, subscriber):
                        return

    async def _delivered_rest(self, job_id: str, stream: Stream, after: int, subscriber: Subscriber) -> bool:
        """Under the lock: whether the subscriber is live now. Otherwise it lacks a page or more."""
        rest = stream.all_recent_after(after)
        if rest is None:
            # Some of it is in the log alone, or nothing was published here yet.
            rest = await self._event_store.read(job_id, after)
        if len(rest) >= PAGE_EVENTS:
            return False
        if rest:
            subscriber.deliver(rest)
            after = rest[-1].sequence
        # Who is live already gets what another replica wrote before anybody joins beyond it.
        await self._publish_up_to(job_id, stream, after)
        if self._is_shared:
            self._watched[job_id] = stream
        subscriber.join(after)
        return True

    async def advance(self, job_id: str, events: Sequence[RecordedEvent]) -> None:
        """Publish what another replica appended: whatever of these events, in order, is not published yet. A hole
        before them is read from the log first. Raises StoreUnavailable."""
        stream = self._streams.of(job_id)
        async with stream.lock:
            await stream.until_settled()
            await self._publish_up_to(job_id, stream, events[0].sequence - 1)
            self._publish_foreign(job_id, stream, events)

    def watched(self, joined: Iterable[str]) -> dict[str, int]:
        """The streams that somebody watches, each with the last sequence that was published. ``joined``: the jobs that
        subscribers are live in, or whose run is here; what nobody watches any more is let go."""
        self._watched = {job_id: self._streams.of(job_id) for job_id in joined} | self._streams.followed()
        return {job_id: stream.published for job_id, stream in self._watched.items()}

    def follow(self, job_id: str, after: int) -> Follower:
        """History, then live, up to the terminal event. Many can follow: what is live is in memory once."""
        return Follower(job_id, after, stream=self._streams.of(job_id), pages=self._pages, jobs=self._jobs)

    def end_followers(self) -> None:
        """The service stops: everybody who follows gets to the end."""
        self._streams.end_followers()

    async def compact(self, job_id: str, after: int) -> tuple[list[RecordedEvent], int]:
        """What a late screen needs of the history after ``after``, and the sequence up to which that is."""
        job = self._committed(job_id) or await self._jobs.get(job_id)
        upto = max(after, job.last_sequence)
        return await self._event_store.read_compact(job_id, after, upto), upto

    async def check_after(self, job_id: str, after: int) -> Job:
        """Check that the job has reached the sequence ``after``, and return it. Raises UnknownJob, InvalidRequest."""
        job = self._committed(job_id)
        if job is None or after > job.last_sequence:
            # What a client read from the log may not be published here yet.
            job = await self._jobs.get(job_id)
        if after > job.last_sequence:
            message = f"after is {after}, but the job has {job.last_sequence} events: send the last sequence you saw"
            raise InvalidRequest(message, [FieldError("after", message)])
        return job

    def _committed(self, job_id: str) -> Job | None:
        """The job as the log has it, where that is known without a read: ten thousand who subscribe at once must not
        wait for as many reads of one row. Appends under way change no state: they hold what tools print."""
        stream = self._streams.of(job_id)
        job = stream.job
        if job is None or not self._is_ours(job):
            return None
        if stream.is_settled:
            return job
        return job._replace(last_sequence=stream.published) if stream.published else None

    async def forget(self, job_id: str) -> None:
        """Delete an ended job: its events and its rows."""
        stream = self._streams.of(job_id)
        async with stream.lock:
            await stream.until_settled()
            await self._event_store.forget(job_id)
            stream.job = None
            self._pages.forget(job_id)

    async def forget_folds(self) -> None:
        """This replica owns nothing any more: what it knows of jobs may have changed. Waits for what is under way."""
        for stream in self._streams.let_go():
            async with stream.lock:
                await stream.until_settled()
                stream.job = None

    async def has_new_owner(self, job_ids: Iterable[str]) -> None:
        """These jobs were taken over without an event: a fold that is known here has the former owner."""
        for stream in map(self._streams.of, job_ids):
            async with stream.lock:
                await stream.until_settled()
                stream.job = None

    async def drain(self) -> None:
        """Wait for everything that is under way."""
        await self._event_store.drain()
        await self._pages.drain()

    async def _hold(self, job_id: str) -> Hold:
        stream = self._streams.of(job_id)
        await stream.lock.acquire()
        try:
            await stream.until_settled()
        except BaseException:
            stream.lock.release()
            raise
        return Hold(stream, self._streams, self._publish)

    async def _begin(
        self, job_id: str, events: Sequence[NewEvent] | Decide, owner: int | None = None
    ) -> tuple[Job, Job, asyncio.Future[None]]:
        """The job before and after the events, and the future of their commit."""
        with await self._hold(job_id) as hold:
            before = hold.stream.job or await self._caught_up(hold.stream, job_id)
            new = readable(events(before) if callable(events) else events, self._events_format())
            if new:
                # The append and the lock now belong to the writer: a caller that is cancelled leaves both alone.
                after, done = self._submit(hold, job_id, before, new, owner)
                return before, after, done
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return before, before, nothing

    async def _caught_up(self, stream: Stream, job_id: str) -> Job:
        """The job as its rows are now. What others appended since the last event that is known here is published."""
        job = await self._jobs.get(job_id)
        await self._publish_up_to(job_id, stream, job.last_sequence)
        return job

    async def _publish_up_to(self, job_id: str, stream: Stream, sequence: int) -> None:
        """Under the lock. Where nothing was published here yet, nobody is live: what comes next is new."""
        stream.published = stream.published or max(0, sequence)
        while stream.published < sequence:
            limit = min(PAGE_EVENTS, sequence - stream.published)
            missing = await self._event_store.read(job_id, stream.published, limit)
            if not missing:
                return
            self._publish_foreign(job_id, stream, missing)

    def _publish_foreign(self, job_id: str, stream: Stream, events: Sequence[RecordedEvent]) -> None:
        new = [event for event in events if event.sequence > stream.published]
        if new:
            # The fold that is known here lacks them.
            stream.job = None
            stream.publish(new)
            self._publish(job_id, new)
            self._on_foreign(job_id)

    def _is_ours(self, job: Job) -> bool:
        """Whether only this replica appends to the job, but for controls, so that its fold may be kept."""
        return not self._is_shared or (job.owner is not None and job.owner == self._replica_id())

    def _submit(
        self, hold: Hold, job_id: str, before: Job | None, new: Sequence[NewEvent], owner: int | None = None
    ) -> tuple[Job, asyncio.Future[None]]:
        """The job after these events, and the future of their commit. Raises TransitionRefused, StoreUnavailable."""
        append = self._decided(job_id, before, new, owner)
        return append.after, hold.submit(self._event_store, append)

    def _decided(self, job_id: str, before: Job | None, new: Sequence[NewEvent], owner: int | None = None) -> Append:
        """These events as they are appended. Raises TransitionRefused, UnstorableEvent."""
        # The log may have been written by another clock: a time never falls within a stream.
        at_ms = max(self._clock_ms(), 0 if before is None else before.last_at_ms)
        job, recorded = before, []
        for new_event in new:
            kept, fields_json = self._gate(new_event.event)
            sequence = 1 if job is None else job.last_sequence + 1
            recorded.append(new_event.recorded(job_id, sequence, at_ms, fields_json))
            job = apply(job, recorded[-1], kept)
        assert job is not None
        if owner is not None:
            job = job._replace(owner=owner, epoch=job.epoch + 1)
        return Append(before=before, after=job, events=recorded)
