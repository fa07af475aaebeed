"""What is appended, the same for us and for every peer, and how fast a store appends it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from benchmarks.store import BAR, Store, bars, clock_ms

COLUMNS = ("job_id", "sequence", "type", "version", "at_ms", "resource", "attempt", "source_offset", "data_json")


async def appends(store: Store, jobs: int, seconds: float) -> float:
    """Each job appends one event after the other; returns the events a second of all."""
    ids = [await store.running_job() for _ in range(jobs)]
    begin = time.perf_counter()
    counts = await asyncio.gather(*(_append(store, job_id, begin + seconds) for job_id in ids))
    return sum(counts) / (time.perf_counter() - begin)


async def _append(store: Store, job_id: str, end: float) -> int:
    count = 0
    while time.perf_counter() < end:
        await store.journal.append(job_id, bars(count, 1))
        count += 1
    return count


def encoded() -> bytes:
    return orjson.dumps(BAR)


def event_row(job: int, count: int) -> dict[str, Any]:
    return {
        "job_id": f"{job:08x}-0000-4000-8000-000000000000",
        "sequence": count + 1,
        "type": "progress",
        "version": 1,
        "at_ms": clock_ms(),
        "resource": "a.md",
        "attempt": 1,
        "source_offset": count,
        "data_json": encoded().decode(),
    }
