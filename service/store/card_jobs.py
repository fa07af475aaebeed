"""Where a card was installed: from the rows of the jobs, which have its path."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from service.events.addresses import instance_name
from service.store.database import Database
from service.store.tables import job_resources, jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class CardInstall:
    """One job's turn at a card. ``card_sha256``: of the card's text as it ran."""

    job_id: str
    instance: str
    ui_home: str
    state: str
    verified: str | None
    cause: str | None
    card_sha256: str | None
    started_at_ms: int | None
    ended_at_ms: int | None


async def installs_of(database: Database, path: str, limit: int) -> list[CardInstall]:
    """The newest first. Raises StoreUnavailable."""
    wanted = ("state", "verified", "cause", "card_sha256", "started_at_ms", "ended_at_ms")
    query = (
        select(
            jobs.c.job_id,
            jobs.c.ssh_user,
            jobs.c.ssh_host,
            jobs.c.ssh_port,
            jobs.c.ui_home,
            *(job_resources.c[name] for name in wanted),
        )
        .join(jobs, jobs.c.job_id == job_resources.c.job_id)
        .where(job_resources.c.resource == path)
        .order_by(jobs.c.number.desc())
        .limit(limit)
    )
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return [
        CardInstall(
            job_id=row.job_id,
            instance=instance_name(row.ssh_user, row.ssh_host, row.ssh_port),
            ui_home=row.ui_home,
            **{name: row._mapping[name] for name in wanted},
        )
        for row in rows
    ]
