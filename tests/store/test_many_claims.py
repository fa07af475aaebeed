"""Many jobs are claimed at once, and each as if it were claimed alone."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StoreUnavailable
from service.events import event_types as types
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent
from service.runner.controls import Controls
from service.runner.live_job import LiveJob
from service.runner.queue_positions import QueuePositions
from service.runner.worker import Worker
from service.store.append import Append
from service.store.database import Database
from service.store.event_store import EventStore
from service.store.gathered import Gathered
from service.store.jobs import HEADS_MAX, Jobs
from service.store.journal import Decide, Journal
from service.store.membership import Member
from service.store.ownership import Ownership
from tests.store.conftest import Store, queued
from tests.store.test_two_writers import Beside, Side

STARTED = NewEvent(event=types.JobStarted())
ENDED = types.JobFailed(error="e", cause="network", hint="h", installed=0, total=1, results=[])
BUSY_SECONDS, TURN_SECONDS = 0.008, 0.01


class Installer:
    """Runs each job until it is let go, or for a moment; knows which run, and how many at most."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance
        self.running: dict[str, str] = {}
        self.most = 0

    async def install(self, live_job: LiveJob) -> None:
        job = live_job.job
        assert self.running.setdefault(job.ssh_host, job.job_id) == job.job_id
        self.most = max(self.most, len(self.running))
        if self._chance is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(self._chance.uniform(0, 0.02))
        del self.running[job.ssh_host]
        await live_job.append([NewEvent(event=ENDED)])

    async def give_up(self, job: Job, outcome: object) -> None:
        raise AssertionError(f"{job.job_id} was given up: {outcome}")


@asynccontextmanager
async def working(
    store: Store,
    installer: Installer,
    places: int,
    *,
    jobs: Jobs | None = None,
    journal: Journal | None = None,
    alive: int = 1,
) -> AsyncIterator[Worker]:
    """A worker that has begun. ``alive``: how many replicas it knows of."""
    membership = Beside(store.database, Member("side", "1"), clock_ms=store.clock)
    await membership.start()
    membership.alive = alive
    worker = Worker(
        journal=journal or store.journal,
        jobs=jobs or store.queue,
        ownership=Ownership(store.database, membership),
        installer=installer,  # type: ignore[arg-type]
        positions=QueuePositions(journal=store.journal, jobs=store.queue),
        max_concurrent_jobs=places,
        on_taken_up=lambda _job: None,
        membership=membership,
    )
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def until_running(installer: Installer, count: int) -> None:
    async with asyncio.timeout(60):
        while len(installer.running) < count:
            await asyncio.sleep(0.005)


async def enqueue(store: Store, count: int, instances: int | None = None) -> list[str]:
    """Their ids, in their order. ``instances``: None: each has its own."""
    hosts = [None if instances is None else f"h{n % instances}" for n in range(count)]
    return [(await store.journal.enqueue(queued(host))).job_id for host in hosts]


async def states(store: Store, job_ids: Sequence[str]) -> dict[str, JobState]:
    return {job.job_id: job.state for job in await store.queue.all_of(job_ids)}


async def test_a_look_brings_what_would_be_claimed_one_after_the_other(store: Store) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    controls = Controls(journal=store.journal, jobs=store.queue, on_control=lambda _job: None)
    ids = await enqueue(store, 60, instances=12)
    for job_id in chance.sample(ids, 8):
        await controls.pause(job_id)
    for job_id in chance.sample(ids, 10):
        if (await store.queue.get(job_id)).state is JobState.QUEUED:
            await controls.move(job_id, chance.choice(["first", "last"]))
    [busy] = await store.queue.next_to_claim()
    await store.journal.append(busy.job_id, [STARTED])
    left = {job.job_id for job in await store.queue.next_to_claim(3)}
    many = [job.job_id for job in await store.queue.next_to_claim(HEADS_MAX, without=left)]
    few = [job.job_id for job in await store.queue.next_to_claim(5, without=left)]
    one_by_one = []
    while found := await store.queue.next_to_claim(without=left):
        one_by_one.append(found[0].job_id)
        await store.journal.append(found[0].job_id, [STARTED])
    assert many == one_by_one
    assert few == one_by_one[:5]
    assert len(many) == 8


class Commits:
    """How many job_started each commit had, of those that had any."""

    def __init__(self, store: Store) -> None:
        self.starts: list[int] = []
        self.events = EventStore(store.database, observe=self._observe)
        self.events.start()
        self.journal = Journal(self.events, store.queue, clock_ms=store.clock, publish=lambda _job_id, _events: None)

    def _observe(self, appends: Sequence[Append], _commit: float, _publish: float) -> None:
        starts = sum(event.type == "job_started" for append in appends for event in append.events)
        self.starts += [starts] if starts else []


@pytest.mark.parametrize("is_busy", [False, True])
async def test_free_places_are_filled_by_one_or_two_commits(store: Store, is_busy: bool) -> None:
    ids = await enqueue(store, 40)
    commits, installer = Commits(store), Installer()
    busy = asyncio.create_task(keep_busy()) if is_busy else None
    async with working(store, installer, 30, journal=commits.journal) as worker:
        await until_running(installer, 30)
        worker.look()
        await asyncio.sleep(0.2)
        assert list(worker.running) == ids[:30]
        assert installer.most == 30
    if busy is not None:
        busy.cancel()
    await commits.events.stop()
    assert sum(commits.starts) == 30
    assert len(commits.starts) <= 2


async def keep_busy() -> None:
    """As a process is that follows many installs."""
    while True:
        until = time.perf_counter() + BUSY_SECONDS
        while time.perf_counter() < until:
            pass
        await asyncio.sleep(TURN_SECONDS - BUSY_SECONDS)


async def test_no_more_run_than_may(store: Store) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    installer = Installer(random.Random(seed))
    ids = await enqueue(store, 120, instances=30)
    async with working(store, installer, 7):
        async with asyncio.timeout(60):
            while set((await states(store, ids)).values()) != {JobState.FAILED}:
                await asyncio.sleep(0.02)
    assert installer.most == 7
    for job_id in ids:
        assert [event.type for event in await store.events.read(job_id)].count("job_started") == 1


class AtOnce(Jobs):
    """Its first look is over once that of the other is."""

    def __init__(self, database: Database, looks: asyncio.Barrier) -> None:
        super().__init__(database)
        self._looks: asyncio.Barrier | None = looks

    async def next_to_claim(self, count: int = 1, *, without: Collection[str] = ()) -> list[Job]:
        found = await super().next_to_claim(count, without=without)
        looks, self._looks = self._looks, None
        if looks is not None:
            await looks.wait()
        return found


async def test_two_that_look_at_once_share_what_waits(store: Store) -> None:
    ids = await enqueue(store, 40)
    other, looks = Side(store), asyncio.Barrier(2)
    installers = Installer(), Installer()
    jobs = AtOnce(store.database, looks), AtOnce(store.database, looks)
    async with (
        working(store, installers[0], 40, jobs=jobs[0], alive=2),
        working(store, installers[1], 40, jobs=jobs[1], journal=other.journal, alive=2),
    ):
        async with asyncio.timeout(60):
            while sum(len(installer.running) for installer in installers) < len(ids):
                await asyncio.sleep(0.01)
        assert sorted([*installers[0].running.values(), *installers[1].running.values()]) == sorted(ids)
        assert min(len(installer.running) for installer in installers) >= 4
    await other.close()


class Interrupted(Jobs):
    """Something happens between a look and what follows from it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.has_looked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def next_to_claim(self, count: int = 1, *, without: Collection[str] = ()) -> list[Job]:
        found = await super().next_to_claim(count, without=without)
        self.has_looked.set()
        await self.go_on.wait()
        return found


async def test_what_happens_to_one_meanwhile_holds_up_none_of_the_others(store: Store) -> None:
    controls = Controls(journal=store.journal, jobs=store.queue, on_control=lambda _job: None)
    ids = await enqueue(store, 8)
    jobs, installer = Interrupted(store.database), Installer()
    async with working(store, installer, 8, jobs=jobs):
        await jobs.has_looked.wait()
        await controls.pause(ids[0])
        await controls.cancel(ids[2])
        await controls.cancel(ids[5])
        await controls.delete(ids[5])
        jobs.go_on.set()
        await until_running(installer, 5)
    found = await states(store, ids)
    assert [found.get(job_id) for job_id in (ids[0], ids[2], ids[5])] == [JobState.PAUSED, JobState.CANCELLED, None]
    assert {found[job_id] for n, job_id in enumerate(ids) if n not in (0, 2, 5)} == {JobState.RUNNING}


async def test_another_writer_takes_some_of_them(store: Store) -> None:
    """One of the jobs itself, and one with another job of its instance, as after a move."""
    other = Side(store)
    await other.membership.start()
    theirs = other.membership.replica_id
    ids = await enqueue(store, 8)
    behind = await store.journal.enqueue(queued((await store.queue.get(ids[6])).ssh_host))
    jobs, installer = Interrupted(store.database), Installer()
    async with working(store, installer, 8, jobs=jobs):
        await jobs.has_looked.wait()
        await other.journal.append(ids[3], [STARTED], owner=theirs)
        await other.journal.append(behind.job_id, [STARTED], owner=theirs)
        jobs.go_on.set()
        await until_running(installer, 6)
    assert {job.job_id: job.owner for job in await store.queue.all_of([ids[3], behind.job_id])} == {
        ids[3]: theirs,
        behind.job_id: theirs,
    }
    found = await states(store, ids)
    assert found[ids[6]] is JobState.QUEUED
    assert sorted(installer.running.values()) == sorted(set(ids) - {ids[3], ids[6]})
    await other.close()


class OnceUnavailable(Journal):
    """The first append to this job fails, as where the database is away."""

    fails: str | None = None

    async def append(self, job_id: str, events: Sequence[NewEvent] | Decide, *, owner: int | None = None) -> Job:
        if job_id == self.fails:
            self.fails = None
            raise StoreUnavailable("not now")
        return await super().append(job_id, events, owner=owner)


async def test_a_claim_that_fails_leaves_the_others_running(store: Store) -> None:
    ids = await enqueue(store, 6)
    journal = OnceUnavailable(store.events, store.queue, clock_ms=store.clock, publish=lambda _job_id, _events: None)
    journal.fails, installer = ids[2], Installer()
    async with working(store, installer, 6, journal=journal):
        await until_running(installer, 5)
        await until_running(installer, 6)
    for job in await store.queue.all_of(ids):
        # Nobody had to take over what this one had started.
        assert (job.state, job.epoch) == (JobState.RUNNING, 1)


async def test_who_stops_claims_nothing_more(store: Store) -> None:
    ids = await enqueue(store, 5)
    jobs, installer = Interrupted(store.database), Installer()
    async with working(store, installer, 5, jobs=jobs) as worker:
        await jobs.has_looked.wait()
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0.05)
        jobs.go_on.set()
        await stopping
    assert set((await states(store, ids)).values()) == {JobState.QUEUED}


class Counted:
    """Reads as Jobs does, and keeps what each read was asked for. ``refuses``: what none may read."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.reads: list[Sequence[str]] = []
        self.refuses: dict[str, Exception] = {}

    async def __call__(self, _connection: AsyncConnection, job_ids: Sequence[str]) -> Sequence[Job]:
        self.reads.append(job_ids)
        for job_id in job_ids:
            if job_id in self.refuses:
                raise self.refuses[job_id]
        return await self._jobs.all_of(job_ids)


async def test_jobs_that_are_asked_for_at_once_are_read_at_once(store: Store) -> None:
    ids = await enqueue(store, 20)
    load = Counted(store.queue)
    gathered = Gathered(store.database, load)
    found = await asyncio.gather(*(gathered.get(job_id) for job_id in [*ids, ids[0], "unknown"]))
    assert [job and job.job_id for job in found] == [*ids, ids[0], None]
    assert load.reads == [[*ids, ids[0], "unknown"]]


async def test_what_was_stored_before_the_question_is_in_the_answer(store: Store) -> None:
    [job_id] = await enqueue(store, 1)
    first = asyncio.create_task(store.queue.get(job_id))
    for percent in range(1, 40):
        await asyncio.sleep(0)
        waits = types.QueuePositionChanged(queue_position=percent)
        last = (await store.journal.append(job_id, [NewEvent(event=waits)])).last_sequence
        asked = [asyncio.create_task(store.queue.get(job_id)) for _ in range(3)]
        assert min([(await each).last_sequence for each in asked]) >= last
    await first


async def test_who_reads_for_all_harms_none_of_them(store: Store) -> None:
    ids = await enqueue(store, 4)
    load = Counted(store.queue)
    gathered = Gathered(store.database, load)
    asked = [asyncio.create_task(gathered.get(job_id)) for job_id in ids]
    await asyncio.sleep(0)
    asked[0].cancel()
    assert [job and job.job_id for job in await asyncio.gather(*asked[1:])] == ids[1:]
    load.refuses = {ids[2]: ValueError("a damaged row")}
    found = await asyncio.gather(*(gathered.get(job_id) for job_id in ids), return_exceptions=True)
    assert [isinstance(each, ValueError) for each in found] == [False, False, True, False]
    load.refuses, load.reads = {ids[2]: StoreUnavailable("away")}, []
    found = await asyncio.gather(*(gathered.get(job_id) for job_id in ids), return_exceptions=True)
    assert [isinstance(each, StoreUnavailable) for each in found] == [True] * 4
    assert len(load.reads) == 1
