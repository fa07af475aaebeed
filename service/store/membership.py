"""This service among those that share the log: which id it has, and whether it may act.

Jobs belong to the id of a replica. A replica is alive as long as its row is there; what belongs to another id than
those is taken over. The instance is told the epoch of the owner with every launch, signal and removal, and refuses the
smaller one (scripts/fence.sh).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, delete, insert, select

from service.errors import ConfigError
from service.events.formats import newest_format
from service.store.database import Database
from service.store.tables import replicas


class Member(NamedTuple):
    """What a replica says of itself."""

    name: str
    version: str


class Replica(NamedTuple):
    """A row. ``lease_left_ms`` is negative once the lease has ended; None for one that never ends."""

    replica_id: int
    name: str
    version: str
    library_sha256: str | None
    lease_left_ms: int | None


class Renewed(NamedTuple):
    """``database_ms``: the database's clock at this moment, milliseconds since the epoch."""

    database_ms: int


class Membership(Protocol):
    """``start``, then ``replica_id`` is this service's, as long as its lease is not lost; ``stop``. ``alive``: how many
    replicas there are, this one too, as of the last renewal."""

    replica_id: int | None
    alive: int
    leases_lost: int
    takeovers: int

    async def start(self) -> None:
        """Begin to own jobs. Raises StoreUnavailable."""

    async def stop(self) -> None:
        """Own nothing any more."""

    @property
    def seconds_left(self) -> float:
        """How long this replica may still act; infinite where nobody else can."""

    @property
    def events_format(self) -> int:
        """The newest format of events that every replica can read: see events/formats.py."""

    @property
    def may_act(self) -> bool:
        """Whether it may launch, signal or remove anything on an instance, and claim jobs."""

    async def until_may_act(self) -> None:
        """Wait until it may."""

    def fence(self, connection: Connection) -> None:
        """Begins each transaction that appends: it fails with LeaseLost once the lease is lost."""

    async def all(self) -> list[Replica]:
        """Every replica that has a row, by id. Raises StoreUnavailable."""


async def refuse_if_in_use(database: Database, setting: str) -> None:
    """Raise ConfigError where a replica is alive; an engine of one service has refused already. ``setting``: what named
    the database. Raises StoreUnavailable."""
    shared = database.shared()
    if shared is None:
        return
    try:
        alive = await shared.run(select(replicas.c.name).where(replicas.c.lease_until_ms > shared.now_ms()))
    finally:
        await shared.close()
    if alive:
        raise ConfigError(f"{setting}: the replica {alive[0].name} uses this database: stop it first")


class Alone:
    """The Membership of a service that has its database for itself: a cluster of one, whose lease never ends. Its row
    stays until the next start removes it."""

    alive = 1
    leases_lost = 0
    takeovers = 0
    seconds_left = float("inf")
    may_act = True

    def __init__(self, database: Database, member: Member, *, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._member = member
        self._clock_ms = clock_ms
        self.replica_id: int | None = None

    @property
    def events_format(self) -> int:
        return newest_format()

    async def start(self) -> None:
        self.replica_id = await self._database.write(self._join)

    async def stop(self) -> None:
        """Nobody waits for it."""

    async def until_may_act(self) -> None:
        """It always may."""

    def fence(self, connection: Connection) -> None:
        """No other service can have this database."""

    async def all(self) -> list[Replica]:
        columns = (replicas.c.replica_id, replicas.c.name, replicas.c.version, replicas.c.library_sha256)
        async with self._database.read() as connection:
            return [Replica(*row, lease_left_ms=None) for row in (await connection.execute(select(*columns))).all()]

    def _join(self, connection: Connection) -> int:
        connection.execute(delete(replicas))
        mine = insert(replicas).values(
            name=self._member.name,
            version=self._member.version,
            started_at_ms=self._clock_ms(),
            events_format=self.events_format,
        )
        (number,) = connection.execute(mine).inserted_primary_key or (0,)
        return int(number)
