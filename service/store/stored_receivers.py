"""The rows of receivers, and what was told to each of them last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.store.database import Database
from service.store.deliveries import PENDING
from service.store.tables import deliveries, receivers


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceiver:
    """``shown``: its address without what is secret in it. ``sealed``: its address and secret, encrypted; None for one
    that the settings name. ``kinds``: of what it is told."""

    receiver_id: str
    name: str
    kind: str
    shown: str
    sealed: str | None
    kinds: tuple[str, ...]
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDelivery:
    """The newest delivery to a receiver that was tried."""

    job_id: str
    kind: str
    at_ms: int
    state: str
    tries: int
    next_at_ms: int
    ended_at_ms: int | None
    status: int | None
    error: str | None


class StoredReceivers:
    """Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[StoredReceiver]:
        """Oldest first."""
        query = select(receivers).order_by(receivers.c.created_at_ms, receivers.c.receiver_id)
        async with self._database.read() as connection:
            return [_receiver_of(row) for row in (await connection.execute(query)).all()]

    async def get(self, receiver_id: str) -> StoredReceiver | None:
        async with self._database.read() as connection:
            query = select(receivers).where(receivers.c.receiver_id == receiver_id)
            row = (await connection.execute(query)).one_or_none()
        return _receiver_of(row) if row is not None else None

    async def add(self, receiver: StoredReceiver, *, most: int) -> bool:
        """False: there are as many as there may be."""

        def work(connection: Connection) -> bool:
            if (connection.scalar(select(func.count()).select_from(receivers)) or 0) >= most:
                return False
            connection.execute(insert(receivers).values(_values(receiver)))
            return True

        return await self._database.write(work)

    async def delete(self, receiver_id: str) -> None:
        """With all that it had still to be told."""
        await self._database.write(lambda connection: _delete(connection, [receiver_id]))

    async def set_given(self, given: Sequence[StoredReceiver]) -> None:
        """The receivers that the settings name are these and no others. Those that were there keep their deliveries."""

        def work(connection: Connection) -> None:
            known = set(connection.scalars(select(receivers.c.receiver_id).where(receivers.c.sealed.is_(None))))
            _delete(connection, known - {receiver.receiver_id for receiver in given})
            for receiver in given:
                if receiver.receiver_id in known:
                    values = _values(receiver)
                    del values["created_at_ms"]
                    found = receivers.c.receiver_id == receiver.receiver_id
                    connection.execute(update(receivers).where(found).values(values))
                else:
                    connection.execute(insert(receivers).values(_values(receiver)))

        try:
            await self._database.write(work)
        except IntegrityError:
            # Another service with the same settings began at the same moment: now they are there.
            await self._database.write(work)

    async def pending(self) -> dict[str, int]:
        """How many deliveries each receiver still waits for."""
        count = func.count().label("count")
        query = select(deliveries.c.receiver_id, count).where(deliveries.c.state == PENDING)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.group_by(deliveries.c.receiver_id))).all()
        return {str(row.receiver_id): int(row[1]) for row in rows}

    async def last(self, receiver_id: str) -> LastDelivery | None:
        wanted = [deliveries.c[name] for name in LastDelivery.__dataclass_fields__]
        query = select(*wanted).where(deliveries.c.receiver_id == receiver_id, deliveries.c.tries > 0)
        async with self._database.read() as connection:
            row = (await connection.execute(query.order_by(deliveries.c.delivery_id.desc()).limit(1))).one_or_none()
        return LastDelivery(**row._mapping) if row is not None else None


def _delete(connection: Connection, receiver_ids: Collection[str]) -> None:
    for table in (deliveries, receivers):
        connection.execute(delete(table).where(table.c.receiver_id.in_(list(receiver_ids))))


def _values(receiver: StoredReceiver) -> dict[str, Any]:
    names = StoredReceiver.__dataclass_fields__
    return {name: getattr(receiver, name) for name in names} | {"kinds": f",{','.join(receiver.kinds)},"}


def _receiver_of(row: Row[Any]) -> StoredReceiver:
    return StoredReceiver(**{**row._mapping, "kinds": tuple(filter(None, row.kinds.split(",")))})
