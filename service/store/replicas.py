"""The replicas that share one database, and the lease by which each of them may act.

A replica registers once it starts, gets an id that is never given twice, and renews its lease three times as often as
it must. All times are those of the database's clock; a replica's own clock, which cannot jump, only makes it stop
earlier: after two thirds of a lease, counted from before the last renewal was sent, it starts nothing more. Whoever
finds a lease that has ended takes it over by deleting the row: that waits for an append of the other one that is under
way, and no append of it is taken afterwards (the fence). A replica whose row is gone has lost everything that it owned
and registers anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from service.errors import StoreUnavailable
from service.store.background import BackgroundLoop
from service.store.shared import Shared
from service.store.tables import replicas

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
RENEWALS_A_LEASE = 3
# Of a lease, by one's own clock: the rest is for what is under way and for two clocks that do not run alike.
USABLE_SHARE = 2 / 3


class Replica(NamedTuple):
    """A row. ``lease_left_ms`` is negative once the lease has ended; None for one that never ends."""

    replica_id: int
    name: str
    version: str
    library_sha256: str | None
    lease_left_ms: int | None


class Replicas:
    """``start``, ``stop``. ``on_lost`` is called when the lease was lost, ``on_taken`` with the ids of replicas whose
    leases have ended and were taken over. ``clock``: monotonic seconds."""

    def __init__(
        self,
        shared: Shared,
        *,
        name: str,
        version: str,
        library_sha256: str,
        clock: Callable[[], float],
        on_lost: Callable[[], None],
        on_taken: Callable[[Sequence[int]], None],
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._shared = shared
        self._described = {"name": name, "version": version, "library_sha256": library_sha256}
        self._clock = clock
        self._on_lost = on_lost
        self._on_taken = on_taken
        self._lease_seconds = lease_seconds
        self._usable_until = float("-inf")
        self._loop = BackgroundLoop("replica-lease", self._step)
        self.replica_id: int | None = None
        self.leases_lost = 0

    async def start(self) -> None:
        """Register. Raises StoreUnavailable."""
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
        return max(0.0, self._usable_until - self._clock())

    @property
    def may_act(self) -> bool:
        """Whether it may launch, signal or remove anything on an instance."""
        return self.replica_id is not None and self._clock() < self._usable_until

    async def all(self) -> list[Replica]:
        """Every replica that has a row, by id. Raises StoreUnavailable."""
        left = (replicas.c.lease_until_ms - self._shared.now_ms()).label("lease_left_ms")
        columns = (replicas.c.replica_id, replicas.c.name, replicas.c.version, replicas.c.library_sha256, left)
        return [Replica._make(row) for row in await self._shared.run(select(*columns).order_by(columns[0]))]

    async def _step(self) -> float:
        pause = self._lease_seconds / RENEWALS_A_LEASE
        try:
            async with asyncio.timeout(pause):
                await (self._renew() if self.replica_id is not None else self._register())
                await self._take_over()
        except (StoreUnavailable, TimeoutError) as error:
            logger.warning("the lease cannot be renewed now: %s", error or "the database does not answer")
            # Sooner than usual: each failure brings the end of the lease nearer.
            return pause / RENEWALS_A_LEASE
        return pause

    async def _register(self) -> None:
        sent = self._clock()
        values = {**self._described, "started_at_ms": self._shared.now_ms(), "lease_until_ms": self._end()}
        rows = await self._shared.run(insert(replicas).values(values).returning(replicas.c.replica_id))
        self.replica_id = int(rows[0].replica_id)
        self._extend(sent)
        logger.info("registered as replica %d", self.replica_id)

    async def _renew(self) -> None:
        sent = self._clock()
        mine = replicas.c.replica_id == self.replica_id
        renewed = update(replicas).where(mine).values(lease_until_ms=self._end()).returning(replicas.c.replica_id)
        if await self._shared.run(renewed):
            self._extend(sent)
            return
        lost, self.replica_id = self.replica_id, None
        self._usable_until = float("-inf")
        self.leases_lost += 1
        logger.warning("replica %s has lost its lease: others take over what it owned", lost)
        self._on_lost()
        await self._register()

    async def _take_over(self) -> None:
        ended = delete(replicas).where(replicas.c.lease_until_ms < self._shared.now_ms())
        rows = await self._shared.run(ended.returning(replicas.c.replica_id))
        if rows:
            taken = sorted(int(row.replica_id) for row in rows)
            logger.warning("taken over: the leases of replicas %s have ended", taken)
            self._on_taken(taken)

    def _end(self) -> object:
        return self._shared.now_ms() + round(self._lease_seconds * 1000)

    def _extend(self, sent: float) -> None:
        self._usable_until = sent + self._lease_seconds * USABLE_SHARE
