"""The connections to the database, and the only file that knows which database it is.

SQLite in WAL mode with ``synchronous=FULL``: what was committed survives a power cut. Exactly one connection writes
and checkpoints; readers beside it can do neither (SQLite before 3.51.3 can corrupt a WAL that two connections
checkpoint at once). A lock file keeps a second service off the same database.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import aiosqlite
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql import ClauseElement

from service.errors import ConfigError, DatabaseHeld, DatabaseNewer, StoreUnavailable
from service.store.tables import metadata

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
READERS_MAX = 4
READER_CLOSE_SECONDS_MAX = 10.0
FREE_BYTES_MIN = 1 << 20
# SQLite's own default: smaller checkpoints hold up the commit behind them for less long.
CHECKPOINT_PAGES = 1000

_REVISION = re.compile(r"""^(revision|down_revision)\b[^=\n]*= *['"](\w+)['"]""", re.MULTILINE)
# As Alembic makes it.
_CREATE_VERSION = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc "
    "PRIMARY KEY (version_num))"
)


class Prepared:
    """A statement that is compiled once and run with rows of plain tuples: the hot path of the writer.

    The values of a row come in the order in which the statement binds them.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=sqlite_dialect())
        self.names: tuple[str, ...] = tuple(getattr(compiled, "positiontup"))  # noqa: B009 - of SQLCompiler alone
        self._sql = str(compiled)

    def run(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        connection.exec_driver_sql(self._sql, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseHealth:
    """What a readiness probe wants to know. ``detail`` says why it is not writable."""

    writable: bool
    revision: str | None
    head: str | None
    sqlite_version: str
    detail: str | None = None

    @property
    def ready(self) -> bool:
        return self.writable and self.revision == self.head


class Database:
    """One writer, a few readers. ``open`` takes the lock and migrates; ``close`` gives all back."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._writer_engine = create_engine(self._url.set(drivername="sqlite"), poolclass=StaticPool)
        self._writer_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database-writer")
        self._reader_engine: AsyncEngine = create_async_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            pool_size=READERS_MAX,
            max_overflow=0,
            connect_args={"async_creator_fn": self._open_reader},
        )
        self._reader_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        # Who waits for a reader waits here: inside the pool each would hold a stack of its own, and give up in time.
        self._readers = asyncio.Semaphore(READERS_MAX)
        self._held: IO[str] | None = None
        event.listen(self._writer_engine, "connect", _prepare_writer)
        event.listen(self._writer_engine, "begin", _begin_immediate)
        event.listen(self._reader_engine.sync_engine, "connect", _prepare_reader)

    async def open(self) -> None:
        """Take the database for this service and bring it to the newest revision.

        Raises DatabaseHeld, DatabaseNewer, ConfigError (a folder that cannot be written).
        """
        path = Path(self._url.database or "")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held = _hold(path)
        except PermissionError as error:
            raise ConfigError(f"INSTALLER_DATABASE_URL: cannot write in {path.parent}: {error.strerror}") from error
        try:
            await self._in_writer(self._transaction, _migrate)
        except DBAPIError as error:
            await self.close()
            raise ConfigError(f"INSTALLER_DATABASE_URL: {path} cannot be opened: {error.orig}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._reader_engine.dispose()
        # A reader that was cancelled while it connected or asked closes on its thread, which still needs this loop.
        for thread in [thread for thread in self._reader_threads if thread.is_alive()]:
            await asyncio.to_thread(thread.join, READER_CLOSE_SECONDS_MAX)
        await self._in_writer(self._writer_engine.dispose)
        self._writer_thread.shutdown()
        if self._held is not None:
            self._held.close()
            self._held = None

    def _open_reader(self, *arguments: Any, **options: Any) -> aiosqlite.Connection:
        """As SQLAlchemy would open it, with its thread kept in sight."""
        connection = aiosqlite.connect(*arguments, **options)
        connection._thread.daemon = True
        self._reader_threads.add(connection._thread)
        return connection

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do the work on the writer connection, in one transaction and on the writer's own thread: committed when the
        work returns, rolled back when it raises. One hop to the thread and back, however many statements.

        Raises StoreUnavailable when the disk is full or the database stays locked.
        """
        try:
            return await self._in_writer(self._transaction, work)
        except DBAPIError as error:
            raise _store_error(error) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A reader in autocommit: each statement sees all that was committed before it. Fetch all rows of it."""
        try:
            async with self._readers, self._reader_engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise _store_error(error) from error

    async def check(self) -> DatabaseHealth:
        """Try a real write that changes nothing, and look at the revision and the room on the disk."""
        _, head = _known_revisions()
        version, revision, detail = "", None, self._room()
        try:
            version, revision = await self.write(_probe)
        except StoreUnavailable as error:
            detail = str(error)
        return DatabaseHealth(
            writable=detail is None, revision=revision, head=head, sqlite_version=version, detail=detail
        )

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        with self._writer_engine.begin() as connection:
            return work(connection)

    async def _in_writer(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer_thread, call, *arguments)

    def _room(self) -> str | None:
        folder = Path(self._url.database or "").parent
        free = shutil.disk_usage(folder).free
        return None if free >= FREE_BYTES_MIN else f"the disk under {folder} is full ({free} bytes free)"


def parse_url(url: str) -> URL:
    """The URL of a SQLite file. Raises ConfigError for anything else: memory has no durability."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("INSTALLER_DATABASE_URL: this is no database URL, use sqlite+aiosqlite:///FILE") from error
    if parsed.drivername not in ("sqlite", "sqlite+aiosqlite"):
        raise ConfigError(f"INSTALLER_DATABASE_URL: {parsed.drivername} is not supported, use sqlite+aiosqlite:///FILE")
    if parsed.database in (None, "", ":memory:") or "mode=memory" in str(parsed):
        raise ConfigError("INSTALLER_DATABASE_URL: an in-memory database forgets everything, name a file")
    return parsed.set(drivername="sqlite+aiosqlite")


def _migrations() -> Path:
    """The migrations that this installation carries."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


def _known_revisions() -> tuple[set[str], str]:
    """All revisions, and the newest. They are read from the files: Alembic itself would take 12 MB for good."""
    known, followed = set(), set()
    for path in (_migrations() / "versions").glob("*.py"):
        found = dict(_REVISION.findall(path.read_text(encoding="utf-8")))
        known.add(found["revision"])
        followed.add(found.get("down_revision"))
    (head,) = known - followed
    return known, head


def _probe(connection: Connection) -> tuple[str, str | None]:
    """A real write that changes nothing: SQLite's version, and the revision."""
    connection.execute(text("update alembic_version set version_num = version_num"))
    return str(connection.scalar(text("select sqlite_version()"))), _revision(connection)


def _revision(connection: Connection) -> str | None:
    if "alembic_version" not in _tables(connection):
        return None
    revision = connection.scalar(text("select version_num from alembic_version"))
    return None if revision is None else str(revision)


def _tables(connection: Connection) -> set[str]:
    return set(connection.scalars(text("select name from sqlite_master where type = 'table'")))


def _migrate(connection: Connection) -> None:
    """A new file gets the tables as they are now; one of an earlier version goes through the migrations."""
    known, head = _known_revisions()
    revision = _revision(connection)
    if revision is not None and revision not in known:
        raise DatabaseNewer(
            f"the database is at revision {revision}, which this version does not know: "
            "start the newer version of the service that wrote it, or name another INSTALLER_DATABASE_URL"
        )
    if not _tables(connection):
        metadata.create_all(connection)
        connection.execute(text(_CREATE_VERSION))
        connection.execute(text("insert into alembic_version values (:head)"), {"head": head})
    elif revision != head:
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _hold(path: Path) -> IO[str]:
    """Take the lock file beside the database. It is never removed: removing it would let two services hold it."""
    held = open(path.with_name(path.name + ".lock"), "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.seek(0)
        holder = held.read(20).strip() or "unknown"
        held.close()
        raise DatabaseHeld(
            f"another running service (process {holder}) holds {path}: stop it, or name another INSTALLER_DATABASE_URL"
        ) from error
    held.truncate(0)
    held.write(f"{os.getpid()}\n")
    held.flush()
    return held


def _prepare_writer(dbapi_connection: Any, _record: Any) -> None:
    # SQLAlchemy's own BEGIN is off: the transaction begins by `_begin_immediate`.
    dbapi_connection.isolation_level = None
    _pragmas(
        dbapi_connection,
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        "foreign_keys=ON",
    )


def _prepare_reader(dbapi_connection: Any, _record: Any) -> None:
    _pragmas(dbapi_connection, f"busy_timeout={BUSY_TIMEOUT_MS}", "query_only=ON", "wal_autocheckpoint=0")


def _pragmas(dbapi_connection: Any, *pragmas: str) -> None:
    cursor = dbapi_connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _store_error(error: DBAPIError) -> Exception:
    if isinstance(error.orig, Exception) and type(error.orig).__name__ == "OperationalError":
        return StoreUnavailable(f"the event log cannot be used now: {error.orig}")
    return error
