"""The keys by which the queue knows instances, in the rows of jobs that an earlier version enqueued.

A key is made when its job is enqueued. When the rule for a key changes, the jobs that have not ended get theirs by the
new one: else a job of before and one of now would run on one instance at once. Where two were started on it already,
under two names, only one can have the key, until one of them has ended.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, exists, or_, select, update

from service.errors import StoreUnavailable
from service.events.addresses import instance_key
from service.events.job import ACTIVE_STATES
from service.store.database import Database
from service.store.heads import holds_its_instance
from service.store.tables import jobs

logger = logging.getLogger(__name__)


async def renew_queue_keys(database: Database) -> None:
    """Where the database cannot be written now, the keys stay, and the next start tries again."""
    other = jobs.alias()
    is_active = jobs.c.state.in_(ACTIVE_STATES)
    query = select(jobs.c.ssh_host, jobs.c.ssh_port, jobs.c.instance_key).where(is_active).distinct()
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    renewed = {row.instance_key: instance_key(row.ssh_host, row.ssh_port) for row in rows}
    stale = {old: new for old, new in renewed.items() if old != new}

    def write(connection: Connection) -> None:
        for old, new in stale.items():
            for number in connection.execute(
                select(jobs.c.number).where(is_active, jobs.c.instance_key == old)
            ).scalars():
                is_busy = exists().where(holds_its_instance(other), other.c.instance_key == new)
                waits_or_is_free = or_(~holds_its_instance(jobs), ~is_busy)
                changed = update(jobs).where(jobs.c.number == number, waits_or_is_free)
                connection.execute(changed.values(instance_key=new))

    if stale:
        try:
            await database.write(write)
        except StoreUnavailable as error:
            logger.warning("the queue keeps %d instances under their former names for now: %s", len(stale), error)
