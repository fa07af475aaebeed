"""The event log on each engine: appended before published, whole or not at all, and rebuilt from itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from sqlalchemy import Connection, text

from service.errors import (
    InvalidRequest,
    SequenceConflict,
    TransitionRefused,
    UnknownJob,
)
from service.events import event_types as types
from service.events.fold import fold
from service.events.job import Job
from service.events.recorded_event import NewEvent, RecordedEvent
from service.store.append import Append
from service.store.membership import Alone, Member
from service.store.ownership import Ownership
from service.store.rebuild import rebuild
from service.store.stream import RECENT_EVENTS_MAX
from tests.store.conftest import Store, queued

STARTED = NewEvent(event=types.JobStarted())
BEGUN = NewEvent(event=types.ResourceStarted(title="A", card_sha256="0" * 64), resource="a.md", attempt=1)


def bar(percent: int, offset: int | None = None) -> NewEvent:
    event = types.Progress(stage="model", percent=percent)
    return NewEvent(event=event, resource="a.md", attempt=1, source_offset=offset)


class FakeSubmitter:
    def __init__(self) -> None:
        self.errors: list[Exception | None] = []

    def committed(self, events: Sequence[RecordedEvent]) -> None:
        return None

    def settled(self, error: Exception | None) -> None:
        self.errors.append(error)


class FakeSubscriber:
    """Reads slowly, then joins the room."""

    def __init__(self, room: list[FakeSubscriber]) -> None:
        self.seen: list[int] = []
        self.joined_at = 0
        self._room = room

    def take(self, events: Sequence[RecordedEvent]) -> None:
        self.seen += [event.sequence for event in events]

    async def ready(self) -> None:
        await asyncio.sleep(0.001)

    def deliver(self, events: Sequence[RecordedEvent]) -> None:
        self.take(events)

    def join(self, last: int) -> None:
        assert last == self.seen[-1]
        self.joined_at = last
        self._room.append(self)


async def running_job(store: Store) -> str:
    job = await store.journal.enqueue(queued())
    await store.journal.append(job.job_id, [STARTED, BEGUN])
    return job.job_id


async def test_events_and_projection_agree(store: Store) -> None:
    job_id = await running_job(store)
    await store.journal.append(job_id, [bar(n, n) for n in range(1, 101)])
    history = await store.events.read(job_id)
    assert [event.sequence for event in history] == list(range(1, 104))
    assert [event.to_json() for event in store.published] == [event.to_json() for event in history]
    assert await store.queue.get(job_id) == fold(history)
    assert await store.events.read(job_id, after=100, limit=2) == history[100:102]
    assert await store.events.read(job_id, types=["job_started"]) == history[1:2]


async def test_what_may_not_follow_is_refused_and_leaves_nothing(store: Store) -> None:
    job_id = await running_job(store)
    with pytest.raises(TransitionRefused):
        await store.journal.append(job_id, [bar(1), NewEvent(event=types.JobStarted())])
    await store.journal.append(job_id, [bar(2)])
    assert [event.sequence for event in await store.events.read(job_id)] == [1, 2, 3, 4]
    with pytest.raises(UnknownJob):
        await store.journal.append("nope", [bar(1)])


async def test_a_conflict_of_one_stream_fails_that_stream_alone(store: Store) -> None:
    ids = [await running_job(store) for _ in range(3)]
    jobs = [await store.queue.get(job_id) for job_id in ids]

    def append(index: int, sequence: int) -> Append:
        event = RecordedEvent(
            position=None,
            job_id=ids[index],
            sequence=sequence,
            type="job_started",
            version=1,
            at_ms=1,
            resource=None,
            attempt=None,
            source_offset=None,
            data_json="{}",
        )
        return Append(before=jobs[index], after=jobs[index]._replace(last_sequence=sequence), events=[event])

    submitter = FakeSubmitter()
    wanted = [append(0, 4), append(1, 3), append(2, 4)]  # the second stream holds sequence 3 already
    results = await asyncio.gather(*(store.events.submit(a, submitter) for a in wanted), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), SequenceConflict, type(None)]
    assert [type(error) for error in submitter.errors] == [type(None), SequenceConflict, type(None)]
    assert [(await store.queue.get(job_id)).last_sequence for job_id in ids] == [4, 3, 4]


async def test_a_cancelled_record_is_both_committed_and_published_or_neither(store: Store) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    job_id = await running_job(store)
    for n in range(60):
        task = asyncio.create_task(store.journal.append(job_id, [bar(n % 100)]))
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.journal.drain()
    history = await store.events.read(job_id)
    assert [event.to_json() for event in store.published] == [event.to_json() for event in history]
    assert [event.sequence for event in history] == list(range(1, len(history) + 1))


async def test_late_subscribers_get_all_in_order_while_events_come(store: Store) -> None:
    job_id = await running_job(store)
    room: list[FakeSubscriber] = []

    def publish(_job_id: str, events: Sequence[RecordedEvent]) -> None:
        for subscriber in room:
            subscriber.take(events)

    store.journal._publish = publish
    subscribers = [FakeSubscriber(room) for _ in range(40)]

    async def join(subscriber: FakeSubscriber, delay: float) -> None:
        await asyncio.sleep(delay)
        await store.journal.hand_over(job_id, 0, subscriber)

    async def write() -> None:
        for n in range(150):
            await store.journal.append(job_id, [bar(n % 100) for _ in range(10)])

    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    await asyncio.gather(write(), *(join(subscriber, chance.random() * 0.5) for subscriber in subscribers))
    assert [subscriber.seen for subscriber in subscribers] == [list(range(1, 1_504))] * 40
    assert all(0 < subscriber.joined_at < 1_504 for subscriber in subscribers)


async def test_follow_never_ends_before_the_last_event(store: Store) -> None:
    job_id = await running_job(store)

    async def follow() -> list[int]:
        follower, seen = store.journal.follow(job_id, 0), []
        while page := await follower.next():
            seen += [event.sequence for event in page]
        follower.close()
        return seen

    followers = [asyncio.create_task(follow()) for _ in range(20)]
    for n in range(50):
        await store.journal.append(job_id, [bar(n)])
    done = NewEvent(event=types.ResourceInstalled(exit_code=0, seconds=1.0), resource="a.md", attempt=1)
    await store.journal.append(job_id, [done])
    await store.journal.append(job_id, [NewEvent(event=types.JobCompleted(installed=1, total=1, results=[]))])
    assert await asyncio.gather(*followers) == [list(range(1, 56))] * 20


class SilentSubscriber(FakeSubscriber):
    """Never takes more than it has."""

    async def ready(self) -> None:
        if self.seen:
            await asyncio.Event().wait()


async def test_a_subscriber_that_reads_nothing_holds_up_no_append(store: Store) -> None:
    job_id = await running_job(store)
    silent = SilentSubscriber([])
    joining = asyncio.create_task(store.journal.hand_over(job_id, 0, silent))
    while not silent.seen:
        await asyncio.sleep(0.001)
    await store.journal.append(job_id, [bar(1)])
    assert not joining.done()
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)


class BusySubscriber(FakeSubscriber):
    """Each time before it takes more, something is appended."""

    def __init__(self, room: list[FakeSubscriber], append: Callable[[], Awaitable[object]]) -> None:
        super().__init__(room)
        self._append = append

    async def ready(self) -> None:
        await self._append()


async def test_no_append_waits_for_a_read_of_who_joins(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the history came while the subscriber read the log: it is in memory."""
    job_id = await running_job(store)

    async def read(*_arguments: object) -> list[RecordedEvent]:
        raise AssertionError("the stream is locked, and somebody reads")

    monkeypatch.setattr(store.events, "read", read)
    chance = random.Random(1)

    async def append() -> None:
        for _ in range(chance.randrange(1, 4)):
            await store.journal.append(job_id, [bar(n) for n in range(chance.randrange(1, 4))])

    for after in (0, 1, 4):
        subscriber = BusySubscriber([], append)
        await store.journal.hand_over(job_id, after, subscriber)
        last = (await store.queue.get(job_id)).last_sequence
        assert subscriber.seen == list(range(after + 1, last + 1))
        assert subscriber.joined_at == last
    # What nobody waits for any more is not kept.
    assert not store.journal._streams.of(job_id).recent


async def test_who_joins_far_after_what_memory_keeps_reads_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await running_job(store)
    # Before the first page is read, and before the stream is locked.
    appends: list[list[NewEvent]] = [[], [bar(n % 100) for n in range(RECENT_EVENTS_MAX)], [bar(1)], [], [bar(2)]]
    read_after: list[int] = []
    real = store.events.read

    async def read(job: str, after: int = 0) -> list[RecordedEvent]:
        read_after.append(after)
        return await real(job, after)

    async def append() -> None:
        if appends and (events := appends.pop(0)):
            await store.journal.append(job_id, events)
            await store.journal.append(job_id, [bar(3)])

    monkeypatch.setattr(store.events, "read", read)
    subscriber = BusySubscriber([], append)
    await store.journal.hand_over(job_id, 0, subscriber)
    assert read_after == [3], "more than a page came, and memory had lost its first"
    last = (await store.queue.get(job_id)).last_sequence
    assert last > RECENT_EVENTS_MAX
    assert subscriber.seen == list(range(1, last + 1))


async def test_what_is_committed_of_a_job_that_runs_is_known_without_a_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await running_job(store)
    before = await store.queue.get(job_id)

    async def get(_job_id: str) -> Job:
        raise AssertionError("ten thousand who subscribe would read this row")

    monkeypatch.setattr(store.queue, "get", get)
    told = asyncio.get_running_loop().create_future()
    assert await store.journal.submit(job_id, lambda _job: [bar(1)], lambda _job, error: told.set_result(error))
    # It is under way, so the log has nothing of it yet.
    under_way = await store.journal.check_after(job_id, before.last_sequence)
    assert (under_way.last_sequence, under_way.state) == (before.last_sequence, before.state)
    assert await told is None
    assert (await store.journal.check_after(job_id, 0)).last_sequence == before.last_sequence + 1


async def test_a_client_that_read_more_than_is_published_here_is_believed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may have read an event from the log before it is published here."""
    job_id = await running_job(store)
    last = (await store.queue.get(job_id)).last_sequence
    held: list[Callable[[], None]] = []
    real = store.events._settled
    monkeypatch.setattr(store.events, "_settled", lambda *of: held.append(lambda: real(*of)))
    told = asyncio.get_running_loop().create_future()
    assert await store.journal.submit(job_id, lambda _job: [bar(1)], lambda _job, error: told.set_result(error))
    async with asyncio.timeout(30):
        while not held:
            await asyncio.sleep(0.001)
    assert (await store.journal.check_after(job_id, last)).last_sequence == last
    assert (await store.journal.check_after(job_id, last + 1)).last_sequence == last + 1
    with pytest.raises(InvalidRequest, match=f"the job has {last + 1} events"):
        await store.journal.check_after(job_id, last + 2)
    monkeypatch.undo()
    held[0]()
    assert await told is None


async def test_followers_share_what_is_published_and_the_log_is_read_for_history_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await running_job(store)
    reads = 0
    real = store.journal._pages._read

    async def read(job: str, after: int) -> Sequence[RecordedEvent]:
        nonlocal reads
        reads += 1
        return await real(job, after)

    monkeypatch.setattr(store.journal._pages, "_read", read)
    followers = [store.journal.follow(job_id, 0) for _ in range(50)]
    first = await asyncio.gather(*(follower.next() for follower in followers))
    assert all(page is not None and len(page) == 3 for page in first)
    history = reads
    assert history <= 4
    for n in range(20):
        waiting = [asyncio.create_task(follower.next()) for follower in followers]
        await store.journal.append(job_id, [bar(n), bar(n)])
        pages = await asyncio.gather(*waiting)
        assert all(page is pages[0] for page in pages)
        assert pages[0] is not None
        assert pages[0].form("a", lambda _page: object()) is pages[1].form("a", lambda _page: object())  # type: ignore[union-attr]
    assert reads == history
    stream = store.journal._streams.of(job_id)
    assert len(stream.recent) == 20
    # One that fell behind what is in memory reads the log, and then follows again.
    for _ in range(3):
        await store.journal.append(job_id, [bar(n % 100) for n in range(900)])
    seen = [3 + 40]
    while seen[-1] < 3 + 40 + 2_700:
        page = await followers[0].next()
        assert page is not None
        assert page[0].sequence == seen[-1] + 1
        seen.append(page[-1].sequence)
    assert reads > history
    store.journal.end_followers()
    for follower in followers:
        assert await follower.next() is None
        follower.close()
    assert not stream.recent


async def test_a_follower_hears_nothing_for_a_while(store: Store) -> None:
    follower = store.journal.follow(await running_job(store), 3)
    page = await follower.next(0.01)
    assert page == []
    follower.close()


async def test_rebuild_gives_the_same_rows(store: Store) -> None:
    ids = [await running_job(store) for _ in range(5)]
    for job_id in ids[1:]:
        await store.journal.append(job_id, [bar(5, 7), NewEvent(event=types.LinkLost(reason="x"))])

    async def rows() -> list[object]:
        async with store.database.read() as connection:
            found: list[object] = []
            for table in ("jobs", "job_resources"):
                found += (await connection.execute(text(f"select * from {table} order by 1, 2"))).all()
            return found

    before = await rows()

    def spoil(connection: Connection) -> None:
        connection.execute(text("update jobs set state = 'completed', cause = 'none'"))
        connection.execute(text("delete from job_resources where job_id = :id"), {"id": ids[0]})

    await store.database.write(spoil)
    assert await rows() != before
    assert await rebuild(store.database) == 5
    assert await rows() == before


async def test_the_queue_gives_one_job_an_instance(store: Store) -> None:
    first = await store.journal.enqueue(queued("a"))
    await store.journal.enqueue(queued("a"))
    other = await store.journal.enqueue(queued("b"))
    [claimed] = await store.queue.next_to_claim()
    assert claimed.job_id == first.job_id
    await store.journal.append(first.job_id, [STARTED])
    [claimed] = await store.queue.next_to_claim()
    assert claimed.job_id == other.job_id
    await store.journal.append(other.job_id, [STARTED])
    assert await store.queue.next_to_claim() == []
    ownership = Ownership(store.database, Alone(store.database, Member("a", "1"), clock_ms=store.clock))
    assert (await ownership.left(without=()))[0] == [first.job_id, other.job_id]
