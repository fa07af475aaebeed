"""One job: its resources, some at once, each on the instance until it has ended, then the terminal event.

Every decision made here is an event first. After a restart of the service the same code runs again over the job as the
log holds it: what has ended is skipped, what runs is found again, the rest is started.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from service.errors import (
    InstallerError,
    LeaseLost,
    LinkFailed,
    RemoteError,
    RemoteProtocolError,
    SequenceConflict,
    StoreUnavailable,
)
from service.events.causes import Cause
from service.events.job import ENDED_STATES, Job, ResourceProgress
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.library import Library
from service.runner.endings import failed_resource, job_cancelled, job_completed_or_failed, job_failed
from service.runner.instance.connector import Connector
from service.runner.instance.link import Link
from service.runner.instance.remote import Remote
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from service.runner.instance.ui_home import ui_home_warning
from service.runner.job_work import JobWork
from service.runner.live_job import LiveJob
from service.runner.outcome import Outcome, failed
from service.runner.plan import VERIFYING_MAX, bandwidth_share
from service.runner.removal import Removal
from service.runner.resource_run import ResourceRun
from service.runner.rules import InstallRules
from service.store.jobs import Jobs
from service.store.journal import Journal

logger = logging.getLogger(__name__)


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

    async def install(self, live_job: LiveJob) -> None:
        """Run the job, which has been claimed, to its terminal event. It may have begun before a restart.

        Raises LeaseLost and SequenceConflict: another writer is at work, so nothing is decided about the job here.
        """
        link = self._link(live_job)
        removal = Removal(live_job)
        try:
            try:
                await self._job_work(live_job, link, removal).until_done()
            except (LeaseLost, SequenceConflict):
                raise
            except LinkFailed as error:
                await _finish(live_job, failed(Cause(error.cause), str(error)))
            except InstallerError as error:
                logger.exception("job %s ends with an error of the service", live_job.job.job_id)
                await _finish(live_job, failed(Cause.UNKNOWN, f"the service failed: {self._redact(str(error))}"))
            else:
                await _finish(live_job, failed(Cause.UNKNOWN, "the service never started this resource"), removal)
            await self._remove(live_job, link)
            link.leave()
        finally:
            await link.close()

    async def give_up(self, job: Job, outcome: Outcome) -> None:
        """End the job, as the log holds it, with this outcome for all that has not ended. Raises LeaseLost when it has
        another owner by now."""
        current = await self._jobs.get(job.job_id)
        if current.epoch != job.epoch:
            raise LeaseLost(f"job {job.job_id} has another owner")
        await _finish(LiveJob(current, self._journal), outcome)

    def _link(self, live_job: LiveJob) -> Link:
        job = live_job.job
        return Link(
            self._connector,
            Instance(host=job.ssh_host, port=job.ssh_port, user=job.ssh_user, host_key_sha256=job.host_key_sha256),
            was_up=_has_started(job),
            connect_seconds=max(self._rules.connect_timeout_seconds, job.wait_for_ssh_seconds or 0),
            lost_seconds=self._rules.link_timeout_seconds,
            append=lambda event: live_job.append([NewEvent(event=event)]),
            redact=self._redact,
            clock=self._clock,
        )

    def _job_work(self, live_job: LiveJob, link: Link, removal: Removal) -> JobWork:
        verifying = asyncio.Semaphore(VERIFYING_MAX)

        def work_on(resource: ResourceProgress) -> Coroutine[Any, Any, None]:
            return ResourceRun(
                resource.resource,
                live_job=live_job,
                link=link,
                library=self._library,
                rules=self._rules,
                redact=self._redact,
                bandwidth=bandwidth_share(live_job.job),
                verifying=verifying,
                clock_ms=self._clock_ms,
                clock=self._clock,
            ).work()

        return JobWork(
            live_job,
            connect=lambda: link.use(lambda connection: self._begin(live_job, connection, removal)),
            work_on=work_on,
            clock_ms=self._clock_ms,
            clock=self._clock,
        )

    async def _begin(self, live_job: LiveJob, connection: Connection, removal: Removal) -> None:
        await self._look(live_job, connection)
        if live_job.job.removes:
            try:
                await removal.run(connection)
            except RemoteProtocolError as error:
                raise LinkFailed(self._redact(str(error)), cause=Cause.UNKNOWN) from error

    async def _look(self, live_job: LiveJob, connection: Connection) -> None:
        """The first thing that runs on the instance: it shows that a login runs programs, whether ``ui_home`` is what
        it should be, and what ended jobs have left there, which is removed."""
        job, remote = live_job.job, Remote(connection)
        is_first = not _has_started(job) and not job.removes
        found = await remote.look(job.ui_home if is_first else "")
        warning = ui_home_warning(job.ui_home, found)
        if is_first and warning is not None:
            await live_job.append([NewEvent(event=warning)])
        try:
            # Those that this service does not know stay: another service may use the same instance.
            ended = await self._jobs.ended_among(found.job_ids)
        except StoreUnavailable as error:
            logger.info("not swept: %s", error)
        else:
            if ended:
                await live_job.until_may_act()
                await remote.remove(ended, keep_logs=self._rules.keep_remote_logs)

    async def _remove(self, live_job: LiveJob, link: Link) -> None:
        """Remove the job's directory. If this fails, a later connection's sweep removes it."""
        connection = link.connection
        if connection is None:
            return
        await live_job.until_may_act()
        try:
            mine = {live_job.job.job_id: live_job.epoch}
            await Remote(connection).remove(mine, keep_logs=self._rules.keep_remote_logs)
        except RemoteError as error:
            logger.info("the directory of job %s stays for now: %s", live_job.job.job_id, error)


def _has_started(job: Job) -> bool:
    """Whether a resource began: before that, a program has run on the instance."""
    return any(resource.attempt for resource in job.resources)


async def _finish(live_job: LiveJob, outcome: Outcome, removal: Removal | None = None) -> None:
    """The terminal event, and before it this outcome for everything that has not ended. Without a ``removal``, what the
    job was to remove stays."""

    def terminal(job: Job) -> Sequence[NewEvent]:
        if job.is_terminal:
            return []
        if job.is_cancelling:
            return [NewEvent(event=job_cancelled(job, live_job.partial_files))]
        if job.removes:
            failure = job_failed(job, outcome) if removal is None else removal.failure(job)
            return [NewEvent(event=failure or job_completed_or_failed(job))]
        rest = [failed_resource(r, outcome) for r in job.resources if r.state not in ENDED_STATES]
        return rest or [NewEvent(event=job_completed_or_failed(job, live_job.partial_files))]

    await live_job.refresh()
    while not live_job.job.is_terminal:
        await live_job.append_from(terminal)
