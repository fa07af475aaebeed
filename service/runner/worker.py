"""Claims jobs and runs them: one after the other on an instance, different instances at once, up to a bound.

What was running when its owner ended is rescued first: it goes to this service, as its next epoch. Stopping cuts the
links and nothing else: the installs continue on their instances, and another replica, or the next start, finds them.

A rescue has no bound: an install that nobody follows is worse than a replica with more than its share of them, and each
replica leaves the others theirs. A replica that lacks a job's cards leaves it to one that has them, for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    wait_exponential,
    wait_fixed,
)

from service.errors import LeaseLost, SequenceConflict, StoreUnavailable, UnknownJob, is_shortage
from service.events.causes import Cause
from service.events.event_types import JobStarted
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent
from service.runner.installer import ResourceInstaller
from service.runner.live_job import LiveJob
from service.runner.outcome import Outcome, failed
from service.runner.queue_positions import QueuePositions
from service.runner.sharing import Sharing
from service.runner.tasks import cancel_and_wait
from service.store.background import BackgroundLoop
from service.store.jobs import Jobs
from service.store.journal import Journal
from service.store.membership import Membership
from service.store.ownership import Ownership

logger = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 1.0
GIVE_UP_SECONDS_MAX = 60.0
SHORTAGE_RETRY_SECONDS = 2.0
# A hint that is lost costs no more than this.
LOOK_SECONDS_MAX = 5.0


class Worker:
    """``start``, ``job_changed`` when a job was enqueued or a client changed it, ``stop``.

    ``on_taken_up`` is called with each job in the task that will work on it, before the work begins.

    Of replicas that share the log: ``advanced`` when another one appended to a job, ``look`` when jobs may wait for
    anybody, ``let_go`` when the lease is lost. ``sharing``: what it leaves to them; None: it is alone.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        jobs: Jobs,
        ownership: Ownership,
        installer: ResourceInstaller,
        positions: QueuePositions,
        max_concurrent_jobs: int,
        on_taken_up: Callable[[Job], None],
        membership: Membership,
        sharing: Sharing | None = None,
    ) -> None:
        self._membership = membership
        self._sharing = sharing
        self._journal = journal
        self._jobs = jobs
        self._ownership = ownership
        self._installer = installer
        self._positions = positions
        self._max_concurrent_jobs = max_concurrent_jobs
        self._on_taken_up = on_taken_up
        self._loop = BackgroundLoop("worker", self._claim_what_waits)
        self._refreshing: set[asyncio.Task[None]] = set()
        # When the work on a job ended here, in seconds of the loop.
        self._left_at: dict[str, float] = {}
        self._queues_to_renumber: dict[str, None] = {}
        self._running: dict[str, tuple[LiveJob, asyncio.Task[None]]] = {}

    def start(self) -> None:
        self._positions.start()
        self._loop.start()

    def job_changed(self, job: Job) -> None:
        """Give the job to the tasks that work on it, if it runs, and look at its queue again."""
        if job.job_id in self._running:
            self._running[job.job_id][0].changed(job)
        self._queues_to_renumber[job.instance_key] = None
        self._loop.wake()
        self._tell_others()

    def advanced(self, job_id: str) -> None:
        """Another replica appended to this job: its tasks look at it again, if it runs here."""
        if job_id in self._running:
            refreshing = asyncio.create_task(self._refresh(self._running[job_id][0]))
            self._refreshing.add(refreshing)
            refreshing.add_done_callback(self._refreshing.discard)

    def look(self) -> None:
        """Jobs may wait for whoever has room."""
        self._loop.wake()

    @property
    def running(self) -> Sequence[str]:
        """The jobs that run here."""
        return tuple(self._running)

    async def let_go(self) -> None:
        """This replica owns nothing any more: end all that it does, without a word to the log or the instances."""
        await cancel_and_wait([task for _, task in self._running.values()])
        self._left_at.clear()

    async def stop(self) -> None:
        """Cut the links. Every append that is under way is finished by the event store, whatever is cancelled here."""
        await self._positions.stop()
        await self._loop.stop()
        await cancel_and_wait([*self._refreshing, *(task for _, task in self._running.values())])

    async def _claim_what_waits(self) -> float | None:
        if not self._membership.may_act:
            # Woken when it may again.
            return LOOK_SECONDS_MAX
        try:
            await self._rescue()
            # The queues that have changed until now, and after the claims: a job that did not have to wait gets no
            # position. One that comes during the claims has its turn in the next round.
            changed = list(self._queues_to_renumber)
            await self._claim_all()
            for instance_key in changed:
                self._queues_to_renumber.pop(instance_key, None)
                self._positions.renumber(instance_key)
            if self._queues_to_renumber:
                self._loop.wake()
        except (StoreUnavailable, LeaseLost) as error:
            logger.warning("jobs cannot be claimed now: %s", error)
            return STORE_RETRY_SECONDS
        return None if self._sharing is None else LOOK_SECONDS_MAX

    async def _rescue(self) -> None:
        """Take over what nobody looks after: this replica's share of it, so there may be more."""
        now = asyncio.get_running_loop().time()
        self._left_at = {job_id: at for job_id, at in self._left_at.items() if now - at < LOOK_SECONDS_MAX}
        # A job that was left here a moment ago is not begun again and again.
        left, alive = await self._ownership.left(without={*self._running, *self._left_at})
        wanted = [job.job_id for job in await self._takes(await self._jobs.all_of(left))]
        if not wanted:
            return
        # Each of those that are alive begins somewhere else.
        random.shuffle(wanted)
        taken = await self._ownership.take_over(wanted[: -(-len(wanted) // alive)])
        await self._journal.has_new_owner(taken)
        for job in await self._jobs.all_of(taken):
            self._run(job, is_rescued=True)
        if len(taken) < len(wanted):
            self._loop.wake()

    async def _takes(self, jobs: Sequence[Job]) -> Sequence[Job]:
        return jobs if self._sharing is None else await self._sharing.takes(jobs)

    @property
    def _free_places(self) -> int:
        """How many jobs may be claimed now. A paused one keeps its instance, but not its place among those that run."""
        if self._loop.is_stopping:
            return 0
        return max(0, self._max_concurrent_jobs - sum(not live.is_paused for live, _ in self._running.values()))

    async def _claim_all(self) -> None:
        """Many at once: in a process that is busy each look and each commit waits for its turn, however many jobs it
        has. So a look brings a job for each free place, and one commit starts them all."""
        left_to_others: set[str] = set()
        while places := self._free_places:
            heads = await self._jobs.next_to_claim(places, without=left_to_others)
            if not heads:
                return
            mine = await self._takes(heads)
            left_to_others |= {head.job_id for head in heads} - {head.job_id for head in mine}
            claims = [self._claim(head) for head in self._part_of(mine[: self._free_places])]
            # Each of them is over before the first error is raised: whatever has started is worked on.
            for error in await asyncio.gather(*claims, return_exceptions=True):
                if error is not None:
                    raise error

    def _part_of(self, heads: Sequence[Job]) -> Sequence[Job]:
        """Others look at this moment too: each begins with its part, somewhere else, and looks again for the rest. All
        keep the order of the queue, so that no two of their commits wait for each other."""
        count = -(-len(heads) // self._membership.alive)
        return [heads[n] for n in sorted(random.sample(range(len(heads)), count))]

    async def _claim(self, head: Job) -> None:
        """Start the job, unless a client paused, cancelled or deleted it at this very moment, or another replica was
        first, with this job or with another one on its instance."""

        def still_queued(job: Job) -> Sequence[NewEvent]:
            return [NewEvent(event=JobStarted())] if job.state is JobState.QUEUED else []

        try:
            job = await self._journal.append(head.job_id, still_queued, owner=self._membership.replica_id)
        except (UnknownJob, SequenceConflict):
            return
        if job.state is JobState.RUNNING:
            self._queues_to_renumber[job.instance_key] = None
            self._run(job)

    def _run(self, job: Job, *, is_rescued: bool = False) -> None:
        if job.owner != self._membership.replica_id or job.job_id in self._running:
            # The lease was lost at this very moment. Or a reader did not know yet that it runs: never twice.
            return
        live_job = LiveJob(job, self._journal, until_may_act=self._membership.until_may_act)
        task = asyncio.create_task(self._install(live_job, is_rescued=is_rescued), name=f"job-{job.job_id}")
        self._running[job.job_id] = (live_job, task)
        task.add_done_callback(lambda _task: self._leave(job.job_id))

    def _leave(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        self._left_at[job_id] = asyncio.get_running_loop().time()
        self._loop.wake()
        self._tell_others()

    def _tell_others(self) -> None:
        if self._sharing is not None:
            self._sharing.tell()

    async def _refresh(self, live_job: LiveJob) -> None:
        with contextlib.suppress(LeaseLost, UnknownJob):
            await live_job.refresh()

    async def _install(self, live_job: LiveJob, *, is_rescued: bool) -> None:
        self._on_taken_up(live_job.job)
        job_id = live_job.job.job_id
        try:
            if is_rescued and self._sharing is not None:
                await live_job.append([NewEvent(event=self._sharing.taken_over())])
            await self._install_in_the_end(live_job)
            job = live_job.job
            logger.info("job %s: %s, %d of %d", job_id, job.state.value, job.installed, job.total)
        except LeaseLost as error:
            logger.info("job %s is left to its owner: %s", job_id, error)
            # The instance may have said so, and may be wrong: then the job is this service's to end.
            await self._give_up(live_job.job, failed(Cause.UNKNOWN, f"{error}, although this service owns the job"))
        except Exception:
            logger.exception("job %s: the service failed", job_id)
            outcome = failed(Cause.UNKNOWN, "the service failed: its log says more")
            await self._give_up(live_job.job, outcome)

    async def _install_in_the_end(self, live_job: LiveJob) -> None:
        """That the service is out of descriptors or memory, or that others were first with each append, is no fault of
        the job: it waits, and the same is done again over the job as the log holds it, as after a restart."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_passes), wait=wait_fixed(SHORTAGE_RETRY_SECONDS), before_sleep=_say_why
        ):
            with attempt:
                await self._installer.install(live_job)

    async def _give_up(self, job: Job, outcome: Outcome) -> None:
        """End the job: a mistake in the service must not leave one that never ends, and that holds up its instance's
        queue. Try until it has ended: until then it keeps its place."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(multiplier=STORE_RETRY_SECONDS, max=GIVE_UP_SECONDS_MAX),
        ):
            with attempt:
                if job.owner != self._membership.replica_id:
                    return
                try:
                    await self._installer.give_up(job, outcome)
                except (UnknownJob, LeaseLost):
                    return
                except Exception:
                    logger.exception("job %s: it cannot be ended yet", job.job_id)
                    raise


def _passes(error: BaseException) -> bool:
    return isinstance(error, SequenceConflict) or is_shortage(error)


def _say_why(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    logger.warning("a job waits, because the service is short of something: %s", error)
