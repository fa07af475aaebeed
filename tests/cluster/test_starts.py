"""Replicas that start at once, and those of another version beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from service.store.database import database_of
from service.store.revisions import newest_revision
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


NEWER = (
    "alter table jobs add column of_the_newer_version text",
    "update alembic_version set version_num = '9999'",
)
# As the migrations of this version left them.
OLDER = (
    "alter table jobs drop column of_the_newer_version",
    f"update alembic_version set version_num = '{newest_revision()}'",
)


async def test_old_and_new_replicas_work_side_by_side(tmp_path: Path, cluster_database: str) -> None:
    """A newer version has expanded the tables: replicas of this one go on, restart and are ready; and back again."""
    world = ClusterWorld(tmp_path, cluster_database, 2.0)

    def tables(*statements: str) -> None:
        with psycopg.connect(cluster_database.replace("+psycopg", "")) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    try:
        await world.start()
        await world.start_replicas(3)
        card = world.card("other/ticks.md", 'for n in $(seq 1 60); do echo "tick $n"; sleep 0.15; done')
        second = await world.new_instance("second")
        job_ids = [
            await world.replicas[n].install(instance, world.ui_home, card)
            for n, instance in enumerate((world.instance, second))
        ]
        for replica, statements in zip(world.replicas, (NEWER, (), OLDER), strict=True):
            await replica.terminate()
            await asyncio.to_thread(tables, *statements)
            await replica.start()
            assert (await replica.get("/readyz"))["status"] == "ready"
        for job_id in job_ids:
            assert (await world.replicas[0].ended(job_id))["state"] == "completed"
        world.check_database()
    finally:
        await world.close()
