"""How a job follows from its events: the table of what may follow what, and the fold.

``apply(job, recorded, event)`` is the only way a job changes. It is pure: the rows in the database are this fold,
written in the transaction of their events, and can be made again from the log alone. The dashboard folds the same
events once more, in TypeScript (job_model.ts); tests/golden_streams.json holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from service.errors import TransitionRefused
from service.events import event_types as types
from service.events.causes import Cause
from service.events.event_types import Event, UnknownEvent
from service.events.job import (
    CONNECTED,
    JOB_CANCELLED,
    RECONNECTING,
    VERIFY,
    Job,
    JobState,
    ResourceProgress,
    ResourceState,
    Standing,
)
from service.events.recorded_event import RecordedEvent

# What may follow while a job is started, paused or not: output from before the pause still comes.
WHILE_STARTED = (
    types.Connecting.type,
    types.HostKeyAccepted.type,
    types.ResourceStarted.type,
    types.StageStart.type,
    types.Progress.type,
    types.StageComplete.type,
    types.Output.type,
    types.RunStarted.type,
    types.RunEnded.type,
    types.FileKept.type,
    types.ResourceWarned.type,
    types.FileRemoved.type,
    types.LinkLost.type,
    types.JobReattached.type,
    types.JobTakenOver.type,
    types.VerificationStarted.type,
    types.ResourceVerified.type,
    types.ResourceStalled.type,
    types.ResourceRetryScheduled.type,
    types.ResourceInstalled.type,
    types.ResourceFailed.type,
    types.ResourceCancelled.type,
    types.CancelRequested.type,
    types.LimitsChanged.type,
)
WHILE_IN_QUEUE = (
    types.JobMoved.type,
    types.QueuePositionChanged.type,
    types.ResourceCancelled.type,
    types.LimitsChanged.type,
)
_ENDS = {
    types.JobCompleted.type: Standing.COMPLETED,
    types.JobFailed.type: Standing.FAILED,
    types.JobCancelled.type: Standing.CANCELLED,
}
_IN_QUEUE = (Standing.QUEUED, Standing.PAUSED_IN_QUEUE)
_STARTED = (Standing.RUNNING, Standing.PAUSED)

# (standing, event type) -> standing. A pair that is not here is refused; a job that does not exist yet stands at None.
TRANSITIONS: dict[tuple[Standing | None, str], Standing] = {
    (None, types.JobQueued.type): Standing.QUEUED,
    (Standing.QUEUED, types.JobStarted.type): Standing.RUNNING,
    (Standing.QUEUED, types.JobPaused.type): Standing.PAUSED_IN_QUEUE,
    (Standing.PAUSED_IN_QUEUE, types.JobResumed.type): Standing.QUEUED,
    (Standing.RUNNING, types.JobPaused.type): Standing.PAUSED,
    (Standing.PAUSED, types.JobResumed.type): Standing.RUNNING,
    **{(standing, types.JobCancelled.type): Standing.CANCELLED for standing in _IN_QUEUE},
    **{(standing, end): _ENDS[end] for standing in _STARTED for end in _ENDS},
    **{(standing, event_type): standing for standing in _IN_QUEUE for event_type in WHILE_IN_QUEUE},
    **{(standing, event_type): standing for standing in _STARTED for event_type in WHILE_STARTED},
}


def apply(job: Job | None, recorded: RecordedEvent, event: Event | UnknownEvent, *, thinned: bool = False) -> Job:
    """The job after this event. ``thinned``: the stream may have holes.

    Raises TransitionRefused when the event cannot follow in the job's state, or when its sequence does not follow.
    """
    if job is not None:
        sequence, last = recorded.sequence, job.last_sequence
        if sequence != last + 1 and not (thinned and sequence > last):
            raise TransitionRefused(f"event {sequence} of {job.job_id} does not follow {last}")
    if isinstance(event, UnknownEvent):
        if job is None:
            raise TransitionRefused(f"{recorded.job_id} begins with an unknown event {event.type!r}")
        return job._replace(last_sequence=recorded.sequence, last_at_ms=recorded.at_ms)
    before = job.standing if job is not None else None
    after = TRANSITIONS.get((before, event.type))
    if after is None:
        raise TransitionRefused(f"{event.type} cannot follow in state {before} of job {recorded.job_id}")
    if job is None:
        return _queued(recorded, cast(types.JobQueued, event))
    changes = _FOLDS[type(event)](job, recorded, event)
    if event.since > job.events_format:
        changes["events_format"] = event.since
    resources = changes.pop("resources", job.resources)
    moved = (after.state, recorded.sequence, resources, recorded.at_ms)
    job = tuple.__new__(Job, job[:_MOVED] + moved + job[_MOVED + len(moved) :])
    return _with(job, _JOB_PLACES, changes) if changes else job


def fold(history: Iterable[RecordedEvent], *, thinned: bool = False) -> Job | None:
    """The job that these events, from the first on, add up to. None: there are none."""
    job: Job | None = None
    for recorded in history:
        job = apply(job, recorded, recorded.event(), thinned=thinned)
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
        events_format=event.since,
        ui_home=event.ui_home,
        last_sequence=recorded.sequence,
        last_at_ms=recorded.at_ms,
        created_at_ms=recorded.at_ms,
        parallel=event.parallel,
        bandwidth_limit=event.bandwidth_limit,
        max_attempts=event.max_attempts,
        verify=event.verify,
        reinstall=event.reinstall,
        removes=tuple(event.removes),
        wait_for_ssh_seconds=event.wait_for_ssh_seconds,
        place=event.place,
        retry_of=event.retry_of,
        idempotency_key=event.idempotency_key,
        body_sha256=event.body_sha256,
        resources=tuple(
            ResourceProgress(
                number=number,
                resource=entry["resource"],
                title=entry["title"],
                dependencies=tuple(entry["dependencies"]),
                size_bytes=entry.get("size"),
            )
            for number, entry in enumerate(event.resources, start=1)
        ),
    )


Changes = dict[str, Any]
Row = TypeVar("Row", Job, ResourceProgress)


_JOB_PLACES = {name: place for place, name in enumerate(Job._fields)}
_RESOURCE_PLACES = {name: place for place, name in enumerate(ResourceProgress._fields)}


# Fields that lie side by side are replaced as one, which costs a third: the four of a job that every event changes, and
# those of a resource that every bar changes.
_MOVED = _JOB_PLACES["state"]
_BAR = _RESOURCE_PLACES["stage"]


def _with(row: Row, places: Mapping[str, int], changes: Changes) -> Row:
    """As ``_replace``, which looks at every field and not only at those that change."""
    values = list(row)
    for name, value in changes.items():
        values[places[name]] = value
    return cast(Row, cast(Any, row)._make(values))


def _resource(job: Job, recorded: RecordedEvent, **changes: Any) -> Changes:
    """The job's resources with these changes in the one that the event names."""
    if recorded.source_offset is not None:
        changes["source_offset"] = recorded.source_offset
    place = _place(job, recorded.resource)
    return {} if place is None else _put(job, place, _with(job.resources[place], _RESOURCE_PLACES, changes))


def _place(job: Job, path: str | None) -> int | None:
    for place, resource in enumerate(job.resources):
        if resource.resource == path:
            return place
    return None


def _put(job: Job, place: int, resource: ResourceProgress) -> Changes:
    return {"resources": (*job.resources[:place], resource, *job.resources[place + 1 :])}


def _only_the_offset(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {} if recorded.source_offset is None else _resource(job, recorded)


def _unchanged(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {}


def _job_started(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {"started_at_ms": recorded.at_ms, "queue_position": None}


def _job_paused(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    # The queue skips a job that is paused in it: the job has no position until it is resumed.
    return {"queue_position": None}


def _job_moved(job: Job, recorded: RecordedEvent, event: types.JobMoved) -> Changes:
    return {"place": event.place}


def _queue_position(job: Job, recorded: RecordedEvent, event: types.QueuePositionChanged) -> Changes:
    return {"queue_position": event.queue_position}


def _cancel_requested(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    first = job.cancel_requested_at_ms
    return {"cancel_requested_at_ms": recorded.at_ms if first is None else first}


def _limits_changed(job: Job, recorded: RecordedEvent, event: types.LimitsChanged) -> Changes:
    return {"bandwidth_limit": event.bandwidth_limit}


def _connected(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {"link": CONNECTED}


def _link_lost(job: Job, recorded: RecordedEvent, event: Event) -> Changes:
    return {"link": RECONNECTING}


def _resource_started(job: Job, recorded: RecordedEvent, event: types.ResourceStarted) -> Changes:
    """A new attempt begins from nothing: only what identifies the resource stays."""
    resources = [
        ResourceProgress(
            number=r.number,
            resource=r.resource,
            title=event.title,
            dependencies=r.dependencies,
            size_bytes=r.size_bytes,
            bandwidth=event.bandwidth,
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
    place = _place(job, recorded.resource)
    if place is None:
        return {}
    bar = (
        event.stage,
        event.percent,
        event.downloaded_bytes,
        event.total_bytes,
        event.bytes_per_second,
        event.eta_seconds,
        event.resource_eta_seconds,
        event.job_eta_seconds,
        recorded.at_ms,
        recorded.source_offset,
    )
    return _put(job, place, _drawn(job.resources[place], bar))


def _drawn(resource: ResourceProgress, bar: tuple[Any, ...]) -> ResourceProgress:
    """The resource with this bar; its last field is the source offset."""
    if bar[-1] is None:
        bar = (*bar[:-1], resource.source_offset)
    return tuple.__new__(ResourceProgress, resource[:_BAR] + bar + resource[_BAR + len(bar) :])


def _verification_started(job: Job, recorded: RecordedEvent, event: types.VerificationStarted) -> Changes:
    """The verification has a log of its own: its offsets begin at 0."""
    path = recorded.resource
    return {
        "resources": tuple(
            [r._replace(phase=VERIFY, source_offset=0) if r.resource == path else r for r in job.resources],
        )
    }


def _resource_verified(job: Job, recorded: RecordedEvent, event: types.ResourceVerified) -> Changes:
    """A resource is verified only if every one of its files is."""
    path = recorded.resource
    before = next((r.verified for r in job.resources if r.resource == path), None)
    return _resource(job, recorded, verified=event.result if before in (None, "verified") else before)


def _retry_scheduled(job: Job, recorded: RecordedEvent, event: types.ResourceRetryScheduled) -> Changes:
    retry_at_ms = recorded.at_ms + round(event.delay_seconds * 1000)
    return _resource(job, recorded, state=ResourceState.PENDING, retry_at_ms=retry_at_ms, ended_at_ms=None)


def _resource_cancelled(job: Job, recorded: RecordedEvent, event: types.ResourceCancelled) -> Changes:
    return _resource(
        job,
        recorded,
        state=ResourceState.CANCELLED,
        cause=Cause.CANCELLED.value,
        error=JOB_CANCELLED,
        hint=None,
        exit_code=event.exit_code,
        seconds=event.seconds,
        ended_at_ms=recorded.at_ms,
    )


def _resource_installed(job: Job, recorded: RecordedEvent, event: types.ResourceInstalled) -> Changes:
    return _resource(
        job,
        recorded,
        state=ResourceState.INSTALLED,
        cause=None,
        error=None,
        hint=None,
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


def _ended(
    job: Job, recorded: RecordedEvent, event: types.JobCompleted | types.JobFailed | types.JobCancelled
) -> Changes:
    ended: Changes = {"ended_at_ms": recorded.at_ms, "link": None, "queue_position": None}
    if isinstance(event, types.JobCancelled):
        ended["resources"] = job.with_the_rest_cancelled().resources
    if not isinstance(event, types.JobCompleted):
        ended |= {"error": event.error, "cause": event.cause}
    return ended


_FOLDS: dict[type[Event], Callable[[Job, RecordedEvent, Any], Changes]] = {
    types.JobStarted: _job_started,
    types.JobMoved: _job_moved,
    types.QueuePositionChanged: _queue_position,
    types.JobPaused: _job_paused,
    types.JobResumed: _unchanged,
    types.CancelRequested: _cancel_requested,
    types.LimitsChanged: _limits_changed,
    types.Connecting: _unchanged,
    types.HostKeyAccepted: _connected,
    types.ResourceStarted: _resource_started,
    types.StageStart: _stage_start,
    types.Progress: _progress,
    types.StageComplete: _only_the_offset,
    types.Output: _only_the_offset,
    types.RunStarted: _only_the_offset,
    types.RunEnded: _only_the_offset,
    types.FileKept: _only_the_offset,
    types.ResourceWarned: _only_the_offset,
    types.FileRemoved: _unchanged,
    types.LinkLost: _link_lost,
    types.JobReattached: _connected,
    types.JobTakenOver: _unchanged,
    types.VerificationStarted: _verification_started,
    types.ResourceVerified: _resource_verified,
    types.ResourceStalled: _only_the_offset,
    types.ResourceRetryScheduled: _retry_scheduled,
    types.ResourceCancelled: _resource_cancelled,
    types.ResourceInstalled: _resource_installed,
    types.ResourceFailed: _resource_failed,
    types.JobCompleted: _ended,
    types.JobFailed: _ended,
    types.JobCancelled: _ended,
}
