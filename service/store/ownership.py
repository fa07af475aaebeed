"""Which replica owns a job. To become the owner of a job that was left behind is one statement: it sets the owner and
counts the epoch up, and only where the owner is not alive. Each claim counts it up too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, update

from service.events.formats import newest_format
from service.store.database import Database
from service.store.heads import holds_its_instance
from service.store.membership import Membership
from service.store.tables import jobs, replicas

logger = logging.getLogger(__name__)

# Taken at once: the next look finds the rest.
LEFT_MAX = 500


class OwnedJob(NamedTuple):
    """A started job that has not ended, and the replica that owns it."""

    owner: int | None
    job_id: str
    instance: str
    state: str


class Ownership:
    """Takes over for the replica that ``membership`` says this is."""

    def __init__(self, database: Database, membership: Membership) -> None:
        self._database = database
        self._membership = membership
        self._newer: set[str] = set()

    async def left(self, *, without: Collection[str]) -> tuple[list[str], int]:
        """The started jobs whose owner is not alive, oldest first, or that are this replica's and not among those that
        run here, and how many replicas are alive. One with events that this version does not know is left to a newer
        one. Raises StoreUnavailable."""
        left = select(jobs.c.job_id, jobs.c.events_format).where(self._is_left()).order_by(jobs.c.number)
        async with self._database.read() as connection:
            rows = [row for row in (await connection.execute(left)).all() if row.job_id not in without]
            self._say_newer({row.job_id for row in rows if row.events_format > newest_format()})
            found = [row.job_id for row in rows if row.events_format <= newest_format()]
            alive = await connection.scalar(select(func.count()).select_from(replicas)) if found else 1
        return found[:LEFT_MAX], max(1, int(alive or 0))

    async def take_over(self, job_ids: Sequence[str]) -> list[str]:
        """Become the owner of those of these jobs that nobody else took meanwhile; their ids. Raises StoreUnavailable,
        LeaseLost."""
        return await self._database.write(lambda connection: self._take_over(connection, job_ids))

    async def owned(self, limit: int) -> list[OwnedJob]:
        """The started jobs of all replicas, oldest first. Raises StoreUnavailable."""
        columns = (jobs.c.owner, jobs.c.job_id, jobs.c.ssh_user, jobs.c.ssh_host, jobs.c.ssh_port, jobs.c.state)
        query = select(*columns).where(holds_its_instance(jobs)).order_by(jobs.c.number).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [
            OwnedJob(row.owner, row.job_id, f"{row.ssh_user}@{row.ssh_host}:{row.ssh_port}", row.state) for row in rows
        ]

    def _take_over(self, connection: Connection, job_ids: Sequence[str]) -> list[str]:
        # What another replica is taking at this moment is not waited for: it is taken.
        left = select(jobs.c.job_id).where(jobs.c.job_id.in_(job_ids), self._is_left()).order_by(jobs.c.number)
        taken = list(connection.execute(left.with_for_update(skip_locked=True, of=jobs)).scalars())
        mine = update(jobs).where(jobs.c.job_id.in_(taken))
        connection.execute(mine.values(owner=self._membership.replica_id, epoch=jobs.c.epoch + 1))
        self._membership.fence(connection)
        return taken

    def _say_newer(self, job_ids: set[str]) -> None:
        for job_id in job_ids - self._newer:
            logger.warning("job %s has events of a newer version: it waits for a replica of that version", job_id)
        self._newer = job_ids

    def _is_left(self) -> ColumnElement[bool]:
        # One that is this replica's and does not run here: the answer to an earlier takeover was lost.
        is_another = and_(replicas.c.replica_id == jobs.c.owner, replicas.c.replica_id != self._membership.replica_id)
        return and_(holds_its_instance(jobs), ~exists().where(is_another))
