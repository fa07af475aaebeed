"""Start an install."""

from __future__ import annotations

import asyncio
from typing import Any

from service.errors import FieldError, InvalidRequest, TargetRefused
from service.events.event_types import JobQueued
from service.library import ResolvedCard
from service.web.answers import Accepted
from service.web.requests import InstallRequest
from service.web.services import Services


async def install(services: Services, *, body: InstallRequest, idempotency_key: str | None) -> Accepted:
    """The same request under the same Idempotency-Key gives the same job."""
    try:
        services.check_host(body.ssh_host, body.ssh_port)
    except TargetRefused as error:
        raise InvalidRequest(str(error), [FieldError("ssh_host", str(error))]) from error
    # In a thread: an alias or an AIR may lead through all cards.
    cards = await asyncio.to_thread(services.library.resolve, body.resources)
    queued = JobQueued(
        ssh_host=body.ssh_host,
        ssh_port=body.ssh_port,
        ssh_user=body.ssh_user or services.ssh_user,
        ui_home=body.ui_home,
        host_key_sha256=body.host_key_sha256,
        parallel=body.parallel,
        bandwidth_limit=body.bandwidth_limit,
        max_attempts=body.max_attempts or services.max_attempts,
        verify=body.verify,
        reinstall=body.reinstall,
        wait_for_ssh_seconds=body.wait_for_ssh_seconds,
        idempotency_key=idempotency_key,
        body_sha256=body.digest() if idempotency_key is not None else None,
        resources=[_entry(card) for card in cards],
    )
    job, is_new = await services.controls.start(queued)
    return {
        "success": True,
        "job_id": job.job_id,
        "message": "Installation started" if is_new else "Installation was started by an earlier request",
        "resource_count": job.total,
    }


def _entry(resolved: ResolvedCard) -> dict[str, Any]:
    return {
        "resource": resolved.path,
        "title": resolved.card.title,
        "dependencies": list(resolved.dependencies),
        "size": resolved.card.size_bytes,
    }
