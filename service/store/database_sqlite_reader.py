"""A connection that reads in one hop: a query, its rows and its end are one call on the connection's own thread.

aiosqlite's cursor hops to the thread and back four times for that: to be made, to run, for the rows, to be closed. Each
hop waits for a turn of the event loop, and on a busy loop the turns are what a read takes. All that SQLAlchemy asks of
a cursor beyond the query is answered here, from what came with it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import aiosqlite

_CHUNK_ROWS = 64


class Reader(aiosqlite.Connection):
    """``arguments`` and ``options`` are sqlite3.connect's. A process can end without it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(lambda: sqlite3.connect(*arguments, **options), _CHUNK_ROWS)
        self._thread.daemon = True

    @property
    def thread(self) -> threading.Thread:
        """The one that its queries run on."""
        return self._thread

    def cursor(self) -> Any:
        return _Cursor(self)

    async def rollback(self) -> None:
        """Each query is a transaction of its own: nothing is ever begun that could be rolled back."""

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, list[Any]]:
        """What describes the columns, None where there are none, and all rows."""
        return await self._execute(self._rows, sql, values)  # type: ignore[no-any-return, no-untyped-call]

    def _rows(self, sql: str, values: Sequence[Any]) -> tuple[Any, list[Any]]:
        cursor = self._conn.execute(sql, values)
        rows = cursor.fetchall()
        cursor.close()
        return cursor.description, rows


class _Cursor:
    """What SQLAlchemy asks of an asynchronous cursor."""

    description: Any = None
    rowcount = -1
    lastrowid = None
    arraysize = 1

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rows: list[Any] = []

    async def __aenter__(self) -> _Cursor:
        return self

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> _Cursor:
        self.description, self._rows = await self._reader.rows(sql, values)
        return self

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Its query has ended."""
