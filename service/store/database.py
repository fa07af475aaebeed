"""The seam of the store: what it needs of a database, whichever engine that is.

An engine is one module with one class that keeps the promises of ``Database``; ``database_of`` is the only place that
chooses one. Everything that only one engine knows (its URL, locks, statements, errors) stays in that module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import ConfigError
from service.store.shared import Shared

T = TypeVar("T")
Work = Callable[[Connection], None]

LEASE_SECONDS = 15.0

URL_HINT = (
    "use sqlite+aiosqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE; of several hosts each is a "
    "parameter: postgresql+psycopg://USER:PASSWORD@/DATABASE?host=ONE:PORT&host=TWO:PORT&target_session_attrs=read-write"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseHealth:
    """The answer to a readiness probe. ``revision``: of the tables; ``head``: the one that this version needs.
    ``is_known``: this version can work with its tables. ``synchronous_standby``: a standby has each commit before it is
    answered; None where there is no such thing. ``detail``: why the database is not writable."""

    writable: bool
    revision: str | None
    head: str
    engine: str
    engine_version: str
    is_known: bool = False
    synchronous_standby: bool | None = None
    detail: str | None = None

    @property
    def ready(self) -> bool:
        return self.writable and self.is_known


class PreparedStatement(Protocol):
    """A statement that is run with many rows of plain tuples: the hot path of the writer."""

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run it for all of these rows, in order. It may fail as late as the commit; after an error the transaction
        must be rolled back."""


class Database(Protocol):
    """One writer, a few readers; both sides of the store use nothing else."""

    async def open(self) -> None:
        """Bring its tables to the newest revision, and where one service has it alone, take it.

        Raises DatabaseHeld, DatabaseNewer, ConfigError.
        """

    async def close(self) -> None:
        """Release everything. Nothing may be written or read after this."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do the work in one transaction: committed, durably, when the work returns; rolled back when it raises.

        The work runs on the writer's own thread: it may not touch the event loop. Raises StoreUnavailable when the
        database cannot be written now: the same work may be done later; ReplyLost when it may have been done.
        """

    def commit(self, prepare: Callable[[], Work | None], settled: Callable[[Exception | None], None]) -> None:
        """The same for the hot path, without a task that waits: one round trip between two threads.

        Commits run one after the other, in order. ``prepare`` runs on the writer's own thread when the commit begins,
        and returns its work; None: there is none. ``settled`` is called on that thread, before the next commit begins,
        with None after the commit, else with the error, and then nothing was written.
        """

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A reader in autocommit: each statement sees all that was committed before it. Fetch all of its rows before
        you leave. Raises StoreUnavailable."""

    def prepare_insert(self, table: Table, names: Sequence[str]) -> PreparedStatement:
        """Insert rows of these columns. For ``write``."""

    def prepare_update(self, table: Table, names: Sequence[str], keys: Sequence[str]) -> PreparedStatement:
        """Update these columns of the rows that the keys name. A row has the columns, then the keys. For ``write``."""

    def json_field(self, column: ColumnElement[str], name: str) -> ColumnElement[Any]:
        """The text of a top-level field of a JSON object that the column holds; null where it is not text."""

    def shared(self) -> Shared | None:
        """What replicas need of this database; None: it has one service alone."""

    def takes_chores(self, connection: Connection) -> bool:
        """Whether this transaction may do what only one service does at a time; the others need not wait for it."""

    def count_on(self, connection: Connection) -> None:
        """For ``write``, after jobs were inserted with their numbers: the next number comes after them."""

    async def check(self) -> DatabaseHealth:
        """Try a real write that changes nothing, and look at the revision and at the free space."""

    def wal_bytes(self) -> int:
        """The size of the write-ahead log; 0 where there is none."""


def database_of(url: str, *, lease_seconds: float = LEASE_SECONDS, readers_url: str | None = None) -> Database:
    """The database that this URL names, not opened yet. ``lease_seconds``: of the replicas that share it.
    ``readers_url``: another way to it, for readers alone, where an engine has one. Raises ConfigError."""
    parsed = _parsed("INSTALLER_DATABASE_URL", url)
    engine = parsed.get_backend_name()
    readers = None if readers_url is None else _parsed("INSTALLER_READERS_URL", readers_url)
    if readers is not None and readers.drivername != parsed.drivername:
        raise ConfigError("INSTALLER_READERS_URL: it must name the same PostgreSQL as INSTALLER_DATABASE_URL")
    # Imported here, so that a service loads only the driver of its engine.
    if engine == "sqlite":
        from service.store.database_sqlite import SqliteDatabase

        if readers is not None:
            raise ConfigError("INSTALLER_READERS_URL: SQLite is a file, which readers open themselves: leave it out")
        return SqliteDatabase(parsed)
    if engine == "postgresql":
        if find_spec("psycopg") is None:
            raise ConfigError(
                "INSTALLER_DATABASE_URL: PostgreSQL needs a driver that is not installed: "
                "pip install 'resource-installer[postgres]'"
            )
        from service.store.database_postgres import PostgresDatabase

        return PostgresDatabase(parsed, lease_seconds=lease_seconds, readers_url=readers)
    raise ConfigError(f"INSTALLER_DATABASE_URL: {parsed.drivername} is not supported, {URL_HINT}")


def _parsed(setting: str, url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"{setting}: this is not a database URL, {URL_HINT}") from error
    return parsed
