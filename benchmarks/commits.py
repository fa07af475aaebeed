"""(l) The seconds of a commit while the loop waits for it, and while the loop computes: the writer has to win the
interpreter lock from it, and may not have to do so once a row."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scratch import scratch
from benchmarks.store import Store, bars, opened
from benchmarks.table import Row, median
from service.__main__ import SWITCH_SECONDS
from service.store.append import Append

SIZES = (16, 128, 512)
BUSY_MAX = 3.0
# How long the loop computes between two looks at what is ready.
SPIN_SECONDS = 0.0005


async def run(quick: bool) -> list[Row]:
    commits = 10 if quick else 40
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with scratch() as folder:
            return [await commit_row(folder / f"{size}.sqlite3", size, commits) for size in SIZES]
    finally:
        sys.setswitchinterval(usual)


async def commit_row(path: Path, size: int, commits: int) -> Row:
    """Idle and busy by turns: what else the machine does hits both."""
    seconds: list[float] = []

    def observe(_appends: Sequence[Append], commit_seconds: float, _publish_seconds: float) -> None:
        seconds.append(commit_seconds)

    async with opened(path, observe=observe) as store:
        job_ids = [await store.running_job() for _ in range(size)]
        idle: list[float] = []
        busy: list[float] = []
        for number in range(commits):
            for values, is_busy in ((idle, False), (busy, True)):
                await one_commit(store, job_ids, number, is_busy=is_busy)
                values.append(seconds[-1])
    return Row(
        name=f"(l) a commit of {size} events, loop busy",
        value=median(busy) * 1000,
        unit="ms",
        peer="loop idle",
        peer_value=median(idle) * 1000,
        goal=f"<= {BUSY_MAX:g}",
        holds=median(busy) <= BUSY_MAX * median(idle),
    )


async def one_commit(store: Store, job_ids: Sequence[str], number: int, *, is_busy: bool) -> None:
    """One event of each job, all in one commit."""
    appends = asyncio.gather(*(store.journal.append(job_id, bars(number, 1)) for job_id in job_ids))
    while is_busy and not appends.done():
        end = time.perf_counter() + SPIN_SECONDS
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)
    await appends
