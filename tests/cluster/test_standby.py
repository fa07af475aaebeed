"""The database's machine is lost: its synchronous standby takes over, and has every event that anybody has seen."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.replicas import ClusterWorld
from tests.cluster.test_chaos import client_of, ended
from tests.cluster.test_network import until_status
from tests.cluster.test_restarts import until_ready
from tests.kit.ports import free_port
from tests.kit.postgres import USER, PostgresServer
from tests.kit.service import check_stream

LEASE_SECONDS = 3.0
DATABASE = "installer"
CLIENTS = 12
LINES_SLEPT = 600
# Of the writer, an answer takes three seconds at most.
ASLEEP_SECONDS = 5.0
LINES = 'echo "run" >>"$HOME/ran"; for n in $(seq 1 {}); do echo "line $n"; sleep 0.01; done'


class Pair:
    """A server, and a standby that its commits wait for. ``url``: names both."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        ports = (free_port(), free_port())
        hosts = "&".join(f"host=127.0.0.1:{port}" for port in ports)
        self.url = f"postgresql+psycopg://{USER}@/{DATABASE}?{hosts}&target_session_attrs=read-write"
        self.primary = PostgresServer(self._next(), port=ports[0], durable=True)
        self.primary.create()
        self.primary.start()
        self.primary.execute(f"create database {DATABASE}")
        self.standby = self.primary.standby(self._next(), port=ports[1])

    def fail_over(self, pause: float) -> None:
        """The primary's machine is gone; after the pause the standby takes its place."""
        self.primary.kill()
        time.sleep(pause)
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def rejoin(self) -> None:
        """The machine that was lost comes back, empty, as the new standby."""
        lost = self.standby
        self.standby = self.primary.standby(self._next(), port=lost.port)
        lost.remove()

    def _next(self) -> Path:
        self._count += 1
        return self._folder / f"server{self._count}"


@asynccontextmanager
async def pair_of_servers() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        pair = await asyncio.to_thread(Pair, Path(home))
        try:
            yield pair
        finally:
            for server in (pair.standby, pair.primary):
                if server.is_alive:
                    server.stop()


@pytest.mark.timeout(120)
async def test_the_standby_takes_over(tmp_path: Path) -> None:
    await failovers(tmp_path, times=1, seed=random.randrange(2**32))


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_standby_takes_over_again_and_again(tmp_path: Path) -> None:
    await failovers(tmp_path, times=6, seed=random.randrange(2**32))


async def failovers(folder: Path, *, times: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with pair_of_servers() as pair:
        world = ClusterWorld(folder, pair.url, LEASE_SECONDS)
        try:
            await world.start()
            await world.start_replicas(2)
            assert (await world.replicas[0].get("/readyz"))["database"]["synchronous_standby"] is True
            refused = world.new_replica(INSTALLER_READERS_URL=pair.standby.url(DATABASE))
            with pytest.raises(RuntimeError, match="is a standby"):
                await refused.start()
            world.replicas.remove(refused)
            instances = [world.instance, await world.new_instance("second")]
            model = world.slow_model(1, seconds=6.0 * times)
            cards = [world.card("other/lines.md", LINES.format(400 * times)), world.model(model)]
            job_ids = [
                await world.replicas[n].install(instance, world.ui_home, cards[n])
                for n, instance in enumerate(instances)
            ]
            clients = [client_of(n, world.replicas[n % 2].url, chance.choice(job_ids)) for n in range(CLIENTS)]
            following = [asyncio.create_task(client.follow()) for client in clients]
            ready = []
            for n in range(times):
                if n:
                    await asyncio.to_thread(pair.rejoin)
                await asyncio.sleep(chance.uniform(1.5, 2.5))
                await asyncio.to_thread(pair.fail_over, chance.random())
                ready.append(await until_ready(world))
            for job_id in job_ids:
                await ended(world, job_id, seconds=100)
            async with asyncio.timeout(30):
                await asyncio.gather(*following)
            for job_id in job_ids:
                history = await world.replicas[1].history(job_id)
                check_stream(history)
                for client in clients:
                    if client.job_id == job_id:
                        assert client.events == history, type(client).__name__
            assert (world.instance.home / "ran").read_text() == "run\n"
            world.check_fetched_once(model)
            world.check_database()
            breaks = sum(client.breaks for client in clients)
            print(f"ready {max(ready):.2f} s after a promotion at most, {breaks} connections of clients broke")
            assert max(ready) <= LEASE_SECONDS + 1
        finally:
            await world.close()


async def test_a_standby_that_sleeps(tmp_path: Path) -> None:
    """Commits wait longer than anybody waits for their answer. Meanwhile nobody sees what only one server has; and what
    was committed in the end, though it was given up, is there once."""
    async with pair_of_servers() as pair:
        world = ClusterWorld(tmp_path, pair.url, LEASE_SECONDS)
        try:
            await world.start()
            await world.start_replicas(2)
            job_id = await world.replicas[0].install(
                world.instance, world.ui_home, world.card("other/lines.md", LINES.format(LINES_SLEPT))
            )
            clients = [client_of(n, world.replicas[n % 2].url, job_id) for n in range(CLIENTS)]
            following = [asyncio.create_task(client.follow()) for client in clients]
            await asyncio.sleep(1.5)
            pair.standby.freeze()
            # What was under way has come.
            await asyncio.sleep(0.5)
            seen = [client.last for client in clients]
            for replica in world.replicas:
                await until_status(replica, "/readyz", 503, 20)
            await asyncio.sleep(ASLEEP_SECONDS)
            assert [client.last for client in clients] == seen
            pair.standby.thaw()
            print(f"all ready {await until_ready(world):.2f} s after it woke")
            await ended(world, job_id, seconds=60)
            async with asyncio.timeout(30):
                await asyncio.gather(*following)
            history = await world.replicas[1].history(job_id)
            check_stream(history)
            for client in clients:
                assert client.events == history, type(client).__name__
            lines = [event["line"] for event in history if event.get("line", "").startswith("line ")]
            assert lines == [f"line {n}" for n in range(1, LINES_SLEPT + 1)]
            world.check_database()
        finally:
            await world.close()
