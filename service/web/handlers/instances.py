"""Instances: whether one can be used, which there are, and what lies on one."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time

import orjson
from aiohttp import web

from service.errors import (
    FieldError,
    InstanceUnavailable,
    InvalidRequest,
    LinkDown,
    NotFound,
    RemoteError,
    TargetRefused,
    WrongState,
)
from service.events.addresses import instance_name
from service.events.event_types import JobQueued
from service.events.recorded_event import rfc3339
from service.keys import SSH
from service.library import Resource
from service.runner.instance.inventory import Inventory, ModelFile
from service.runner.instance.remote import Remote
from service.runner.instance.targets import Instance
from service.store.jobs import InstanceRow
from service.web.handlers.jobs import summary
from service.web.handlers.keys import WHERE
from service.web.instance_answers import (
    CheckedInstance,
    InstanceDetail,
    InstanceList,
    InstanceModels,
    InstanceView,
    ModelFileView,
    StartedRemoval,
)
from service.web.instance_requests import CheckRequest, RemovalRequest, parse_instance
from service.web.services import Services

INSTANCES_MAX = 500
RECENT_MAX = 50
INVENTORY_SECONDS_MAX = 30.0
_TIME_MS_MAX = 253_402_300_799_000


async def check_instance(services: Services, *, body: CheckRequest) -> CheckedInstance:
    _check_host(services, body.ssh_host, body.ssh_port)
    instance = Instance(
        host=body.ssh_host,
        port=body.ssh_port,
        user=body.ssh_user or services.ssh_user,
        host_key_sha256=body.host_key_sha256,
    )
    found = await services.check_instance(instance, body.ui_home)
    return {
        "success": True,
        "ok": found.ok,
        "instance": str(instance),
        "lines": [{"check": line.check, "state": line.state, "text": line.text} for line in found.lines],
        "host_key_sha256": found.host_key,
        "ui_homes": list(found.ui_homes),
        "public_key": services.keys.state(SSH).public if found.is_key_refused else None,
        "where": WHERE if found.is_key_refused else [],
    }


async def list_instances(services: Services) -> InstanceList:
    return {"instances": [_view(row) for row in await services.jobs.instances(INSTANCES_MAX)]}


async def show_instance(services: Services, *, instance: str) -> InstanceDetail:
    row = await _row(services, instance)
    recent = await services.jobs.of_instance(row.ssh_user, row.ssh_host, row.ssh_port, RECENT_MAX)
    return {**_view(row), "recent": [summary(job) for job in recent]}


async def list_models(services: Services, *, instance: str, ui_home: str | None) -> InstanceModels | web.Response:
    user, host, port = parse_instance(instance)
    at = ui_home or (await _row(services, instance)).ui_home
    _check_host(services, host, port)
    begin = time.monotonic()
    found = await _inventory(services, Instance(host=host, port=port, user=user), at)
    seconds = round(time.monotonic() - begin, 3)
    # In a thread: thousands of files take a while.
    body = await asyncio.to_thread(_models, services, instance_name(user, host, port), at, found, seconds)
    return web.Response(body=body, content_type="application/json")


async def remove_models(services: Services, *, instance: str, body: RemovalRequest) -> StartedRemoval:
    user, host, port = parse_instance(instance)
    _check_host(services, host, port)
    paths = body.paths
    queued = JobQueued(ssh_host=host, ssh_port=port, ssh_user=user, ui_home=body.ui_home, resources=[], removes=paths)
    job, _ = await services.controls.start(queued)
    # Room is made before what waits for it. A job that has begun meanwhile is where it should be.
    with contextlib.suppress(WrongState, NotFound):
        await services.controls.move(job.job_id, "first")
    message = f"{len(paths)} file{'' if len(paths) == 1 else 's'} will be removed, before the next install"
    return {"success": True, "job_id": job.job_id, "message": message, "count": len(paths)}


async def _inventory(services: Services, instance: Instance, ui_home: str) -> Inventory:
    try:
        async with asyncio.timeout(INVENTORY_SECONDS_MAX), services.visits:
            connection = await services.connect(instance)
            try:
                return await Remote(connection).inventory(ui_home)
            finally:
                connection.abort()
    except TargetRefused:
        raise
    except LinkDown as error:
        raise InstanceUnavailable(f"{error}: check that the instance runs, then look again") from error
    except RemoteError as error:
        raise InstanceUnavailable(str(error)) from error
    except TimeoutError as error:
        raise InstanceUnavailable(
            f"{instance} did not answer within {INVENTORY_SECONDS_MAX:g} seconds: look again"
        ) from error


def _models(services: Services, instance: str, ui_home: str, found: Inventory, seconds: float) -> bytes:
    cards = _cards(services, ui_home) if any(file.card for file in found.files) else {}
    answer: InstanceModels = {
        "instance": instance,
        "ui_home": ui_home,
        "missing": found.is_missing,
        "cut": found.is_cut,
        "disk": {"total": found.disk.total, "free": found.disk.free} if found.disk is not None else None,
        "files": [_file(file, cards) for file in found.files],
        "seconds": seconds,
    }
    return orjson.dumps(answer)


def _file(file: ModelFile, cards: dict[str, str]) -> ModelFileView:
    modified_ms = file.modified * 1000
    return {
        "path": file.path,
        "size": file.size,
        "modified_at": rfc3339(modified_ms) if 0 <= modified_ms <= _TIME_MS_MAX else None,
        "kind": file.kind,
        "card": cards.get(file.card) if file.card is not None else None,
        "removable": file.has_plain_name,
    }


def _cards(services: Services, ui_home: str) -> dict[str, str]:
    """The paths of the library's cards by the names under which an instance remembers them (attempt_program.py)."""
    return {
        hashlib.sha256(f"{ui_home}\n{card.script}".encode()).hexdigest()[:32]: card.path
        for card in services.library.all()
        if isinstance(card, Resource)
    }


async def _row(services: Services, instance: str) -> InstanceRow:
    user, host, port = parse_instance(instance)
    rows = await services.jobs.instances(INSTANCES_MAX)
    found = next((row for row in rows if (row.ssh_user, row.ssh_host, row.ssh_port) == (user, host, port)), None)
    if found is None:
        raise NotFound(f'no job was for the instance "{instance[:200]}": use user@host:port, as the jobs name it')
    return found


def _view(row: InstanceRow) -> InstanceView:
    return {
        "instance": instance_name(row.ssh_user, row.ssh_host, row.ssh_port),
        "ssh_host": row.ssh_host,
        "ssh_port": row.ssh_port,
        "ssh_user": row.ssh_user,
        "ui_home": row.ui_home,
        "jobs": row.jobs,
        "active": row.active,
        "last_job_at": rfc3339(row.last_job_at_ms),
    }


def _check_host(services: Services, host: str, port: int) -> None:
    try:
        services.check_host(host, port)
    except TargetRefused as error:
        raise InvalidRequest(str(error), [FieldError("ssh_host", str(error))]) from error
