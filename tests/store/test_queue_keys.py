"""Jobs that an earlier version enqueued under another key of their instance."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from service.events import event_types as types
from service.events.addresses import key_of_name
from service.events.recorded_event import NewEvent
from service.store.queue_keys import renew_queue_keys
from service.store.tables import jobs
from tests.store.conftest import Store, queued

SPELLINGS = ("LOCALHOST", "localhost", "127.0.0.1", "::1", "2130706433")


async def enqueued_by_an_earlier_version(store: Store, host: str) -> str:
    job = await store.journal.enqueue(queued(host))

    def write(connection: Connection) -> None:
        changed = update(jobs).where(jobs.c.job_id == job.job_id)
        connection.execute(changed.values(instance_key=f"{host}:22"))

    await store.database.write(write)
    return job.job_id


async def keys(store: Store) -> dict[str, str]:
    async with store.database.read() as connection:
        rows = (await connection.execute(select(jobs.c.job_id, jobs.c.instance_key))).all()
    return {row.job_id: row.instance_key for row in rows}


async def test_they_come_into_the_queue_of_their_instance(store: Store) -> None:
    old = [await enqueued_by_an_earlier_version(store, host) for host in SPELLINGS]
    other = await enqueued_by_an_earlier_version(store, "gpu.example")
    await renew_queue_keys(store.database)
    new = (await store.journal.enqueue(queued("LocalHost."))).job_id
    queue = await store.queue.queue_of(key_of_name("root@LOCALHOST:22"))
    assert [waiting.job_id for waiting in queue] == [*old, new]
    assert (await keys(store))[other] == "gpu.example:22"
    [first] = await store.queue.next_to_claim()
    await store.journal.append(first.job_id, [NewEvent(event=types.JobStarted())])
    [claimed] = await store.queue.next_to_claim()
    assert claimed.job_id == other


async def test_an_ended_job_keeps_its_row(store: Store) -> None:
    old = await enqueued_by_an_earlier_version(store, "LOCALHOST")
    ended = types.JobCancelled(error="e", cause="cancelled", hint="h", installed=0, total=1, results=[])
    await store.journal.append(old, [NewEvent(event=ended)])
    await renew_queue_keys(store.database)
    assert (await keys(store))[old] == "LOCALHOST:22"


async def test_of_two_that_were_started_under_two_names_one_gets_the_key(store: Store) -> None:
    old = [await enqueued_by_an_earlier_version(store, host) for host in SPELLINGS[:3]]
    for job_id in old[:2]:
        await store.journal.append(job_id, [NewEvent(event=types.JobStarted())])
    await renew_queue_keys(store.database)
    assert sorted((await keys(store)).values()) == ["127.0.0.1:22", "127.0.0.1:22", "localhost:22"]
    ended = types.JobFailed(error="e", cause="network", hint="h", installed=0, total=1, results=[])
    await store.journal.append(old[0], [NewEvent(event=ended)])
    await store.journal.append(old[1], [NewEvent(event=ended)])
    assert await store.queue.next_to_claim()
