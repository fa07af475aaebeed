"""What is appended, the same for us and for every peer, and how fast a store appends it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from benchmarks.store import BAR, Store, bars, clock_ms
from service.runner.live_job import LiveJob
from service.runner.pipeline import Pipeline

COLUMNS = ("job_id", "sequence", "type", "version", "at_ms", "resource", "attempt", "source_offset", "data_json")


async def appends(store: Store, jobs: int, seconds: float) -> float:
    """Each job appends one event after the other, as an attempt does; returns the events a second of all."""
    ids = [await store.running_job() for _ in range(jobs)]
    pipelines = [Pipeline(LiveJob(await store.queue.get(job_id), store.journal)) for job_id in ids]
    begin = time.perf_counter()
    counts = await asyncio.gather(*(_append(pipeline, begin + seconds) for pipeline in pipelines))
    return sum(counts) / (time.perf_counter() - begin)


async def _append(pipeline: Pipeline, end: float) -> int:
    count = 0
    while time.perf_counter() < end:
        await pipeline.append(bars(count, 1))
        count += 1
    await pipeline.settle()
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
