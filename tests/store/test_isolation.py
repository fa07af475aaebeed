"""What one append does wrong fails that append alone, and a database that cannot keep what it is given says so."""

from __future__ import annotations

import asyncio
import gc
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.errors import CardError, StoreUnavailable, UnstorableEvent
from service.events import event_types as types
from service.events.job import Job
from service.events.recorded_event import NewEvent
from service.library import Library
from service.store.append import Append
from service.store.event_store import _Batch, _Waiting
from service.store.stream import Followed, Hold
from tests.store.conftest import FileStore, Store, queued

STARTED = NewEvent(event=types.JobStarted())
BEGUN = NewEvent(event=types.ResourceStarted(title="A", card_sha256="0" * 64), resource="a.md", attempt=1)


def bar(**fields: Any) -> NewEvent:
    return NewEvent(event=types.Progress(stage="model", **fields), resource="a.md", attempt=1)


async def running(store: Store) -> Job:
    job = await store.journal.enqueue(queued())
    return await store.journal.append(job.job_id, [STARTED, BEGUN])


@pytest.mark.parametrize(
    "event",
    [
        bar(downloaded_bytes=1 << 53),
        bar(total_bytes=-(1 << 53)),
        bar(downloaded_bytes=1 << 63),
        bar(downloaded_bytes=10**30),
        bar(percent=1 << 64),
        NewEvent(event=types.Output(line="a lone \ud800 surrogate"), resource="a.md", attempt=1),
        NewEvent(event=types.StageStart(name="\udfff"), resource="a.md", attempt=1),
    ],
    ids=lambda event: str(event.event)[:50].encode("ascii", "backslashreplace").decode(),
)
async def test_an_event_that_no_log_can_keep_is_refused_where_it_is_made(store: Store, event: NewEvent) -> None:
    job, other = await running(store), await running(store)
    outcomes = await asyncio.gather(
        store.journal.append(job.job_id, [event]),
        store.journal.append(other.job_id, [bar(percent=1)]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], UnstorableEvent)
    assert isinstance(outcomes[1], Job)
    # The stream goes on as if it had never been tried.
    assert (await store.journal.append(job.job_id, [bar(percent=2)])).last_sequence == 4


def broken_in(job: Job, kind: str) -> Job:
    """A projection that the database refuses, each kind with another exception."""
    resource = job.resources[0]
    wrong: Any = {
        "too large": replace_in(resource, downloaded_bytes=1 << 63),
        "no type": replace_in(resource, downloaded_bytes=object()),
        "no text": replace_in(resource, stage="\ud800"),
        "null": replace_in(resource, state=None),
    }[kind]
    return job._replace(resources=(wrong,))


def replace_in(resource: Any, **fields: Any) -> Any:
    return replace(resource, **fields) if not hasattr(resource, "_replace") else resource._replace(**fields)


class Submitter:
    def __init__(self) -> None:
        self.errors: list[Exception | None] = []

    def committed(self, events: Any) -> None:
        return None

    def settled(self, error: Exception | None) -> None:
        self.errors.append(error)


@pytest.mark.parametrize("kind", ["too large", "no type", "no text", "null"])
async def test_whatever_one_append_does_wrong_fails_that_one_alone(store: Store, kind: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    jobs = [await running(store) for _ in range(12)]
    bad = set(chance.sample(range(12), 3))
    submitters = [Submitter() for _ in jobs]
    futures = []
    for number, job in enumerate(jobs):
        recorded = (await store.events.read(job.job_id))[-1]._replace(position=None, sequence=job.last_sequence + 1)
        after = broken_in(job, kind) if number in bad else job
        append = Append(before=job, after=after._replace(last_sequence=recorded.sequence), events=[recorded])
        futures.append(store.events.submit(append, submitters[number]))
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, Exception) is (number in bad)
        assert [error is None for error in submitters[number].errors] == [number not in bad]
        events = await store.events.read(jobs[number].job_id)
        assert len(events) == (3 if number in bad else 4)
    # Nobody is harmed later either.
    await asyncio.gather(*(store.journal.append(job.job_id, [bar(percent=1)]) for job in [await running(store)]))


async def test_nothing_is_stored_after_what_failed_in_its_stream(store: Store) -> None:
    """Three appends of each stream are under way at once, in the same commit or in several: of each stream a beginning
    is stored, all where none is broken, and what is told of them is true."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    jobs = [await running(store) for _ in range(12)]
    broken = {number: chance.randrange(3) for number in chance.sample(range(12), 4)}
    futures: list[list[asyncio.Future[None]]] = [[] for _ in jobs]
    begun = list(jobs)
    for turn in range(3):
        for number in chance.sample(range(12), 12):
            before = begun[number]
            last = (await store.events.read(before.job_id))[0]
            # At once before it is submitted: the stream lets nothing follow what is known to have failed.
            if any(future.done() and future.exception() is not None for future in futures[number]):
                continue
            recorded = last._replace(position=None, type="output", sequence=before.last_sequence + 1)
            job = before._replace(last_sequence=recorded.sequence)
            after = broken_in(job, "null") if broken.get(number) == turn else job
            append = Append(before=before, after=after, events=[recorded])
            futures[number].append(store.events.submit(append, Submitter()))
            begun[number] = after
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 200)
    for number, job in enumerate(jobs):
        outcomes = await asyncio.gather(*futures[number], return_exceptions=True)
        stored = [outcome is None for outcome in outcomes]
        assert stored == sorted(stored, reverse=True)
        assert not any(stored[broken.get(number, 3) :])
        for turn, outcome in enumerate(outcomes[sum(stored) :], start=sum(stored)):
            assert isinstance(outcome, StoreUnavailable) or turn == broken.get(number)
        events = await store.events.read(job.job_id)
        assert [event.sequence for event in events] == list(range(1, job.last_sequence + sum(stored) + 1))
    # What was refused for the sake of another stream is taken when it comes again.
    again = [number for number in range(12) if number not in broken]
    await asyncio.gather(*(store.journal.append(jobs[number].job_id, [bar(percent=1)]) for number in again))


def damage(path: Path) -> None:
    """Overwrite the second half of the file: pages of events."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(random.Random(7).randbytes(size - size // 2))


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "damaged.sqlite3")
    await store.open()
    job = await running(store)
    await store.journal.append(job.job_id, [bar(percent=n % 100) for n in range(4_000)])
    await store.close()
    damage(store.path)
    store = FileStore(store.path)
    await store.open()
    with pytest.raises(StoreUnavailable, match=r"is damaged.*restore a backup"):
        await store.events.read(job.job_id, 3_000)
    health = await store.database.check()
    assert not health.ready
    assert "damaged" in (health.detail or "")
    await store.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_was_deleted_or_replaced_is_noticed(
    file_store: FileStore, suffix: str, replaced: bool
) -> None:
    job = await running(file_store)
    file = file_store.path.with_name(file_store.path.name + suffix)
    copy = file.read_bytes()
    file.unlink()
    if replaced:
        # Another inode, also where the file system gives the old one out again at once.
        keep = file.with_suffix(".keep")
        keep.write_bytes(b"")
        file.write_bytes(copy)
    with pytest.raises(StoreUnavailable, match="was replaced" if replaced else "was deleted"):
        await file_store.journal.append(job.job_id, [bar(percent=1)])
    health = await file_store.database.check()
    assert not health.ready
    assert str(file) in (health.detail or "")


@pytest.mark.parametrize("size", ["9223372036854775808", "999999999999999999", "1" + "0" * 400, "1:59:59:59:59:59:59"])
def test_a_size_that_nothing_can_hold_never_reaches_the_log(tmp_path: Path, size: str) -> None:
    """An estimate is left out, with a warning; an exact size makes the card a broken one."""
    library = Library(tmp_path)
    block = "---\n# Download\n```bash\ntrue\n```\n"
    (tmp_path / "about.md").write_text(f"---\ntitle: A\nsize: {size}\n{block}")
    (tmp_path / "exact.md").write_text(f"---\ntitle: A\nfiles:\n  - path: a\n    size: {size}\n{block}")
    card = library.get("about.md")
    assert card.size_bytes is None
    assert any("size" in warning for warning in card.warnings)
    with pytest.raises(CardError, match="size"):
        library.get("exact.md")


async def test_an_append_leaves_no_circle_of_garbage(store: Store) -> None:
    """Otherwise each event of each job would wait for the collector, which holds up the loop meanwhile."""
    jobs = [await running(store) for _ in range(20)]

    async def append(job: Job) -> None:
        for percent in range(20):
            told = asyncio.get_running_loop().create_future()
            facts = [bar(percent=percent)]
            assert await store.journal.submit(
                job.job_id,
                lambda _job, facts=facts: facts,  # type: ignore[misc]
                lambda _job, error, told=told: told.set_result(error),  # type: ignore[misc]
            )
            if percent % 3 == 0:
                assert await told is None
        await store.journal.append(job.job_id, [bar(percent=99)])

    gc.collect()
    gc.disable()
    try:
        await asyncio.gather(*map(append, jobs))
        await store.journal.drain()
        # The writer's thread lets go of its last commit.
        await store.database.write(lambda _connection: None)
        # What nothing refers to any more is there until the collector comes only if it is in a circle.
        left = [one for one in gc.get_objects() if isinstance(one, _Waiting | _Batch | Followed | Hold | Append)]
    finally:
        gc.enable()
    # The last commits may still be in somebody's hands; in circles it would be three for each append.
    assert len(left) < 21 * len(jobs), f"{len(left)} objects are left of {21 * len(jobs)} appends"
