"""A job while it is worked on: its current state, how events are appended to it, and how its tasks learn of changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from weakref import WeakSet

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from service.errors import LeaseLost, StoreUnavailable
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent
from service.runner.eta import Eta
from service.store.journal import Decide, Journal
from service.store.stream import Told

STORE_RETRY_SECONDS_MAX = 5.0


class Changes:
    """Yields the job now and after every change: ``async for job in live_job.changes()``.

    A change that comes while the caller is busy with one job yields the next one at once, so that none is missed.
    """

    def __init__(self, live_job: LiveJob) -> None:
        self._live_job = live_job
        self._woken = asyncio.Event()
        self._woken.set()
        self._seconds: float | None = None

    def wake(self) -> None:
        """Yield once more: something else that the caller looks at has changed."""
        self._woken.set()

    def look_again_in(self, seconds: float | None) -> None:
        """Yield after this time even without a change. None: wait for a change. Applies to the next wait only."""
        self._seconds = seconds

    def __aiter__(self) -> AsyncIterator[Job]:
        return self

    async def __anext__(self) -> Job:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._woken.wait()
        self._seconds = None
        # Before the job is read: what changes from here on wakes the next turn.
        self._woken.clear()
        return self._live_job.job


async def _at_once() -> None:
    """Nobody else may act on the instance."""


class LiveJob:
    """The job that the tasks of one install share.

    ``job``: as its last event left it. ``epoch``: of the owner for whom it runs. ``partial_files``: what cancelled or
    failed downloads left half done. ``until_may_act``: see there.

    Every append raises LeaseLost once the job has another owner.
    """

    def __init__(self, job: Job, journal: Journal, *, until_may_act: Callable[[], Awaitable[None]] = _at_once) -> None:
        self._until_may_act = until_may_act
        self.job = job
        self.epoch = job.epoch
        self.partial_files: list[str] = []
        self.eta = Eta({r.resource: r.size_bytes for r in job.resources})
        self._journal = journal
        self._watchers: WeakSet[Changes] = WeakSet()

    @property
    def is_paused(self) -> bool:
        return self.job.state is JobState.PAUSED

    def changes(self) -> Changes:
        """The job now, and again after each change that a client makes."""
        changes = Changes(self)
        self._watchers.add(changes)
        return changes

    def changed(self, job: Job) -> None:
        """A client changed the job; this is its new state."""
        self.keep(job)
        self.wake()

    def wake(self) -> None:
        """All who follow the changes look at the job again: it came to a point from which more can begin."""
        for changes in self._watchers:
            changes.wake()

    async def until_may_act(self) -> None:
        """Before anything is done on the instance: wait until it may be done from here."""
        await self._until_may_act()

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Append these events. While the log cannot be written, wait for it."""
        await self.append_from(lambda _job: events)

    async def append_from(self, decide: Decide) -> None:
        """Append the events that ``decide`` makes from the job's current state. While the log cannot be written, wait
        for it."""
        try:
            await self._decide_once(decide)
        except StoreUnavailable:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(StoreUnavailable),
                wait=wait_exponential(multiplier=0.1, max=STORE_RETRY_SECONDS_MAX),
            ):
                with attempt:
                    await self._decide_once(decide)

    def submit(self, facts: Decide, told: Told) -> Awaitable[bool]:
        """Begin to append these facts: see Journal.submit. ``facts`` calls `check_owner`. Raises StoreUnavailable."""
        return self._journal.submit(self.job.job_id, facts, told)

    async def refresh(self) -> None:
        """Read the job again from the journal: a change made before this object existed, or on another replica, woke
        nobody."""
        await self.append([])
        self.wake()

    async def _decide_once(self, decide: Decide) -> None:
        self.keep(await self._journal.append(self.job.job_id, self._as_owner(decide)))

    def check_owner(self, job: Job) -> None:
        """Raises LeaseLost."""
        if job.epoch != self.epoch:
            raise LeaseLost(f"job {job.job_id} has another owner")

    def _as_owner(self, decide: Decide) -> Decide:
        def decided(job: Job) -> Sequence[NewEvent]:
            self.check_owner(job)
            return decide(job)

        return decided

    def keep(self, job: Job) -> None:
        """This is the job after an event that is stored."""
        if job.last_sequence >= self.job.last_sequence:
            self.job = job
