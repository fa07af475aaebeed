"""The events that end a resource or a job, made from outcomes and jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.events import event_types as types
from service.events.causes import CAUSES, Cause
from service.events.event_types import Event
from service.events.job import JOB_CANCELLED, Job, ResourceProgress, ResourceState
from service.events.recorded_event import NewEvent
from service.runner.outcome import Outcome


def resource_failed(
    outcome: Outcome, *, seconds: float | None = None, tail: Sequence[str] = (), partial_files: Sequence[str] = ()
) -> types.ResourceFailed:
    """The failure of a resource. ``seconds``: since its attempt began. ``tail``: the last lines of its output.
    ``partial_files``: what its tools left half done."""
    return types.ResourceFailed(
        cause=str(outcome.cause),
        error=outcome.error or "",
        hint=outcome.hint or "",
        exit_code=outcome.exit_code,
        seconds=seconds,
        tail=list(tail),
        partial_files=list(partial_files),
    )


def partial_files(found: Iterable[str], moved: Sequence[str]) -> list[str]:
    """The unfinished files, each once. ``found``: when a signal ended the tools; ``moved``: to a ``.part``, later."""
    gone = {path.removesuffix(".part") for path in moved}
    return list(dict.fromkeys([*(path for path in found if path not in gone), *moved]))


def failed_resource(resource: ResourceProgress, outcome: Outcome) -> NewEvent:
    """The failure of a resource for a reason outside its attempt, if it has one."""
    return NewEvent(event=resource_failed(outcome), resource=resource.resource, attempt=resource.attempt or None)


def job_cancelled(job: Job, partial_files: Sequence[str] = (), error: str = JOB_CANCELLED) -> types.JobCancelled:
    """The end of a job that was cancelled: what had not ended by then is cancelled with it."""
    ended = job.with_the_rest_cancelled()
    return types.JobCancelled(
        error=error,
        cause=Cause.CANCELLED.value,
        hint=CAUSES[Cause.CANCELLED].hint,
        installed=ended.installed,
        total=ended.total,
        results=ended.results(),
        partial_files=list(partial_files),
    )


def job_completed_or_failed(job: Job, partial_files: Sequence[str] = ()) -> Event:
    """The end of a job whose resources have all ended; its cause is that of the first one that is not installed."""
    first = next((r for r in job.resources if r.state is not ResourceState.INSTALLED), None)
    if first is None:
        return types.JobCompleted(installed=job.installed, total=job.total, results=job.results())
    cause = Cause(first.cause or Cause.UNKNOWN)
    return types.JobFailed(
        error=f"{first.resource}: {first.error}",
        cause=cause.value,
        hint=first.hint or CAUSES[cause].hint,
        installed=job.installed,
        total=job.total,
        results=job.results(),
        partial_files=list(partial_files),
    )


def job_failed(job: Job, outcome: Outcome) -> types.JobFailed:
    """The end of a job without resources that could not do its work."""
    cause = Cause(outcome.cause or Cause.UNKNOWN)
    return types.JobFailed(
        error=outcome.error or "",
        cause=cause.value,
        hint=outcome.hint or CAUSES[cause].hint,
        installed=job.installed,
        total=job.total,
        results=job.results(),
        partial_files=[],
    )
