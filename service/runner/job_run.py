"""One job while it is worked on: how it stands, how events are added to it, and news of what clients decided."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from service.errors import StoreUnavailable
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent
from service.runner.eta import Eta
from service.store.journal import Decide, Journal

STORE_RETRY_SECONDS_MAX = 5.0


class JobRun:
    """``changed`` is set when the job may have changed, and is then replaced: take it before you look at the job.
    ``partial_files``: what cancelled downloads left behind."""

    def __init__(self, job: Job, journal: Journal) -> None:
        self.job = job
        self.changed = asyncio.Event()
        self.partial_files: list[str] = []
        self.eta = Eta({r.resource: r.size_bytes for r in job.resources})
        self._journal = journal

    @property
    def is_paused(self) -> bool:
        return self.job.state is JobState.PAUSED

    async def record(self, events: Sequence[NewEvent]) -> None:
        """Append these events. A log that cannot be written now is waited for."""
        await self.decide(lambda _job: events)

    async def decide(self, decide: Decide) -> None:
        """Append what ``decide`` says of the job as it stands."""
        try:
            self._keep(await self._journal.append(self.job.job_id, decide))
        except StoreUnavailable:
            await self._decide_later(decide)

    async def _decide_later(self, decide: Decide) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailable),
            wait=wait_exponential(multiplier=0.1, max=STORE_RETRY_SECONDS_MAX),
        ):
            with attempt:
                self._keep(await self._journal.append(self.job.job_id, decide))

    def notify(self, job: Job) -> None:
        """A client decided something about the job, which now stands so."""
        self._keep(job)
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _keep(self, job: Job) -> None:
        if job.last_sequence >= self.job.last_sequence:
            self.job = job
