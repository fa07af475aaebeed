"""The services that share one log, and which of them owns a job.

A replica is alive as long as its row is there. To take a job over is one statement: it sets the owner and counts the
epoch up, and only where the owner is not alive. Each claim counts it up too. The instance is told the epoch with every
launch, signal and removal, and refuses the smaller one (scripts/fence.sh).

A database that one service has for itself is a cluster of one: its row stays until the next start removes it.
"""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from platform import node

from sqlalchemy import Connection, delete, exists, insert, select, update

from service.store.database import Database
from service.store.jobs import holds_its_instance
from service.store.tables import jobs, replicas


class Ownership:
    """This service among those that share the log: ``join``, then ``number`` names it."""

    def __init__(self, database: Database, *, version: str, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._version = version
        self._clock_ms = clock_ms
        self.number = 0

    async def join(self) -> None:
        """Begin to own jobs. Raises StoreUnavailable."""
        self.number = await self._database.write(self._join)

    async def take_over(self) -> list[str]:
        """Become the owner of the started jobs whose owner is not alive. Returns their ids, oldest first. Raises
        StoreUnavailable."""
        return await self._database.write(self._take_over)

    def _join(self, connection: Connection) -> int:
        if self._database.is_exclusive:
            connection.execute(delete(replicas))
        mine = insert(replicas).values(
            name=f"{node()}:{getpid()}", version=self._version, started_at_ms=self._clock_ms()
        )
        (number,) = connection.execute(mine).inserted_primary_key or (0,)
        return int(number)

    def _take_over(self, connection: Connection) -> list[str]:
        is_alive = exists().where(replicas.c.replica_id == jobs.c.owner)
        left = select(jobs.c.job_id).where(holds_its_instance(jobs), ~is_alive).order_by(jobs.c.number)
        job_ids = list(connection.execute(left.with_for_update(skip_locked=True, of=jobs)).scalars())
        mine = update(jobs).where(jobs.c.job_id.in_(job_ids))
        connection.execute(mine.values(owner=self.number, epoch=jobs.c.epoch + 1))
        return job_ids
