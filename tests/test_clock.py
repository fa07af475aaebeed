"""The clock while somebody sets the machine's: nothing falls, nothing jumps, and a restart goes on from the log."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from service.clock import AHEAD_MS_MAX, SteadyClock, StreamClock
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from tests.store.conftest import FileStore, queued

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000


class Machine:
    """A machine whose wall clock can be set. All in milliseconds."""

    def __init__(self) -> None:
        self.wall = START_MS
        self.up = 5_000

    def pass_time(self, ms: int) -> None:
        self.wall += ms
        self.up += ms

    def clock(self) -> SteadyClock:
        return SteadyClock(wall_ns=lambda: self.wall * 1_000_000, elapsed_ns=lambda: self.up * 1_000_000)


@pytest.mark.parametrize("step_ms", [-24 * HOUR_MS, -HOUR_MS, -1, 1, HOUR_MS, 24 * HOUR_MS])
def test_a_set_clock_changes_no_duration(step_ms: int) -> None:
    machine = Machine()
    clock = machine.clock()
    due = clock() + 7_500
    machine.wall += step_ms
    assert clock() == START_MS
    machine.pass_time(7_500)
    assert clock() == due


def test_it_never_falls_whatever_is_set() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    machine = Machine()
    clock = machine.clock()
    seen = [clock()]
    for _ in range(1_000):
        machine.wall += chance.choice((0, 0, -HOUR_MS, HOUR_MS, chance.randint(-(10**12), 10**12)))
        machine.pass_time(chance.randint(0, 1_000))
        clock.continue_from(chance.randint(0, START_MS + 10 * HOUR_MS))
        seen.append(clock())
    assert seen == sorted(seen)


def test_a_restart_with_a_clock_set_back_goes_on_from_the_log() -> None:
    machine = Machine()
    last = machine.clock()()
    machine.wall -= HOUR_MS
    machine.up = 0
    clock = machine.clock()
    clock.continue_from(last)
    machine.pass_time(60_000)
    assert clock() == last + 60_000


def test_a_time_that_nobody_can_believe_is_left_out() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.continue_from(START_MS + AHEAD_MS_MAX + 1)
    clock.continue_from(0)
    assert clock() == START_MS


@pytest.mark.parametrize("back_ms", [1, HOUR_MS, 365 * 24 * HOUR_MS])
async def test_times_never_fall_within_a_stream(tmp_path: Path, back_ms: int) -> None:
    """Also over a restart, and also where the log is too far ahead to be believed."""
    store = FileStore(tmp_path / "clock.sqlite3")
    await store.open()
    store.now_ms = START_MS
    job = await store.journal.enqueue(queued())
    await store.journal.append(job.job_id, [NewEvent(event=types.JobStarted())])
    await store.close()
    store = FileStore(store.path)
    await store.open()
    assert await store.events.last_at_ms() == START_MS
    store.now_ms = START_MS - back_ms
    await store.journal.append(job.job_id, [NewEvent(event=types.LinkLost(reason="x"))])
    store.now_ms += back_ms + 7
    await store.journal.append(job.job_id, [NewEvent(event=types.JobReattached())])
    times = [event.at_ms for event in await store.events.read(job.job_id)]
    assert times == [START_MS, START_MS, START_MS, START_MS + 7]
    await store.close()


def test_what_is_waited_for_does_not_jump_with_the_clock_of_another_machine() -> None:
    seconds = 1_000.0
    stream = StreamClock(lambda: 5_000_000 + round((seconds - 1_000.0) * 1_000), lambda: seconds)
    assert stream.now_ms(4_999_000) == 5_000_000
    # An event that was stamped 90 seconds ahead: a minute after it is in a minute.
    assert stream.now_ms(5_090_000) == 5_090_000
    seconds += 60
    assert stream.now_ms(5_090_000) == 5_150_000
    # One from a clock that is behind changes nothing.
    assert stream.now_ms(5_000_000) == 5_150_000


def test_it_follows_another_clock_and_never_falls() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock() == START_MS
    # The first time nothing was dated by it yet.
    clock.follow(START_MS - HOUR_MS)
    assert clock() == START_MS - HOUR_MS
    # A slow answer explains a little; more is followed: ahead at once, behind by standing still.
    clock.follow(START_MS - HOUR_MS + 50)
    assert clock() == START_MS - HOUR_MS
    clock.follow(START_MS)
    assert clock() == START_MS
    clock.follow(START_MS - 2_000)
    machine.pass_time(1_500)
    assert clock() == START_MS
    machine.pass_time(1_000)
    assert clock() == START_MS + 500
