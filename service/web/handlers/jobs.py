"""Jobs: the list, one of them, and the controls."""

from __future__ import annotations

from typing import cast

from service.events.job import Job, ResourceState
from service.runner.controls import possible
from service.web.answers import Controlled, ControlledJobs, Deleted, JobPage, JobSummary, JobView
from service.web.requests import ChangeRequest, MoveRequest
from service.web.services import Services


async def list_jobs(
    services: Services, *, state: str | None, host: str | None, cursor: str | None, limit: int
) -> JobPage:
    found, following = await services.jobs.page(state=state, host=host, cursor=cursor, limit=limit)
    return {"jobs": [summary(job) for job in found], "next": following}


async def show_job(services: Services, *, job_id: str) -> JobView:
    return await _view(services, await services.jobs.get(job_id))


async def change_job(services: Services, *, job_id: str, body: ChangeRequest) -> Controlled:
    job = await services.controls.change_limits(job_id, body.bandwidth_limit)
    has_begun = any(resource.state is ResourceState.RUNNING for resource in job.resources)
    message = "applies from the next resource; running downloads keep their limit" if has_begun else "applies now"
    return await _controlled(services, job, message)


async def delete_job(services: Services, *, job_id: str) -> Deleted:
    await services.controls.delete(job_id)
    return {"success": True, "job_id": job_id, "message": "deleted"}


async def pause_job(services: Services, *, job_id: str) -> Controlled:
    return await _controlled(services, await services.controls.pause(job_id))


async def resume_job(services: Services, *, job_id: str) -> Controlled:
    return await _controlled(services, await services.controls.resume(job_id))


async def cancel_job(services: Services, *, job_id: str) -> Controlled:
    return await _controlled(services, await services.controls.cancel(job_id))


async def retry_job(services: Services, *, job_id: str) -> Controlled:
    return await _controlled(services, await services.controls.retry(job_id))


async def move_job(services: Services, *, job_id: str, body: MoveRequest) -> Controlled:
    return await _controlled(services, await services.controls.move(job_id, body.before))


async def pause_instance(services: Services, *, instance: str) -> ControlledJobs:
    return await _controlled_jobs(services, await services.controls.pause_instance(instance))


async def resume_instance(services: Services, *, instance: str) -> ControlledJobs:
    return await _controlled_jobs(services, await services.controls.resume_instance(instance))


async def _controlled(services: Services, job: Job, message: str = "accepted") -> Controlled:
    return {"success": True, "message": message, **await _view(services, job)}


async def _controlled_jobs(services: Services, jobs: list[Job]) -> ControlledJobs:
    return {"success": True, "jobs": [await _view(services, job) for job in jobs]}


def summary(job: Job) -> JobSummary:
    return cast(JobSummary, {**job.summary(), "possible": list(possible(job))})


async def _view(services: Services, job: Job) -> JobView:
    placed = await services.jobs.with_position(job)
    return cast(JobView, {**placed.to_dict(), "possible": list(possible(placed))})
