"""What differs between replicas: their cards, the keys that they have seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.replicas import ClusterWorld

LEASE_SECONDS = 2.0


@pytest.fixture
async def world(tmp_path: Path, cluster_database: str) -> AsyncIterator[ClusterWorld]:
    built = ClusterWorld(tmp_path, cluster_database, LEASE_SECONDS)
    try:
        await built.start()
        yield built
    finally:
        await built.close()


async def test_a_job_is_left_to_a_replica_that_has_its_card(world: ClusterWorld) -> None:
    card = world.card("other/short.md", "sleep 0.5")
    bare = world.folder / "bare"
    bare.mkdir()
    without = world.new_replica(INSTALLER_RESOURCES_DIR=str(bare))
    await without.start()
    have = world.new_replica()
    await have.start()
    readiness = await without.get("/readyz")
    assert readiness["library"]["same"] is False
    assert [replica["same_cards"] for replica in (await have.get("/replicas"))["replicas"]] == [False, True]
    jobs = []
    for n in range(4):
        instance = world.instance if n == 0 else await world.new_instance(f"instance{n}")
        jobs.append(await have.install(instance, world.ui_home, card))
    for job_id in jobs:
        assert (await without.ended(job_id))["state"] == "completed"
        assert world.rows("select name from jobs join replicas on owner = replica_id where job_id = %s", job_id) == [
            ("replica-2",)
        ]
    # A job whose owner is lost waits for one that has its card.
    slow = world.card("other/slow.md", "sleep 6")
    job_id = await have.install(world.instance, world.ui_home, slow)
    await world.owned(job_id)
    await asyncio.sleep(1)
    await have.kill()
    await asyncio.sleep(LEASE_SECONDS + 1)
    assert world.owner(job_id) is None
    await have.start()
    assert (await without.ended(job_id))["state"] == "completed"
    assert world.owner(job_id) == "replica-2"


async def test_a_host_key_is_accepted_once(world: ClusterWorld) -> None:
    card = world.card("other/short.md", "sleep 0.2")
    slow = world.card("other/slow.md", "sleep 20")
    one = await world.new_replica().start()
    first = await one.install(world.instance, world.ui_home, card)
    assert (await one.ended(first))["state"] == "completed"
    assert "host_key_accepted" in [event["type"] for event in await one.history(first)]
    second = await one.install(world.instance, world.ui_home, slow)
    await world.owned(second)
    async with asyncio.timeout(20):
        while not world.instance.marked_processes():
            await asyncio.sleep(0.05)
    # Another instance is at this address when the other replica takes over.
    await world.instance.stop()
    world.instance.new_host_key()
    await world.instance.start()
    other = await world.new_replica().start()
    await one.kill()
    job = await other.ended(second)
    assert (job["state"], job["cause"]) == ("failed", "host_key_changed")
    assert "host_key_accepted" not in [event["type"] for event in await other.history(second)]
