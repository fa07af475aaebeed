"""A job while it is worked on: no change is missed, whenever it comes."""

from __future__ import annotations

import asyncio

from service.events.job import Job, JobState
from service.runner.live_job import LiveJob


def job(sequence: int, state: JobState = JobState.RUNNING) -> Job:
    return Job(
        job_id="j",
        state=state,
        ssh_host="h",
        ssh_port=22,
        ssh_user="root",
        ui_home="/ui",
        last_sequence=sequence,
        created_at_ms=0,
        resources=(),
    )


def live_job() -> LiveJob:
    return LiveJob(job(1), journal=None)  # type: ignore[arg-type]


async def test_the_first_look_needs_no_change() -> None:
    async for seen in live_job().changes():
        assert seen.last_sequence == 1
        break


async def test_a_change_during_a_look_yields_the_next_at_once() -> None:
    live, seen = live_job(), []
    async with asyncio.timeout(5):
        async for current in live.changes():
            seen.append(current.last_sequence)
            if len(seen) == 3:
                break
            live.changed(job(len(seen) + 1))
            await asyncio.sleep(0)
    assert seen == [1, 2, 3]


async def test_a_change_wakes_every_watcher() -> None:
    live = live_job()
    watchers = [live.changes() for _ in range(3)]
    for watcher in watchers:
        await anext(watcher)
    waiting = [asyncio.create_task(anext(watcher)) for watcher in watchers]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    live.changed(job(2, JobState.PAUSED))
    async with asyncio.timeout(5):
        assert [(await task).state for task in waiting] == [JobState.PAUSED] * 3
    assert live.is_paused


async def test_a_look_is_repeated_once_after_a_time() -> None:
    changes = live_job().changes()
    await anext(changes)
    changes.look_again_in(0.01)
    async with asyncio.timeout(5):
        await anext(changes)
    waiting = asyncio.create_task(anext(changes))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    changes.wake()
    async with asyncio.timeout(5):
        await waiting


async def test_an_older_job_does_not_replace_a_newer_one() -> None:
    live = live_job()
    live.changed(job(5))
    live.changed(job(3))
    assert live.job.last_sequence == 5
