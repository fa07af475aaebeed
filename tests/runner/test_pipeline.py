"""Three appends under way, never four, and nothing later before something earlier."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.errors import StoreUnavailable
from service.events.event_types import Output
from service.events.job import Job
from service.events.recorded_event import NewEvent
from service.runner.live_job import LiveJob
from service.runner.pipeline import Pipeline
from service.store.journal import Decide
from service.store.stream import Told

JOB = cast(Job, SimpleNamespace(resources=()))


def lines(*texts: str) -> list[NewEvent]:
    return [NewEvent(event=Output(line=text)) for text in texts]


class Log:
    """Stands for the live job: commits end when the test says so. What follows one that failed is refused, as the store
    does it."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.under_way: list[tuple[Sequence[NewEvent], Told]] = []
        self.is_refusing = False
        self.repeated = 0
        self.kept = 0

    async def submit(self, facts: Decide, told: Told) -> bool:
        events = facts(JOB)
        if self.is_refusing:
            raise StoreUnavailable("full")
        self.under_way.append((events, told))
        return True

    async def append_from(self, decide: Decide) -> None:
        self.repeated += 1
        await asyncio.sleep(0.001)
        self._store(decide(JOB))

    def check_owner(self, _job: Job) -> None:
        return None

    def keep(self, _job: Job) -> None:
        self.kept += 1

    def commit(self) -> None:
        events, told = self.under_way.pop(0)
        self._store(events)
        told(JOB, None)

    def fail(self, error: Exception | None = None) -> None:
        under_way, self.under_way = self.under_way, []
        for _, told in under_way:
            told(JOB, error or StoreUnavailable("full"))

    def _store(self, events: Sequence[NewEvent]) -> None:
        self.stored += [cast(Any, new.event).line for new in events]


def at_offset(offset: int) -> NewEvent:
    return NewEvent(event=Output(line=str(offset)), resource="a.md", attempt=1, source_offset=offset)


class WrittenAnyway(Log):
    """What is repeated is stored before its caller is woken, and the job has its offset."""

    async def append_from(self, decide: Decide) -> None:
        self.repeated += 1
        resource = SimpleNamespace(resource="a.md", source_offset=int(self.stored[-1]) if self.stored else 0)
        self._store(decide(cast(Job, SimpleNamespace(resources=(resource,)))))
        await asyncio.sleep(0)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def pipeline(log: Log) -> Pipeline:
    return Pipeline(cast(LiveJob, log))


async def test_the_next_bytes_are_parsed_during_a_commit(log: Log, pipeline: Pipeline) -> None:
    await pipeline.append(lines("a", "b"))
    await pipeline.append([])
    await pipeline.append(lines("c"))
    await pipeline.append(lines("d"))
    assert (log.stored, len(log.under_way)) == ([], 3)
    fourth = asyncio.create_task(pipeline.append(lines("e")))
    await asyncio.sleep(0.01)
    assert not fourth.done()
    assert len(log.under_way) == 3
    log.commit()
    await fourth
    assert (log.stored, len(log.under_way)) == (["a", "b"], 3)
    settling = asyncio.create_task(pipeline.settle())
    for _ in range(3):
        await asyncio.sleep(0.01)
        assert not settling.done()
        log.commit()
    await settling
    await pipeline.settle()
    assert log.stored == ["a", "b", "c", "d", "e"]
    assert log.kept == 4


async def test_nothing_later_is_stored_before_what_failed(log: Log, pipeline: Pipeline) -> None:
    await pipeline.append(lines("a"))
    log.fail()
    # The store would take it, since nothing of this job is under way any more.
    await pipeline.append(lines("b"))
    assert log.stored == ["a"]
    log.commit()
    assert log.stored == ["a", "b"]
    for text in "cd":
        await pipeline.append(lines(text))
    log.fail()
    await pipeline.settle()
    assert log.stored == ["a", "b", "c", "d"]
    await pipeline.append(lines("e"))
    log.is_refusing = True
    log.fail()
    await pipeline.append(lines("f"))
    assert log.stored == ["a", "b", "c", "d", "e", "f"]


async def test_a_cancelled_repetition_is_taken_up_again(log: Log, pipeline: Pipeline) -> None:
    for text in "ab":
        await pipeline.append(lines(text))
    log.fail()
    settling = asyncio.create_task(pipeline.settle())
    while not log.repeated:
        await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait([settling])
    await pipeline.settle()
    assert log.stored == ["a", "b"]


@pytest.mark.parametrize("turns", range(6))
async def test_a_repetition_that_is_stored_although_it_was_cancelled_is_not_stored_again(turns: int) -> None:
    """The writer stores what it was handed, whoever waited for it."""
    log = WrittenAnyway()
    pipeline = Pipeline(cast(LiveJob, log))
    await pipeline.append([at_offset(1)])
    await pipeline.append([at_offset(2)])
    log.fail()
    log.is_refusing = True
    appending = asyncio.create_task(pipeline.append([at_offset(3)]))
    while not log.repeated:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    appending.cancel()
    await asyncio.wait([appending])
    log.is_refusing = False
    settling = asyncio.create_task(pipeline.settle())
    while not settling.done():
        await asyncio.sleep(0)
        while log.under_way:
            log.commit()
    await settling
    assert log.stored == ["1", "2", "3"]


async def test_a_cancelled_wait_loses_nothing(log: Log, pipeline: Pipeline) -> None:
    for text in "abc":
        await pipeline.append(lines(text))
    for cancelled in (pipeline.settle(), pipeline.append(lines("d"))):
        task = asyncio.create_task(cancelled)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    log.fail()
    settling = asyncio.create_task(pipeline.settle())
    await asyncio.sleep(0.05)
    log.commit()
    await settling
    assert log.stored == ["a", "b", "c", "d"]


async def test_any_other_error_reaches_the_attempt(log: Log, pipeline: Pipeline) -> None:
    await pipeline.append(lines("a"))
    log.fail(ValueError("mistake"))
    with pytest.raises(ValueError, match="mistake"):
        await pipeline.append(lines("b"))
    await pipeline.settle()
