"""SQLite as the store's engine: with the modules named after it, the only one that knows SQLite.

WAL mode with ``synchronous=FULL``: a committed event survives a power cut. Exactly one connection writes and
checkpoints; the readers can do neither, because SQLite before 3.51.3 can corrupt a WAL that two connections checkpoint
at once. The writer is synchronous and has its own thread, so that a commit is one round trip between threads, however
many statements it has: through an asynchronous connection each statement is a hop. A lock file keeps a second service
off the same database.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from operator import methodcaller
from pathlib import Path
from typing import IO, Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, case, create_engine, event, func, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from service.errors import ConfigError, StoreUnavailable
from service.store.database import DatabaseHealth, Work
from service.store.database_sqlite_files import File, lock, make_private
from service.store.database_sqlite_reader import Reader
from service.store.database_sqlite_rows import RowsStatement, execute, insert_of, update_of
from service.store.revisions import newest_revision, revision_of, upgrade_to_newest, works_with
from service.store.writer_thread import WriterThread

logger = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
READERS_MAX = 4
READER_CLOSE_SECONDS_MAX = 10.0
FREE_BYTES_MIN = 1 << 20
# SQLite checkpoints within a commit, for which clients wait. So the writer does it after it has told of a commit, once
# so many rows were written: about SQLite's own 1,000 pages. SQLite itself does it only where rows are long.
CHECKPOINT_ROWS = 2_000
CHECKPOINT_PAGES = 4_000
# The index of the log has a page for each job that runs: with SQLite's 2 MB, 300 jobs push each other's out.
WRITER_CACHE_KIB = 8_192


class SqliteDatabase:
    """A Database in one file. Its promises are those of the Protocol."""

    def __init__(self, url: URL) -> None:
        """Raises ConfigError."""
        _check(url)
        self.path = Path(url.database or "")
        self._writer_engine = create_engine(url.set(drivername="sqlite"), poolclass=StaticPool)
        self._thread = WriterThread(self._transaction, self._error, after_commit=self._checkpoint)
        # Kept: to take it from the pool and give it back costs more than a small commit.
        self._writer: Connection | None = None
        self._checkpointed = 0
        self._reader_engine: AsyncEngine = create_async_engine(
            url.set(drivername="sqlite+aiosqlite"),
            isolation_level="AUTOCOMMIT",
            pool_size=READERS_MAX,
            max_overflow=0,
            connect_args={"async_creator_fn": self._open_reader},
        )
        self._reader_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        # Queue for readers here: in SQLAlchemy's pool each waiter costs a greenlet and times out.
        self._readers = asyncio.Semaphore(READERS_MAX)
        self._lock_file: IO[str] | None = None
        self._files = (File(self.path), File(Path(f"{self.path}-wal")))
        self._damage: str | None = None
        event.listen(self._writer_engine, "connect", _prepare_writer)
        event.listen(self._writer_engine, "begin", _begin_immediate)
        event.listen(self._reader_engine.sync_engine, "connect", _prepare_reader)

    async def open(self) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = lock(self.path)
            make_private(self.path)
        except PermissionError as error:
            raise ConfigError(f"INSTALLER_DATABASE_URL: cannot write in {folder}: {error.strerror}") from error
        try:
            await self._thread.run(lambda: self._transaction(upgrade_to_newest))
            await self._open_readers()
        except DBAPIError as error:
            await self.close()
            self._error(error)
            reason = self._damage or f"{self.path} cannot be opened: {error.orig}"
            raise ConfigError(f"INSTALLER_DATABASE_URL: {reason}") from error
        except BaseException:
            await self.close()
            raise

    async def _open_readers(self) -> None:
        """All of them at the start, so that no read ever needs a descriptor; the pool keeps them."""
        async with AsyncExitStack() as readers:
            for _ in range(READERS_MAX):
                connection = await readers.enter_async_context(self._reader_engine.connect())
                await connection.execute(text("select count(*) from sqlite_master"))

    async def close(self) -> None:
        await self._reader_engine.dispose()
        # A reader that was cancelled in its connect or its query closes on its own thread, which still needs this loop.
        for thread in [thread for thread in self._reader_threads if thread.is_alive()]:
            await asyncio.to_thread(thread.join, READER_CLOSE_SECONDS_MAX)
        await self._thread.run(self._close_writer)
        self._thread.shutdown()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._thread.write(work)

    def commit(self, prepare: Callable[[], Work | None], settled: Callable[[Exception | None], None]) -> None:
        self._thread.commit(prepare, settled)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._readers, self._reader_engine.connect() as connection:
                yield connection
        except DatabaseError as error:
            raise self._error(error) from error

    def prepare_insert(self, table: Table, names: Sequence[str]) -> RowsStatement:
        return insert_of(table, names)

    def prepare_update(self, table: Table, names: Sequence[str], keys: Sequence[str]) -> RowsStatement:
        return update_of(table, names, keys)

    def json_field(self, column: ColumnElement[str], name: str) -> ColumnElement[Any]:
        # One damaged row would fail the whole query.
        return case((func.json_valid(column) == 1, func.json_extract(column, f"$.{name}")))

    def shared(self) -> None:
        return None

    def takes_chores(self, connection: Connection) -> bool:
        return True

    def count_on(self, connection: Connection) -> None:
        """AUTOINCREMENT counts what is inserted."""

    async def check(self) -> DatabaseHealth:
        version, revision, is_known = "", None, False
        detail = await asyncio.to_thread(self._space) or self._damage
        try:
            version, revision, is_known = await self.write(_probe)
        except StoreUnavailable as error:
            detail = str(error)
        return DatabaseHealth(
            writable=detail is None,
            revision=revision,
            head=newest_revision(),
            engine="sqlite",
            engine_version=version,
            is_known=is_known,
            detail=detail,
        )

    def wal_bytes(self) -> int:
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def _open_reader(self, *arguments: Any, **options: Any) -> Reader:
        """Open it as SQLAlchemy would, but keep its thread in sight."""
        connection = Reader(*arguments, **options)
        self._reader_threads.add(connection.thread)
        return connection

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        # SQLite goes on writing into files that were deleted or replaced, and whatever it accepts there is lost.
        for file in self._files:
            file.check()
        if self._writer is None:
            self._writer = self._writer_engine.connect()
        with self._writer.begin():
            return work(self._writer)

    def _checkpoint(self) -> None:
        """While the event loop handles what was committed: the commits after this are the ones that may wait."""
        if self._writer is None:
            return
        driver: Any = self._writer.connection.driver_connection
        if driver.total_changes - self._checkpointed < CHECKPOINT_ROWS:
            return
        self._checkpointed = driver.total_changes
        try:
            execute(self._writer, "PRAGMA wal_checkpoint(PASSIVE)")
        except DatabaseError as error:
            # Nothing is lost: it is all in the write-ahead log, and the next checkpoint takes it.
            logger.warning("no checkpoint now: %s", error.orig)

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._writer_engine.dispose()

    def _error(self, error: DBAPIError) -> Exception:
        """StoreUnavailable for a fault of the database: a full disk, a file that stays locked, cannot be written, or is
        damaged. Anything else is the statement's own fault."""
        # SQLAlchemy has a class of its own for each of the driver's: this one is for what has no class.
        is_damaged = type(error) is DatabaseError and isinstance(error.orig, sqlite3.DatabaseError)
        if is_damaged:
            self._damage = f"{self.path} is damaged ({error.orig}): stop the service and restore a backup"
            return StoreUnavailable(self._damage)
        if isinstance(error, OperationalError):
            return StoreUnavailable(f"the event log cannot be used now: {error.orig}")
        return error

    def _space(self) -> str | None:
        """None, or how little space is left on the disk."""
        free = shutil.disk_usage(self.path.parent).free
        return None if free >= FREE_BYTES_MIN else f"the disk under {self.path.parent} is full ({free} bytes free)"


def _check(url: URL) -> None:
    """Raise ConfigError for anything but a file: a database in memory has no durability."""
    if url.drivername not in ("sqlite", "sqlite+aiosqlite"):
        raise ConfigError(f"INSTALLER_DATABASE_URL: {url.drivername} is not supported, use sqlite+aiosqlite:///FILE")
    if url.database in (None, "", ":memory:") or "mode=memory" in str(url):
        raise ConfigError("INSTALLER_DATABASE_URL: an in-memory database forgets everything, name a file")


def _probe(connection: Connection) -> tuple[str, str | None, bool]:
    """A real write that changes nothing: SQLite's version, the revision, and whether it is known."""
    connection.execute(text("update alembic_version set version_num = version_num"))
    version = str(connection.scalar(text("select sqlite_version()")))
    return version, revision_of(connection), works_with(connection)


# A text that is not UTF-8 is shown as well as it can be: it would fail the query of all rows beside it.
_text = methodcaller("decode", "utf-8", "replace")


def _prepare_writer(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.text_factory = _text
    # SQLAlchemy's own BEGIN is off: `_begin_immediate` begins the transaction.
    dbapi_connection.isolation_level = None
    _pragmas(
        dbapi_connection,
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"cache_size=-{WRITER_CACHE_KIB}",
        "foreign_keys=ON",
    )


def _prepare_reader(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.driver_connection.text_factory = _text
    _pragmas(
        dbapi_connection,
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "query_only=ON",
        "wal_autocheckpoint=0",
        "temp_store=MEMORY",
    )


def _pragmas(dbapi_connection: Any, *pragmas: str) -> None:
    cursor = dbapi_connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    execute(connection, "BEGIN IMMEDIATE")
