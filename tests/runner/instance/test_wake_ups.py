"""Readers are woken at once where little comes, and together where much does."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable

from service.errors import LinkDown
from service.runner.instance.stream import Stream
from service.runner.instance.wake_ups import WakeUps

LONG_SECONDS = 0.2


def numbered(woken: list[int], number: int) -> Callable[[], None]:
    return lambda: woken.append(number)


async def test_a_few_are_woken_at_once_and_many_together() -> None:
    wake_ups, woken = WakeUps(LONG_SECONDS, few=2), list[int]()
    for number in range(5):
        wake_ups.call(numbered(woken, number))
    assert woken == [0, 1]
    # There were many: of the next span, which begins with this wake-up, all wait.
    wake_ups.call(lambda: wake_ups.call(numbered(woken, 5)))
    await until(lambda: 4 in woken)
    assert woken == [0, 1, 2, 3, 4]
    await until(lambda: 5 in woken)
    assert woken == [0, 1, 2, 3, 4, 5]
    # There were few.
    wake_ups.call(numbered(woken, 6))
    assert woken[-1] == 6


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def test_after_a_pause_nobody_waits() -> None:
    wake_ups, woken = WakeUps(LONG_SECONDS / 10, few=1), list[int]()
    for number in range(10):
        wake_ups.call(numbered(woken, number))
    await asyncio.sleep(LONG_SECONDS)
    assert woken == list(range(10))
    wake_ups.call(numbered(woken, 10))
    assert woken[-1] == 10


async def test_each_is_called_once_in_order_at_any_rate() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    wake_ups, woken = WakeUps(0.002, few=3), list[int]()
    for number in range(2_000):
        wake_ups.call(numbered(woken, number))
        if chance.random() < 0.1:
            await asyncio.sleep(chance.choice((0, 0.0005, 0.001, 0.003, 0.007)))
    await asyncio.sleep(LONG_SECONDS)
    assert woken == list(range(2_000))


async def test_who_wakes_up_may_call_again() -> None:
    wake_ups, woken = WakeUps(0.01, few=1), list[int]()

    def wake() -> None:
        woken.append(len(woken))
        if len(woken) < 5:
            wake_ups.call(wake)

    wake_ups.call(wake)
    async with asyncio.timeout(10):
        while len(woken) < 5:
            await asyncio.sleep(0.01)


async def test_what_comes_meanwhile_is_read_in_one_piece_and_the_end_waits_for_nothing() -> None:
    wake_ups = WakeUps(LONG_SECONDS, few=1)
    first, second = Stream(wake_ups.call), Stream(wake_ups.call)
    reading = asyncio.create_task(anext(second))
    await asyncio.sleep(0)
    first.received(b"at once")
    second.received(b"one, ")
    await asyncio.sleep(0.01)
    assert not reading.done()
    second.received(b"two")
    assert await reading == b"one, two"
    reading = asyncio.create_task(anext(second, b"the end"))
    second.received(b"")
    second.finished(None, 0)
    begin = asyncio.get_running_loop().time()
    await asyncio.wait([reading])
    assert asyncio.get_running_loop().time() - begin < LONG_SECONDS / 2


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    stream = Stream(WakeUps(0.01).call)
    stream.received(b"a")
    for _ in range(2):
        assert await anext(stream)
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        stream.received(b"b")
        reading.cancel()
        await asyncio.wait([reading])
        assert not stream.is_read
    assert await anext(stream) == b"b"
    stream.finished(ConnectionResetError("cut"), None)
    try:
        await anext(stream)
    except LinkDown:
        pass
    else:
        raise AssertionError("a link that broke was an end")


async def test_a_stream_leaves_no_circle_of_garbage() -> None:
    gc.collect()
    gc.disable()
    try:
        wake_ups = WakeUps(0.001)
        for _ in range(100):
            stream = Stream(wake_ups.call)
            stream.received(b"a")
            assert await anext(stream) == b"a"
            reading = asyncio.create_task(anext(stream, None))
            await asyncio.sleep(0)
            stream.received(b"b")
            assert await reading == b"b"
        del stream, reading
        await asyncio.sleep(0.01)
        # What nothing refers to any more is there until the collector comes only if it is in a circle.
        left = [one for one in gc.get_objects() if isinstance(one, Stream)]
    finally:
        gc.enable()
    assert len(left) < 3
