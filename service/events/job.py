"""A job as the fold over its events, and the table of what may follow what.

``apply(job, recorded, event)`` is the only way a job changes. It is pure: the rows in the database are this fold,
written in the transaction of the events that it follows from, and can be made again from the log alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple, cast

from service.events import event_types as types
from service.events.event_types import Event, UnknownEvent
from service.events.recorded_event import RecordedEvent, rfc3339


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class ResourceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    INSTALLED = "installed"
    FAILED = "failed"


CONNECTED = "connected"
RECONNECTING = "reconnecting"
ACTIVE_STATES = (JobState.QUEUED, JobState.RUNNING)
WHILE_RUNNING = (
    types.HostKeyAccepted.type,
    types.ResourceStarted.type,
    types.StageStart.type,
    types.Progress.type,
    types.StageComplete.type,
    types.Output.type,
    types.LinkLost.type,
    types.JobReattached.type,
    types.ResourceInstalled.type,
    types.ResourceFailed.type,
)

# (state, event type) -> state. What is not here is refused; a job that does not exist yet has the state None.
TRANSITIONS: dict[tuple[JobState | None, str], JobState] = {
    (None, types.JobQueued.type): JobState.QUEUED,
    (JobState.QUEUED, types.JobStarted.type): JobState.RUNNING,
    (JobState.RUNNING, types.JobCompleted.type): JobState.COMPLETED,
    (JobState.RUNNING, types.JobFailed.type): JobState.FAILED,
    **{(JobState.RUNNING, event_type): JobState.RUNNING for event_type in WHILE_RUNNING},
}


class TransitionRefused(ValueError):
    """This event cannot follow in this state: a mistake in the caller, never a fact about an instance."""


class ResourceProgress(NamedTuple):
    """One resource of a job: its state, and the last progress that its tool printed. ``number`` counts from 1."""

    number: int
    resource: str
    title: str
    dependencies: tuple[str, ...] = ()
    state: ResourceState = ResourceState.PENDING
    attempt: int = 0
    card_sha256: str | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    name: str | None = None
    stage: str | None = None
    percent: int | None = None
    downloaded_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    source_offset: int = 0
    cause: str | None = None
    error: str | None = None
    hint: str | None = None
    exit_code: int | None = None
    seconds: float | None = None

    def result(self) -> dict[str, Any]:
        """The entry of this resource in ``results``."""
        return {
            "resource": self.resource,
            "state": self.state.value,
            "attempt": self.attempt,
            "cause": self.cause,
            "error": self.error,
            "hint": self.hint,
            "exit_code": self.exit_code,
            "seconds": self.seconds,
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.result(),
            "title": self.title,
            "dependencies": list(self.dependencies),
            "name": self.name,
            "stage": self.stage,
            "percent": self.percent,
            "downloaded_bytes": self.downloaded_bytes,
            "total_bytes": self.total_bytes,
            "bytes_per_second": self.bytes_per_second,
            "eta_seconds": self.eta_seconds,
            "started_at": _time(self.started_at_ms),
            "ended_at": _time(self.ended_at_ms),
        }


class Job(NamedTuple):
    """The projection of one stream. A tuple, like its resources: one is made for every event."""

    job_id: str
    state: JobState
    ssh_host: str
    ssh_port: int
    ssh_user: str
    ui_home: str
    last_sequence: int
    created_at_ms: int
    resources: tuple[ResourceProgress, ...]
    link: str | None = None
    host_key_sha256: str | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    error: str | None = None
    cause: str | None = None

    @property
    def instance(self) -> str:
        host = f"[{self.ssh_host}]" if ":" in self.ssh_host else self.ssh_host
        return f"{self.ssh_user}@{host}:{self.ssh_port}"

    @property
    def is_terminal(self) -> bool:
        return self.state not in ACTIVE_STATES

    @property
    def total(self) -> int:
        return len(self.resources)

    @property
    def installed(self) -> int:
        return sum(r.state is ResourceState.INSTALLED for r in self.resources)

    def find(self, path: str) -> ResourceProgress:
        return next(r for r in self.resources if r.resource == path)

    def results(self) -> list[dict[str, Any]]:
        return [r.result() for r in self.resources]

    def summary(self) -> dict[str, Any]:
        """The row of this job in a list: everything but its resources."""
        return {
            "job_id": self.job_id,
            "state": self.state.value,
            "link": self.link,
            "instance": self.instance,
            "ui_home": self.ui_home,
            "last_sequence": self.last_sequence,
            "created_at": _time(self.created_at_ms),
            "started_at": _time(self.started_at_ms),
            "ended_at": _time(self.ended_at_ms),
            "installed": self.installed,
            "total": self.total,
            "error": self.error,
            "cause": self.cause,
        }

    def to_dict(self) -> dict[str, Any]:
        return {**self.summary(), "resources": [r.to_dict() for r in self.resources]}


def apply(job: Job | None, recorded: RecordedEvent, event: Event | UnknownEvent) -> Job:
    """The job behind this event. Raises TransitionRefused when the event cannot follow in the job's state, or when
    its sequence is not the next one."""
    if job is not None and recorded.sequence != job.last_sequence + 1:
        raise TransitionRefused(f"event {recorded.sequence} of {job.job_id} does not follow {job.last_sequence}")
    if isinstance(event, UnknownEvent):
        if job is None:
            raise TransitionRefused(f"{recorded.job_id} begins with an unknown event {event.type!r}")
        return job._replace(last_sequence=recorded.sequence)
    before = job.state if job is not None else None
    after = TRANSITIONS.get((before, event.type))
    if after is None:
        raise TransitionRefused(f"{event.type} cannot follow in state {before} of job {recorded.job_id}")
    if job is None:
        return _queued(recorded, cast(types.JobQueued, event))
    changes = _FOLDS[type(event)](job, recorded, event)
    return job._replace(state=after, last_sequence=recorded.sequence, **changes)


def fold(history: Iterable[RecordedEvent]) -> Job | None:
    """The job that these events, from the first on, add up to."""
    job: Job | None = None
    for recorded in history:
        job = apply(job, recorded, recorded.event())
    return job


# --- one small function for each type of event ------------------------------------------------------------------


def _queued(recorded: RecordedEvent, event: types.JobQueued) -> Job:
    return Job(
        job_id=recorded.job_id,
        state=JobState.QUEUED,
        ssh_host=event.ssh_host,
        ssh_port=event.ssh_port,
        ssh_user=event.ssh_user,
        host_key_sha256=event.host_key_sha256,
        ui_home=event.ui_home,
        last_sequence=recorded.sequence,
        created_at_ms=recorded.at_ms,
        resources=tuple(
            ResourceProgress(
                number=number,
                resource=entry["resource"],
                title=entry["title"],
                dependencies=tuple(entry["dependencies"]),
            )
            for number, entry in enumerate(event.resources, start=1)
        ),
    )


Changes = dict[str, Any]


def _resource(job: Job, recorded: RecordedEvent, **changes: Any) -> Changes:
    """The job's resources with these changes in the one that the event names."""
    if recorded.source_offset is not None:
        changes["source_offset"] = recorded.source_offset
    path = recorded.resource
    return {"resources": tuple([r._replace(**changes) if r.resource == path else r for r in job.resources])}


def _only_the_offset(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {} if recorded.source_offset is None else _resource(job, recorded)


def _job_started(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {"started_at_ms": recorded.at_ms}


def _connected(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {"link": CONNECTED}


def _link_lost(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {"link": RECONNECTING}


def _resource_started(job: Job, recorded: RecordedEvent, event: types.ResourceStarted) -> Changes:
    """A new attempt begins from nothing: only what the resource is stays."""
    resources = [
        ResourceProgress(
            number=r.number,
            resource=r.resource,
            title=event.title,
            dependencies=r.dependencies,
            state=ResourceState.RUNNING,
            attempt=recorded.attempt or 1,
            card_sha256=event.card_sha256,
            started_at_ms=recorded.at_ms,
        )
        if r.resource == recorded.resource
        else r
        for r in job.resources
    ]
    return {"resources": tuple(resources), "link": CONNECTED}


def _stage_start(job: Job, recorded: RecordedEvent, event: types.StageStart) -> Changes:
    return _resource(job, recorded, name=event.name)


def _progress(job: Job, recorded: RecordedEvent, event: types.Progress) -> Changes:
    return _resource(
        job,
        recorded,
        stage=event.stage,
        percent=event.percent,
        downloaded_bytes=event.downloaded_bytes,
        total_bytes=event.total_bytes,
        bytes_per_second=event.bytes_per_second,
        eta_seconds=event.eta_seconds,
    )


def _resource_installed(job: Job, recorded: RecordedEvent, event: types.ResourceInstalled) -> Changes:
    return _resource(
        job,
        recorded,
        state=ResourceState.INSTALLED,
        exit_code=event.exit_code,
        seconds=event.seconds,
        ended_at_ms=recorded.at_ms,
    )


def _resource_failed(job: Job, recorded: RecordedEvent, event: types.ResourceFailed) -> Changes:
    return _resource(
        job,
        recorded,
        state=ResourceState.FAILED,
        cause=event.cause,
        error=event.error,
        hint=event.hint,
        exit_code=event.exit_code,
        seconds=event.seconds,
        ended_at_ms=recorded.at_ms,
    )


def _ended(job: Job, recorded: RecordedEvent, event: types.JobCompleted | types.JobFailed) -> Changes:
    ended: Changes = {"ended_at_ms": recorded.at_ms, "link": None}
    if isinstance(event, types.JobFailed):
        ended |= {"error": event.error, "cause": event.cause}
    return ended


_FOLDS: dict[type[Event], Callable[[Job, RecordedEvent, Any], Changes]] = {
    types.JobStarted: _job_started,
    types.HostKeyAccepted: _connected,
    types.ResourceStarted: _resource_started,
    types.StageStart: _stage_start,
    types.Progress: _progress,
    types.StageComplete: _only_the_offset,
    types.Output: _only_the_offset,
    types.LinkLost: _link_lost,
    types.JobReattached: _connected,
    types.ResourceInstalled: _resource_installed,
    types.ResourceFailed: _resource_failed,
    types.JobCompleted: _ended,
    types.JobFailed: _ended,
}


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
