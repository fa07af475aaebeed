"""PostgreSQL as the store's engine: the only module that knows how to reach such a server.

One connection writes, on its own thread; its statements, BEGIN and COMMIT travel together, so that a commit is one
round trip. A few readers are asynchronous, read-only and in autocommit. Every wait for the server has an end: the
server ends statements, locks and transactions that take too long, the network's own limits find a server that is gone,
and what answers nothing at all is cut off here. A connection that broke while it was idle is replaced before anybody
uses it; what is under way when one breaks raises StoreUnavailable, and its caller tries again.

Several services share the database (shared.py). A transaction that one of them leaves open, because it was stopped, is
ended by the server before that service's lease is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
from sqlalchemy import ColumnElement, Connection, Table, create_engine, event, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.errors import ConfigError, ReplyLost, StoreUnavailable
from service.store.database import URL_HINT, DatabaseHealth, Work
from service.store.database_postgres_rows import AT_THE_END, RowsStatement, insert_of, update_of
from service.store.database_postgres_session import (
    NETWORK,
    READERS,
    be_durable,
    cut,
    cut_after,
    error_of,
    name_of,
    process_of,
    readers_arguments,
    reason_of,
    session_options,
    under_way,
    watch_for_breaks,
)
from service.store.database_postgres_shared import PostgresShared
from service.store.revisions import newest_revision, revision_of, upgrade_to_newest, works_with
from service.store.tables import jobs
from service.store.writer_thread import WriterThread

logger = logging.getLogger(__name__)

T = TypeVar("T")

READERS_MAX = 4
SERVER_VERSION_MIN = 150_000
MIGRATION_LOCK, CHORE_LOCK = 0x5245_5302, 0x5245_5303
# How long an answer may take before the connection is cut: a lease, within these bounds.
ANSWER_SECONDS_MIN, ANSWER_SECONDS_MAX = 3.0, 10.0
WRITER_LOOK_SECONDS = 0.5
UNDER_WAY_SECONDS = 0.05
# Of a lease: a transaction that was left open ends before it.
OPEN_SHARE = 0.6


class PostgresDatabase:
    """A Database on a PostgreSQL server. Its promises are those of the Protocol."""

    def __init__(self, url: URL, *, lease_seconds: float, readers_url: URL | None = None) -> None:
        """``readers_url``: the way of the readers alone, through a pooler in transaction mode. Raises ConfigError."""
        if url.get_driver_name() != "psycopg":
            raise ConfigError(f"INSTALLER_DATABASE_URL: {url.drivername} is not supported, {URL_HINT}")
        if not url.database:
            raise ConfigError(f"INSTALLER_DATABASE_URL: it names no database, {URL_HINT}")
        self._url = url
        # Without the password: this is shown.
        self.name = name_of(url)
        self._session = f"resource-installer {uuid4().hex}"
        self._lease_seconds = lease_seconds
        self._answer_seconds = min(ANSWER_SECONDS_MAX, max(ANSWER_SECONDS_MIN, lease_seconds))
        open_ms = f"{round(lease_seconds * OPEN_SHARE * 1000)}ms"
        options = session_options(idle_in_transaction_session_timeout=open_ms)
        self._writer_engine = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            connect_args={**NETWORK, "application_name": self._session, "options": options},
        )
        # The connection that the writer's thread is at work with, and when its last statement began, in monotonic
        # seconds.
        self._at_work: tuple[Any, float] | None = None
        # The server's processes of transactions whose reply was lost: those may still be under way there.
        self._lost: set[int] = set()
        self._watching: asyncio.Task[None] | None = None
        self._writer = WriterThread(self._transaction, error_of)
        self._is_pooled = readers_url is not None
        self._reader_engine = create_async_engine(
            readers_url or url,
            isolation_level="AUTOCOMMIT",
            pool_size=READERS_MAX,
            max_overflow=0,
            connect_args=readers_arguments(url, is_pooler=self._is_pooled),
        )
        self._readers_name = name_of(readers_url or url)
        # Queue for readers here: in SQLAlchemy's pool each waiter costs a greenlet and times out.
        self._readers = asyncio.Semaphore(READERS_MAX)
        event.listen(self._writer_engine, "connect", be_durable)
        event.listen(self._writer_engine, "before_cursor_execute", self._goes_on)
        for engine in (self._writer_engine, self._reader_engine.sync_engine):
            watch_for_breaks(engine)

    async def open(self) -> None:
        try:
            revision = await self._writer.run(lambda: self._transaction(_upgrade))
        except DBAPIError as error:
            await self.close()
            raise ConfigError(f"INSTALLER_DATABASE_URL: {self.name} cannot be opened: {reason_of(error)}") from error
        except BaseException:
            await self.close()
            raise
        # A migration may take its time.
        self._watching = asyncio.create_task(self._watch_writer(), name="postgres-writer-watch")
        if not self._is_pooled:
            return
        try:
            await self._look_as_reader(revision)
        except (StoreUnavailable, DBAPIError) as error:
            await self.close()
            raise ConfigError(f"INSTALLER_READERS_URL: {self._readers_name} cannot be read: {error}") from error

    async def close(self) -> None:
        await self._reader_engine.dispose()
        if self._watching is not None:
            self._watching.cancel()
        await self._writer.run(self._writer_engine.dispose)
        self._writer.shutdown()

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._writer.write(work)

    def commit(self, prepare: Callable[[], Work | None], settled: Callable[[Exception | None], None]) -> None:
        self._writer.commit(prepare, settled)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._readers, self._reader_engine.connect() as connection:
                raw = await connection.get_raw_connection()
                with cut_after(raw.driver_connection, self._answer_seconds):
                    yield connection
        except DBAPIError as error:
            raise error_of(error) from error

    def prepare_insert(self, table: Table, names: Sequence[str]) -> RowsStatement:
        return insert_of(table, names)

    def prepare_update(self, table: Table, names: Sequence[str], keys: Sequence[str]) -> RowsStatement:
        return update_of(table, names, keys)

    def json_field(self, column: ColumnElement[str], name: str) -> ColumnElement[Any]:
        # A cast to JSON would fail the whole query at one damaged row. Within a JSON text a quote is always escaped,
        # so that the name with its quotes is found at the field alone.
        return func.substring(column, f'"{name}":"([^"\\\\]*)"')

    def shared(self) -> PostgresShared:
        return PostgresShared(self._url, session=self._session, lease_seconds=self._lease_seconds)

    def takes_chores(self, connection: Connection) -> bool:
        return bool(connection.scalar(text("select pg_try_advisory_xact_lock(:key)"), {"key": CHORE_LOCK}))

    def count_on(self, connection: Connection) -> None:
        last = select(func.coalesce(func.max(jobs.c.number), 0)).scalar_subquery()
        sequence = func.pg_get_serial_sequence("jobs", "number")
        connection.execute(select(func.setval(sequence, func.greatest(last, 1), last > 0)))

    async def check(self) -> DatabaseHealth:
        version, revision, is_known, standby, detail = "", None, False, None, None
        try:
            version, revision, is_known, standby = await self.write(_probe)
            if self._is_pooled:
                await self._look_as_reader(revision)
        except StoreUnavailable as error:
            detail = str(error)
        return DatabaseHealth(
            writable=detail is None,
            revision=revision,
            head=newest_revision(),
            engine="postgresql",
            engine_version=version,
            is_known=is_known,
            synchronous_standby=standby,
            detail=detail,
        )

    def wal_bytes(self) -> int:
        return 0

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        process = None
        try:
            with self._writer_engine.connect() as connection, ExitStack() as at_the_end:
                connection.info[AT_THE_END] = at_the_end
                self._goes_on(connection)
                try:
                    self._until_over(connection)
                    process = process_of(connection)
                    with connection.begin():
                        return _done(work, connection, at_the_end)
                finally:
                    self._at_work = None
        except DBAPIError as error:
            if error.connection_invalidated:
                self._lose(process)
                raise ReplyLost(f"the connection to the event log broke in a commit: {reason_of(error)}") from error
            raise
        except psycopg.OperationalError as error:
            # What was sent together may break together, when no statement of SQLAlchemy's is under way.
            self._lose(process)
            raise ReplyLost("the connection to the event log broke in a commit") from error

    def _lose(self, process: int | None) -> None:
        if process is not None:
            self._lost.add(process)

    def _until_over(self, connection: Connection) -> None:
        """A transaction whose reply was lost is over before the next one begins, so that whoever looks then sees it, or
        it was never made: a commit may wait there for a disk, or for a standby. Raises StoreUnavailable."""
        until = time.monotonic() + self._answer_seconds / 2
        while self._lost:
            self._lost = under_way(connection, self._session, self._lost)
            if self._lost:
                if time.monotonic() > until:
                    raise StoreUnavailable("the event log cannot be used now: it does not end an earlier commit")
                time.sleep(UNDER_WAY_SECONDS)

    def _goes_on(self, connection: Connection, *_of_the_event: object) -> None:
        self._at_work = (connection.connection.driver_connection, time.monotonic())

    async def _watch_writer(self) -> None:
        """A commit whose answer never comes must not hold up all those after it."""
        while True:
            await asyncio.sleep(WRITER_LOOK_SECONDS)
            at_work = self._at_work
            if at_work is not None and time.monotonic() - at_work[1] > self._answer_seconds:
                logger.warning("the database does not answer: the writer's connection is cut")
                cut(at_work[0])

    async def _look_as_reader(self, revision: str | None) -> None:
        """Whether readers get to the database that is written, with these tables, and to no standby, which may lack
        what was just written. Raises StoreUnavailable."""
        async with self.read() as connection:
            seen = (await connection.execute(READERS)).one()
        if seen.is_standby or seen.revision != revision:
            why = "is a standby" if seen.is_standby else "has other tables than the database that is written"
            raise StoreUnavailable(f"the readers' {self._readers_name} {why}: they would not see what was just written")


def _done(work: Callable[[Connection], T], connection: Connection, at_the_end: ExitStack) -> T:
    """The result of the work. Where a statement fails, those sent after it are aborted: that is taken in before the
    transaction is rolled back, so that it cannot hide what failed."""
    try:
        return work(connection)
    except BaseException:
        with suppress(psycopg.Error):
            at_the_end.close()
        raise


def _upgrade(connection: Connection) -> str | None:
    """The revision after it. Two services that start at once upgrade one after the other."""
    if connection.connection.driver_connection.info.server_version < SERVER_VERSION_MIN:  # type: ignore[union-attr]
        raise ConfigError("INSTALLER_DATABASE_URL: PostgreSQL 15 or newer is needed")
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK}).close()
    connection.execute(text("set local statement_timeout = 0"))
    connection.execute(text("set local idle_in_transaction_session_timeout = 0"))
    upgrade_to_newest(connection)
    return revision_of(connection)


def _probe(connection: Connection) -> tuple[str, str | None, bool, bool]:
    """A real write that changes nothing: the server's version, the revision, whether it is known, and whether a standby
    has each commit."""
    connection.execute(text("update alembic_version set version_num = version_num"))
    version = str(connection.scalar(text("show server_version")))
    standby = bool(connection.scalar(text("show synchronous_standby_names")))
    return version, revision_of(connection), works_with(connection), standby
