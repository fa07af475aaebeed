"""The replicas that share one database, and the lease by which each of them may act.

A replica registers once it starts, gets an id that is never given twice, and renews its lease three times as often as
it must. All times are those of the database's clock; a replica's own clock, which cannot jump, only makes it stop
earlier: after two thirds of a lease, counted from before the last renewal was sent, it starts nothing more. Whoever
finds a lease that has ended takes it over by deleting the row: that waits for an append of the other one that is under
way, and no append of it is taken afterwards (the fence). A replica whose row is gone has lost everything that it owned:
it lets go of all of it, and only then registers anew, so that nothing from before can act under the new id.

A name belongs to one replica: whoever starts under a name takes over the lease of an earlier start at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from service.errors import LeaseLost, StoreUnavailable
from service.events.formats import FIRST_FORMAT, newest_format
from service.store.background import BackgroundLoop
from service.store.database import LEASE_SECONDS
from service.store.membership import Member, Renewed, Replica
from service.store.shared import Shared
from service.store.tables import replicas

logger = logging.getLogger(__name__)

RENEWALS_A_LEASE = 3
# Of a lease, by one's own clock: the rest is for what is under way and for two clocks that do not run alike.
USABLE_SHARE = 2 / 3
# After the end of another's lease: how soon somebody looks, and how soon again while its row cannot be deleted yet.
LATE_SECONDS = 0.05
AGAIN_SECONDS = 0.25


class Replicas:
    """A Membership of replicas on one database. ``library_sha256``: of the cards that this replica has now. ``clock``:
    monotonic seconds.

    ``on_lost`` lets go of all that this replica owned, ``on_taken`` is called when leases of others have ended,
    ``on_renewed`` with each registration and renewal.
    """

    def __init__(
        self,
        shared: Shared,
        member: Member,
        *,
        library_sha256: Callable[[], str | None],
        clock: Callable[[], float],
        on_lost: Callable[[], Awaitable[None]],
        on_taken: Callable[[], None],
        on_renewed: Callable[[Renewed], None],
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._shared = shared
        self._member = member
        self._library_sha256 = library_sha256
        self._clock = clock
        self._on_lost = on_lost
        self._on_taken = on_taken
        self._on_renewed = on_renewed
        self._lease_seconds = lease_seconds
        self._usable_until = float("-inf")
        self._renewed = asyncio.Event()
        self._was_away = False
        # Of the others. What they read is looked up with each renewal; before that, it is what all of them read.
        self._read_by_others = FIRST_FORMAT
        self._loop = BackgroundLoop("replica-lease", self._step)
        self.replica_id: int | None = None
        self.alive = 1
        self.leases_lost = 0
        self.takeovers = 0

    async def start(self) -> None:
        """Register. Raises StoreUnavailable."""
        for replica_id in await self._remove(replicas.c.name == self._member.name):
            logger.info("replica %d had this name: what it left is taken over", replica_id)
        await self._register()
        self._loop.start()

    async def stop(self) -> None:
        """Give the lease back, so that others take over at once."""
        await self._loop.stop()
        replica_id, self.replica_id = self.replica_id, None
        self._usable_until = float("-inf")
        if replica_id is not None:
            try:
                await self._shared.run(delete(replicas).where(replicas.c.replica_id == replica_id))
            except StoreUnavailable as error:
                logger.warning("the lease ends by itself: %s", error)

    @property
    def seconds_left(self) -> float:
        """How long this replica may still act; 0 when it may not."""
        return max(0.0, self._usable_until - self._clock()) if self.replica_id is not None else 0.0

    @property
    def events_format(self) -> int:
        return min(newest_format(), self._read_by_others)

    @property
    def may_act(self) -> bool:
        return self.seconds_left > 0

    async def until_may_act(self) -> None:
        while not self.may_act:
            self._renewed.clear()
            await self._renewed.wait()

    def fence(self, connection: Connection) -> None:
        replica_id = self.replica_id
        if replica_id is None:
            raise LeaseLost("this replica has lost its lease and registers anew: try again")
        self._shared.fence(connection, replica_id)

    async def all(self) -> list[Replica]:
        left = (replicas.c.lease_until_ms - self._shared.now_ms()).label("lease_left_ms")
        columns = (replicas.c.replica_id, replicas.c.name, replicas.c.version, replicas.c.library_sha256, left)
        return [Replica._make(row) for row in await self._shared.run(select(*columns).order_by(columns[0]))]

    async def _step(self) -> float:
        pause = self._lease_seconds / RENEWALS_A_LEASE
        begun = self._clock()
        try:
            if self.replica_id is not None and not await self._renew():
                await self._let_go()
            if self.replica_id is None:
                await self._register()
            if self._was_away:
                # The database was, perhaps for all: the others get the time to renew their leases.
                self._was_away = False
                return pause
            others_end = await self._take_over()
        except StoreUnavailable as error:
            logger.warning("the lease cannot be renewed now: %s", error)
            self._was_away = True
            # Sooner than usual: each failure brings the end of the lease nearer.
            return pause / RENEWALS_A_LEASE
        return max(LATE_SECONDS, min(pause - (self._clock() - begun), others_end))

    async def _register(self) -> None:
        sent = self._clock()
        values = {
            "name": self._member.name,
            "version": self._member.version,
            "library_sha256": self._library_sha256(),
            "started_at_ms": self._shared.now_ms(),
            "lease_until_ms": self._end(),
            "session": self._shared.session,
            "events_format": newest_format(),
        }
        registered = insert(replicas).values(values).returning(replicas.c.replica_id, self._shared.now_ms().label("at"))
        (row,) = await self._shared.run(registered)
        self.replica_id = int(row.replica_id)
        logger.info("registered as replica %d, %s", self.replica_id, self._member.name)
        self._extend(sent, row.at)

    async def _renew(self) -> bool:
        """Whether the lease was there to be renewed."""
        sent = self._clock()
        renewed = (
            update(replicas)
            .where(replicas.c.replica_id == self.replica_id)
            .values(lease_until_ms=self._end(), library_sha256=self._library_sha256())
            .returning(self._shared.now_ms().label("at"))
        )
        rows = await self._shared.run(renewed)
        if rows:
            self._extend(sent, rows[0].at)
        return bool(rows)

    async def _let_go(self) -> None:
        lost, self.replica_id = self.replica_id, None
        self._usable_until = float("-inf")
        self.leases_lost += 1
        logger.warning("replica %s has lost its lease: others take over what it owned", lost)
        await self._on_lost()

    async def _take_over(self) -> float:
        """Take over the leases that have ended. The seconds until the next one may end."""
        taken = await self._remove(replicas.c.lease_until_ms < self._shared.now_ms())
        if taken:
            self.takeovers += len(taken)
            logger.warning("taken over: the leases of replicas %s have ended", taken)
            self._on_taken()
        next_end = (func.min(replicas.c.lease_until_ms) - self._shared.now_ms()).label("left_ms")
        format_of_all = func.min(replicas.c.events_format).label("format")
        others = select(next_end, format_of_all, func.count().label("others")).where(
            replicas.c.replica_id != self.replica_id
        )
        (row,) = await self._shared.run(others)
        self._read_by_others = newest_format() if row.format is None else row.format
        self.alive = 1 + row.others
        left_ms = row.left_ms
        if left_ms is None:
            return self._lease_seconds
        return left_ms / 1000 + LATE_SECONDS if left_ms > 0 else AGAIN_SECONDS

    async def _remove(self, condition: ColumnElement[bool]) -> list[int]:
        """Delete the rows of these replicas; their ids. A transaction that one of them left open ends first: it holds
        its row."""
        columns = (replicas.c.replica_id, replicas.c.session)
        if not (found := await self._shared.run(select(*columns).where(condition))):
            return []
        await self._shared.end_sessions([row.session for row in found if row.session is not None])
        rows = await self._shared.run(delete(replicas).where(condition).returning(replicas.c.replica_id))
        return sorted(int(row.replica_id) for row in rows)

    def _end(self) -> object:
        return self._shared.now_ms() + round(self._lease_seconds * 1000)

    def _extend(self, sent: float, database_ms: int) -> None:
        answered = self._clock()
        self._usable_until = sent + self._lease_seconds * USABLE_SHARE
        self._renewed.set()
        # Halfway between the question and the answer, the database's clock stood there.
        self._on_renewed(Renewed(database_ms=database_ms + round((answered - sent) * 500)))
