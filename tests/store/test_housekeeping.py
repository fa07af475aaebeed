"""Old jobs are thinned, older ones deleted, and no other is touched."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from service.events import event_types as types
from service.events.recorded_event import NewEvent
from service.store import housekeeping
from service.store.database import Database
from service.store.housekeeping import DAY_MS, DELETED_AFTER, Housekeeping
from service.store.journal import Journal
from service.store.rebuild import rebuild
from service.store.tables import events
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

    other = Housekeeping(database=store.database, keep_days=5, clock_ms=lambda: store.now_ms)

    assert await house.round() == (1, 0)
    # Whoever cleans up next, this replica or another, finds nothing to do.
    assert [await each.round() for each in (house, other, house)] == [(0, 0)] * 3
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


class Pieces:
    """Housekeeping's view of a database: how many events each of its transactions deletes. ``ends_after``: the service
    stops after so many."""

    def __init__(self, database: Database, ends_after: int = 1_000_000) -> None:
        self.deleted: list[int] = []
        self._database = database
        self._ends_after = ends_after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, work: Any) -> Any:
        if len(self.deleted) == self._ends_after:
            raise KilledError

        def counted(connection: Connection) -> Any:
            before = _count(connection)
            result = work(connection)
            self.deleted.append(before - _count(connection))
            return result

        return await self._database.write(counted)


class KilledError(Exception):
    """The service ends in the middle of a round."""


def _count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(events)) or 0


async def long_job(journal: Journal, lines: int) -> str:
    """Bars of two stages and lines, mixed; the last bar of a stage may be anywhere."""
    job = await journal.enqueue(queued())
    await journal.append(job.job_id, [NewEvent(event=types.JobStarted())])
    printed = [bar("images", 1), *(bar("model", n % 100) for n in range(lines // 2))]
    printed += [NewEvent(event=types.Output(line=str(n)), resource="a.md", attempt=1) for n in range(lines // 2)]
    random.shuffle(printed)
    await journal.append(job.job_id, [*printed, NewEvent(event=types.JobCompleted(**ENDED))])
    return job.job_id


def kept_of(history: list[Any]) -> list[int]:
    """The sequences that thinning keeps of a whole history."""
    last = {event.to_dict()["stage"]: event.sequence for event in history if event.type == "progress"}
    return sorted({*last.values(), *(event.sequence for event in history if event.type not in types.PRINTED_TYPES)})


@pytest.mark.parametrize("ends_after", [1, 2, 5, 9, None])
async def test_a_long_stream_goes_in_pieces_whenever_the_service_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch, ends_after: int | None
) -> None:
    """No transaction deletes more than a piece, and what one round leaves half done, the next one ends."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    random.seed(seed)
    monkeypatch.setattr(housekeeping, "PIECE_EVENTS", 50)
    store.now_ms = 100 * DAY_MS
    ids = [await long_job(store.journal, lines) for lines in (400, 6, 0, 120)]
    wanted = {job_id: kept_of(await store.events.read(job_id)) for job_id in ids}
    store.now_ms += 6 * DAY_MS

    def house(pieces: Pieces) -> Housekeeping:
        database: Any = pieces
        return Housekeeping(database=database, keep_days=5, clock_ms=lambda: store.now_ms)

    # Twice: what two rounds left half done is still found.
    for killed_after in (ends_after, 1) if ends_after is not None else ():
        with pytest.raises(KilledError):
            await house(Pieces(store.database, killed_after)).round()
        store.now_ms += 1
    pieces = Pieces(store.database)
    await house(pieces).round()
    assert {job_id: [event.sequence for event in await store.events.read(job_id)] for job_id in ids} == wanted
    assert [job.job_id for job in await store.queue.all_of(ids) if job.thinned_at_ms is None] == []

    store.now_ms += DELETED_AFTER * 5 * DAY_MS
    assert (await house(pieces).round())[1] == len(ids)
    assert [len(await store.events.read(job_id)) for job_id in ids] == [0] * len(ids)
    assert max(pieces.deleted) <= 50


async def test_nobody_sees_a_hole_in_a_stream_that_is_not_called_thinned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PIECE_EVENTS", 20)
    monkeypatch.setattr(housekeeping, "PAUSE_SECONDS", 0.0)
    store.now_ms = 100 * DAY_MS
    job_id = await long_job(store.journal, 1_000)
    whole = len(await store.events.read(job_id, limit=10_000))
    store.now_ms += 6 * DAY_MS
    house = Housekeeping(database=store.database, keep_days=5, clock_ms=lambda: store.now_ms)
    round_ = asyncio.create_task(house.round())
    looks = 0
    while not round_.done():
        seen = len(await store.events.read(job_id, limit=10_000))
        is_thinned = (await store.queue.get(job_id)).thinned_at_ms is not None
        assert is_thinned or seen == whole
        looks += is_thinned
    assert await round_ == (1, 0)
    assert looks > 0
