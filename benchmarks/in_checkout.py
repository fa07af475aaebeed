"""One measurement on SQLite by whichever checkout of this repository is first in the path, in a process of its own:
``PYTHONPATH=CHECKOUT python -P benchmarks/in_checkout.py appends|replay FOLDER JOBS SECONDS`` prints events a second.

It names only what version 0.1 has too, but for the replay, which needs 0.2. See checkouts.py, which runs it.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

HISTORY_EVENTS = 10_000


def main() -> None:
    what, folder, jobs, seconds, switch_seconds, *thresholds = sys.argv[1:]
    sys.setswitchinterval(float(switch_seconds))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*map(int, thresholds))
    print(uvloop.run(MEASURES[what](Path(folder), int(jobs), float(seconds))))


async def appends(folder: Path, jobs: int, seconds: float) -> float:
    from benchmarks.append import through_the_journal

    return await through_the_journal(folder, jobs, seconds)


async def replay(folder: Path, _jobs: int, seconds: float) -> float:
    from benchmarks.store import opened

    async with opened(folder / "replay.sqlite3") as store:
        return await replayed(store, seconds)


async def replayed(store: Any, seconds: float) -> float:
    """Whole histories of HISTORY_EVENTS events, one after the other, as the text that a late client is sent; events a
    second. ``store``: the Store of some checkout."""
    job_id = await store.running_job()
    await store.fill(job_id, HISTORY_EVENTS)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        screen = Screen()
        await store.journal.hand_over(job_id, 0, screen)
        count += screen.count
    return count / (time.perf_counter() - begin)


class Screen:
    """A subscriber that takes a history and leaves."""

    def __init__(self) -> None:
        self.count = 0
        self.characters = 0

    async def ready(self) -> None:
        """It reads as fast as it is sent."""

    def deliver(self, events: Sequence[Any]) -> None:
        self.count += len(events)
        self.characters += sum(len(event.to_json()) for event in events)

    def join(self, last: int) -> None:
        if self.count != last:
            raise RuntimeError(f"a history of {last} events came as {self.count}")


MEASURES = {"appends": appends, "replay": replay}

if __name__ == "__main__":
    main()
