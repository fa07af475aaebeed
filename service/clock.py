"""The service's clock: milliseconds since the epoch that never fall and never jump.

A person or a time server may set the machine's clock, by an hour back or a day ahead, in the middle of everything. What
is waited for and how long something took must not change with it, and the times of a job's events must not fall. So the
wall clock is read once, and time passes by the kernel's own count since then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# How far ahead of the wall clock the log may be and still be believed: a clock that was set back, or another time zone
# taken for UTC. A time further ahead comes from a clock that was wrong.
AHEAD_MS_MAX = 48 * 3_600_000
FOLLOWED_MS_MIN = 100


def _elapsed_ns() -> int:
    """Since some moment in the past, the time in which the machine slept included where the kernel counts it."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock)


class SteadyClock:
    """Call it for the milliseconds since the epoch, in UTC. ``wall_ns``, ``elapsed_ns``: nanoseconds of the two clocks
    that it stands on."""

    def __init__(
        self, *, wall_ns: Callable[[], int] = time.time_ns, elapsed_ns: Callable[[], int] = _elapsed_ns
    ) -> None:
        self._elapsed_ns = elapsed_ns
        self._offset_ns = wall_ns() - elapsed_ns()
        self._last_ms = 0
        self._follows = False

    def __call__(self) -> int:
        self._last_ms = max(self._last_ms, (self._offset_ns + self._elapsed_ns()) // 1_000_000)
        return self._last_ms

    def follow(self, at_ms: int) -> None:
        """It is this moment by a clock that several machines share: keep its time from now on. Where that is earlier,
        this clock stands still until then, but for the first time, when nothing was dated by it yet. A difference that
        a slow answer explains is none."""
        if not self._follows:
            self._follows, self._last_ms = True, 0
        ahead_ms = at_ms - (self._offset_ns + self._elapsed_ns()) // 1_000_000
        if abs(ahead_ms) >= FOLLOWED_MS_MIN:
            self._offset_ns += ahead_ms * 1_000_000

    def continue_from(self, at_ms: int) -> None:
        """Begin at this moment if it is later: the last one in the log, after a restart with a clock that was set back.
        A retry that is due a minute after it is then due in a minute."""
        ahead_ms = at_ms - self()
        if 0 < ahead_ms <= AHEAD_MS_MAX:
            self._offset_ns += ahead_ms * 1_000_000


class StreamClock:
    """The time of one stream: it passes by a monotonic clock, and is never before the stream's last event. That event
    may come from another machine, whose clock is ahead: what is waited for from then on takes no longer for that."""

    def __init__(self, clock_ms: Callable[[], int], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._base_ms = clock_ms() - round(clock() * 1000)

    def now_ms(self, last_at_ms: int) -> int:
        """``last_at_ms``: of the stream's last event."""
        passed_ms = round(self._clock() * 1000)
        self._base_ms = max(self._base_ms, last_at_ms - passed_ms)
        return self._base_ms + passed_ms
