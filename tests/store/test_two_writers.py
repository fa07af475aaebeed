"""Two of everything over one database, as two replicas would have it: what one of them overlooks, the database refuses,
and then it looks again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Connection, delete, insert

from service.errors import LeaseLost, SequenceConflict
from service.events import event_types as types
from service.events.fold import fold
from service.events.job import Job, JobState
from service.events.recorded_event import NewEvent, RecordedEvent
from service.events.redaction import Redactor
from service.runner.controls import Controls
from service.runner.installer import ResourceInstaller
from service.runner.live_job import LiveJob
from service.runner.pipeline import Pipeline
from service.runner.queue_positions import QueuePositions
from service.runner.rules import InstallRules
from service.runner.worker import Worker
from service.store.event_store import EventStore
from service.store.jobs import Jobs
from service.store.journal import Decide, Journal
from service.store.membership import Alone, Member
from service.store.ownership import Ownership
from service.store.rebuild import rebuild
from service.store.tables import replicas as rows_of_replicas
from tests.store.conftest import Store, queued

ENDED = types.JobFailed(error="e", cause="network", hint="h", installed=0, total=1, results=[])


class Beside(Alone):
    """Beside another, as where the database is shared."""

    alive = 2

    def _join(self, connection: Connection) -> int:
        new = insert(rows_of_replicas).values(name="side", version="1", started_at_ms=1)
        return int((connection.execute(new).inserted_primary_key or (0,))[0])


class Side:
    """A journal with its own writer and its own memory, beside others over the same database."""

    def __init__(self, store: Store) -> None:
        self.published: list[RecordedEvent] = []
        self.events = EventStore(store.database)
        self.events.start()
        self.jobs = Jobs(store.database)
        self.membership = Beside(store.database, Member("side", "1"), clock_ms=store.clock)
        self.journal = Journal(
            self.events,
            self.jobs,
            clock_ms=store.clock,
            publish=self._publish,
            is_shared=True,
            replica_id=lambda: self.membership.replica_id,
        )
        self.ownership = Ownership(store.database, self.membership)
        self.controls = Controls(journal=self.journal, jobs=self.jobs, on_control=lambda _job: None)

    async def close(self) -> None:
        await self.journal.drain()
        await self.events.stop()

    def _publish(self, job_id: str, events: Sequence[RecordedEvent]) -> None:
        self.published += events


@pytest.fixture
async def replicas(store: Store) -> AsyncIterator[list[Side]]:
    both = [Side(store), Side(store)]
    for side in both:
        await side.membership.start()
    yield both
    for replica in both:
        await replica.close()


async def test_each_job_gets_a_place_of_its_own(replicas: list[Side]) -> None:
    enqueued = await asyncio.gather(*(replicas[n % 2].controls.start(queued(f"h{n}")) for n in range(50)))
    assert all(is_new for _, is_new in enqueued)
    assert len({job.place for job, _ in enqueued}) == 50
    # Moves stay before the next number.
    for n in range(4):
        job, _ = await replicas[n % 2].controls.start(queued("one"))
    first = (await replicas[0].jobs.queue_of("one:22"))[0].job_id
    moved = await replicas[0].controls.move(first, "last")
    last, _ = await replicas[1].controls.start(queued("one"))
    assert job.place < moved.place < last.place


async def test_one_idempotency_key_is_one_job(replicas: list[Side]) -> None:
    begin = replace(queued(), idempotency_key="once", body_sha256="0" * 64)
    started = await asyncio.gather(*(replicas[n % 2].controls.start(begin) for n in range(50)))
    assert len({job.job_id for job, _ in started}) == 1
    assert sum(is_new for _, is_new in started) == 1


async def test_a_job_is_retried_once(replicas: list[Side]) -> None:
    job, _ = await replicas[0].controls.start(queued())
    await replicas[0].journal.append(job.job_id, [NewEvent(event=types.JobStarted()), NewEvent(event=ENDED)])
    retries = await asyncio.gather(*(replicas[n % 2].controls.retry(job.job_id) for n in range(20)))
    assert len({retry.job_id for retry in retries}) == 1
    # When it has ended, there may be another.
    await replicas[1].journal.append(retries[0].job_id, [NewEvent(event=types.JobStarted()), NewEvent(event=ENDED)])
    assert (await replicas[0].controls.retry(job.job_id)).job_id != retries[0].job_id


async def test_two_moves_to_one_spot_leave_room(replicas: list[Side]) -> None:
    """Both replicas looked before either had moved: two jobs have one place."""
    ids = [(await replicas[0].controls.start(queued("h")))[0].job_id for _ in range(5)]
    places = [waiting.place for waiting in await replicas[0].jobs.queue_of("h:22")]
    between = types.JobMoved(before=ids[1], place=places[0] + "5")
    for replica, job_id in zip(replicas, ids[3:], strict=True):
        await replica.journal.append(job_id, [NewEvent(event=between)])
    await replicas[0].controls.move(ids[2], ids[4])
    order = [waiting.job_id for waiting in await replicas[1].jobs.queue_of("h:22")]
    assert order == [ids[0], ids[2], ids[3], ids[4], ids[1]]


class FakeInstaller:
    """Runs each job for a moment, and sees which others run on its instance meanwhile."""

    def __init__(self, chance: random.Random, running: dict[str, str]) -> None:
        self._chance = chance
        self._running = running

    async def install(self, live_job: LiveJob) -> None:
        job = live_job.job
        assert self._running.setdefault(job.ssh_host, job.job_id) == job.job_id
        await asyncio.sleep(self._chance.uniform(0, 0.01))
        del self._running[job.ssh_host]
        await live_job.append([NewEvent(event=ENDED)])

    async def give_up(self, job: Job, outcome: object) -> None:
        raise AssertionError(f"{job.job_id} was given up: {outcome}")


@pytest.mark.parametrize(("jobs", "instances"), [(20, 5), (120, 40)])
async def test_two_workers_never_start_two_jobs_of_one_instance(
    replicas: list[Side], jobs: int, instances: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    running: dict[str, str] = {}
    workers = [
        Worker(
            journal=replica.journal,
            jobs=replica.jobs,
            ownership=replica.ownership,
            installer=FakeInstaller(chance, running),  # type: ignore[arg-type]
            positions=QueuePositions(journal=replica.journal, jobs=replica.jobs),
            max_concurrent_jobs=20,
            on_taken_up=lambda _job: None,
            membership=replica.membership,
        )
        for replica in replicas
    ]
    begun = [queued(f"h{n % instances}") for n in range(jobs)]
    started = await asyncio.gather(*(replicas[n % 2].controls.start(each) for n, each in enumerate(begun)))
    for worker in workers:
        worker.start()
    async with asyncio.timeout(60):
        while any([(await replicas[0].jobs.get(job.job_id)).state is not JobState.FAILED for job, _ in started]):
            for worker, (job, _) in zip(workers, started, strict=False):
                worker.job_changed(job)
            await asyncio.sleep(0.01)
    for worker in workers:
        await worker.stop()
    for job, _ in started:
        history = await replicas[0].events.read(job.job_id)
        assert (await replicas[0].jobs.get(job.job_id)).epoch == 1
        assert [event.type for event in history if event.type != "queue_position_changed"] == [
            "job_queued",
            "job_started",
            "job_failed",
        ]


async def test_a_control_before_the_rescue_does_not_hide_the_new_owner(store: Store) -> None:
    """A client is served before the worker looks for what an earlier start left: the fold that its control leaves in
    memory has the former owner."""
    alone = Alone(store.database, Member("alone", "1"), clock_ms=store.clock)
    await alone.start()
    controls = Controls(journal=store.journal, jobs=store.queue, on_control=lambda _job: None)
    job, _ = await controls.start(queued())
    await store.journal.append(job.job_id, [NewEvent(event=types.JobStarted())], owner=alone.replica_id)
    await controls.change_limits(job.job_id, 5)
    await alone.start()
    worker = Worker(
        journal=store.journal,
        jobs=store.queue,
        ownership=Ownership(store.database, alone),
        installer=FakeInstaller(random.Random(1), {}),  # type: ignore[arg-type]
        positions=QueuePositions(journal=store.journal, jobs=store.queue),
        max_concurrent_jobs=20,
        on_taken_up=lambda _job: None,
        membership=alone,
    )
    worker.start()
    async with asyncio.timeout(20):
        while (await store.queue.get(job.job_id)).state is not JobState.FAILED:
            await asyncio.sleep(0.01)
    assert (await store.queue.get(job.job_id)).epoch == 2
    await worker.stop()


class Watcher:
    """Has the history, and is live."""

    async def ready(self) -> None:
        """Takes whatever comes."""

    def deliver(self, events: Sequence[RecordedEvent]) -> None:
        raise RuntimeError(f"it has {len(events)} events already")

    def join(self, last: int) -> None:
        """What comes now is published."""


async def running_job(replica: Side) -> str:
    job, _ = await replica.controls.start(queued())
    begun = types.ResourceStarted(title="A", card_sha256="0" * 64)
    begin = [NewEvent(event=types.JobStarted()), NewEvent(event=begun, resource="a.md", attempt=1)]
    await replica.journal.append(job.job_id, begin, owner=replica.membership.replica_id)
    return job.job_id


async def test_a_conflict_is_published_and_decided_again(replicas: list[Side]) -> None:
    """Facts of the one that runs the job, and controls through another: each is stored once, and each sees all."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    job_id = await running_job(replicas[0])
    live_job = LiveJob(await replicas[0].jobs.get(job_id), replicas[0].journal)
    pipeline = Pipeline(live_job)
    begun = (await replicas[0].jobs.get(job_id)).last_sequence
    for replica in replicas:
        await replica.journal.hand_over(job_id, begun, Watcher())
        replica.published.clear()

    async def facts() -> None:
        for n in range(100):
            bar = types.Progress(stage="model", percent=n)
            await pipeline.append([NewEvent(event=bar, resource="a.md", attempt=1, source_offset=n + 1)])
            await asyncio.sleep(chance.uniform(0.001, 0.004))
        await pipeline.settle()

    async def control() -> None:
        for n in range(20):
            await replicas[1].controls.change_limits(job_id, 1_000 + n)
            await asyncio.sleep(chance.uniform(0, 0.005))

    await asyncio.gather(facts(), control())
    history = await replicas[0].events.read(job_id)
    assert [event.sequence for event in history] == list(range(1, 124))
    assert [event.source_offset for event in history if event.type == "progress"] == list(range(1, 101))
    folded = fold(history)
    assert folded is not None
    assert (await replicas[0].jobs.get(job_id))._replace(owner=None, epoch=0) == folded
    for replica in replicas:
        seen = [event.sequence for event in replica.published]
        assert seen == list(range(begun + 1, seen[-1] + 1))


async def test_a_decision_is_made_over_what_another_decided(replicas: list[Side]) -> None:
    job_id = await running_job(replicas[0])
    await replicas[1].controls.pause(job_id)
    seen = []

    def decide(job: Job) -> list[NewEvent]:
        seen.append(job.state)
        return [] if job.state is JobState.PAUSED else [NewEvent(event=types.JobPaused())]

    assert (await replicas[0].journal.append(job_id, decide)).state is JobState.PAUSED
    assert seen == [JobState.RUNNING, JobState.PAUSED]
    assert [event.type for event in replicas[0].published][-1] == "job_paused"


class LostJob(LiveJob):
    """Every append finds that another writer is at work."""

    error: Exception

    async def append_from(self, decide: Decide) -> None:
        raise self.error


@pytest.mark.parametrize("error", [LeaseLost("replica 2 has it"), SequenceConflict("another was first")])
async def test_an_install_that_is_not_ours_any_more_ends_without_an_event(
    replicas: list[Side], error: Exception
) -> None:
    job_id = await running_job(replicas[0])
    before = await replicas[0].events.read(job_id)
    live_job = LostJob(await replicas[0].jobs.get(job_id), replicas[0].journal)
    live_job.error = error
    installer = ResourceInstaller(
        journal=replicas[0].journal,
        jobs=replicas[0].jobs,
        library=None,  # type: ignore[arg-type]
        connector=None,  # type: ignore[arg-type]
        rules=InstallRules(
            resource_timeout_seconds=1, link_timeout_seconds=1, connect_timeout_seconds=1, stall_seconds=0
        ),
        redact=Redactor(()),
        clock_ms=lambda: 0,
        clock=lambda: 0.0,
    )
    with pytest.raises(type(error)):
        await installer.install(live_job)
    assert await replicas[0].events.read(job_id) == before


async def test_a_claim_sets_the_owner_and_only_what_nobody_owns_is_taken_over(
    store: Store, replicas: list[Side]
) -> None:
    one, two = replicas
    numbers = [side.membership.replica_id for side in replicas]
    assert None not in numbers
    jobs = [(await one.controls.start(queued()))[0].job_id for _ in range(3)]
    for side, job_id in zip((one, one, two), jobs, strict=True):
        claimed = await side.journal.append(
            job_id, [NewEvent(event=types.JobStarted())], owner=side.membership.replica_id
        )
        assert (claimed.owner, claimed.epoch) == (side.membership.replica_id, 1)
    # Its next appends leave the owner alone, and so does a rebuild.
    await two.controls.change_limits(jobs[2], 5)
    await rebuild(store.database)
    assert await two.ownership.left(without=[jobs[2]]) == ([], 1)
    assert await one.ownership.take_over([jobs[2]]) == []
    gone = delete(rows_of_replicas).where(rows_of_replicas.c.replica_id == numbers[0])
    await store.database.write(lambda connection: connection.execute(gone))
    assert await two.ownership.left(without=[jobs[2]]) == (jobs[:2], 1)
    assert await two.ownership.take_over(jobs[:2]) == jobs[:2]
    assert [(job.owner, job.epoch) for job in await two.jobs.all_of(jobs)] == [
        (numbers[1], 2),
        (numbers[1], 2),
        (numbers[1], 1),
    ]
    # A service that has the database for itself is the only one alive.
    alone = Alone(store.database, Member("alone", "1"), clock_ms=store.clock)
    await alone.start()
    assert (alone.replica_id or 0) > (numbers[1] or 0)
    ownership = Ownership(store.database, alone)
    assert await ownership.left(without=()) == (jobs, 1)
    assert await ownership.take_over(jobs) == jobs
    assert await two.ownership.take_over(jobs) == []
