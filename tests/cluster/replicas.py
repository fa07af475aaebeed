"""Several replicas of the service on one PostgreSQL, each a process of its own."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.postgres import connected_to
from tests.kit.service import ServiceProcess
from tests.kit.sshd import Sshd

LEASE_SECONDS = 2.0


class ClusterWorld(World):
    """``replicas`` listen each on its own port, which it keeps. ``lease``: in seconds."""

    def __init__(self, folder: Path, database_url: str, lease: float = LEASE_SECONDS) -> None:
        super().__init__(folder, database_url)
        self.lease = lease
        self.replicas: list[ServiceProcess] = []

    async def start(self, *, with_service: bool = False) -> None:
        """All but the replicas."""
        await super().start(with_service=with_service)

    async def start_replicas(self, count: int, **settings: str) -> None:
        replicas = [self.new_replica(**settings) for _ in range(count)]
        await asyncio.gather(*(replica.start() for replica in replicas))

    def new_replica(self, **settings: str) -> ServiceProcess:
        """One more, which is still to be started."""
        number = len(self.replicas) + 1
        folder = self.folder / f"replica{number}"
        folder.mkdir()
        own = {
            "INSTALLER_DATABASE_URL": self.database_url,
            "INSTALLER_LEASE": f"{self.lease:g}",
            "INSTALLER_REPLICA_NAME": f"replica-{number}",
            "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
            **settings,
        }
        replica = ServiceProcess(folder, self.settings() | own)
        self.replicas.append(replica)
        return replica

    @property
    def service_of_all(self) -> ServiceProcess:
        """Any that answers."""
        return random.choice(self.replicas)

    def rows(self, query: str, *values: Any) -> list[Any]:
        with connected_to(self.database_url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str) -> None:
        with connected_to(self.database_url) as connection:
            connection.execute(statement.encode())

    def owner(self, job_id: str) -> str | None:
        """The name of the replica that owns the job, if it is alive."""
        found = self.rows(
            "select r.name from jobs j join replicas r on r.replica_id = j.owner where job_id = %s", job_id
        )
        return str(found[0][0]) if found else None

    def replica(self, name: str) -> ServiceProcess:
        return self.replicas[int(name.removeprefix("replica-")) - 1]

    def others(self, than: ServiceProcess) -> list[ServiceProcess]:
        return [replica for replica in self.replicas if replica is not than]

    async def owned(self, job_id: str, by: Callable[[str], bool] = bool, seconds: float = 30) -> str:
        """Wait until a replica owns the job whose name is such; its name."""
        async with asyncio.timeout(seconds):
            while True:
                name = await asyncio.to_thread(self.owner, job_id)
                if name is not None and by(name):
                    return name
                await asyncio.sleep(0.02)

    async def installed_by(self, name: str, instance: Sshd, card: str) -> str:
        """A job that this replica runs: it is the one that is asked, so it is nearly always the first to claim it."""
        while True:
            job_id = await self.replica(name).install(instance, self.ui_home, card)
            if await self.owned(job_id) == name:
                return job_id
            assert (await self.replica(name).post(f"/resources/jobs/{job_id}/cancel", None))[0] == 202
            await self.replica(name).ended(job_id)

    def slow_model(self, number: int, seconds: float = 6.0, size: int = 2_000_000) -> StandInModel:
        return StandInModel(
            id=1000 + number, name=f"Model {number}", size_bytes=size, bytes_per_second=round(size / seconds)
        )

    def check_fetched_once(self, *models: StandInModel) -> None:
        for model in models:
            assert [request.bytes for request in self.civitai.downloads(model.id)] == [model.size_bytes], model

    async def close(self) -> None:
        for replica in self.replicas:
            if replica.has_started and replica.is_alive:
                wake(replica)
                await replica.kill()
        await super().close()


def stop(replica: ServiceProcess) -> None:
    """As a machine that is asleep: everything it has stays open."""
    os.kill(replica.pid, signal.SIGSTOP)


def wake(replica: ServiceProcess) -> None:
    os.kill(replica.pid, signal.SIGCONT)


class Stopwatch:
    def __init__(self) -> None:
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun
