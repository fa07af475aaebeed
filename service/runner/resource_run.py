"""One resource of a job from its start to its end: each phase of its attempt, the verdict, and whether to try again.

Every decision is an event before it takes effect, so that a restart continues from it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from service.crash_points import crash_point
from service.errors import CardError, RemoteProtocolError, RequestError
from service.events import event_types as types
from service.events.causes import Cause
from service.events.event_types import Event
from service.events.job import Job, ResourceProgress, ResourceState
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.library import Library, Resource
from service.runner.attempt import Attempt
from service.runner.endings import partial_files, resource_failed
from service.runner.instance.attempt_program import AttemptSpec
from service.runner.instance.ended import Ended, Ridden
from service.runner.instance.link import Link
from service.runner.live_job import LiveJob
from service.runner.outcome import Outcome, failed
from service.runner.phases import Phase, directories_ahead, directories_of, phase_of
from service.runner.plan import is_verifying
from service.runner.retry import delay_seconds, retry_after_seconds
from service.runner.rules import InstallRules, ToolKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class _PhaseEnd:
    """How a phase ended, and all that the events about it need."""

    phase: Phase
    ended: Ended
    outcome: Outcome
    tail: Sequence[str]
    partial_files: list[str]


class ResourceRun:
    """Takes one resource through the phases of its attempt, and decides after each what comes next.

    ``bandwidth``: the bytes a second for an attempt that begins. ``verifying``: how many resources of the job may
    verify at once. ``clock_ms``: since the epoch; ``clock``: monotonic seconds.
    """

    def __init__(
        self,
        path: str,
        *,
        live_job: LiveJob,
        link: Link,
        library: Library,
        rules: InstallRules,
        redact: Redactor,
        bandwidth: int | None,
        verifying: asyncio.Semaphore,
        clock_ms: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._live_job = live_job
        self._link = link
        self._library = library
        self._rules = rules
        self._redact = redact
        self._bandwidth = bandwidth
        self._verifying = verifying
        self._clock_ms = clock_ms
        self._clock = clock
        # The verification that ran with the end of the download.
        self._ridden: Ridden | None = None

    async def work(self) -> None:
        """Until the resource has ended, or another attempt is due later. Raises LinkFailed."""
        is_new = self._resource.state is ResourceState.PENDING
        card: Resource | None = None
        try:
            card = await asyncio.to_thread(self._library.get, self._path)
        except (RequestError, CardError) as error:
            if is_new:
                await self._append(resource_failed(failed(Cause.NOT_FOUND, str(error))))
                return
        if card is not None and is_new:
            started = types.ResourceStarted(title=card.title, card_sha256=card.sha256, bandwidth=self._bandwidth)
            await self._live_job.append([self._event(started, attempt=self._resource.attempt + 1)])
        self._live_job.eta.start(self._path)
        phase_is_new = is_new
        while self._resource.state is ResourceState.RUNNING:
            if is_verifying(self._resource) and self._ridden is None:
                # Its download is over: its place and its rate are the next one's.
                self._live_job.eta.finish(self._path)
                self._live_job.wake()
                async with self._verifying:
                    await self._run_phase(card, phase_is_new)
            else:
                await self._run_phase(card, phase_is_new)
            phase_is_new = True
        if self._resource.state is not ResourceState.PENDING:
            self._live_job.eta.finish(self._path)

    @property
    def _resource(self) -> ResourceProgress:
        return self._live_job.job.find(self._path)

    async def _run_phase(self, card: Resource | None, is_new: bool) -> None:
        resource = self._resource
        phase = phase_of(resource, self._redact, self._live_job.job, card)
        attempt = Attempt(
            spec=self._spec(resource, phase, card, await self._rules.keys()),
            phase=phase,
            directories=directories_of(resource),
            stored_offset=resource.source_offset,
            live_job=self._live_job,
            is_new=is_new,
            clock=self._clock,
        )
        try:
            ended = attempt.take(self._ridden) if self._ridden is not None else await self._link.use(attempt.follow)
        except RemoteProtocolError as error:
            outcome = failed(Cause.UNKNOWN, self._redact(str(error)))
            await self._append(resource_failed(outcome, seconds=self._seconds()))
            return
        self._ridden = ended.ridden
        crash_point("before_verdict")
        last_events, evidence = attempt.close(ended)
        end = _PhaseEnd(
            phase=phase,
            ended=ended,
            outcome=phase.verdict(ended),
            tail=evidence.tail,
            partial_files=partial_files(map(self._redact, attempt.partial_files), phase.partial_files(ended)),
        )
        chance = random.random()  # noqa: S311 - spreads retries, guards nothing
        await self._live_job.append_from(lambda job: [*last_events, *map(self._event, self._after(end, job, chance))])
        if self._resource.state in (ResourceState.CANCELLED, ResourceState.FAILED):
            self._live_job.partial_files += end.partial_files

    def _after(self, end: _PhaseEnd, job: Job, chance: float) -> list[Event]:
        """What follows from the end of a phase. A cancel that comes before the last phase prevents it; what succeeded
        in its last phase is installed all the same."""
        if end.outcome.installed:
            start_of_next = end.phase.start_of_next(job)
            if start_of_next is None:
                return [types.ResourceInstalled(exit_code=end.outcome.exit_code, seconds=self._seconds() or 0.0)]
            if not job.is_cancelling:
                return [start_of_next]
        if job.is_cancelling:
            seconds = self._seconds()
            return [
                types.ResourceCancelled(exit_code=end.ended.exit_code, seconds=seconds, partial_files=end.partial_files)
            ]
        stalled = [types.ResourceStalled(stall_seconds=self._rules.stall_seconds)] if end.ended.stalled else []
        failure = resource_failed(end.outcome, seconds=self._seconds(), tail=end.tail, partial_files=end.partial_files)
        return [*stalled, failure, *self._retry(end, job, chance)]

    def _retry(self, end: _PhaseEnd, job: Job, chance: float) -> list[Event]:
        """Another attempt, when the cause may pass without a person's help."""
        cause = end.outcome.cause or Cause.UNKNOWN
        attempt = job.find(self._path).attempt
        now = datetime.fromtimestamp(self._clock_ms() / 1000, UTC)
        delay = delay_seconds(
            self._rules.retry,
            attempt=attempt,
            max_attempts=job.max_attempts,
            cause=cause,
            retry_after_seconds=retry_after_seconds(end.tail, now),
            chance=chance,
        )
        if delay is None:
            return []
        return [
            types.ResourceRetryScheduled(
                next_attempt=attempt + 1,
                max_attempts=job.max_attempts,
                delay_seconds=round(delay, 3),
                cause=cause.value,
            )
        ]

    def _spec(self, resource: ResourceProgress, phase: Phase, card: Resource | None, keys: ToolKeys) -> AttemptSpec:
        # Without the very card that this resource was started with, an attempt can be found, but never started.
        is_same = card is not None and card.sha256 == resource.card_sha256
        return AttemptSpec(
            job_id=self._live_job.job.job_id,
            directory=phase.directory,
            epoch=self._live_job.epoch,
            script=phase.program(card) if card is not None else "",
            ui_home=self._live_job.job.ui_home,
            timeout_seconds=self._rules.resource_timeout_seconds,
            stall_seconds=self._rules.stall_seconds,
            bandwidth_bytes_per_second=resource.bandwidth,
            reinstall=self._live_job.job.reinstall,
            mark=phase.mark,
            is_card=phase.is_card,
            background=card is not None and card.front.background,
            provision_tools=self._rules.provision_tools,
            remote_path=self._rules.remote_path,
            civitai_api_key=keys.civitai_api_key,
            hf_token=keys.hf_token,
            riding=phase.riding(card) if card is not None and is_same else "",
            ahead=directories_ahead(self._live_job.job) if phase.is_card else (),
            must_exist=resource.source_offset > 0 or not is_same,
        )

    async def _append(self, event: Event) -> None:
        await self._live_job.append([self._event(event)])

    def _event(self, event: Event, attempt: int | None = None) -> NewEvent:
        number = attempt if attempt is not None else self._resource.attempt or None
        return NewEvent(event=event, resource=self._path, attempt=number)

    def _seconds(self) -> float | None:
        """Since the attempt began."""
        started_at_ms = self._resource.started_at_ms
        return None if started_at_ms is None else round(max(0, self._clock_ms() - started_at_ms) / 1000, 3)
