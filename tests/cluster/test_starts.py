"""Replicas that start at once, and those of another version beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from service.store.database import database_of
from tests.cluster.replicas import ClusterWorld
from tests.kit.postgres import shared_server


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.long)])
async def test_two_start_on_an_empty_database_at_once(times: int) -> None:
    for _ in range(times):
        with shared_server().database(template="template0") as url:
            databases = [database_of(url) for _ in range(2)]
            await asyncio.gather(*(database.open() for database in databases))
            for database in databases:
                assert (await database.check()).ready
                await database.close()


async def test_a_replica_is_replaced_by_another_version_under_load(tmp_path: Path, cluster_database: str) -> None:
    """One after the other, as a rolling upgrade does: no job fails, and each replica sees all the time."""
    world = ClusterWorld(tmp_path, cluster_database, 2.0)
    try:
        await world.start()
        await world.start_replicas(3)
        card = world.card("other/ticks.md", 'for n in $(seq 1 60); do echo "tick $n"; sleep 0.15; done')
        second = await world.new_instance("second")
        job_ids = [
            await world.replicas[n].install(instance, world.ui_home, card)
            for n, instance in enumerate((world.instance, second))
        ]
        for replica in world.replicas:
            await replica.terminate()
            # What another version writes of itself.
            await replica.start()
            with psycopg.connect(cluster_database.replace("+psycopg", "")) as connection:
                connection.execute("update replicas set version = '9.9.9' where name = %s", (f"replica-{1}",))
        for job_id in job_ids:
            assert (await world.replicas[0].ended(job_id))["state"] == "completed"
        world.check_database()
    finally:
        await world.close()
