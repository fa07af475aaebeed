"""Old jobs are thinned, older ones deleted, and no other is touched."""

from __future__ import annotations

from typing import Any

from service.events import event_types as types
from service.events.recorded_event import NewEvent
from service.store.housekeeping import DAY_MS, DELETED_AFTER, Housekeeping
from service.store.journal import Journal
from service.store.rebuild import rebuild
from tests.store.conftest import Store, queued

ENDED: dict[str, Any] = {"installed": 1, "total": 1, "results": []}


def bar(stage: str, percent: int) -> NewEvent:
    return NewEvent(event=types.Progress(stage=stage, percent=percent), resource="a.md", attempt=1)


async def ended_job(journal: Journal) -> str:
    job = await journal.enqueue(queued())
    await journal.append(job.job_id, [NewEvent(event=types.JobStarted())])
    bars = [bar(stage, percent) for stage in ("images", "model") for percent in (1, 50, 100)]
    lines = [NewEvent(event=types.Output(line=str(n)), resource="a.md", attempt=1) for n in range(5)]
    await journal.append(job.job_id, [*bars, *lines, NewEvent(event=types.JobCompleted(**ENDED))])
    return job.job_id


async def test_old_jobs_are_thinned_then_deleted(store: Store) -> None:
    store.now_ms = 100 * DAY_MS
    old = await ended_job(store.journal)
    store.now_ms += 10 * DAY_MS
    young = await ended_job(store.journal)
    active = (await store.journal.enqueue(queued())).job_id
    house = Housekeeping(database=store.database, keep_days=5, clock_ms=lambda: store.now_ms)

    assert await house.round() == (1, 0)
    assert await house.round() == (0, 0)
    kept = await store.events.read(old)
    assert [event.type for event in kept] == ["job_queued", "job_started", "progress", "progress", "job_completed"]
    assert [event.to_dict().get("percent") for event in kept if event.type == "progress"] == [100, 100]
    assert [event.sequence for event in kept] == [1, 2, 5, 8, 14]
    job = await store.queue.get(old)
    assert (job.last_sequence, job.thinned_at_ms, job.state) == (14, store.now_ms, "completed")
    assert len(await store.events.read(young)) == 14

    store.now_ms += DELETED_AFTER * 5 * DAY_MS - 10 * DAY_MS + 1
    assert await house.round() == (1, 1)
    assert await store.events.read(old) == []
    assert {job.job_id for job in (await store.queue.page())[0]} == {young, active}


async def test_rebuild_gives_the_same_rows_of_a_thinned_job(store: Store) -> None:
    store.now_ms = 100 * DAY_MS
    job_id = await ended_job(store.journal)
    store.now_ms += 6 * DAY_MS
    await Housekeeping(database=store.database, keep_days=5, clock_ms=lambda: store.now_ms).round()
    before = await store.queue.get(job_id)

    assert before.thinned_at_ms == store.now_ms
    assert await rebuild(store.database) == 1
    assert await store.queue.get(job_id) == before
