"""The service's own limit for an attempt: a pause does not count, and beyond it there are a few short turns."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from service.runner.live_job import LiveJob
from service.runner.time_limit import FACTOR, LATE_SECONDS, LATE_TURNS_MAX, SECONDS_MORE, TimeLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Paused:
    """What a time limit looks at in a live job."""

    is_paused = False


def limit(timeout_seconds: float) -> tuple[TimeLimit, Clock, Any]:
    clock, job = Clock(), Paused()
    return TimeLimit(timeout_seconds, cast(LiveJob, job), clock), clock, job


def late_turns(time_limit: TimeLimit, clock: Clock) -> int:
    """How often an attempt may still be followed."""
    turns = 0
    while not time_limit.is_over():
        clock.now += LATE_SECONDS
        turns += 1
    return turns


def test_within_the_limit_it_is_not_over() -> None:
    time_limit, clock, _ = limit(100)
    for _turn in range(1000):
        assert not time_limit.is_over()
    clock.now = FACTOR * 100 + SECONDS_MORE - 1
    assert not time_limit.is_over()


def test_beyond_the_limit_there_are_a_few_turns() -> None:
    time_limit, clock, _ = limit(100)
    clock.now = FACTOR * 100 + SECONDS_MORE
    assert late_turns(time_limit, clock) == LATE_TURNS_MAX


def test_a_pause_does_not_count() -> None:
    time_limit, clock, job = limit(100)
    clock.now = 100
    time_limit.is_over()
    job.is_paused = True
    time_limit.is_over()
    clock.now += 1_000_000
    job.is_paused = False
    assert not time_limit.is_over()
    clock.now += FACTOR * 100 + SECONDS_MORE - 101
    assert not time_limit.is_over()
    clock.now += 2
    assert late_turns(time_limit, clock) == LATE_TURNS_MAX


def test_the_time_limit_of_a_machine_that_slept_is_not_negative() -> None:
    time_limit, clock, _ = limit(1)
    clock.now = 10**9
    assert not time_limit.is_over()
    clock.now += LATE_SECONDS
    assert late_turns(time_limit, clock) == LATE_TURNS_MAX - 1


async def test_reached_returns_at_once_beyond_the_limit() -> None:
    clock, job = Clock(), Paused()

    class Changing:
        """A live job of which only the changes and the pause are looked at."""

        is_paused = False

        def changes(self) -> Any:
            return _Once()

    class _Once:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            return job

        def look_again_in(self, seconds: float | None) -> None:
            assert seconds is not None
            assert seconds > 0
            clock.now += seconds

    time_limit = TimeLimit(10, cast(LiveJob, Changing()), clock)
    await asyncio.wait_for(time_limit.reached(), 10)
    assert clock.now >= FACTOR * 10 + SECONDS_MORE
