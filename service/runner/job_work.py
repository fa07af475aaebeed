"""Schedules the resources of one job: which begin when, until all have ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from service.clock import StreamClock
from service.events.causes import Cause
from service.events.job import Job, ResourceProgress
from service.events.recorded_event import NewEvent
from service.runner.endings import failed_resource
from service.runner.live_job import LiveJob
from service.runner.outcome import failed
from service.runner.plan import is_done, lost_dependencies, seconds_until_due, startable
from service.runner.tasks import cancel_and_wait

logger = logging.getLogger(__name__)

# The order within one turn of `until_done`, and why:
#
# - The job is refreshed before the first turn, since nobody listened between its claim and now.
# - Nothing starts before the first connection: a job whose instance never answers fails with no attempt begun, and a
#   cancel in the meantime ends it at once.
# - The tasks that have ended come first. Their places are free then, and the error of one of them (a link that is lost
#   for good) ends the job before anything else begins.
# - Then the dependents of lost resources fail. Each may be the last resource that the job waits for, and its failure
#   may lose further dependents, so this repeats until it finds none.
# - Then startable resources start, in the job's order.
# - Only now does it ask whether the job is done: a turn that started something is not its last.
# - Last comes how long to wait, for a retry that is due or the cancel deadline. A change by a client or a task that
#   ends, also during this turn, begins the next turn at once.


class JobWork:
    """Runs the resources of one job, as many at once as it allows, until all have ended.

    ``connect`` brings up the first connection, ``work_on`` works on a resource to its end or its next attempt.
    ``clock_ms``: since the epoch; ``clock``: monotonic seconds.
    """

    def __init__(
        self,
        live_job: LiveJob,
        *,
        connect: Callable[[], Coroutine[Any, Any, None]],
        work_on: Callable[[ResourceProgress], Coroutine[Any, Any, None]],
        clock_ms: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._live_job = live_job
        self._changes = live_job.changes()
        self._connect = connect
        self._work_on = work_on
        self._stream_clock = StreamClock(clock_ms, clock)
        self._clock = clock
        self._connecting: asyncio.Task[None] | None = None
        self._at_work: dict[asyncio.Task[None], str] = {}

    async def until_done(self) -> None:
        """Until every resource has ended, or after a cancel, until nothing runs any more. Raises LinkFailed."""
        await self._live_job.refresh()
        self._connecting = self._begin(self._connect())
        try:
            async for _job in self._changes:
                self._pause_or_resume_eta()
                self._take_ended()
                if self._connecting is None:
                    await self._fail_dependents()
                    self._start()
                if self._is_over():
                    return
                self._changes.look_again_in(seconds_until_due(self._live_job.job, self._now_ms()))
        finally:
            connecting = [self._connecting] if self._connecting is not None else []
            await cancel_and_wait([*connecting, *self._at_work])

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _task: self._changes.wake())
        return task

    def _now_ms(self) -> int:
        return self._stream_clock.now_ms(self._live_job.job.last_at_ms)

    def _pause_or_resume_eta(self) -> None:
        eta = self._live_job.eta
        (eta.pause if self._live_job.is_paused else eta.resume)(self._clock())

    def _take_ended(self) -> None:
        """Raises what ended with an error."""
        if self._connecting is not None and self._connecting.done():
            self._connecting.result()
            self._connecting = None
        for task in [task for task in self._at_work if task.done()]:
            del self._at_work[task]
            task.result()

    async def _fail_dependents(self) -> None:
        """What depends on something that will not be installed ends without being started."""

        def failures(job: Job) -> Sequence[NewEvent]:
            return [
                failed_resource(resource, failed(Cause.DEPENDENCY_FAILED, f'"{lost}" is not installed'))
                for resource, lost in lost_dependencies(job)
            ]

        while lost_dependencies(self._live_job.job):
            await self._live_job.append_from(failures)

    def _start(self) -> None:
        for resource in startable(self._live_job.job, self._at_work.values(), self._now_ms()):
            self._at_work[self._begin(self._work_on(resource))] = resource.resource

    def _is_over(self) -> bool:
        job = self._live_job.job
        is_connected_or_cancelled = self._connecting is None or job.is_cancelling
        if not self._at_work and is_connected_or_cancelled and is_done(job):
            return True
        seconds = seconds_until_due(job, self._now_ms())
        if job.is_cancelling and seconds is not None and seconds <= 0:
            logger.warning("job %s: the instance did not answer the cancel in time", job.job_id)
            return True
        return False
