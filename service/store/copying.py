"""Copies a log and its projection from one database to another, of whatever engine, while no service runs.

Job by job, each in one transaction, in the order in which they were enqueued: a copy that was interrupted goes on with
the first job that is not there. At the end every stream is read again on both sides and compared, event by event. No
owner is copied: the first service on the new database takes over what was running. What belongs to no job is copied
table by table; the keys and receivers stay encrypted, so the key file goes with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Table, insert, select

from service.errors import ConfigError, CopyWrong
from service.store.database import Database
from service.store.membership import refuse_if_in_use
from service.store.pages import PAGE_EVENTS
from service.store.tables import (
    deliveries,
    events,
    job_resources,
    jobs,
    keys,
    known_hosts,
    receivers,
    replicas,
    works_from,
)

_EVENT_COLUMNS = tuple(column for column in events.columns if column.name != "position")
JOBS_A_PAGE = 500
# Each table is copied by its jobs, or whole, or not at all. Of one that is copied whole: by what a row is known there.
OF_JOBS = (events, job_resources, jobs)
WHOLE: dict[Table, tuple[str, ...]] = {
    known_hosts: ("host", "port"),
    keys: ("name",),
    receivers: ("receiver_id",),
    deliveries: ("job_id", "sequence", "receiver_id"),
}
# What services say of themselves, and what a database says of its own tables.
LEFT = (replicas, works_from)
# The database numbers these itself.
_NUMBERED = ("delivery_id",)


class Stream(NamedTuple):
    """``digest``: of all events, in order."""

    events: int
    digest: str


class Copied(NamedTuple):
    """What is in the new database. ``skipped``: jobs that were there already."""

    jobs: int
    events: int
    skipped: int


async def copy(source: Database, target: Database, told: Callable[[int, int], None]) -> Copied:
    """Both are open. ``told`` is called after each job with how many are there, of how many.

    Raises ConfigError when one of them is in use or the target holds something else, CopyWrong, StoreUnavailable.
    """
    for option, database in (("--from", source), ("--to", target)):
        await refuse_if_in_use(database, option)
    job_ids = [job_id async for job_id in _job_ids(source)]
    there = {job_id async for job_id in _job_ids(target)}
    if not there <= set(job_ids):
        raise ConfigError("--to: this database has jobs that the other one does not have: name an empty one")
    for count, job_id in enumerate(job_ids, start=1):
        if job_id not in there:
            await _copy_job(source, target, job_id)
        told(count, len(job_ids))
    for table, known_by in WHOLE.items():
        await _copy_table(source, target, table, known_by)
    await target.write(target.count_on)
    total = 0
    for job_id in job_ids:
        original, made = await _stream(source, job_id), await _stream(target, job_id)
        if original != made:
            raise CopyWrong(
                f"job {job_id} differs: {original.events} events here, {made.events} there; empty the new database "
                "and copy again"
            )
        total += made.events
    return Copied(jobs=len(job_ids), events=total, skipped=len(there))


async def _job_ids(database: Database) -> AsyncIterator[str]:
    number = -1
    while True:
        query = select(jobs.c.number, jobs.c.job_id).where(jobs.c.number > number).order_by(jobs.c.number)
        async with database.read() as connection:
            rows = (await connection.execute(query.limit(JOBS_A_PAGE))).all()
        for row in rows:
            yield row.job_id
        if len(rows) < JOBS_A_PAGE:
            return
        number = rows[-1].number


async def _copy_job(source: Database, target: Database, job_id: str) -> None:
    job = await _rows(source, jobs, job_id)
    resources = await _rows(source, job_resources, job_id)
    pages = [page async for page in _pages(source, job_id)]

    def write(connection: Connection) -> None:
        connection.execute(insert(jobs), [{**row._mapping, "owner": None} for row in job])
        if resources:
            connection.execute(insert(job_resources), [dict(row._mapping) for row in resources])
        for page in pages:
            connection.execute(insert(events), [dict(row._mapping) for row in page])

    await target.write(write)


async def _rows(database: Database, table: Table, job_id: str) -> Sequence[Row[Any]]:
    async with database.read() as connection:
        return (await connection.execute(select(table).where(table.c.job_id == job_id))).all()


async def _pages(database: Database, job_id: str) -> AsyncIterator[Sequence[Row[Any]]]:
    after = 0
    while True:
        query = select(*_EVENT_COLUMNS).where(events.c.job_id == job_id, events.c.sequence > after)
        async with database.read() as connection:
            rows = (await connection.execute(query.order_by(events.c.sequence).limit(PAGE_EVENTS))).all()
        if not rows:
            return
        yield rows
        after = rows[-1].sequence


async def _stream(database: Database, job_id: str) -> Stream:
    count, digest = 0, hashlib.sha256()
    async for page in _pages(database, job_id):
        for row in page:
            digest.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
        count += len(page)
    return Stream(count, digest.hexdigest())


async def _copy_table(source: Database, target: Database, table: Table, known_by: Sequence[str]) -> None:
    columns = [column for column in table.columns if column.name not in _NUMBERED]
    key = [table.c[name] for name in known_by]
    async with source.read() as connection:
        query = select(*columns).order_by(*table.primary_key.columns)
        rows = [dict(row._mapping) for row in (await connection.execute(query)).all()]

    def write(connection: Connection) -> None:
        there = {tuple(row) for row in connection.execute(select(*key))}
        new = [row for row in rows if tuple(row[name] for name in known_by) not in there]
        if new:
            connection.execute(insert(table), new)

    await target.write(write)
