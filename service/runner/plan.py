"""What a job needs next, from its current state and the time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from service.events.job import ENDED_STATES, VERIFY, Job, ResourceProgress, ResourceState, Standing

# A cancelled job waits this long for its instance; what still runs there then is ended when the instance answers again.
CANCEL_SECONDS_MAX = 60.0
BANDWIDTH_MIN = 1024
# Verifications read and hash on the instance, where more at once would only take turns.
VERIFYING_MAX = 2
# A connection has one session more (instance/ssh.py), so that a pause never waits for an attempt to end.
FOLLOWED_MAX = 8


def startable(job: Job, in_work: Collection[str], now_ms: int) -> list[ResourceProgress]:
    """The resources to begin now, in the order of the job: first those that were running when the service ended."""
    idle = [r for r in job.resources if r.resource not in in_work]
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
    at_work = [r for r in job.resources if r.resource in in_work] + found
    return found + ready[: max(0, _free_places(job, at_work))]


def _free_places(job: Job, at_work: Sequence[ResourceProgress]) -> int:
    """How many downloads may begin. A resource in its verification holds none of the job's places: the next download
    runs beside it."""
    verifying = sum(map(is_verifying, at_work))
    downloading = len(at_work) - verifying
    return min(job.parallel, FOLLOWED_MAX - min(verifying, VERIFYING_MAX)) - downloading


def is_verifying(resource: ResourceProgress) -> bool:
    return resource.state is ResourceState.RUNNING and resource.phase == VERIFY


def bandwidth_share(job: Job) -> int | None:
    """The bytes a second for the next attempt: what others left of the limit, shared with those that begin beside
    it."""
    if job.bandwidth_limit is None:
        return None
    running = [r for r in job.resources if r.state is ResourceState.RUNNING and not is_verifying(r)]
    waiting = sum(r.state is ResourceState.PENDING for r in job.resources)
    slots = max(1, min(job.parallel - len(running), waiting))
    left = job.bandwidth_limit - sum(r.bandwidth or 0 for r in running)
    # A limit that was lowered may be used up already: then each gets what it would have had from the beginning.
    share = left // slots if left > 0 else job.bandwidth_limit // job.parallel
    return max(BANDWIDTH_MIN, share)


def lost_dependencies(job: Job) -> list[tuple[ResourceProgress, str]]:
    """The pending resources that depend on one that will not be installed, and its path."""
    if job.is_cancelling:
        return []
    found = []
    for resource in job.resources:
        lost = next((path for path in resource.dependencies if _is_lost(job.find(path))), None)
        if resource.state is ResourceState.PENDING and lost is not None:
            found.append((resource, lost))
    return found


def is_done(job: Job) -> bool:
    """Whether nothing is left to do; of a cancelled job, whether nothing runs any more."""
    if job.is_cancelling:
        return not any(r.state is ResourceState.RUNNING for r in job.resources)
    return all(r.state in ENDED_STATES for r in job.resources)


def seconds_until_due(job: Job, now_ms: int) -> float | None:
    """Until something is due that no change announces: a retry, or the cancel deadline (then 0 or less means that it
    has passed)."""
    if job.is_cancelling:
        return (job.cancel_requested_at_ms or 0) / 1000 + CANCEL_SECONDS_MAX - now_ms / 1000
    due = [r.retry_at_ms for r in job.resources if r.state is ResourceState.PENDING and r.retry_at_ms is not None]
    later = [at_ms for at_ms in due if at_ms > now_ms]
    return (min(later) - now_ms) / 1000 + 0.001 if later else None


def _is_lost(resource: ResourceProgress) -> bool:
    return resource.state in (ResourceState.FAILED, ResourceState.CANCELLED)
