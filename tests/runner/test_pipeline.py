"""One append under way, never two, and nothing later before something earlier."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from service.errors import StoreUnavailable
from service.events.event_types import Output
from service.events.recorded_event import NewEvent
from service.runner.live_job import LiveJob
from service.runner.pipeline import Pipeline


def lines(*texts: str) -> list[NewEvent]:
    return [NewEvent(event=Output(line=text)) for text in texts]


class Log:
    """Stands for the live job: commits end when the test says so."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.under_way: list[tuple[Sequence[NewEvent], asyncio.Future[None]]] = []
        self.is_refusing = False

    async def submit(self, events: Sequence[NewEvent]) -> asyncio.Future[None]:
        if self.is_refusing:
            raise StoreUnavailable("full")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.under_way.append((events, done))
        return done

    async def append(self, events: Sequence[NewEvent]) -> None:
        await asyncio.sleep(0)
        self._store(events)

    def commit(self) -> None:
        events, done = self.under_way.pop(0)
        self._store(events)
        done.set_result(None)

    def fail(self) -> None:
        _, done = self.under_way.pop(0)
        done.set_exception(StoreUnavailable("full"))

    def _store(self, events: Sequence[NewEvent]) -> None:
        self.stored += [cast(Any, new.event).line for new in events]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def pipeline(log: Log) -> Pipeline:
    return Pipeline(cast(LiveJob, log))


async def test_the_next_bytes_are_parsed_during_a_commit(log: Log, pipeline: Pipeline) -> None:
    await pipeline.append(lines("a", "b"))
    assert (log.stored, len(log.under_way)) == ([], 1)
    await pipeline.append([])
    second = asyncio.create_task(pipeline.append(lines("c")))
    await asyncio.sleep(0.01)
    assert not second.done()
    assert len(log.under_way) == 1
    log.commit()
    await second
    assert (log.stored, len(log.under_way)) == (["a", "b"], 1)
    settling = asyncio.create_task(pipeline.settle())
    await asyncio.sleep(0.01)
    assert not settling.done()
    log.commit()
    await settling
    await pipeline.settle()
    assert log.stored == ["a", "b", "c"]


async def test_nothing_later_is_stored_before_what_failed(log: Log, pipeline: Pipeline) -> None:
    await pipeline.append(lines("a"))
    log.fail()
    await pipeline.append(lines("b"))
    assert log.stored == ["a"]
    log.fail()
    await pipeline.settle()
    assert log.stored == ["a", "b"]
    log.is_refusing = True
    await pipeline.append(lines("c"))
    assert log.stored == ["a", "b", "c"]


async def test_a_cancelled_wait_loses_nothing(log: Log, pipeline: Pipeline) -> None:
    await pipeline.append(lines("a"))
    for cancelled in (pipeline.settle(), pipeline.append(lines("lost with its attempt"))):
        task = asyncio.create_task(cancelled)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    log.fail()
    await pipeline.settle()
    assert log.stored == ["a"]


async def test_any_other_error_reaches_the_attempt(log: Log, pipeline: Pipeline) -> None:
    await pipeline.append(lines("a"))
    _, done = log.under_way.pop()
    done.set_exception(ValueError("mistake"))
    with pytest.raises(ValueError, match="mistake"):
        await pipeline.append(lines("b"))
    await pipeline.settle()
