"""This service among the replicas that share its log: its lease, the news of the others, and what follows from both.

Where the database has one service alone, the same parts are there, with a lease that never ends and nobody to tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol
from uuid import uuid4

from service.clock import SteadyClock
from service.store.append import Append
from service.store.background import BackgroundLoop
from service.store.database import Database
from service.store.event_store import EventStore
from service.store.journal import Journal
from service.store.membership import Alone, Member, Membership, Renewed
from service.store.news import News
from service.store.replicas import Replicas

DIGEST_SECONDS = 20.0


class Figures(NamedTuple):
    """What a monitoring system wants to know of this replica among the others; totals since its start."""

    owned_jobs: int
    lease_seconds_left: float
    news_lag_seconds: float
    leases_lost: int
    takeovers: int
    append_conflicts: int
    lost_replies: int
    listener_reconnects: int


class Owner(Protocol):
    """Whoever works on the jobs that this replica owns."""

    @property
    def running(self) -> Iterable[str]:
        """The jobs that run here."""

    def look(self) -> None:
        """Jobs may wait for anybody, or it may act again."""

    async def let_go(self) -> None:
        """Everything that it owned belongs to others: end it, without a word to the log or the instances."""


class Cluster:
    """``connect`` once all is built, ``start`` when the database is open, ``leave``, then ``stop``.

    ``library_digest``: of the cards that this replica has; it reads files. ``clock_ms`` follows the database's clock.
    """

    membership: Membership

    def __init__(
        self,
        database: Database,
        member: Member,
        *,
        clock_ms: SteadyClock,
        lease_seconds: float,
        library_digest: Callable[[], str],
    ) -> None:
        self.name = member.name
        self._clock_ms = clock_ms
        self._shared = database.shared()
        self._library_digest = library_digest
        self.library_sha256: str | None = None
        self._digesting = BackgroundLoop("library-digest", self._digest)
        self.news: News | None = None
        self._owner: Owner | None = None
        if self._shared is None:
            self.membership = Alone(database, member, clock_ms=clock_ms)
            return
        self.membership = Replicas(
            self._shared,
            member,
            library_sha256=lambda: self.library_sha256,
            clock=time.monotonic,
            on_lost=self._lost,
            on_taken=self._look_for_work,
            on_renewed=self._renewed,
            lease_seconds=lease_seconds,
        )

    @property
    def is_shared(self) -> bool:
        return self._shared is not None

    def connect(
        self, *, journal: Journal, event_store: EventStore, joined: Callable[[], Iterable[str]], owner: Owner
    ) -> None:
        """``joined``: the jobs in whose rooms somebody is."""
        self._journal = journal
        self._event_store = event_store
        self._owner = owner
        if self._shared is not None:
            self.news = News(
                self._shared,
                sender=uuid4().hex,
                watched=lambda: journal.watched({*joined(), *owner.running}),
                advance=journal.advance,
                on_work=owner.look,
            )

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        if self._shared is not None:
            await self._digest()
        await self.membership.start()
        if self.news is not None:
            self._digesting.start()
            self.news.start()

    async def leave(self) -> None:
        """Own nothing any more: the others take over at once."""
        await self.membership.stop()
        self.tell()

    async def stop(self) -> None:
        await self._digesting.stop()
        await self.membership.stop()
        if self.news is not None:
            await self.news.stop()
        if self._shared is not None:
            await self._shared.close()

    def committed(self, appends: Sequence[Append]) -> None:
        """This replica has appended these."""
        if self.news is not None:
            self.news.committed(appends)

    def tell(self) -> None:
        """Jobs may wait for whoever has room."""
        if self.news is not None:
            self.news.has_work()

    def figures(self) -> Figures:
        return Figures(
            owned_jobs=len(tuple(self._owner.running)) if self._owner is not None else 0,
            lease_seconds_left=self.membership.seconds_left,
            news_lag_seconds=self.news.lag_seconds if self.news is not None else 0.0,
            leases_lost=self.membership.leases_lost,
            takeovers=self.membership.takeovers,
            append_conflicts=self._event_store.conflicts,
            lost_replies=self._event_store.lost_replies,
            listener_reconnects=max(0, self.news.reconnects) if self.news is not None else 0,
        )

    async def _digest(self) -> float:
        self.library_sha256 = await asyncio.to_thread(self._library_digest)
        return DIGEST_SECONDS

    def _renewed(self, renewed: Renewed) -> None:
        self._clock_ms.follow(renewed.database_ms)
        if self._owner is not None:
            self._owner.look()

    def _look_for_work(self) -> None:
        if self._owner is not None:
            self._owner.look()
        self.tell()

    async def _lost(self) -> None:
        if self._owner is not None:
            await self._owner.let_go()
            # What was submitted under the former id is refused, before there is a new one.
            await self._event_store.drain()
            await self._journal.forget_folds()
