"""One job: its resources one after the other, each on the instance until it has ended, then the terminal event.

Everything that is decided here is an event first. A restart of the service runs the same code again over the job as the
log holds it: what has ended is passed by, what runs is found again, the rest is started.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from service.errors import CardError, InstallerError, RemoteError, RemoteProtocolError, RequestError, StoreUnavailable
from service.events.event_types import Cause, Event, JobCompleted, JobFailed, ResourceStarted
from service.events.job import Job, ResourceProgress, ResourceState
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.library import Library, Resource
from service.runner.attempt import Attempt, outcome_event
from service.runner.link import Link, LinkFailed
from service.runner.outcome import HINTS, Outcome, failed
from service.runner.remote import AttemptSpec, Remote
from service.runner.ssh import Connection, Connector, Instance
from service.store.job_queue import JobQueue
from service.store.journal import Journal

logger = logging.getLogger(__name__)

STORE_RETRY_SECONDS_MAX = 5.0
ENDED_STATES = (ResourceState.INSTALLED, ResourceState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRules:
    """What the settings say about installs."""

    resource_timeout_seconds: int = 3600
    link_timeout_seconds: float = 3600.0
    connect_timeout_seconds: float = 120.0
    remote_path: str = ""
    keep_remote_logs: bool = False
    civitai_api_key: str | None = None


class ResourceInstaller:
    """Installs the resources of one job after the other; built once, used for every job."""

    def __init__(
        self,
        *,
        journal: Journal,
        job_queue: JobQueue,
        library: Library,
        connector: Connector,
        rules: InstallRules,
        redact: Redactor,
        clock_ms: Callable[[], int],
    ) -> None:
        self._journal = journal
        self._job_queue = job_queue
        self._library = library
        self._connector = connector
        self._rules = rules
        self._redact = redact
        self._clock_ms = clock_ms

    async def install(self, job: Job) -> Job:
        """Run the job, which has been claimed, to its terminal event. It may have been begun before a restart."""
        run = _JobRun(job, self._journal)
        link = Link(
            self._connector,
            Instance(host=job.ssh_host, port=job.ssh_port, user=job.ssh_user, host_key_sha256=job.host_key_sha256),
            was_up=job.link is not None,
            connect_seconds=self._rules.connect_timeout_seconds,
            lost_seconds=self._rules.link_timeout_seconds,
            record=lambda event: run.record([NewEvent(event=event)]),
        )
        try:
            await self._run(run, link)
        finally:
            await link.close()
        return run.job

    async def give_up(self, job: Job, outcome: Outcome) -> None:
        """End the job, as the log holds it, with this outcome for all that is not ended."""
        current = await self._job_queue.get(job.job_id)
        if not current.is_terminal:
            await _JobRun(current, self._journal).fail_the_rest(outcome)

    async def _run(self, run: _JobRun, link: Link) -> None:
        try:
            await link.use(self._sweep)
            for resource in run.job.resources:
                if resource.state not in ENDED_STATES:
                    await self._install(run, resource, link)
        except LinkFailed as error:
            await run.fail_the_rest(error.outcome)
        except InstallerError as error:
            logger.exception("job %s ends with an error of the service", run.job.job_id)
            await run.fail_the_rest(failed(Cause.UNKNOWN, f"the service failed: {self._redact(str(error))}"))
        else:
            await run.finish()
        await self._remove(run.job, link)

    async def _install(self, run: _JobRun, resource: ResourceProgress, link: Link) -> None:
        waits_for = [path for path in resource.dependencies if run.job.find(path).state is not ResourceState.INSTALLED]
        if waits_for:
            await run.fail(resource, failed(Cause.DEPENDENCY_FAILED, f'"{waits_for[0]}" is not installed'))
            return
        card: Resource | None = None
        try:
            card = self._library.get(resource.resource)
        except (RequestError, CardError) as error:
            if resource.state is ResourceState.PENDING:
                await run.fail(resource, failed(Cause.NOT_FOUND, str(error)))
                return
        if card is not None and resource.state is ResourceState.PENDING:
            started = ResourceStarted(title=card.title, card_sha256=card.sha256)
            await run.record([NewEvent(event=started, resource=resource.resource, attempt=resource.attempt + 1)])
            resource = run.job.find(resource.resource)
        attempt = self._attempt(run, resource, card)
        try:
            ended = await link.use(attempt.follow)
        except RemoteProtocolError as error:
            await run.fail(resource, failed(Cause.UNKNOWN, self._redact(str(error))))
            return
        await attempt.finish(ended, run.seconds_of(resource, self._clock_ms()))

    def _attempt(self, run: _JobRun, resource: ResourceProgress, card: Resource | None) -> Attempt:
        # Without the very card that the log says was started, an attempt can be found, but never started.
        is_same = card is not None and card.sha256 == resource.card_sha256
        spec = AttemptSpec(
            job_id=run.job.job_id,
            number=resource.number,
            attempt=resource.attempt,
            card_script=card.script if card is not None else "",
            ui_home=run.job.ui_home,
            timeout_seconds=self._rules.resource_timeout_seconds,
            remote_path=self._rules.remote_path,
            civitai_api_key=self._rules.civitai_api_key,
            must_exist=resource.source_offset > 0 or not is_same,
        )
        parser = ProgressParser(
            resource=resource.resource, attempt=resource.attempt, title=resource.title, redact=self._redact
        )
        return Attempt(
            spec=spec,
            resource=resource.resource,
            parser=parser,
            stored_offset=resource.source_offset,
            record=run.record,
        )

    async def _sweep(self, connection: Connection) -> None:
        """Every connection clears away what ended jobs have left."""
        if self._rules.keep_remote_logs:
            return
        try:
            await Remote(connection).sweep(self._job_queue.ended_among)
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


class _JobRun:
    """The job as it stands, and how events are added to it: a log that cannot be written now is waited for."""

    def __init__(self, job: Job, journal: Journal) -> None:
        self.job = job
        self._journal = journal

    async def record(self, events: Sequence[NewEvent]) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailable),
            wait=wait_exponential(multiplier=0.1, max=STORE_RETRY_SECONDS_MAX),
        ):
            with attempt:
                self.job = await self._journal.record(self.job.job_id, events)

    async def fail(self, resource: ResourceProgress, outcome: Outcome) -> None:
        await self.record([self._failure(resource, outcome)])

    async def fail_the_rest(self, outcome: Outcome) -> None:
        """No resource can be worked on any more."""
        rest = [self._failure(r, outcome) for r in self.job.resources if r.state not in ENDED_STATES]
        if rest:
            await self.record(rest)
        await self.finish()

    async def finish(self) -> None:
        """The terminal event: completed when every resource is installed, else failed."""
        await self.record([NewEvent(event=_terminal(self.job))])

    def seconds_of(self, resource: ResourceProgress, now_ms: int) -> float:
        started_at_ms = resource.started_at_ms if resource.started_at_ms is not None else now_ms
        return round(max(0, now_ms - started_at_ms) / 1000, 3)

    def _failure(self, resource: ResourceProgress, outcome: Outcome) -> NewEvent:
        attempt = resource.attempt or None
        return NewEvent(event=outcome_event(outcome, None), resource=resource.resource, attempt=attempt)


def _terminal(job: Job) -> Event:
    first = next((r for r in job.resources if r.state is not ResourceState.INSTALLED), None)
    if first is None:
        return JobCompleted(installed=job.installed, total=job.total, results=job.results())
    cause = Cause(first.cause or Cause.UNKNOWN)
    return JobFailed(
        error=f"{first.resource}: {first.error}",
        cause=cause.value,
        hint=first.hint or HINTS[cause],
        installed=job.installed,
        total=job.total,
        results=job.results(),
    )
