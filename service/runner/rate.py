"""The rate of one file, from a figure that grows: fine or coarse, even or in bursts. Pure: the time comes in.

Only changes of the figure count. What a change adds is spread evenly over the time since the change before it, so that
neither a burst nor a rounded figure (``38.7G``) weighs more than it should; the rate is what came within the window
before the last change. Silence counts once it is longer than the steps have been: then the window ends later, by the
part of the silence that is longer. After a long silence the measurement starts again.
"""

from __future__ import annotations

from bisect import bisect_right
from math import inf

WINDOW_SECONDS = 10.0
WINDOW_SECONDS_MIN = 2.0
# Changes closer than this are one step.
STEP_SECONDS_MIN = 0.25
# The first changes may be a backlog that comes at once.
FIRST_STEP_SECONDS = 3.0
STEPS_MIN = 2
STEPS_MAX = 64
# With fewer steps within the window, the rounding of the figure outweighs the bytes that came.
FINE_STEPS_MIN = 5
SILENT_STEPS_MAX = 3
# A step that is this much faster than the rate before it shows bytes that were there already. A rate that really has
# grown is still followed, since it grows by half with each such step.
JUMP_MAX = 20.0


class Rate:
    """Bytes a second over a sliding window. The first step has no start time, so it only opens the window.

    What came is a line through one point a step: its end, and the bytes until then without those of the first step. The
    last step is open: what is added to it is only counted, and its point is made when somebody asks.
    """

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._totals: list[float] = []
        # Of the last step: until when it is open, its bytes, and how many a second of them count.
        self._open_until = -inf
        self._count = 0.0
        self._most_a_second = 0.0
        # Of the steps as they are, without the silence since; None: not measured since the last change.
        self._step_seconds_now: float | None = None
        self._value_now: float | None = None

    def add(self, now: float, count: float) -> None:
        """The figure has grown by ``count`` bytes."""
        if now >= self._open_until:
            self._open(now, count)
            return
        self._count += count
        if now > self._ends[-1]:
            self._ends[-1] = now
        self._step_seconds_now = self._value_now = None

    def is_coarse(self, now: float) -> bool:
        """Whether the figure changed too seldom to measure a rate in one window."""
        return len(self._ends) <= FINE_STEPS_MIN or self._ends[-FINE_STEPS_MIN] < now - WINDOW_SECONDS

    def value(self, now: float) -> float | None:
        """None: not known yet, or no longer."""
        if not self._is_known() or self._is_over(now):
            return None
        last = self._ends[-1]
        # A silence no longer than the steps have been proves nothing yet.
        if now > last and (end := now - self._step_seconds()) > last:
            return self._before(end)
        if self._value_now is None:
            self._value_now = self._before(last)
        return self._value_now

    def _before(self, end: float) -> float:
        """In the window before a time that is not before the last change."""
        self._close()
        begin, first = self._window(end)
        start, until = self._ends[first - 1], self._totals[first - 1]
        until += (self._totals[first] - until) * (begin - start) / (self._ends[first] - start)
        return (self._totals[-1] - until) / (end - begin)

    def _open(self, now: float, count: float) -> None:
        """A step begins, at the end of the one before it."""
        ends, totals = self._ends, self._totals
        if self._is_known() and self._is_over(now):
            ends.clear()
            totals.clear()
        if not ends:
            ends.append(now)
            totals.append(0.0)
            self._open_until = now + FIRST_STEP_SECONDS
            return
        self._close()
        rate = self.value(ends[-1])
        self._most_a_second = inf if rate is None else JUMP_MAX * rate
        self._count = count
        self._open_until = now + STEP_SECONDS_MIN
        ends.append(now)
        totals.append(totals[-1])
        self._step_seconds_now = self._value_now = None
        if len(ends) > STEPS_MAX:
            del ends[0], totals[0]

    def _close(self) -> None:
        """Make the point of the last step from what it is by now."""
        ends, totals = self._ends, self._totals
        if len(ends) > 1:
            most = self._most_a_second * (ends[-1] - ends[-2])
            totals[-1] = totals[-2] + (self._count if self._count < most else most)

    def _is_known(self) -> bool:
        ends = self._ends
        return len(ends) > STEPS_MIN and ends[-1] - ends[0] >= WINDOW_SECONDS_MIN

    def _is_over(self, now: float) -> bool:
        """Known once, but silent for so long that the next figure may be a backlog and tells nothing about the rate."""
        silent_seconds = now - self._ends[-1]
        return silent_seconds > WINDOW_SECONDS and silent_seconds > SILENT_STEPS_MAX * self._step_seconds()

    def _step_seconds(self) -> float:
        """How long the steps of the last window have been."""
        if self._step_seconds_now is None:
            end = self._ends[-1]
            begin, first = self._window(end)
            self._step_seconds_now = (end - begin) / (len(self._ends) - first)
        return self._step_seconds_now

    def _window(self, end: float) -> tuple[float, int]:
        """When the window before this time begins, and the first step that it touches. Written out, since min and max
        would take half of it."""
        ends = self._ends
        begin, latest = end - WINDOW_SECONDS, ends[-1 - STEPS_MIN]
        if begin > latest:
            begin = latest
        if begin < ends[0]:
            begin = ends[0]
        return begin, bisect_right(ends, begin)
