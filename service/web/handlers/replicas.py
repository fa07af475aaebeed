"""The replicas that share the database: who is there, for how long, and which installs each of them follows."""

from __future__ import annotations

from service.store.membership import Replica
from service.web.answers import OwnedJobView, ReplicaView, ReplicaViews
from service.web.services import Services

OWNED_MAX = 2_000


async def list_replicas(services: Services) -> ReplicaViews:
    membership = services.cluster.membership
    found = await membership.all()
    jobs: dict[int | None, list[OwnedJobView]] = {replica.replica_id: [] for replica in found}
    left: list[OwnedJobView] = []
    for owned in await services.ownership.owned(OWNED_MAX):
        view: OwnedJobView = {"job_id": owned.job_id, "instance": owned.instance, "state": owned.state}
        jobs.get(owned.owner, left).append(view)
    mine = services.cluster.library_sha256
    return {"replicas": [_view(replica, membership.replica_id, mine, jobs) for replica in found], "left": left}


def _view(
    replica: Replica, me: int | None, library_sha256: str | None, jobs: dict[int | None, list[OwnedJobView]]
) -> ReplicaView:
    lease_ms = replica.lease_left_ms
    return {
        "replica_id": replica.replica_id,
        "name": replica.name,
        "version": replica.version,
        "is_this": replica.replica_id == me,
        "same_cards": replica.library_sha256 == library_sha256,
        "lease_left_seconds": None if lease_ms is None else round(max(0, lease_ms) / 1000, 3),
        "jobs": jobs[replica.replica_id],
    }
