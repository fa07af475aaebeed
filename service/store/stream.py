"""In-memory state of a stream in use, and the lock held for one append.

Who may change which field of a stream, and under which lock:

- ``lock`` orders everything that must not mix: an append from its decision to its publication, the moment in which a
  subscriber becomes live, the deletion of the stream.
- ``job``, the fold after the last append, is changed by who holds the lock, and where nobody does, by an append that
  waits for nothing and by the end of one. None: not known, read the rows.
- ``published`` and ``recent`` change only after a commit. Followers read them at any time (see follower.py).
  ``recent`` is kept while somebody follows, or reads the log to become live, and its events are one object for all.

An append takes the lock in its caller's task and gives it back in the writer's: the caller may be cancelled while it
waits for the commit, and between a commit and its publication nobody else may append or join. Such a hand-over of a
lock is easy to get wrong, so one object does it: a ``Hold`` is released exactly once, at the end of its block if
nothing was submitted, else by the writer, in ``settled``.

What a tool prints is the exception: its facts need no decision, and there are many. Their appends follow each other
while earlier ones are under way, a few of them; ``job`` is then the fold after the last that was submitted. Whoever
else takes the lock waits until they are settled, ``until_settled``: nobody decides over what may still fail. Once one
has failed, none follows it until all are settled, and the fold is read from the rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol
from weakref import WeakValueDictionary

from service.errors import StoreUnavailable
from service.events.job import Job
from service.events.recorded_event import RecordedEvent
from service.store.append import Append
from service.store.event_store import EventStore
from service.store.pages import Page

RECENT_EVENTS_MAX = 2_000
# Appends of one stream that are under way at once: of all its attempts together (see pipeline.py for one of them).
UNDER_WAY_MAX = 4

# It waits for nobody: the stream is locked meanwhile.
Publish = Callable[[str, Sequence[RecordedEvent]], None]
Told = Callable[[Job, Exception | None], None]


class Following(Protocol):
    """Follows a stream: see follower.py."""

    def notify(self) -> None:
        """Something was published."""

    def end(self) -> None:
        """The service stops."""


class Stream:
    """The lock and the fold of one stream, its followers and the last events that were published to them."""

    __slots__ = (
        "__weakref__",
        "_failed",
        "_joining",
        "_settled",
        "_under_way",
        "followers",
        "job",
        "lock",
        "published",
        "recent",
    )

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.job: Job | None = None
        self.published = 0
        self.recent: deque[Page] = deque()
        self.followers: set[Following] = set()
        self._joining = 0
        self._under_way = 0
        self._failed = False
        # Of the one who holds the lock and waits.
        self._settled: asyncio.Future[None] | None = None

    @property
    def is_settled(self) -> bool:
        return self._under_way == 0

    @property
    def may_be_followed(self) -> bool:
        """Whether another append may be under way beside those that are."""
        return self._under_way < UNDER_WAY_MAX and not self._failed

    async def until_settled(self) -> None:
        """With the lock: until no append is under way."""
        while self._under_way:
            await self._until_next()

    async def until_it_may_be_followed(self) -> None:
        """With the lock."""
        while not self.may_be_followed:
            await self._until_next()

    async def _until_next(self) -> None:
        self._settled = asyncio.get_running_loop().create_future()
        await self._settled

    def begin(self, job: Job) -> None:
        """An append is under way that others may follow; ``job``: after it."""
        self._under_way += 1
        self.job = job

    def end(self, *, is_stored: bool) -> bool:
        """It is settled. Returns whether the fold is that of the log: all are, and none failed."""
        self._under_way -= 1
        self._failed = self._failed or not is_stored
        if self._failed:
            self.job = None
        is_whole = self._under_way == 0 and not self._failed
        self._failed = self._failed and self._under_way > 0
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
        return is_whole

    def publish(self, events: Sequence[RecordedEvent]) -> None:
        self.published = events[-1].sequence
        if self.followers or self._joining:
            self.recent.append(Page(events))
            self.trim()
            for follower in tuple(self.followers):
                follower.notify()

    def recent_after(self, sequence: int) -> Page | None:
        """The published events after this sequence: as many as came at once. None: they are in the log alone."""
        for page in reversed(self.recent):
            if page[0].sequence <= sequence + 1:
                if page[-1].sequence <= sequence:
                    return None
                is_whole = page[0].sequence == sequence + 1
                return page if is_whole else Page(page[sequence + 1 - page[0].sequence :])
        return None

    def all_recent_after(self, sequence: int) -> list[RecordedEvent] | None:
        """All that was published after this sequence. None: some of it is in the log alone."""
        if self.published == sequence:
            return []
        pages: list[Page] = []
        for page in reversed(self.recent):
            if page[-1].sequence <= sequence:
                break
            pages.append(page)
        found = [event for page in reversed(pages) for event in page if event.sequence > sequence]
        return found if len(found) == self.published - sequence else None

    @contextmanager
    def joining(self) -> Iterator[None]:
        """Within the block, the last published events stay in memory."""
        self._joining += 1
        try:
            yield
        finally:
            self._joining -= 1
            self.trim()

    def trim(self) -> None:
        """Keep the last few events while somebody follows or joins; a client that is further behind reads the log."""
        is_wanted = self.followers or self._joining
        # Published sequences follow each other, so the two ends say how many are kept: to count them would cost each
        # event more, the more are kept.
        while self.recent and (
            not is_wanted or self.recent[-1][-1].sequence - self.recent[0][0].sequence >= RECENT_EVENTS_MAX
        ):
            self.recent.popleft()


class Streams:
    """Streams in use, and those of jobs past their first event. Keeping the fold saves reading the rows on every
    append. ``is_ours``: whether nobody else will append to this job for now, so that its fold stays true; None: nobody
    ever will."""

    def __init__(self, is_ours: Callable[[Job], bool] | None = None) -> None:
        self._is_ours = is_ours
        self._used: WeakValueDictionary[str, Stream] = WeakValueDictionary()
        self._worked_on: dict[str, Stream] = {}

    def of(self, job_id: str) -> Stream:
        stream = self._worked_on.get(job_id) or self._used.get(job_id)
        if stream is None:
            stream = self._used[job_id] = Stream()
        return stream

    def followed(self) -> dict[str, Stream]:
        """The streams that somebody follows."""
        return {job_id: stream for job_id, stream in list(self._used.items()) if stream.followers}

    def let_go(self) -> list[Stream]:
        """Those whose fold was kept: from now on only who uses one keeps it."""
        kept = list(self._worked_on.values())
        self._worked_on.clear()
        return kept

    def end_followers(self) -> None:
        """The service stops: nobody waits for news any more."""
        for stream in list(self._used.values()):
            for follower in tuple(stream.followers):
                follower.end()

    def is_ours(self, job: Job) -> bool:
        """Whether its fold may be kept."""
        return self._is_ours is None or self._is_ours(job)

    def keep(self, stream: Stream, job: Job) -> None:
        """Set the fold, and keep the stream from its second event (the first queue position, or the start) to its last.
        Beyond the first hundred of a queue, a waiting job costs nothing; nor does one that another replica runs."""
        is_ours = self.is_ours(job)
        stream.job = job if is_ours else None
        if job.is_terminal or not is_ours:
            self._worked_on.pop(job.job_id, None)
        elif job.last_sequence > 1:
            self._worked_on[job.job_id] = stream


class Hold:
    """Holds a stream's lock, which the caller took, for one append: a ``with`` block. To the writer it is the append's
    submitter."""

    __slots__ = ("_append", "_publish", "_streams", "stream")

    def __init__(self, stream: Stream, streams: Streams, publish: Publish) -> None:
        self.stream = stream
        self._streams = streams
        self._publish = publish
        self._append: Append | None = None

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._append is None:
            self.stream.lock.release()

    def submit(self, event_store: EventStore, append: Append) -> asyncio.Future[None]:
        """Hand the append to the writer, and this hold with it. Raises StoreUnavailable, and then keeps the hold."""
        done = event_store.submit(append, self)
        self._append = append
        return done

    def committed(self, events: Sequence[RecordedEvent]) -> None:
        self.stream.publish(events)
        self._publish(events[-1].job_id, events)

    def settled(self, error: Exception | None) -> None:
        append = self._append
        assert append is not None
        if error is None:
            self._streams.keep(self.stream, append.after)
        else:
            # StoreUnavailable: nothing has changed. After any other error only the rows are sure.
            before = append.before if isinstance(error, StoreUnavailable) else None
            self.stream.job = before if before is not None and self._streams.is_ours(before) else None
        self.stream.lock.release()


class Followed:
    """One append that others may follow while it is under way: the stream is not locked meanwhile. To the writer it is
    the append's submitter. ``told``: called with the job after it, and with why it was not stored."""

    __slots__ = ("_after", "_publish", "_stream", "_streams", "_told")

    def __init__(self, stream: Stream, streams: Streams, publish: Publish, told: Told) -> None:
        self._stream = stream
        self._streams = streams
        self._publish = publish
        self._told = told
        self._after: Job | None = None

    def submit(self, event_store: EventStore, append: Append) -> None:
        """Hand the append to the writer. Raises StoreUnavailable."""
        event_store.put(append, self)
        self._after = append.after
        self._stream.begin(append.after)

    def committed(self, events: Sequence[RecordedEvent]) -> None:
        self._stream.publish(events)
        self._publish(events[-1].job_id, events)

    def settled(self, error: Exception | None) -> None:
        after = self._after
        assert after is not None
        if self._stream.end(is_stored=error is None):
            self._streams.keep(self._stream, after)
        self._told(after, error)
