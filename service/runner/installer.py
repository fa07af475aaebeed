"""One job: its resources, some at once, each on the instance until it has ended, then the terminal event.

Everything that is decided here is an event first. A restart of the service runs the same code again over the job as the
log holds it: what has ended is passed by, what runs is found again, the rest is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from service.errors import InstallerError, RemoteError, StoreUnavailable
from service.events.causes import CAUSES, Cause
from service.events.event_types import Event, JobCompleted, JobFailed, ResourceFailed
from service.events.job import ENDED_STATES, Job, ResourceProgress, ResourceState, Standing
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.library import Library
from service.runner.controls import job_cancelled
from service.runner.instance.link import Link, LinkFailed
from service.runner.instance.remote import Remote
from service.runner.instance.ssh import Connection, Connector, Instance
from service.runner.job_run import JobRun
from service.runner.outcome import Outcome, failed
from service.runner.resource_run import InstallRules, ResourceRun
from service.store.jobs import Jobs
from service.store.journal import Journal

logger = logging.getLogger(__name__)

# A cancelled job waits so long for its instance; what still runs there then is ended when the instance answers again.
CANCEL_SECONDS_MAX = 60.0
BANDWIDTH_MIN = 1024


class ResourceInstaller:
    """Installs the resources of jobs; built once, used for every job. ``clock_ms``: since the epoch; ``clock``:
    monotonic seconds."""

    def __init__(
        self,
        *,
        journal: Journal,
        jobs: Jobs,
        library: Library,
        connector: Connector,
        rules: InstallRules,
        redact: Redactor,
        clock_ms: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._jobs = jobs
        self._library = library
        self._connector = connector
        self._rules = rules
        self._redact = redact
        self._clock_ms = clock_ms
        self._clock = clock

    def run_of(self, job: Job) -> JobRun:
        """The job as it will be worked on: whoever holds it can tell it of changes."""
        return JobRun(job, self._journal)

    async def install(self, run: JobRun) -> None:
        """Run the job, which has been claimed, to its terminal event. It may have been begun before a restart."""
        job = run.job
        link = Link(
            self._connector,
            Instance(host=job.ssh_host, port=job.ssh_port, user=job.ssh_user, host_key_sha256=job.host_key_sha256),
            was_up=job.link is not None,
            connect_seconds=self._rules.connect_timeout_seconds,
            lost_seconds=self._rules.link_timeout_seconds,
            record=lambda event: run.record([NewEvent(event=event)]),
        )
        try:
            try:
                await self._work(run, link)
            except LinkFailed as error:
                await _end(run, error.outcome)
            except InstallerError as error:
                logger.exception("job %s ends with an error of the service", job.job_id)
                await _end(run, failed(Cause.UNKNOWN, f"the service failed: {self._redact(str(error))}"))
            else:
                await _end(run, failed(Cause.UNKNOWN, "the service did not come to it"))
            await self._remove(run.job, link)
        finally:
            await link.close()

    async def give_up(self, job: Job, outcome: Outcome) -> None:
        """End the job, as the log holds it, with this outcome for all that is not ended."""
        current = await self._jobs.get(job.job_id)
        if not current.is_terminal:
            await _end(JobRun(current, self._journal), outcome)

    async def _work(self, run: JobRun, link: Link) -> None:
        """Until every resource has ended, or what had begun has ended behind a cancel. Raises LinkFailed."""
        tasks: dict[asyncio.Task[None], str] = {}
        # What was decided between the claim and this moment has told nobody.
        await run.record([])
        connecting: asyncio.Task[None] | None = asyncio.create_task(link.use(self._sweep))
        try:
            while True:
                changed = run.changed
                self._tell_eta(run)
                if connecting is not None and connecting.done():
                    connecting.result()
                    connecting = None
                for task in [task for task in tasks if task.done()]:
                    del tasks[task]
                    task.result()
                if connecting is None:
                    await self._fail_dependents(run)
                    for resource in startable(run.job, list(tasks.values()), self._clock_ms()):
                        task = asyncio.create_task(self._resource_run(run, link, resource).work())
                        tasks[task] = resource.resource
                if not tasks and (connecting is None or run.job.is_cancelling) and self._is_done(run.job):
                    return
                seconds = self._seconds_to_the_next(run.job)
                if run.job.is_cancelling and seconds is not None and seconds <= 0:
                    logger.warning("job %s: the instance did not answer the cancel in time", run.job.job_id)
                    return
                waiting = asyncio.create_task(changed.wait())
                everything = {waiting, *tasks, *([connecting] if connecting is not None else [])}
                await asyncio.wait(everything, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        finally:
            await _stop([*tasks, *([connecting] if connecting is not None else [])])

    def _resource_run(self, run: JobRun, link: Link, resource: ResourceProgress) -> ResourceRun:
        return ResourceRun(
            resource.resource,
            run=run,
            link=link,
            library=self._library,
            rules=self._rules,
            redact=self._redact,
            bandwidth=bandwidth_share(run.job),
            clock_ms=self._clock_ms,
            clock=self._clock,
        )

    async def _fail_dependents(self, run: JobRun) -> None:
        """What depends on something that is not going to be there ends without being started."""

        def dependents(job: Job) -> Sequence[NewEvent]:
            found = []
            for resource in job.resources:
                missing = next((path for path in resource.dependencies if _is_lost(job.find(path))), None)
                if resource.state is ResourceState.PENDING and missing is not None and not job.is_cancelling:
                    outcome = failed(Cause.DEPENDENCY_FAILED, f'"{missing}" is not installed')
                    found.append(_failure(resource, outcome))
            return found

        while dependents(run.job):
            await run.decide(dependents)

    def _is_done(self, job: Job) -> bool:
        if job.is_cancelling:
            return not any(r.state is ResourceState.RUNNING for r in job.resources)
        return all(r.state in ENDED_STATES for r in job.resources)

    def _seconds_to_the_next(self, job: Job) -> float | None:
        """Until something is due that nobody tells of: a retry, or the end of the patience with a cancel."""
        now_ms = self._clock_ms()
        if job.is_cancelling:
            return (job.cancel_requested_at_ms or 0) / 1000 + CANCEL_SECONDS_MAX - now_ms / 1000
        due = [r.retry_at_ms for r in job.resources if r.state is ResourceState.PENDING and r.retry_at_ms is not None]
        later = [at_ms for at_ms in due if at_ms > now_ms]
        return (min(later) - now_ms) / 1000 + 0.001 if later else None

    def _tell_eta(self, run: JobRun) -> None:
        (run.eta.paused if run.is_paused else run.eta.resumed)(self._clock())

    async def _sweep(self, connection: Connection) -> None:
        """Every connection clears away what ended jobs have left."""
        if self._rules.keep_remote_logs:
            return
        try:
            await Remote(connection).sweep(self._jobs.ended_among)
        except StoreUnavailable as error:
            logger.info("not swept: %s", error)

    async def _remove(self, job: Job, link: Link) -> None:
        """What fails here is done by the sweep of a later connection."""
        connection = link.connection
        if connection is None or self._rules.keep_remote_logs:
            return
        try:
            await Remote(connection).remove(job.job_id)
        except RemoteError as error:
            logger.info("the directory of job %s stays for now: %s", job.job_id, error)


def startable(job: Job, at_work: Sequence[str], now_ms: int) -> list[ResourceProgress]:
    """The resources to begin now, in the order of the job: first those that were running when the service ended."""
    idle = [r for r in job.resources if r.resource not in at_work]
    found = [r for r in idle if r.state is ResourceState.RUNNING]
    if job.is_cancelling or job.standing is not Standing.RUNNING:
        return found
    ready = [
        r
        for r in idle
        if r.state is ResourceState.PENDING
        and (r.retry_at_ms is None or r.retry_at_ms <= now_ms)
        and all(job.find(path).state is ResourceState.INSTALLED for path in r.dependencies)
    ]
    return found + ready[: max(0, job.parallel - len(at_work) - len(found))]


def bandwidth_share(job: Job) -> int | None:
    """The bytes a second for the next attempt: what others left of the limit, shared with those that begin beside
    it."""
    if job.bandwidth_limit is None:
        return None
    running = [r for r in job.resources if r.state is ResourceState.RUNNING]
    waiting = sum(r.state is ResourceState.PENDING for r in job.resources)
    slots = max(1, min(job.parallel - len(running), waiting))
    left = job.bandwidth_limit - sum(r.bandwidth or 0 for r in running)
    # A limit that was lowered may be taken already: then each gets what it would have had from the beginning.
    share = left // slots if left > 0 else job.bandwidth_limit // job.parallel
    return max(BANDWIDTH_MIN, share)


async def _end(run: JobRun, outcome: Outcome) -> None:
    """The terminal event, and before it this outcome for whatever has not ended."""

    def terminal(job: Job) -> Sequence[NewEvent]:
        if job.is_terminal:
            return []
        if job.is_cancelling:
            return [NewEvent(event=job_cancelled(job, run.partial_files))]
        rest = [_failure(r, outcome) for r in job.resources if r.state not in ENDED_STATES]
        return rest or [NewEvent(event=_terminal(job))]

    while not run.job.is_terminal:
        await run.decide(terminal)


async def _stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancelled until they have ended: a library below may swallow a cancellation."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=0.5)
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            task.result()


def _is_lost(resource: ResourceProgress) -> bool:
    return resource.state in (ResourceState.FAILED, ResourceState.CANCELLED)


def _failure(resource: ResourceProgress, outcome: Outcome) -> NewEvent:
    event = ResourceFailed(
        cause=str(outcome.cause),
        error=outcome.error or "",
        hint=outcome.hint or "",
        exit_code=None,
        seconds=None,
        tail=[],
    )
    return NewEvent(event=event, resource=resource.resource, attempt=resource.attempt or None)


def _terminal(job: Job) -> Event:
    first = next((r for r in job.resources if r.state is not ResourceState.INSTALLED), None)
    if first is None:
        return JobCompleted(installed=job.installed, total=job.total, results=job.results())
    cause = Cause(first.cause or Cause.UNKNOWN)
    return JobFailed(
        error=f"{first.resource}: {first.error}",
        cause=cause.value,
        hint=first.hint or CAUSES[cause].hint,
        installed=job.installed,
        total=job.total,
        results=job.results(),
    )
