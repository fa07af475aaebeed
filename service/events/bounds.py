"""How many events of a kind one attempt may add to the log.

The bounds depend on the bytes alone, so that a second reading of the same bytes keeps the same events: beyond them
progress thins out but never stops, and further lines and stages are left out.
"""

from __future__ import annotations

from service.events.event_types import Event, FileKept, Output, Progress, ResourceWarned, RunEnded, RunStarted

# civitdl draws ten bars a second: an hour of it is kept whole. Beyond that every 2nd, then every 4th … bar.
PROGRESS_EVENTS_FULL = 40_000
PROGRESS_EVENTS_STEP = 2_000
OUTPUT_LINES_MAX = 5_000
STAGE_EVENTS_MAX = 4_000
RUN_EVENTS_MAX = 4_000
_OF_RUNS = (RunStarted, RunEnded, FileKept, ResourceWarned)
OMITTED = f"… more than {OUTPUT_LINES_MAX} lines: further lines are not kept"


class Bounds:
    """Counts the events of one attempt."""

    def __init__(self) -> None:
        self._outputs = 0
        self._stages = 0
        self._runs = 0
        self._bars_seen = 0
        self._bars_kept = 0
        self._stride = 1

    def admit(self, event: Event) -> Event | None:
        """The event, what stands in its place, or None if it is left out."""
        kind = type(event)
        if kind is Progress:
            return event if self.admits_a_bar() else None
        if kind is Output:
            self._outputs += 1
            if self._outputs == OUTPUT_LINES_MAX:
                return Output(line=OMITTED)
            return event if self._outputs < OUTPUT_LINES_MAX else None
        if kind in _OF_RUNS:
            self._runs += 1
            return event if self._runs <= RUN_EVENTS_MAX else None
        self._stages += 1
        return event if self._stages <= STAGE_EVENTS_MAX else None

    def admits_a_bar(self) -> bool:
        """``admit`` for a Progress."""
        self._bars_seen += 1
        if self._bars_seen % self._stride:
            return False
        self._bars_kept += 1
        beyond = self._bars_kept - PROGRESS_EVENTS_FULL
        if beyond >= 0 and beyond % PROGRESS_EVENTS_STEP == 0:
            self._stride *= 2
        return True
