"""The user's instances at Vast.ai."""

from __future__ import annotations

from service.events.addresses import instance_key
from service.vast import Rented
from service.web.services import Services
from service.web.vast_answers import ChangedRental, RentedInstance, RentedInstances

# Whose key Vast.ai puts on an instance.
SSH_USER = "root"


async def list_rented(services: Services) -> RentedInstances:
    await services.keys.renew()
    found = await services.vast.instances()
    active = await services.jobs.active_by_instance()
    return {"instances": [_view(each, active) for each in found], "may_stop": services.vast.may_stop}


async def stop_rented(services: Services, *, id: str) -> ChangedRental:
    await services.keys.renew()
    await services.vast.stop(int(id))
    return {"success": True, "id": int(id), "message": "stopping: its data stays, and costs what its disk costs"}


async def destroy_rented(services: Services, *, id: str) -> ChangedRental:
    await services.keys.renew()
    await services.vast.destroy(int(id))
    return {"success": True, "id": int(id), "message": "destroyed, with all of its data"}


def _view(rented: Rented, active: dict[str, int]) -> RentedInstance:
    host, port = rented.ssh_host, rented.ssh_port
    return {
        "id": rented.id,
        "label": rented.label,
        "gpu": rented.gpu,
        "gpu_count": rented.gpu_count,
        "status": rented.status,
        "dollars_per_hour": rented.dollars_per_hour,
        "disk_total": rented.disk_total,
        "disk_used": rented.disk_used,
        "ssh_host": host,
        "ssh_port": port,
        "ssh_user": SSH_USER,
        "way": rented.way,
        "active": active.get(instance_key(host, port), 0) if host is not None and port is not None else 0,
    }
