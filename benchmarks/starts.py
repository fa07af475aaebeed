"""(h) How long queued jobs on as many instances wait until each has started, in a process that is busy with the bars of
other installs, so that each look and each commit waits for its turn.

``python -m benchmarks.starts [--jobs 500] [--running 1000] [--turns 3] [--against PATH]`` measures one case; PATH is
another checkout of this repository, which is measured beside this one, by turns, each turn a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.bar_streams import BAR_SECONDS, UNITS, tqdm_bar
from benchmarks.checkouts import HERE, output_in
from benchmarks.interpreter import as_served
from benchmarks.scratch import scratch
from benchmarks.store import Store, opened
from benchmarks.table import Row, median, show
from service.events.event_types import JobQueued, ResourceStarted
from service.events.job import Job
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent, RecordedEvent
from service.runner.live_job import LiveJob
from service.runner.outcome import Outcome
from service.runner.pipeline import Pipeline
from service.runner.queue_positions import QueuePositions
from service.runner.worker import Worker
from service.store.ownership import Ownership

# Their bars take about one core, with what the writer needs to store them.
RUNNING = 1_000
QUEUED = (100, 500)
SETTLE_SECONDS = 3.0
START_SECONDS_MAX = 600
BEFORE = "the checkout before"


class Started(NamedTuple):
    """``cores``: what the bars of the others took of the processor before."""

    seconds: float
    cores: float


async def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for queued in QUEUED[:1] if quick else QUEUED:
        found = [await measured(HERE, queued, RUNNING) for _ in range(1 if quick else 3)]
        rows += rows_of(queued, RUNNING, found)
    return rows


async def measured(checkout: Path, queued: int, running: int) -> Started:
    """Of that checkout, with the steps of this one."""
    output = await output_in(checkout, __file__, "--alone", "--jobs", str(queued), "--running", str(running))
    seconds, cores = map(float, output.split())
    return Started(seconds, cores)


async def started(queued: int, running: int) -> Started:
    with scratch() as folder, as_served():
        begun = Begun()
        async with opened(folder / "log.sqlite3", begun.publish) as store:
            worker = worker_of(store, Drawing(running, store), running + queued)
            worker.start()
            try:
                await start_all(store, worker, begun, running)
                busy = time.process_time()
                await asyncio.sleep(SETTLE_SECONDS)
                cores = (time.process_time() - busy) / SETTLE_SECONDS
                return Started(await start_all(store, worker, begun, queued), cores)
            finally:
                await worker.stop()


async def start_all(store: Store, worker: Worker, begun: Begun, count: int) -> float:
    """Enqueue this many more jobs. Returns the seconds from the first look for them until the last has started."""
    first = len(begun.ids)
    await asyncio.gather(*(store.journal.enqueue(queued_on(n)) for n in range(first, first + count)))
    began = time.perf_counter()
    worker.look()
    await begun.wait_for(first + count)
    return time.perf_counter() - began


def queued_on(number: int) -> JobQueued:
    resources = [{"resource": "a.md", "title": "A", "dependencies": []}]
    return JobQueued(ssh_host=f"h{number}", ssh_port=22, ssh_user="root", ui_home="/ui", resources=resources)


def worker_of(store: Store, installer: Drawing, places: int) -> Worker:
    membership = store.cluster.membership
    return Worker(
        journal=store.journal,
        jobs=store.queue,
        ownership=Ownership(store.database, membership),
        installer=installer,  # type: ignore[arg-type]
        positions=QueuePositions(journal=store.journal, jobs=store.queue),
        max_concurrent_jobs=places,
        on_taken_up=lambda _job: None,
        membership=membership,
    )


class Begun:
    """Makes of each event the text that clients are sent, and knows which jobs have started."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._woken = asyncio.Event()

    def publish(self, job_id: str, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            event.to_json()
            if event.type == "job_started":
                self.ids.add(job_id)
                self._woken.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(START_SECONDS_MAX):
            while len(self.ids) < count:
                self._woken.clear()
                await self._woken.wait()


class Drawing:
    """In the place of the installer: the first jobs draw their bars, as long as they are let; the others wait."""

    def __init__(self, drawers: int, store: Store) -> None:
        self._left = drawers
        self._store = store

    async def install(self, live_job: LiveJob) -> None:
        self._left -= 1
        if self._left < 0:
            await asyncio.Event().wait()
        begun = ResourceStarted(title="A", card_sha256="0" * 64)
        await live_job.append([NewEvent(event=begun, resource="a.md", attempt=1)])
        parser, pipeline = ProgressParser(resource="a.md", attempt=1), Pipeline(live_job)
        for number in range(UNITS):
            await pipeline.append(parser.feed(f"\r{tqdm_bar(number)}".encode()))
            await asyncio.sleep(BAR_SECONDS)

    async def give_up(self, job: Job, outcome: Outcome) -> None:
        raise RuntimeError(f"{job.job_id} was given up: {outcome}")


def rows_of(queued: int, running: int, found: Sequence[Started], before: Sequence[Started] = ()) -> list[Row]:
    name = f"(h) {queued} queued jobs started beside {running} that run"
    peer = median([each.seconds for each in before]) if before else None
    return [
        Row(
            name=name,
            value=median([each.seconds for each in found]),
            unit="s",
            peer=BEFORE if before else "",
            peer_value=peer,
        ),
        Row(name=f"{name}, busy before", value=median([each.cores for each in found]), unit="cores"),
    ]


async def by_turns(given: argparse.Namespace) -> list[Row]:
    found: dict[Path, list[Started]] = {HERE: []} | ({given.against.resolve(): []} if given.against else {})
    for turn in range(given.turns):
        # The one that is first in this turn is last in the next.
        for checkout in list(found)[:: -1 if turn % 2 else 1]:
            found[checkout].append(await measured(checkout, given.jobs, given.running))
            print(f"{checkout.name}: {found[checkout][-1]}")
    return rows_of(given.jobs, given.running, *found.values())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=QUEUED[-1])
    arguments.add_argument("--running", type=int, default=RUNNING)
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--against", type=Path)
    arguments.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.alone:
        print(*uvloop.run(started(given.jobs, given.running)))
    else:
        show(asyncio.run(by_turns(given)))


if __name__ == "__main__":
    main()
