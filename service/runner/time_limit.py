"""How long an attempt may take by the service's own clock, whatever its instance says or does not say."""

from __future__ import annotations

from collections.abc import Callable

from service.runner.live_job import LiveJob

# The instance ends the attempt at its own limit and reports it. Its seconds are longer under load, and a download that
# is ended is given time, so the service's limit comes well after that one.
FACTOR = 1.5
SECONDS_MORE = 180.0
# Beyond the limit, for an instance that could not be reached at it: it may still say how the attempt ended.
LATE_SECONDS = 300.0
LATE_TURNS_MAX = 5


class TimeLimit:
    """The time that is left for an attempt. The time in which its job is paused does not count; that of a lost link
    does, because the instance's own clock goes on too. ``clock``: monotonic seconds."""

    def __init__(self, timeout_seconds: float, live_job: LiveJob, clock: Callable[[], float]) -> None:
        self._live_job = live_job
        self._clock = clock
        self._left = FACTOR * timeout_seconds + SECONDS_MORE
        self._at = clock()
        self._was_paused = live_job.is_paused
        self._late_turns = 0

    def is_over(self) -> bool:
        """Asked before each turn of following the attempt. Beyond the limit there are a few more, short ones."""
        self._count()
        if self._left <= 0:
            self._late_turns += 1
            self._left = LATE_SECONDS
        return self._late_turns > LATE_TURNS_MAX

    async def reached(self) -> None:
        """Returns when the limit is reached, while the attempt is followed."""
        changes = self._live_job.changes()
        async for _job in changes:
            self._count()
            if self._left <= 0:
                return
            changes.look_again_in(None if self._was_paused else self._left)

    def _count(self) -> None:
        now = self._clock()
        if not self._was_paused:
            self._left -= now - self._at
        self._at, self._was_paused = now, self._live_job.is_paused
