"""The connections to the database, and the only file that knows which database it is.

SQLite in WAL mode with ``synchronous=FULL``: what was committed survives a power cut. Exactly one connection writes
and checkpoints; readers beside it can do neither (SQLite before 3.51.3 can corrupt a WAL that two connections
checkpoint at once). A lock file keeps a second service off the same database.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from service.errors import ConfigError, DatabaseHeld, DatabaseNewer, StoreUnavailable

BUSY_TIMEOUT_MS = 10_000
READERS_MAX = 4
FREE_BYTES_MIN = 1 << 20
# The journal is written in full pages: larger commits between two checkpoints cost disk, smaller ones cost fsyncs.
CHECKPOINT_PAGES = 4_000


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
        self._writer_engine: AsyncEngine = create_async_engine(self._url, poolclass=StaticPool)
        self._reader_engine: AsyncEngine = create_async_engine(
            self._url, isolation_level="AUTOCOMMIT", pool_size=READERS_MAX, max_overflow=0
        )
        self._write_lock = asyncio.Lock()
        self._held: IO[str] | None = None
        event.listen(self._writer_engine.sync_engine, "connect", _prepare_writer)
        event.listen(self._writer_engine.sync_engine, "begin", _begin_immediate)
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
            async with self._write_lock, self._writer_engine.begin() as connection:
                await connection.run_sync(_migrate)
        except DBAPIError as error:
            await self.close()
            raise ConfigError(f"INSTALLER_DATABASE_URL: {path} cannot be opened: {error.orig}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._reader_engine.dispose()
        await self._writer_engine.dispose()
        if self._held is not None:
            self._held.close()
            self._held = None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """The writer connection, in one transaction: committed at the end of the block, or rolled back.

        Raises StoreUnavailable when the disk is full or the database stays locked.
        """
        async with self._write_lock:
            try:
                async with self._writer_engine.begin() as connection:
                    yield connection
            except DBAPIError as error:
                raise _store_error(error) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A reader in autocommit: each statement sees all that was committed before it. Fetch all rows of it."""
        try:
            async with self._reader_engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise _store_error(error) from error

    async def check(self) -> DatabaseHealth:
        """Try a real write that changes nothing, and look at the revision and the room on the disk."""
        head = _scripts().get_current_head()
        version, revision, detail = "", None, self._room()
        try:
            async with self.write() as connection:
                version = str(await connection.scalar(text("select sqlite_version()")))
                revision = await connection.run_sync(_revision)
                await connection.execute(text("update alembic_version set version_num = version_num"))
        except StoreUnavailable as error:
            detail = str(error)
        return DatabaseHealth(
            writable=detail is None, revision=revision, head=head, sqlite_version=version, detail=detail
        )

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


def alembic_config() -> Config:
    """Alembic's configuration for the migrations that this installation carries."""
    packaged = Path(__file__).parent / "migrations"
    config = Config()
    config.set_main_option(
        "script_location", str(packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations")
    )
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _migrate(connection: Connection) -> None:
    revision = _revision(connection)
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        raise DatabaseNewer(
            f"the database is at revision {revision}, which this version does not know: "
            "start the newer version of the service that wrote it, or name another INSTALLER_DATABASE_URL"
        )
    config = alembic_config()
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
