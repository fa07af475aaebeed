"""Watchers on another replica than the one that appends: all events, in order, each once, also when hints are lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from itertools import count

import pytest
from sqlalchemy import text

from service.events.recorded_event import RecordedEvent
from service.store import news
from service.store.append import Append
from service.store.database import database_of
from service.store.database_postgres import PostgresDatabase
from service.store.event_store import EventStore
from service.store.journal import Journal
from service.store.news import HINT_JOBS_MAX, News
from tests.kit.service import until
from tests.store.conftest import Store
from tests.store.test_store import bar, running_job


class Room:
    """The subscribers of one replica that are live."""

    def __init__(self) -> None:
        self.members: dict[str, list[Member]] = {}

    def publish(self, job_id: str, events: Sequence[RecordedEvent]) -> None:
        for member in self.members.get(job_id, ()):
            member.seen += [event.sequence for event in events]


class Member:
    def __init__(self, room: Room, job_id: str) -> None:
        self.seen: list[int] = []
        self._room = room
        self._job_id = job_id

    async def ready(self) -> None:
        await asyncio.sleep(0)

    def deliver(self, events: Sequence[RecordedEvent]) -> None:
        self.seen += [event.sequence for event in events]

    def join(self, last: int) -> None:
        assert last == (self.seen[-1] if self.seen else 0)
        self._room.members.setdefault(self._job_id, []).append(self)


class Replica(Store):
    """A store with news of the others."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url)
        self.room = Room()
        shared = self.database.shared()
        assert shared is not None
        self.shared = shared
        self.news = News(
            shared,
            sender=name,
            watched=lambda: self.journal.watched(self.room.members),
            advance=lambda job_id, events: self.journal.advance(job_id, events),
        )
        self.events = EventStore(self.database, clock=lambda: 0.0, observe=self._told)
        self.journal = Journal(
            self.events,
            self.queue,
            clock_ms=self.clock,
            publish=self.room.publish,
            is_shared=True,
            replica_id=lambda: int(name),
        )

    def _told(self, appends: Sequence[Append], _commit: float, _publish: float) -> None:
        self.news.committed(appends)

    async def close(self) -> None:
        await self.news.stop()
        await super().close()
        await self.shared.close()

    async def watch(self, job_id: str, after: int = 0) -> Member:
        member = Member(self.room, job_id)
        await self.journal.hand_over(job_id, after, member)
        return member


@pytest.fixture
async def pair(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Replica, Replica]]:
    writer, reader = Replica(postgres_url, "1"), Replica(postgres_url, "2")
    await writer.open()
    # It only reads, so it takes no writer's lock.
    reader.events.start()
    for replica in (writer, reader):
        replica.news.start()
    await until(lambda: reader.news.reconnects == 0)
    yield writer, reader
    await reader.close()
    await writer.close()


async def test_watchers_elsewhere_get_all_in_order(pair: tuple[Replica, Replica]) -> None:
    writer, reader = pair
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    ids = [await running_job(writer) for _ in range(5)]
    members: list[Member] = []

    async def join() -> None:
        await asyncio.sleep(chance.random() * 0.5)
        members.append(await reader.watch(chance.choice(ids)))

    async def write(job_id: str) -> None:
        for n in range(60):
            await writer.journal.append(job_id, [bar(n), bar(n)])

    async def follow(job_id: str) -> list[int]:
        follower = reader.journal.follow(job_id, 0)
        seen: list[int] = []
        while not seen or seen[-1] < 123:
            page = await follower.next()
            assert page is not None
            seen += [event.sequence for event in page]
        follower.close()
        return seen

    followed, *_ = await asyncio.gather(
        asyncio.gather(*map(follow, ids)), *map(write, ids), *(join() for _ in range(20))
    )
    await until(lambda: all(member.seen[-1:] == [123] for member in members), seconds=20)
    assert [member.seen for member in members] == [list(range(1, 124))] * 20
    assert followed == [list(range(1, 124))] * 5


async def test_a_lost_hint_costs_time_and_no_event(pair: tuple[Replica, Replica]) -> None:
    writer, reader = pair
    job_id = await running_job(writer)
    member = await reader.watch(job_id)
    await writer.news.stop()
    await writer.journal.append(job_id, [bar(1), bar(2)])
    await until(lambda: member.seen == [1, 2, 3, 4, 5], seconds=20)


async def test_a_lost_hint_costs_no_more_time_while_others_come(
    pair: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "LOOK_SECONDS_MAX", 1.0)
    writer, reader = pair
    quiet, busy = [await running_job(writer) for _ in range(2)]
    member, other = await reader.watch(quiet), await reader.watch(busy)
    await writer.news.stop()
    await writer.journal.append(quiet, [bar(1)])
    async with asyncio.timeout(10):
        # Of a job that is watched here, of one that is not, and of nobody's.
        for n in count(4):
            await writer.journal.append(busy, [bar(n)])
            reader.news.heard(f"9:{busy}={n},another={n}")
            await asyncio.sleep(0.05)
            if member.seen[-1] == 4:
                break
    assert other.seen[-1] > 4


async def test_a_listener_that_is_cut_off_reads_what_it_missed(pair: tuple[Replica, Replica]) -> None:
    writer, reader = pair
    job_id = await running_job(writer)
    member = await reader.watch(job_id)
    assert isinstance(writer.database, PostgresDatabase)
    cut = text("select count(pg_terminate_backend(pid)) from pg_stat_activity where query like 'listen %'"
               " and datname = current_database()")  # fmt: skip
    assert await writer.database.write(lambda connection: connection.scalar(cut)) == 2
    for n in range(5):
        await writer.journal.append(job_id, [bar(n)])
    await until(lambda: member.seen == list(range(1, 9)), seconds=4)
    await until(lambda: reader.news.reconnects == 1)


async def test_more_news_than_a_hint_holds(pair: tuple[Replica, Replica]) -> None:
    writer, reader = pair
    ids = [await running_job(writer) for _ in range(HINT_JOBS_MAX + 10)]
    members = [await reader.watch(job_id) for job_id in ids]
    hints: list[str] = []
    heard = reader.news.heard

    def hear(hint: str) -> None:
        hints.append(hint)
        heard(hint)

    reader.news.heard = hear  # type: ignore[method-assign]
    await asyncio.gather(*(writer.journal.append(job_id, [bar(1)]) for job_id in ids))
    await until(lambda: all(member.seen[-1] == 4 for member in members), seconds=4)
    assert all(len(hint) < 8_000 for hint in hints)


@pytest.mark.parametrize("hint", ["", ":", "9", "9:x", "9:x=", "9:*", "9:a=1,,b", "9:a=" + "9" * 5_000, "1:\0"])
def test_a_hint_that_makes_no_sense_harms_nobody(hint: str) -> None:
    shared = database_of("postgresql+psycopg://h/d").shared()
    assert shared is not None

    async def advance(_job_id: str, _events: Sequence[RecordedEvent]) -> None:
        raise AssertionError

    News(shared, sender="2", watched=lambda: {"a": 1}, advance=advance).heard(hint)
