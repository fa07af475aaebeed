"""The rate of one file, from a figure that grows: fine or coarse, even or in bursts. Pure: the time comes in.

Only changes of the figure count. What a change adds is spread evenly over the time since the change before it, so that
neither a burst nor a rounded figure (``38.7G``) weighs more than it should; the rate is what came within the window
before now. Silence counts once it is longer than the steps have been; after a long one the measurement starts again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

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
    """Bytes a second over a sliding window. The first step has no start time, so it only opens the window."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque(maxlen=STEPS_MAX)
        # Of the steps as they are; None: not measured since the last change.
        self._step_seconds_now: float | None = 0.0

    def add(self, now: float, count: float) -> None:
        """The figure has grown by ``count`` bytes."""
        if self._is_over(now):
            self._steps.clear()
        last = self._steps[-1] if self._steps else None
        if last is None:
            self._steps.append(_Step(now, now, now + FIRST_STEP_SECONDS, count))
        elif now < last.open_until:
            last.end = max(last.end, now)
            last.count += count
        else:
            rate = self.value(last.end)
            fastest = None if rate is None else JUMP_MAX * rate
            self._steps.append(_Step(last.end, now, now + STEP_SECONDS_MIN, count, fastest, last.after))
        self._step_seconds_now = None

    @property
    def _step_seconds(self) -> float:
        """How long the steps of the window have been."""
        if self._step_seconds_now is None:
            self._step_seconds_now = 0.0
            if len(self._steps) > STEPS_MIN:
                end = self._steps[-1].end
                begin, steps = self._window(end)
                self._step_seconds_now = (end - begin) / steps
        return self._step_seconds_now

    def is_coarse(self, now: float) -> bool:
        """Whether the figure changed too seldom to measure a rate in one window."""
        return len(self._steps) <= FINE_STEPS_MIN or self._steps[-FINE_STEPS_MIN].end < now - WINDOW_SECONDS

    def value(self, now: float) -> float | None:
        """None: not known yet, or no longer."""
        if not self._is_known() or self._is_over(now):
            return None
        last = self._steps[-1]
        begin, steps = self._window(now)
        # A silence no longer than the steps have been proves nothing yet.
        end = max(last.end, now - self._step_seconds)
        return (last.after - self._steps[-steps].until(begin)) / (end - begin)

    def _is_known(self) -> bool:
        return len(self._steps) > STEPS_MIN and self._steps[-1].end - self._steps[0].end >= WINDOW_SECONDS_MIN

    def _is_over(self, now: float) -> bool:
        """Silent for so long that the next figure may be a backlog and tells nothing about the rate."""
        if not self._is_known() or now - self._steps[-1].end <= WINDOW_SECONDS:
            return False
        return now - self._steps[-1].end > SILENT_STEPS_MAX * self._step_seconds

    def _window(self, now: float) -> tuple[float, int]:
        """When the window before now begins, and how many steps it touches."""
        begin = max(self._steps[0].end, min(now - WINDOW_SECONDS, self._steps[-STEPS_MIN].begin))
        return begin, len(self._steps) - bisect_right(self._steps, begin, key=lambda step: step.end)


@dataclass(slots=True)
class _Step:
    """Bytes that came between two times, evenly. ``fastest``: more bytes a second than that do not count. ``before``:
    the bytes until ``begin``."""

    begin: float
    end: float
    open_until: float
    count: float
    fastest: float | None = None
    before: float = 0.0

    @property
    def after(self) -> float:
        return self.until(self.end)

    def until(self, time: float) -> float:
        """The bytes that came until a time within the step."""
        if self.end <= self.begin:
            return self.before
        rate = self.count / (self.end - self.begin)
        return self.before + (time - self.begin) * (rate if self.fastest is None else min(rate, self.fastest))
