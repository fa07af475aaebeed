"""Claims jobs and runs them: one after the other on an instance, different instances at once, up to a bound.

What was running when the service ended is rescued first. Stopping cuts the links and nothing else: the installs go on
on their instances, and the next start finds them.
"""

from __future__ import annotations

import asyncio
import logging

from service.errors import StoreUnavailable
from service.events.event_types import Cause, JobStarted
from service.events.job import Job
from service.events.recorded_event import NewEvent
from service.runner.installer import ResourceInstaller
from service.runner.outcome import failed
from service.store.job_queue import JobQueue
from service.store.journal import Journal

logger = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 1.0
STOP_SECONDS = 0.5


class Worker:
    """``start``, ``wake`` when a job was enqueued, ``stop``."""

    def __init__(
        self, *, journal: Journal, job_queue: JobQueue, installer: ResourceInstaller, max_concurrent_jobs: int
    ) -> None:
        self._journal = journal
        self._job_queue = job_queue
        self._installer = installer
        self._max_concurrent_jobs = max_concurrent_jobs
        self._news = asyncio.Event()
        self._claimer: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        self._claimer = asyncio.create_task(self._claim_until_stopped(), name="worker")

    def wake(self) -> None:
        self._news.set()

    async def stop(self) -> None:
        """Every record that is under way is finished by the journal, which shields it."""
        tasks = [task for task in (self._claimer, *self._running.values()) if task is not None]
        waiting = set(tasks)
        while waiting:
            # A library below may swallow a cancellation: it is asked again.
            for task in waiting:
                task.cancel()
            _, waiting = await asyncio.wait(waiting, timeout=STOP_SECONDS)

    async def _claim_until_stopped(self) -> None:
        rescued = False
        while True:
            self._news.clear()
            try:
                if not rescued:
                    for job in await self._job_queue.to_rescue():
                        self._run(job)
                    rescued = True
                await self._claim_all()
            except StoreUnavailable as error:
                logger.warning("jobs cannot be claimed now: %s", error)
                await asyncio.sleep(STORE_RETRY_SECONDS)
            else:
                await self._news.wait()

    async def _claim_all(self) -> None:
        while len(self._running) < self._max_concurrent_jobs:
            job = await self._job_queue.next_to_claim()
            if job is None:
                return
            self._run(await self._journal.record(job.job_id, [NewEvent(event=JobStarted())]))

    def _run(self, job: Job) -> None:
        task = asyncio.create_task(self._install(job), name=f"job-{job.job_id}")
        self._running[job.job_id] = task
        task.add_done_callback(lambda _task: self._ended(job.job_id))

    def _ended(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        self.wake()

    async def _install(self, job: Job) -> None:
        try:
            ended = await self._installer.install(job)
            logger.info("job %s: %s, %d of %d", job.job_id, ended.state.value, ended.installed, ended.total)
        except Exception:
            # A mistake in the service must not leave a job that never ends.
            logger.exception("job %s: the service failed", job.job_id)
            await self._installer.give_up(job, failed(Cause.UNKNOWN, "the service failed: its log says more"))
