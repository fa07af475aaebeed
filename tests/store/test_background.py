"""The shape of every background loop: woken, due, asked to stop."""

from __future__ import annotations

import asyncio

import pytest

from service.store import background
from service.store.background import BackgroundLoop


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.001)


async def test_a_step_runs_at_the_start_and_after_each_wake() -> None:
    steps: list[int] = []

    async def step() -> None:
        steps.append(len(steps))

    loop = BackgroundLoop("test", step)
    loop.start()
    await until(lambda: len(steps) == 1)
    await asyncio.sleep(0.05)
    assert len(steps) == 1
    loop.wake()
    await until(lambda: len(steps) == 2)
    await loop.stop()
    assert not loop.is_running


async def test_a_wake_during_a_step_is_not_lost() -> None:
    steps: list[int] = []

    async def step() -> None:
        steps.append(len(steps))
        if len(steps) == 1:
            loop.wake()
            await asyncio.sleep(0.01)

    loop = BackgroundLoop("test", step)
    loop.start()
    await until(lambda: len(steps) == 2)
    await loop.stop()


async def test_a_step_says_when_the_next_is_due() -> None:
    steps: list[int] = []

    async def step() -> float | None:
        steps.append(len(steps))
        return 0.01 if len(steps) < 3 else None

    loop = BackgroundLoop("test", step)
    loop.start()
    await until(lambda: len(steps) == 3)
    await asyncio.sleep(0.05)
    assert len(steps) == 3
    await loop.stop()


async def test_stop_waits_for_the_step_that_runs_and_begins_no_other() -> None:
    begun, finished = asyncio.Event(), []

    async def step() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        finished.append(loop.is_stopping)

    loop = BackgroundLoop("test", step)
    loop.start()
    await begun.wait()
    loop.wake()
    await loop.stop()
    assert finished == [True]


async def test_a_step_that_raises_is_repeated(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "ERROR_SECONDS", 0.01)
    steps: list[int] = []

    async def step() -> None:
        steps.append(len(steps))
        if len(steps) == 1:
            raise ValueError("broken")

    loop = BackgroundLoop("test", step)
    loop.start()
    await until(lambda: len(steps) == 2)
    await loop.stop()
    assert "a step of test failed" in caplog.text


async def test_a_loop_that_never_started_can_be_stopped() -> None:
    async def step() -> None: ...

    await BackgroundLoop("test", step).stop()
