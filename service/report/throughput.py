"""How many bytes came when, from figures that say how far each resource is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.events.recorded_event import rfc3339

POINTS_MAX = 240
STEP_MS_MIN = 1_000
# The bytes since the last figure came over all the time since then, but not over a longer silence.
SPREAD_MS_MAX = 10_000
# Figures that come in one moment after a silence, as they do after a link was down, are one.
MOMENT_MS = 250
SILENCE_MS = 1_000


@dataclass(slots=True)
class _Arrival:
    """Bytes of one resource that came within a time, evenly."""

    begin_ms: int
    end_ms: int
    bytes: int = 0

    @property
    def follows_silence(self) -> bool:
        return self.end_ms - self.begin_ms >= SILENCE_MS


class Throughput:
    """``start`` an attempt at a resource, then each ``figure`` of it; all of a job's resources together."""

    def __init__(self) -> None:
        self._arrivals: list[_Arrival] = []
        self._last_bytes: dict[str, int] = {}
        self._last_arrival: dict[str, _Arrival] = {}

    def start(self, path: str, at_ms: int) -> None:
        self._last_bytes[path] = 0
        self._last_arrival[path] = _Arrival(at_ms, at_ms)

    def figure(self, path: str, at_ms: int, downloaded_bytes: int) -> int:
        """The bytes that came since the last figure of this resource. A figure that falls belongs to the next file, or
        to a new try: all that it shows has come since."""
        before = self._last_bytes.get(path, 0)
        if downloaded_bytes == before:
            return 0
        self._last_bytes[path] = downloaded_bytes
        came = downloaded_bytes - before if downloaded_bytes > before else downloaded_bytes
        last = self._last_arrival.get(path) or _Arrival(at_ms, at_ms)
        if not (last.follows_silence and 0 <= at_ms - last.end_ms < MOMENT_MS):
            # The clock may have been set back between the two.
            begin_ms = min(max(last.end_ms, at_ms - SPREAD_MS_MAX), at_ms)
            last = self._last_arrival[path] = _Arrival(begin_ms, at_ms)
            self._arrivals.append(last)
        last.bytes += came
        return came

    def to_dict(self) -> dict[str, Any]:
        """Bytes a second over time, in at most ``POINTS_MAX`` equal steps from the first byte to the last."""
        if not self._arrivals:
            return {"from": None, "step_seconds": None, "bytes_per_second": []}
        first = min(arrival.begin_ms for arrival in self._arrivals)
        last = max(arrival.end_ms for arrival in self._arrivals)
        step_ms = max(STEP_MS_MIN, -(-(last - first + 1) // POINTS_MAX))
        sums = [0.0] * ((last - first) // step_ms + 1)
        for arrival in self._arrivals:
            _spread(arrival, first, step_ms, sums)
        rates = [round(total * 1000 / step_ms) for total in sums]
        return {"from": rfc3339(first), "step_seconds": step_ms / 1000, "bytes_per_second": rates}


def _spread(arrival: _Arrival, first_ms: int, step_ms: int, sums: list[float]) -> None:
    """Add the bytes to the steps that they came in."""
    took_ms = arrival.end_ms - arrival.begin_ms
    for step in range((arrival.begin_ms - first_ms) // step_ms, (arrival.end_ms - first_ms) // step_ms + 1):
        begin_ms = max(arrival.begin_ms, first_ms + step * step_ms)
        end_ms = min(arrival.end_ms, first_ms + (step + 1) * step_ms)
        sums[step] += arrival.bytes * (end_ms - begin_ms) / took_ms if took_ms else arrival.bytes
