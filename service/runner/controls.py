"""What clients may do to a job: pause, resume, cancel, move, retry, change its limits, delete it.

A control is appended to the job's stream while the stream is locked, so that of two controls at once the second sees
what the first has done, and it is refused when the job's standing does not allow it. The job's workers learn of it
afterwards and make the instance match; after a restart they find it in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.crash_points import crash_point
from service.errors import (
    FieldError,
    InvalidRequest,
    KeyReused,
    NotFound,
    SequenceConflict,
    StoreUnavailable,
    UnknownJob,
    WrongState,
)
from service.events import event_types as types
from service.events.addresses import key_of_name
from service.events.event_types import JobQueued
from service.events.job import Job, ResourceState, Standing
from service.events.recorded_event import NewEvent
from service.runner.endings import job_cancelled
from service.store.jobs import Jobs
from service.store.journal import Journal
from service.store.places import place_after, place_between

# What each standing allows. A started job that was asked to end allows nothing more: it is ending.
POSSIBLE: dict[Standing, tuple[str, ...]] = {
    Standing.QUEUED: ("pause", "cancel", "move", "change"),
    Standing.PAUSED_IN_QUEUE: ("resume", "cancel", "move", "change"),
    Standing.RUNNING: ("pause", "cancel", "change"),
    Standing.PAUSED: ("resume", "cancel", "change"),
    Standing.COMPLETED: ("delete",),
    Standing.FAILED: ("retry", "delete"),
    Standing.CANCELLED: ("retry", "delete"),
}
ENQUEUE_TRIES_MAX = 20
IN_QUEUE = (Standing.QUEUED, Standing.PAUSED_IN_QUEUE)


def possible(job: Job) -> tuple[str, ...]:
    """The controls that this job allows."""
    return () if job.is_cancelling else POSSIBLE[job.standing]


class Controls:
    """Carries out what clients ask for.

    ``on_control`` is called with the job after each control. The worker then makes the instance and the queue match.
    """

    def __init__(self, *, journal: Journal, jobs: Jobs, on_control: Callable[[Job], None]) -> None:
        self._journal = journal
        self._jobs = jobs
        self._on_control = on_control
        self._moving = asyncio.Lock()

    async def start(self, queued: JobQueued) -> tuple[Job, bool]:
        """Enqueue the job, or find the one that a request with the same Idempotency-Key enqueued; the second value:
        whether it is new. Raises KeyReused when the key belongs to another request."""
        key = queued.idempotency_key
        known, is_new = await self._enqueue(queued, lambda: self._jobs.by_idempotency_key(key))
        if not is_new and known.body_sha256 != queued.body_sha256:
            message = f"belongs to another request, which started job {known.job_id}: use a new key"
            raise KeyReused(f"Idempotency-Key: {message}", [FieldError("Idempotency-Key", message)])
        return known, is_new

    async def pause(self, job_id: str) -> Job:
        return await self._control(job_id, "pause", lambda _job: [types.JobPaused()])

    async def resume(self, job_id: str) -> Job:
        return await self._control(job_id, "resume", lambda _job: [types.JobResumed()])

    async def cancel(self, job_id: str) -> Job:
        """A queued job ends at once; a started one is asked to end."""
        return await self._control(job_id, "cancel", _cancelled)

    async def change_limits(self, job_id: str, bandwidth_limit: int | None) -> Job:
        """``bandwidth_limit``: bytes a second for the whole job, None for no limit. Applies from the next attempt."""

        def changed(job: Job) -> Sequence[types.Event]:
            is_same = job.bandwidth_limit == bandwidth_limit
            return [] if is_same else [types.LimitsChanged(bandwidth_limit=bandwidth_limit)]

        return await self._control(job_id, "change", changed)

    async def move(self, job_id: str, before: str) -> Job:
        """``before``: a job of the same instance's queue, ``first`` or ``last``. Raises InvalidRequest."""
        async with self._moving:
            job = await self._jobs.get(job_id)
            _check(job, "move")
            place = await self._place(job, before)
            moved = [] if place == job.place else [types.JobMoved(before=before, place=place)]
            return await self._control(job_id, "move", lambda _job: moved)

    async def retry(self, job_id: str) -> Job:
        """A new job with what this one did not install; while such a job is under way, that one."""
        job = await self._jobs.get(job_id)
        _check(job, "retry")
        return (await self._enqueue(_rest_of(job), lambda: self._jobs.active_retry_of(job_id)))[0]

    async def delete(self, job_id: str) -> None:
        """Forget an ended job: its events and its rows."""
        _check(await self._jobs.get(job_id), "delete")
        await self._journal.forget(job_id)

    async def pause_instance(self, instance: str) -> list[Job]:
        return await self._on_instance(instance, "pause", self.pause)

    async def resume_instance(self, instance: str) -> list[Job]:
        return await self._on_instance(instance, "resume", self.resume)

    async def _enqueue(self, queued: JobQueued, known: Callable[[], Awaitable[Job | None]]) -> tuple[Job, bool]:
        """The job, and whether it is new: ``known`` finds the one that stands for it already. Between that look and the
        append another may be faster, here or on another replica, with the same job or only with the same place."""
        for _ in range(ENQUEUE_TRIES_MAX):
            found = await known()
            if found is not None:
                return found, False
            try:
                job = await self._journal.enqueue(queued)
            except SequenceConflict:
                continue
            self._on_control(job)
            return job, True
        raise StoreUnavailable("others start jobs faster than this one can be enqueued: try again")

    async def _control(self, job_id: str, name: str, decide: Callable[[Job], Sequence[types.Event]]) -> Job:
        def checked(job: Job) -> Sequence[NewEvent]:
            _check(job, name)
            return [NewEvent(event=event) for event in decide(job)]

        crash_point("before_control")
        job = await self._journal.append(job_id, checked)
        crash_point("after_control")
        self._on_control(job)
        return job

    async def _on_instance(self, instance: str, name: str, control: Callable[[str], Any]) -> list[Job]:
        found = await self._jobs.active_on(key_of_name(instance))
        if not found:
            raise NotFound(f'no job is queued, running or paused on instance "{instance[:200]}": use user@host:port')
        done, refused = [], None
        for job_id in found:
            try:
                done.append(await control(job_id))
            except (WrongState, UnknownJob) as error:
                refused = error
        if not done and refused is not None:
            raise refused
        return done

    async def _place(self, job: Job, before: str) -> str:
        queue = await self._jobs.queue_of(job.instance_key, with_paused=True)
        others = [row for row in queue if row.job_id != job.job_id]
        if before == "last" or not others:
            stands_last = not others or job.place > others[-1].place
            return job.place if stands_last else place_after(others[-1].place)
        index = 0 if before == "first" else next((n for n, row in enumerate(others) if row.job_id == before), None)
        if index is None:
            message = (
                f'"{before}" is not waiting in the queue of {job.instance}: name one of its jobs, "first" or "last"'
            )
            raise InvalidRequest(message, [FieldError("before", message)])
        target = others[index].place
        # Two replicas that move at once can give one place twice: between those two there is no other.
        in_front = next((row.place for row in reversed(others[:index]) if row.place < target), "")
        return job.place if in_front < job.place < target else place_between(in_front, target)


def _check(job: Job, name: str) -> None:
    allowed = possible(job)
    if name in allowed:
        return
    state = "is being cancelled" if job.is_cancelling else f"is {job.standing.value}"
    way_out = f"possible now: {', '.join(allowed)}" if allowed else "wait until it has ended"
    raise WrongState(f"{name} is not possible, job {job.job_id} {state}: {way_out}", state=job.state, possible=allowed)


def _cancelled(job: Job) -> Sequence[types.Event]:
    if job.standing in IN_QUEUE:
        return [job_cancelled(job)]
    return [types.CancelRequested()]


def _rest_of(job: Job) -> JobQueued:
    """A job with what this one did not install."""
    rest = [r for r in job.resources if r.state is not ResourceState.INSTALLED]
    paths = {r.resource for r in rest}
    return JobQueued(
        ssh_host=job.ssh_host,
        ssh_port=job.ssh_port,
        ssh_user=job.ssh_user,
        ui_home=job.ui_home,
        host_key_sha256=job.host_key_sha256,
        resources=[
            {
                "resource": r.resource,
                "title": r.title,
                "dependencies": [path for path in r.dependencies if path in paths],
                "size": r.size_bytes,
            }
            for r in rest
        ],
        parallel=job.parallel,
        bandwidth_limit=job.bandwidth_limit,
        max_attempts=job.max_attempts,
        verify=job.verify,
        reinstall=job.reinstall,
        removes=list(job.removes),
        wait_for_ssh_seconds=job.wait_for_ssh_seconds,
        retry_of=job.job_id,
    )
