"""Readers that go through PgBouncer in transaction mode, with fewer connections to the server than they have."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.replicas import ClusterWorld
from tests.cluster.test_chaos import client_of
from tests.cluster.test_network import status_of, until_status
from tests.kit.invariants import check_client
from tests.kit.pgbouncer import POOL_SIZE, PgBouncer
from tests.kit.postgres import USER, shared_server
from tests.kit.service import Watcher, check_stream

LEASE_SECONDS = 2.0
DOCUMENT = Path(__file__).parents[2] / "docs/cluster.md"
SESSIONS = "select usename, application_name from pg_stat_activity where datname = current_database()"


class PooledWorld(ClusterWorld):
    """``reader``: as whom the readers come to the server."""

    def __init__(self, folder: Path, url: str, home: Path) -> None:
        super().__init__(folder, url, LEASE_SECONDS)
        self.reader = f"reader_{uuid4().hex}"
        self.pooler = PgBouncer(home / "pooler", url, user=self.reader)

    def settings(self) -> dict[str, str]:
        return super().settings() | {"INSTALLER_READERS_URL": self.pooler.url}


def role_as_documented(reader: str) -> str:
    """The statements of docs/cluster.md, for a role of this name."""
    found = re.search(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return re.sub(r"\breader\b", reader, found[1]).replace("for role installer", f"for role {USER}")


@pytest.fixture
async def world(tmp_path: Path, cluster_database: str) -> AsyncIterator[PooledWorld]:
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        built = PooledWorld(tmp_path, cluster_database, Path(home))
        server = shared_server()
        try:
            built.execute(role_as_documented(built.reader))
            await asyncio.to_thread(built.pooler.start)
            await built.start()
            await built.start_replicas(2)
            yield built
        finally:
            await built.close()
            built.pooler.stop()
            built.execute(f"drop owned by {built.reader}")
            server.execute(f"drop role {built.reader}")


async def test_readers_go_through_a_pooler(world: PooledWorld) -> None:
    card = world.card("other/lines.md", 'for n in $(seq 1 300); do echo "line $n"; sleep 0.01; done')
    model = world.slow_model(1, seconds=5)
    instances = [world.instance, await world.new_instance("second")]
    cards = (world.model(model), card)
    job_ids = [
        await world.replicas[n].install(instance, world.ui_home, cards[n]) for n, instance in enumerate(instances)
    ]
    watchers = [Watcher(replica.url, job_id) for replica in world.replicas for job_id in job_ids]
    for watcher in watchers:
        await watcher.join()
    # Many times the same statements, in each of the connections, all at once.
    pages = await asyncio.gather(
        *(world.replicas[n % 2].get(f"/resources/jobs/{job_ids[n % 3 % 2]}/events?limit=20") for n in range(200))
    )
    assert all(page["events"][0]["type"] == "job_queued" for page in pages)
    sessions = world.rows(SESSIONS)
    assert 1 <= sum(user == world.reader for user, _ in sessions) <= POOL_SIZE
    # A reader that came directly would have this name.
    assert [name for user, name in sessions if user == USER and name == "resource-installer"] == []
    for job_id in job_ids:
        assert (await world.replicas[0].ended(job_id))["state"] == "completed"
    for watcher in watchers:
        await watcher.end(10)
        await watcher.leave()
        check_client(watcher, await world.replicas[1].history(watcher.job_id))
    world.check_fetched_once(model)
    world.check_database()


async def test_a_pooler_that_is_away(world: PooledWorld) -> None:
    """Nothing can be read meanwhile; what runs goes on, is recorded, and nobody loses the lease."""
    one, two = world.replicas
    card = world.card("other/ticks.md", 'for n in $(seq 1 60); do echo "tick $n"; sleep 0.1; done')
    job_id = await one.install(world.instance, world.ui_home, card)
    name = await world.owned(job_id)
    # Of every kind; through the replica that does not run it, so that it has to read what it sends.
    other = world.others(world.replica(name))[0]
    clients = [client_of(n, other.url, job_id) for n in range(6)]
    following = [asyncio.create_task(client.follow()) for client in clients]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(world.pooler.stop)
    for replica in (one, two):
        await until_status(replica, "/readyz", 503, 5)
    assert await status_of(one, f"/resources/jobs/{job_id}/events") == 503
    await asyncio.sleep(2 * LEASE_SECONDS)
    await asyncio.to_thread(world.pooler.start)
    for replica in (one, two):
        await until_status(replica, "/readyz", 200, 10)
    assert (await two.ended(job_id))["state"] == "completed"
    history = await one.history(job_id)
    check_stream(history)
    async with asyncio.timeout(15):
        await asyncio.gather(*following)
    for client in clients:
        assert client.events == history, type(client).__name__
    print("broke", [(type(client).__name__, client.breaks) for client in clients])
    # Neither a whole answer of another kind within it, nor an end.
    assert f"the stream /resources/jobs/{job_id}/events breaks off" in other.log
    assert world.owner(job_id) == name
    for replica in (one, two):
        assert "has lost its lease" not in replica.log
    world.check_database()
