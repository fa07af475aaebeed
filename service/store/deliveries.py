"""What receivers have still to be told: rows that are written with their event, claimed, and settled.

A claim lasts for a time, so that what a replica had claimed when it ended is claimed by another. Of one job and one
receiver only the earliest pending row can be claimed: the next one waits until it has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, exists, insert, select, update

from service.store.database import Database
from service.store.tables import WHOLE_NUMBER, deliveries, receivers

PENDING, DELIVERED, GIVEN_UP = "pending", "delivered", "given_up"
ERROR_CHARACTERS_MAX = 500


class Notice(NamedTuple):
    """Something that receivers are told. ``kind``: one of those that a receiver chooses; ``body``: what is sent."""

    job_id: str
    sequence: int
    kind: str
    at_ms: int
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery that this service has for itself until the claim ends. ``tries``: those before this one."""

    delivery_id: int
    receiver_id: str
    job_id: str
    sequence: int
    kind: str
    at_ms: int
    body: str
    tries: int


def write_notices(connection: Connection, notices: Sequence[Notice]) -> None:
    """A row for each notice and each receiver that is there now and wants its kind: in the transaction of the event."""
    for notice in notices:
        connection.execute(_WRITE, {**notice._asdict(), "wanted": f"%,{notice.kind},%"})


class Deliveries:
    """Times are milliseconds since the epoch. Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, *, now_ms: int, until_ms: int, sending: Collection[int], busy: Mapping[str, int], receiver_max: int
    ) -> list[Claimed]:
        """Those that are due, each from now on this service's own. ``sending``: those that it is sending. ``busy``: how
        many of them go to each receiver; it gets at most ``receiver_max`` at once."""
        return await self._database.write(
            lambda connection: _claim(connection, now_ms, until_ms, sending, busy, receiver_max)
        )

    async def settle(
        self,
        delivery_id: int,
        *,
        state: str,
        tries: int,
        next_at_ms: int,
        ended_at_ms: int | None,
        status: int | None,
        error: str | None,
    ) -> None:
        """The outcome of a try, which ends the claim."""
        values = {
            "state": state,
            "tries": tries,
            "next_at_ms": next_at_ms,
            "ended_at_ms": ended_at_ms,
            "status": status,
            "error": error[:ERROR_CHARACTERS_MAX] if error is not None else None,
            "claimed_until_ms": 0,
        }
        await self._database.write(
            lambda connection: connection.execute(
                update(deliveries).where(deliveries.c.delivery_id == delivery_id).values(**values)
            )
        )

    async def release(self, delivery_ids: Collection[int] | None = None) -> None:
        """End these claims; None: all of them, which only a service may that has the database for itself."""
        claimed = update(deliveries).where(deliveries.c.state == PENDING, deliveries.c.claimed_until_ms > 0)
        if delivery_ids is not None:
            claimed = claimed.where(deliveries.c.delivery_id.in_(list(delivery_ids)))
        await self._database.write(lambda connection: connection.execute(claimed.values(claimed_until_ms=0)))

    async def next_at_ms(self, after_ms: int) -> int | None:
        """When the first of those is due that are not due by then; None: there is none."""
        query = select(deliveries.c.next_at_ms).where(deliveries.c.state == PENDING, deliveries.c.next_at_ms > after_ms)
        async with self._database.read() as connection:
            found = (await connection.execute(query.order_by(deliveries.c.next_at_ms).limit(1))).scalar()
        return int(found) if found is not None else None

    async def forget(self, before_ms: int) -> None:
        """Delete the rows that ended before then, and those of receivers that are gone."""
        ended = delete(deliveries).where(deliveries.c.state != PENDING, deliveries.c.ended_at_ms < before_ms)
        stray = delete(deliveries).where(deliveries.c.receiver_id.not_in(select(receivers.c.receiver_id)))

        def work(connection: Connection) -> None:
            connection.execute(ended)
            connection.execute(stray)

        await self._database.write(work)


def _claim(
    connection: Connection,
    now_ms: int,
    until_ms: int,
    sending: Collection[int],
    busy: Mapping[str, int],
    receiver_max: int,
) -> list[Claimed]:
    due = (
        deliveries.c.state == PENDING,
        deliveries.c.next_at_ms <= now_ms,
        deliveries.c.claimed_until_ms <= now_ms,
        deliveries.c.delivery_id.not_in(list(sending)),
    )
    with_some = select(deliveries.c.receiver_id).where(*due).distinct()
    known = select(receivers.c.receiver_id).where(receivers.c.receiver_id.in_(with_some))
    found: list[Claimed] = []
    for receiver_id in connection.execute(known).scalars().all():
        room = receiver_max - busy.get(receiver_id, 0)
        if room <= 0:
            continue
        mine = _FIRST_OF_JOBS.where(*due, deliveries.c.receiver_id == receiver_id)
        mine = mine.order_by(deliveries.c.next_at_ms, deliveries.c.delivery_id).limit(room)
        # Rows that another replica is claiming are left to it. (SQLite has one writer, and no such words.)
        for row in connection.execute(mine.with_for_update(skip_locked=True, of=deliveries)).all():
            found.append(Claimed(**row._mapping))
    if found:
        taken = deliveries.c.delivery_id.in_([each.delivery_id for each in found])
        connection.execute(update(deliveries).where(taken).values(claimed_until_ms=until_ms))
    return found


_earlier = deliveries.alias("earlier")
_FIRST_OF_JOBS = select(*(deliveries.c[name] for name in Claimed.__dataclass_fields__)).where(
    ~exists().where(
        _earlier.c.job_id == deliveries.c.job_id,
        _earlier.c.receiver_id == deliveries.c.receiver_id,
        _earlier.c.state == PENDING,
        _earlier.c.sequence < deliveries.c.sequence,
    )
)
# At once due: the first try is made when the event is committed.
_COPIED = ("job_id", "sequence", "kind", "at_ms", "body")
_WRITE = insert(deliveries).from_select(
    ["receiver_id", *_COPIED, "next_at_ms"],
    select(
        receivers.c.receiver_id,
        *(bindparam(name, type_=deliveries.c[name].type) for name in _COPIED),
        bindparam("at_ms", type_=WHOLE_NUMBER),
    ).where(receivers.c.kinds.like(bindparam("wanted"))),
)
