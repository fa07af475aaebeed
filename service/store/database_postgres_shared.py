"""PostgreSQL as a database that replicas share: see shared.py. The rows of leases and the hints of news."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import psycopg
from sqlalchemy import BigInteger, ColumnElement, Connection, Executable, Row, cast, func, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service.events.recorded_event import RecordedEvent
from service.store.damage import recorded_of
from service.store.database_postgres_rows import send_together
from service.store.database_postgres_session import (
    NETWORK,
    cut_after,
    error_of,
    reason_of,
    session_options,
    watch_for_breaks,
)
from service.store.tables import events

logger = logging.getLogger(__name__)

CHANNEL = "resource_installer_news"
# Fails where the row is gone, without an answer that anybody has to wait for.
_FENCE = "SELECT 1 / count(*) FROM (SELECT 1 FROM replicas WHERE replica_id = %s FOR KEY SHARE) AS held"
_COLUMNS = ", ".join(f"found.{column.name}" for column in events.columns)
_READ_AFTER = (
    f"SELECT {_COLUMNS} FROM json_to_recordset(%s::json) AS watched(job_id varchar, sequence bigint)"  # noqa: S608
    " CROSS JOIN LATERAL (SELECT * FROM events WHERE events.job_id = watched.job_id"
    " AND events.sequence > watched.sequence ORDER BY events.sequence LIMIT %s) AS found"
    " ORDER BY found.job_id, found.sequence"
).encode()
_TELL = b"SELECT pg_notify(%s, %s)"


# Of a lease: a renewal that is not answered is tried again well before the lease ends.
ANSWER_SHARE = 0.2
ANSWER_SECONDS_MAX = 5.0
# A connection that hears nothing asks whether it is still there.
QUIET_SECONDS = 3.0


_END_SESSIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = ANY(:sessions) AND pid <> pg_backend_pid()"
)


class PostgresShared:
    """A Shared on the server of this URL."""

    def __init__(self, url: URL, *, session: str, lease_seconds: float) -> None:
        self.session = session
        self._answer_seconds = min(ANSWER_SECONDS_MAX, lease_seconds * ANSWER_SHARE)
        waits_ms = round(self._answer_seconds * 1000)
        self._engine = create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=0,
            connect_args={
                **NETWORK,
                "application_name": session,
                "connect_timeout": max(2, round(self._answer_seconds)),
                "options": session_options(statement_timeout=f"{waits_ms}ms", lock_timeout=f"{waits_ms // 2}ms"),
            },
        )
        self._turn = asyncio.Lock()
        self._arguments = self._engine.dialect.create_connect_args(url)[1]
        watch_for_breaks(self._engine.sync_engine)

    async def run(self, statement: Executable) -> Sequence[Row[Any]]:
        return await self._rows(statement)

    def now_ms(self) -> ColumnElement[int]:
        return cast(func.extract("epoch", func.clock_timestamp()) * 1000, BigInteger)

    def fence(self, connection: Connection, replica_id: int) -> None:
        send_together(connection)
        connection.exec_driver_sql(_FENCE, (replica_id,))

    async def end_sessions(self, sessions: Sequence[str]) -> None:
        # No limit of the server ends a pipeline that a stopped process has sent only the first half of.
        try:
            await self._rows(_END_SESSIONS, {"sessions": list(sessions)})
        except DBAPIError as error:
            logger.warning("the sessions of a lost replica end by themselves: %s", reason_of(error))

    async def tell(self, text: str) -> None:
        await self._rows_of_driver(_TELL, (CHANNEL, text))

    async def listen(self, begun: Callable[[], None], heard: Callable[[str], None]) -> None:
        try:
            async with await psycopg.AsyncConnection.connect(
                **{**self._arguments, **NETWORK, "application_name": self.session}, autocommit=True
            ) as connection:
                await connection.execute(f"listen {CHANNEL}".encode())
                begun()
                while True:
                    async for notice in connection.notifies(timeout=QUIET_SECONDS):
                        heard(notice.payload)
                    with cut_after(connection, self._answer_seconds):
                        await connection.execute(b"select 1")
        except psycopg.Error as error:
            raise error_of(DBAPIError("listen", None, error)) from error

    async def read_after(self, after: Mapping[str, int], limit: int) -> list[RecordedEvent]:
        watched = [{"job_id": job_id, "sequence": sequence} for job_id, sequence in after.items()]
        rows = await self._rows_of_driver(_READ_AFTER, (orjson.dumps(watched).decode(), limit))
        return [recorded_of(row) for row in rows]

    async def close(self) -> None:
        await self._engine.dispose()

    async def _rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        try:
            async with self._turn, self._engine.connect() as connection:
                raw = await connection.get_raw_connection()
                with cut_after(raw.driver_connection, self._answer_seconds):
                    result = await connection.execute(statement, parameters)
                    return result.all() if result.returns_rows else ()
        except DBAPIError as error:
            raise error_of(error) from error

    async def _rows_of_driver(self, sql: bytes, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Without SQLAlchemy, which takes as long again: this is done some hundred times a second."""
        try:
            async with self._turn, self._engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                with cut_after(driver, self._answer_seconds):
                    rows: list[tuple[Any, ...]] = await (await driver.execute(sql, parameters)).fetchall()
                    return rows
        except psycopg.Error as error:
            raise error_of(DBAPIError(sql.decode(), None, error)) from error
        except DBAPIError as error:
            raise error_of(error) from error
