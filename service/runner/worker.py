"""Claims jobs and runs them: one after the other on an instance, different instances at once, up to a bound.

What was running when the service ended is rescued first. Stopping cuts the links and nothing else: the installs go on
on their instances, and the next start finds them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from service.errors import StoreUnavailable, UnknownJob
from service.events.causes import Cause
from service.events.event_types import JobStarted
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent
from service.runner.installer import ResourceInstaller
from service.runner.job_run import JobRun
from service.runner.outcome import failed
from service.runner.queue_positions import QueuePositions
from service.store.jobs import Jobs
from service.store.journal import Journal

logger = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 1.0
STOP_SECONDS = 0.5


class Worker:
    """``start``, ``changed`` when a job was enqueued or a client decided something about it, ``stop``."""

    def __init__(
        self,
        *,
        journal: Journal,
        jobs: Jobs,
        installer: ResourceInstaller,
        positions: QueuePositions,
        max_concurrent_jobs: int,
    ) -> None:
        self._journal = journal
        self._jobs = jobs
        self._installer = installer
        self._positions = positions
        self._max_concurrent_jobs = max_concurrent_jobs
        self._news = asyncio.Event()
        self._queues: dict[str, None] = {}
        self._claimer: asyncio.Task[None] | None = None
        self._running: dict[str, tuple[JobRun, asyncio.Task[None]]] = {}

    def start(self) -> None:
        self._positions.start()
        self._claimer = asyncio.create_task(self._claim_until_stopped(), name="worker")

    def changed(self, job: Job) -> None:
        """Tell whoever runs the job, and look at the queue again."""
        if job.job_id in self._running:
            self._running[job.job_id][0].notify(job)
        self._queues[job.instance_key] = None
        self._news.set()

    async def stop(self) -> None:
        """Every record that is under way is finished by the journal, which shields it."""
        await self._positions.stop()
        running = [task for _, task in self._running.values()]
        waiting = {task for task in (self._claimer, *running) if task is not None}
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
                    for job in await self._jobs.to_rescue():
                        self._run(job)
                    rescued = True
                await self._claim_all()
                # Behind the claims: a job that did not have to wait is told no position.
                while self._queues:
                    self._positions.changed(self._queues.popitem()[0])
            except StoreUnavailable as error:
                logger.warning("jobs cannot be claimed now: %s", error)
                await asyncio.sleep(STORE_RETRY_SECONDS)
            else:
                await self._news.wait()

    async def _claim_all(self) -> None:
        # A paused job keeps its instance, but not its place among those that run.
        while sum(not run.is_paused for run, _ in self._running.values()) < self._max_concurrent_jobs:
            head = await self._jobs.next_to_claim()
            if head is None:
                return
            job = await self._claim(head)
            if job is not None:
                self._queues[job.instance_key] = None
                self._run(job)

    async def _claim(self, head: Job) -> Job | None:
        """The job, started; None when a client paused, cancelled or deleted it in this very moment."""

        def still_queued(job: Job) -> Sequence[NewEvent]:
            return [NewEvent(event=JobStarted())] if job.state is JobState.QUEUED else []

        try:
            job = await self._journal.append(head.job_id, still_queued)
        except UnknownJob:
            return None
        return job if job.state is JobState.RUNNING else None

    def _run(self, job: Job) -> None:
        run = self._installer.run_of(job)
        task = asyncio.create_task(self._install(run), name=f"job-{job.job_id}")
        self._running[job.job_id] = (run, task)
        task.add_done_callback(lambda _task: self._ended(run))

    def _ended(self, run: JobRun) -> None:
        self._running.pop(run.job.job_id, None)
        self._news.set()

    async def _install(self, run: JobRun) -> None:
        job_id = run.job.job_id
        try:
            await self._installer.install(run)
            logger.info("job %s: %s, %d of %d", job_id, run.job.state.value, run.job.installed, run.job.total)
        except Exception:
            # A mistake in the service must not leave a job that never ends.
            logger.exception("job %s: the service failed", job_id)
            await self._installer.give_up(run.job, failed(Cause.UNKNOWN, "the service failed: its log says more"))
