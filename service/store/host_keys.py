"""The host keys of instances that any replica has accepted."""

from __future__ import annotations

import base64
from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from service.store.database import Database
from service.store.tables import known_hosts


class StoredHostKeys:
    """Keys by host and port; a host is written in small letters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keys(self, host: str, port: int) -> list[tuple[str, bytes]]:
        """The algorithm and the key of each. Raises StoreUnavailable."""
        query = select(known_hosts.c.algorithm, known_hosts.c.key).where(*_of(host, port))
        async with self._database.read() as connection:
            return [(row.algorithm, base64.b64decode(row.key)) for row in (await connection.execute(query)).all()]

    async def remember(
        self, host: str, port: int, algorithm: str, blob: bytes, *, instead_of: Collection[bytes]
    ) -> bool:
        """Make this the host's only key in the place of these; False, and nothing is changed, where there is another.
        Raises StoreUnavailable."""
        expected = {_text(key) for key in (*instead_of, blob)}

        def write(connection: Connection) -> bool:
            there = connection.execute(select(known_hosts.c.key).where(*_of(host, port)).with_for_update())
            if not set(there.scalars()) <= expected:
                return False
            connection.execute(delete(known_hosts).where(*_of(host, port)))
            row = {"host": host, "port": port, "algorithm": algorithm, "key": _text(blob)}
            connection.execute(insert(known_hosts), [row])
            return True

        try:
            return await self._database.write(write)
        except IntegrityError:
            # Another replica was first, at this very moment.
            return False


def _of(host: str, port: int) -> tuple[ColumnElement[bool], ...]:
    return known_hosts.c.host == host, known_hosts.c.port == port


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
