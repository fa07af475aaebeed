"""The rows of the keys. What they hold is encrypted, and the store cannot read it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from service.store.database import Database
from service.store.tables import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """``sealed``: encrypted. ``set_at_ms``: since the epoch, in UTC."""

    name: str
    sealed: str
    set_at_ms: int


class StoredKeys:
    """Every method raises StoreUnavailable when the database cannot do it now. ``may_change_elsewhere``: another
    service may write these rows too."""

    def __init__(self, database: Database, *, may_change_elsewhere: bool = False) -> None:
        self._database = database
        self.may_change_elsewhere = may_change_elsewhere

    async def all(self) -> list[StoredKey]:
        async with self._database.read() as connection:
            rows = (await connection.execute(select(keys).order_by(keys.c.name))).all()
        return [StoredKey(name=row.name, sealed=row.sealed, set_at_ms=row.set_at_ms) for row in rows]

    async def put(self, key: StoredKey) -> None:
        """In place of the one with this name."""

        def write(connection: Connection) -> None:
            connection.execute(delete(keys).where(keys.c.name == key.name))
            connection.execute(
                insert(keys).values(name=key.name, sealed=key.sealed, set_at_ms=key.set_at_ms),
            )

        await self._database.write(write)

    async def remove(self, name: str) -> bool:
        """Whether there was one."""
        return await self._database.write(
            lambda connection: connection.execute(delete(keys).where(keys.c.name == name)).rowcount > 0
        )
