"""Events of a newer version: written once every replica reads them; jobs that have them are left to that version."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import insert, select

from service.events import event_types as types
from service.events.recorded_event import NewEvent
from service.store.database import database_of
from service.store.journal import Journal
from service.store.membership import Alone, Member
from service.store.ownership import Ownership
from service.store.rebuild import rebuild
from service.store.replicas import Replicas
from service.store.tables import jobs, replicas
from tests.kit.newer_version import FORMAT, both, newer_version
from tests.kit.service import until
from tests.store.conftest import Store, queued


async def stored_format(store: Store, job_id: str) -> int:
    async with store.database.read() as connection:
        found = await connection.scalar(select(jobs.c.events_format).where(jobs.c.job_id == job_id))
    assert isinstance(found, int)
    return found


async def test_a_newer_event_is_written_once_all_can_read_it(store: Store) -> None:
    with newer_version():
        readable = 1
        store.journal = Journal(
            store.events, store.queue, clock_ms=store.clock, publish=store._publish, events_format=lambda: readable
        )
        job = await store.journal.enqueue(queued())
        await store.journal.append(job.job_id, [NewEvent(event=types.JobStarted())])
        await store.journal.append(job.job_id, both())
        # Nothing is left of it: nothing is appended.
        assert (await store.journal.append(job.job_id, both()[:1])).last_sequence == 3
        assert await stored_format(store, job.job_id) == 1
        readable = FORMAT
        await store.journal.append(job.job_id, both())
        history = await store.events.read(job.job_id)
        assert [(event.type, event.version) for event in history[2:]] == [
            ("resource_warning", 1),
            ("job_surveyed", 1),
            ("resource_warning", 2),
        ]
        assert [event._replace(position=None) for event in history] == store.published
        assert await stored_format(store, job.job_id) == FORMAT
        # It stays, whatever comes after it.
        await store.journal.append(job.job_id, [NewEvent(event=types.JobPaused())])
        assert (await store.queue.get(job.job_id)).events_format == FORMAT


async def test_a_job_of_a_newer_version_is_left_to_it(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """This version serves it, records controls and rebuilds it, but neither claims nor rescues it."""
    alone = Alone(store.database, Member("alone", "1"), clock_ms=store.clock)
    await alone.start()
    with newer_version():
        started = await store.journal.enqueue(queued("h", 1))
        waits = await store.journal.enqueue(queued("h", 2))
        later = await store.journal.enqueue(queued("h", 2))
        await store.journal.append(started.job_id, [NewEvent(event=types.JobStarted())], owner=alone.replica_id)
        for job in (started, waits):
            await store.journal.append(job.job_id, both()[:1])
    other = await store.journal.enqueue(queued("h", 3))
    # The next start is of this version.
    store.journal = Journal(store.events, store.queue, clock_ms=store.clock, publish=store._publish)
    await alone.start()
    ownership = Ownership(store.database, alone)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert (await ownership.left(without=()))[0] == []
    assert [record.args for record in caplog.records] == [(started.job_id,)]
    # Nor does the next one of its instance overtake it.
    [claimed] = await store.queue.next_to_claim()
    assert claimed.job_id == other.job_id
    assert await store.queue.next_to_claim(without={other.job_id}) == []
    paused = await store.journal.append(started.job_id, [NewEvent(event=types.JobPaused())])
    assert (paused.state, paused.last_sequence) == ("paused", 4)
    assert [event.type for event in await store.events.read(started.job_id)][2:] == ["job_surveyed", "job_paused"]
    await rebuild(store.database)
    assert [await stored_format(store, job.job_id) for job in (started, waits, later, other)] == [2, 2, 1, 1]
    # The newer one takes all of them.
    with newer_version():
        assert (await ownership.left(without=()))[0] == [started.job_id]
        assert await ownership.take_over([started.job_id]) == [started.job_id]
        [claimed] = await store.queue.next_to_claim(without={other.job_id})
        assert claimed.job_id == waits.job_id


async def test_replicas_agree_on_the_format_that_all_of_them_read(postgres_url: str) -> None:
    shared = database_of(postgres_url).shared()
    assert shared is not None

    async def nothing() -> None:
        """It is never lost."""

    def member(name: str) -> Replicas:
        return Replicas(
            shared, Member(name, "2"), library_sha256=lambda: None, clock=lambda: 0.0, on_lost=nothing,
            on_taken=lambda: None, on_renewed=lambda _renewed: None, lease_seconds=0.3,
        )  # fmt: skip

    with newer_version():
        one = member("one")
        # An earlier version says nothing of formats.
        row = {"name": "older", "version": "1", "started_at_ms": 0, "lease_until_ms": shared.now_ms() + 60_000}
        await shared.run(insert(replicas).values(row))
        await one.start()
        await one._step()
        assert one.events_format == 1
        await shared.run(replicas.delete().where(replicas.c.name == "older"))
        await until(lambda: one.events_format == FORMAT, 5)
        two = member("two")
        await two.start()
        await one._step()
        await two._step()
        assert (one.events_format, two.events_format) == (FORMAT, FORMAT)
    older = member("older")
    await older.start()
    with newer_version():
        await until(lambda: one.events_format == 1, 5)
    for replica in (one, two, older):
        await replica.stop()
    await shared.close()
