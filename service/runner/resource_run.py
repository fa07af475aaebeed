"""One resource of a job from its start to its verdict: the download, the verification of its files, and the decision to
try again. What is decided here is an event first, so that a restart goes on from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from service.crash_points import crash_point
from service.errors import CardError, RemoteProtocolError, RequestError
from service.events import event_types as types
from service.events.causes import Cause
from service.events.event_types import Event
from service.events.job import DOWNLOAD, VERIFY, Job, ResourceProgress, ResourceState
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.library import Library, Resource
from service.runner.attempt import Attempt
from service.runner.instance.link import Link
from service.runner.instance.remote import AttemptSpec
from service.runner.instance.verification import ExpectedFile, VerifyParser, verify_program
from service.runner.job_run import JobRun
from service.runner.outcome import Ended, Outcome, failed, judge
from service.runner.retry import RetryRules, delay_seconds, retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRules:
    """What the settings say about installs."""

    resource_timeout_seconds: int = 3600
    link_timeout_seconds: float = 3600.0
    connect_timeout_seconds: float = 120.0
    stall_seconds: int = 120
    retry: RetryRules = field(default_factory=RetryRules)
    remote_path: str = ""
    keep_remote_logs: bool = False
    provision_tools: bool = True
    civitai_api_key: str | None = None
    hf_token: str | None = None


class ResourceRun:
    """``bandwidth``: the bytes a second for an attempt that begins. ``clock_ms``: since the epoch, ``clock``: monotonic
    seconds."""

    def __init__(
        self,
        path: str,
        *,
        run: JobRun,
        link: Link,
        library: Library,
        rules: InstallRules,
        redact: Redactor,
        bandwidth: int | None,
        clock_ms: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._run = run
        self._link = link
        self._library = library
        self._rules = rules
        self._redact = redact
        self._bandwidth = bandwidth
        self._clock_ms = clock_ms
        self._clock = clock

    @property
    def _resource(self) -> ResourceProgress:
        return self._run.job.find(self._path)

    async def work(self) -> None:
        """Until the resource has ended, or another attempt is due later. Raises LinkFailed."""
        is_new = self._resource.state is ResourceState.PENDING
        card: Resource | None = None
        try:
            card = self._library.get(self._path)
        except (RequestError, CardError) as error:
            if is_new:
                await self._run.record([self._event(_failure(failed(Cause.NOT_FOUND, str(error)), None))])
                return
        if card is not None and is_new:
            started = types.ResourceStarted(title=card.title, card_sha256=card.sha256, bandwidth=self._bandwidth)
            await self._run.record([self._event(started, attempt=self._resource.attempt + 1)])
        self._run.eta.begun(self._path)
        phase_is_new = is_new
        while self._resource.state is ResourceState.RUNNING:
            await self._phase(card, phase_is_new)
            phase_is_new = True
        if self._resource.state is not ResourceState.PENDING:
            self._run.eta.ended(self._path)

    async def _phase(self, card: Resource | None, is_new: bool) -> None:
        resource = self._resource
        parser: ProgressParser | VerifyParser = (
            VerifyParser(resource=self._path, attempt=resource.attempt, redact=self._redact)
            if resource.phase == VERIFY
            else ProgressParser(
                resource=self._path, attempt=resource.attempt, title=resource.title, redact=self._redact
            )
        )
        attempt = Attempt(
            spec=self._spec(resource, card),
            parser=parser,
            stored_offset=resource.source_offset,
            run=self._run,
            is_new=is_new,
            clock=self._clock,
        )
        try:
            ended = await self._link.use(attempt.follow)
        except RemoteProtocolError as error:
            outcome = failed(Cause.UNKNOWN, self._redact(str(error)))
            await self._run.record([self._event(_failure(outcome, self._seconds()))])
            return
        crash_point("before_verdict")
        closing, evidence = attempt.close(ended)
        outcome = parser.outcome(ended) if isinstance(parser, VerifyParser) else judge(evidence, ended)
        partial_files = list(dict.fromkeys(map(self._redact, attempt.partial_files)))
        chance = random.random()  # noqa: S311 - spreads retries, guards nothing
        now = datetime.fromtimestamp(self._clock_ms() / 1000, UTC)

        def verdict(job: Job) -> Sequence[NewEvent]:
            return [*closing, *(self._event(e) for e in decide(job))]

        def decide(job: Job) -> list[Event]:
            if outcome.installed and not (job.is_cancelling and resource.phase == DOWNLOAD and job.verify):
                if resource.phase == DOWNLOAD and job.verify:
                    return [types.VerificationStarted()]
                return [types.ResourceInstalled(exit_code=outcome.exit_code, seconds=self._seconds() or 0.0)]
            if job.is_cancelling:
                return [
                    types.ResourceCancelled(
                        exit_code=ended.exit_code, seconds=self._seconds(), partial_files=partial_files
                    )
                ]
            wait = retry_after_seconds(evidence.tail, now)
            return self._failed(job, ended, outcome, evidence.tail, wait, chance)

        await self._run.decide(verdict)
        if self._resource.state is ResourceState.CANCELLED:
            self._run.partial_files += partial_files

    def _failed(
        self, job: Job, ended: Ended, outcome: Outcome, tail: Sequence[str], wait: float | None, chance: float
    ) -> list[Event]:
        """The failure, and another attempt when its cause can heal."""
        cause = outcome.cause or Cause.UNKNOWN
        attempt = job.find(self._path).attempt
        stalled = [types.ResourceStalled(stall_seconds=self._rules.stall_seconds)] if ended.stalled else []
        events: list[Event] = [*stalled, _failure(outcome, self._seconds(), tail)]
        delay = delay_seconds(
            self._rules.retry,
            attempt=attempt,
            max_attempts=job.max_attempts,
            cause=cause,
            retry_after_seconds=wait,
            chance=chance,
        )
        if delay is not None:
            events.append(
                types.ResourceRetryScheduled(
                    next_attempt=attempt + 1,
                    max_attempts=job.max_attempts,
                    delay_seconds=round(delay, 3),
                    cause=cause.value,
                )
            )
        return events

    def _spec(self, resource: ResourceProgress, card: Resource | None) -> AttemptSpec:
        # Without the very card that the log says was started, an attempt can be found, but never started.
        is_same = card is not None and card.sha256 == resource.card_sha256
        script = ""
        if card is not None:
            script = verification_of(card) if resource.phase == VERIFY else card.script
        return AttemptSpec(
            job_id=self._run.job.job_id,
            number=resource.number,
            attempt=resource.attempt,
            phase=resource.phase,
            card_script=script,
            ui_home=self._run.job.ui_home,
            timeout_seconds=self._rules.resource_timeout_seconds,
            stall_seconds=self._rules.stall_seconds,
            bandwidth_bytes_per_second=resource.bandwidth,
            size_bytes=resource.size_bytes if resource.phase == DOWNLOAD else None,
            provision_tools=self._rules.provision_tools,
            remote_path=self._rules.remote_path,
            civitai_api_key=self._rules.civitai_api_key,
            hf_token=self._rules.hf_token,
            must_exist=resource.source_offset > 0 or not is_same,
        )

    def _event(self, event: Event, attempt: int | None = None) -> NewEvent:
        number = attempt if attempt is not None else self._resource.attempt or None
        return NewEvent(event=event, resource=self._path, attempt=number)

    def _seconds(self) -> float | None:
        started_at_ms = self._resource.started_at_ms
        return None if started_at_ms is None else round(max(0, self._clock_ms() - started_at_ms) / 1000, 3)


def verification_of(card: Resource) -> str:
    """The program that holds what this card left on the instance against what is known of it."""
    files = [ExpectedFile(path=f.path, sha256=f.sha256, size_bytes=f.size) for f in card.front.files]
    return verify_program(files=files, sha256=card.front.sha256, size_bytes=card.front.size)


def _failure(outcome: Outcome, seconds: float | None, tail: Sequence[str] = ()) -> Event:
    return types.ResourceFailed(
        cause=str(outcome.cause),
        error=outcome.error or "",
        hint=outcome.hint or "",
        exit_code=outcome.exit_code,
        seconds=seconds,
        tail=list(tail),
    )
