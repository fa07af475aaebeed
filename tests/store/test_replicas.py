"""Leases on a real PostgreSQL: who has lost his lease appends nothing, whoever takes over waits for nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from service.errors import LeaseLost
from service.store import membership
from service.store.database import database_of
from service.store.event_store import EventStore
from service.store.journal import Journal
from service.store.replicas import Replicas
from service.store.shared import Shared
from tests.kit.service import until
from tests.store.conftest import Store
from tests.store.test_store import bar, running_job

LEASE_SECONDS = 1.0


class Member:
    """One replica's lease, and what it was told."""

    def __init__(self, shared: Shared, name: str, lease_seconds: float = LEASE_SECONDS) -> None:
        self.shared = shared
        self.lost = 0
        self.renewed: list[membership.Renewed] = []
        self.taken = 0
        # A clock that the test can let run ahead.
        self.ahead = 0.0
        self.replicas = Replicas(
            shared,
            membership.Member(name=name, version="1"),
            library_sha256=lambda: "0" * 64,
            clock=lambda: time.monotonic() + self.ahead,
            on_lost=self._lose,
            on_taken=self._take,
            on_renewed=self.renewed.append,
            lease_seconds=lease_seconds,
        )

    async def _lose(self) -> None:
        assert self.replicas.replica_id is None
        self.lost += 1

    def _take(self) -> None:
        self.taken += 1

    async def freeze(self) -> int:
        """Renew nothing from now on, as a process that is stopped; its id."""
        await self.replicas._loop.stop()
        assert self.replicas.replica_id is not None
        return self.replicas.replica_id


@pytest.fixture
async def shared(postgres_url: str) -> AsyncIterator[Shared]:
    opened = database_of(postgres_url).shared()
    assert opened is not None
    yield opened
    await opened.close()


async def test_a_lease_is_renewed_and_given_back(shared: Shared) -> None:
    member = Member(shared, "a")
    await member.replicas.start()
    assert member.replicas.may_act
    await asyncio.sleep(1.5 * LEASE_SECONDS)
    (row,) = await member.replicas.all()
    assert (row.replica_id, row.name, row.version) == (member.replicas.replica_id, "a", "1")
    assert row.lease_left_ms is not None
    assert 0 < row.lease_left_ms <= LEASE_SECONDS * 1000
    assert member.lost == 0
    await member.replicas.stop()
    assert not member.replicas.may_act
    assert await member.replicas.all() == []


async def test_it_stops_by_its_own_clock_before_others_may_take_over(shared: Shared) -> None:
    member = Member(shared, "a", lease_seconds=60)
    await member.replicas.start()
    assert 39 < member.replicas.seconds_left <= 40
    member.ahead = 40
    assert not member.replicas.may_act
    (row,) = await member.replicas.all()
    assert row.lease_left_ms is not None
    assert row.lease_left_ms > 0
    await member.replicas.stop()


async def test_a_lease_that_ended_is_taken_over_and_its_holder_begins_anew(shared: Shared) -> None:
    zombie, other = Member(shared, "zombie"), Member(shared, "other")
    await zombie.replicas.start()
    await other.replicas.start()
    frozen = await zombie.freeze()
    await until(lambda: other.taken == 1)
    assert not zombie.replicas.may_act
    await zombie.replicas._step()
    assert zombie.lost == 1
    assert zombie.replicas.may_act
    assert zombie.replicas.replica_id not in (None, frozen, other.replicas.replica_id)
    assert sorted(row.name for row in await other.replicas.all()) == ["other", "zombie"]
    for member in (zombie, other):
        await member.replicas.stop()


async def test_who_has_lost_the_lease_appends_nothing(postgres_url: str, shared: Shared) -> None:
    store = Store(postgres_url)
    member = Member(shared, "a", lease_seconds=60)
    await member.replicas.start()
    assert member.replicas.replica_id is not None
    store.events = EventStore(store.database, fence=member.replicas.fence)
    store.journal = Journal(store.events, store.queue, clock_ms=store.clock, publish=store._publish)
    await store.open()
    ids = [await running_job(store) for _ in range(3)]
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as other:
        other.execute("delete from replicas")
    outcomes = await asyncio.gather(*(store.journal.append(job_id, [bar(1)]) for job_id in ids), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LeaseLost] * 3
    assert [len(await store.events.read(job_id)) for job_id in ids] == [3, 3, 3]
    await member.replicas.stop()
    await store.close()


async def test_a_takeover_waits_for_an_append_that_is_under_way(postgres_url: str, shared: Shared) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as appending:
        appending.execute("insert into replicas (name, version, library_sha256, started_at_ms, lease_until_ms)"
                          " values ('z', '1', '', 0, 0)")  # fmt: skip
        appending.commit()
        appending.execute("select 1 from replicas for key share")
        member = Member(shared, "a")
        await member.replicas.start()
        await asyncio.sleep(0.5)
        assert member.taken == 0
        appending.commit()
    await until(lambda: member.taken == 1)
    await member.replicas.stop()
