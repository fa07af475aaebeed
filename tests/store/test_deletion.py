"""A long job is deleted in pieces, and an interrupted deletion leaves a thinned job."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import UnknownJob
from service.events import event_types as types
from service.store import deletion, housekeeping
from service.store.deletion import delete_job
from service.store.housekeeping import DAY_MS, Housekeeping
from tests.store.conftest import Store
from tests.store.test_housekeeping import KilledError, Pieces, long_job


@pytest.mark.parametrize("ends_after", [1, 3, None])
async def test_a_long_job_is_deleted_in_pieces(
    store: Store, monkeypatch: pytest.MonkeyPatch, ends_after: int | None
) -> None:
    monkeypatch.setattr(deletion, "PIECE_EVENTS", 50)
    job_id, other = [await long_job(store.journal, 300) for _ in range(2)]
    if ends_after is not None:
        pieces: Any = Pieces(store.database, ends_after)
        with pytest.raises(KilledError):
            await delete_job(pieces, job_id)
        left = await store.events.read(job_id)
        assert [event.type for event in left if event.type not in types.PRINTED_TYPES] == [
            "job_queued",
            "job_started",
            "job_completed",
        ]
        job = await store.queue.get(job_id)
        assert job.is_terminal
        assert job.thinned_at_ms == job.ended_at_ms
    pieces = Pieces(store.database)
    if ends_after == 1:
        # Nobody asks again: housekeeping thins what is left before it deletes it.
        monkeypatch.setattr(housekeeping, "PIECE_EVENTS", 50)
        store.now_ms = job.last_at_ms + 30 * DAY_MS
        house = Housekeeping(database=pieces, keep_days=5, clock_ms=lambda: store.now_ms)
        assert await house.round() == (2, 2)
        assert max(pieces.deleted) <= 50
        return
    await delete_job(pieces, job_id)
    assert max(pieces.deleted) <= 50
    assert await store.events.read(job_id) == []
    with pytest.raises(UnknownJob):
        await store.queue.get(job_id)
    assert len(await store.events.read(other)) == 304
