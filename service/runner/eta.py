"""How long a job will still take: bytes left over a smoothed measured rate. Pure: the time comes in.

The rate is what really arrived within the last seconds, of all resources together: a burst is spread over the window,
silence lowers it, and a change of the true rate is followed within the length of the window. A tool that rounds its
figure so coarsely that it hardly ever changes (``38.7G``) is taken at its own word for the speed instead. What is not
known is None.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

WINDOW_SECONDS = 8.0
WINDOW_SECONDS_MIN = 2.0
SAMPLE_SECONDS = 0.25
SAMPLES_MAX = 64
# With fewer changes of the figure within the window, its rounding counts for more than what arrived.
CHANGES_MIN = 5
SPEED_SECONDS_MAX = 5.0
SECONDS_MAX = 30 * 86_400.0


@dataclass(slots=True)
class _Download:
    """One resource: ``done`` bytes of files that are complete, and the file that is downloaded now."""

    size: int | None
    done: int = 0
    current: int = 0
    total: int | None = None
    has_ended: bool = False
    speed: float | None = None
    speed_at: float = 0.0

    def said_speed(self, now: float) -> float | None:
        """What the tool said of its speed a moment ago."""
        is_fresh = not self.has_ended and now - self.speed_at <= SPEED_SECONDS_MAX
        return self.speed if is_fresh else None

    def left(self) -> int | None:
        if self.has_ended:
            return 0
        if self.size is not None:
            return max(0, self.size - self.done - self.current)
        # Without a size on the card only the file at hand is known.
        return None if self.total is None else max(0, self.total - self.current)


class _Rate:
    """Bytes that arrived, by time, over a sliding window."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES_MAX)
        self._changes: deque[float] = deque(maxlen=CHANGES_MIN)
        self._since: float | None = None

    def add(self, now: float, count: int) -> None:
        if self._since is None:
            # The first report says how much, but not since when.
            self._since = now
            return
        if count > 0:
            self._changes.append(now)
        if self._samples and now - self._samples[-1][0] < SAMPLE_SECONDS:
            at, before = self._samples[-1]
            self._samples[-1] = (at, before + count)
        else:
            self._samples.append((now, count))

    def skip(self, seconds: float) -> None:
        """Time in which nothing could arrive."""
        self._samples = deque(((at + seconds, count) for at, count in self._samples), maxlen=SAMPLES_MAX)
        self._changes = deque((at + seconds for at in self._changes), maxlen=CHANGES_MIN)
        self._since = None if self._since is None else self._since + seconds

    def is_coarse(self, now: float) -> bool:
        """Whether the figure changed too seldom for a rate to be made of it."""
        return len(self._changes) < CHANGES_MIN or self._changes[0] < now - WINDOW_SECONDS

    def value(self, now: float) -> float | None:
        if self._since is None or now - self._since < WINDOW_SECONDS_MIN:
            return None
        begin = max(self._since, now - WINDOW_SECONDS)
        arrived = sum(count for at, count in self._samples if at > begin)
        return arrived / (now - begin) if arrived > 0 else None


class Eta:
    """``sizes``: of each resource in bytes, as its card says, or None. Times are monotonic seconds."""

    def __init__(self, sizes: Mapping[str, int | None]) -> None:
        self._downloads = {resource: _Download(size) for resource, size in sizes.items()}
        self._rates = {resource: _Rate() for resource in sizes}
        self._rate = _Rate()
        self._paused_at: float | None = None

    def begun(self, resource: str) -> None:
        """An attempt begins: what an earlier one had downloaded counts no more."""
        size = self._downloads[resource].size
        self._downloads[resource] = _Download(size)
        self._rates[resource] = _Rate()

    def ended(self, resource: str) -> None:
        """Installed, failed or cancelled: nothing of it is left to do."""
        self._downloads[resource].has_ended = True

    def paused(self, now: float) -> None:
        if self._paused_at is None:
            self._paused_at = now

    def resumed(self, now: float) -> None:
        """The pause counts for nothing: the rate goes on from what it was."""
        if self._paused_at is None:
            return
        for rate in (self._rate, *self._rates.values()):
            rate.skip(now - self._paused_at)
        self._paused_at = None

    def observe(
        self,
        resource: str,
        now: float,
        downloaded_bytes: int | None,
        total_bytes: int | None,
        bytes_per_second: float | None = None,
    ) -> None:
        """What a tool reports of one file. A figure that falls, or another total, is the next file or a new try."""
        if downloaded_bytes is None:
            return
        download = self._downloads[resource]
        download.speed, download.speed_at = bytes_per_second, now
        is_next = downloaded_bytes < download.current or (
            download.total is not None and total_bytes is not None and total_bytes != download.total
        )
        if is_next:
            is_complete = download.total is not None and download.current >= download.total * 0.99
            download.done += download.current if is_complete else 0
            download.current = 0
        arrived = max(0, downloaded_bytes - download.current)
        if download.current == 0 and download.total is None:
            # The first report of a download that was under way, or that continues a file.
            self._rates[resource].add(now, 0)
            self._rate.add(now, 0)
        else:
            self._rates[resource].add(now, arrived)
            self._rate.add(now, arrived)
        download.current = downloaded_bytes
        download.total = total_bytes if total_bytes is not None else download.total

    def resource_eta_seconds(self, resource: str, now: float) -> float | None:
        """For this resource alone, at its own rate."""
        download, rate = self._downloads[resource], self._rates[resource]
        said = download.said_speed(now) if rate.is_coarse(now) else None
        return _seconds(download.left(), said if said is not None else rate.value(now))

    def job_eta_seconds(self, now: float) -> float | None:
        """For all that is still to come, at the rate of all that run together."""
        left = 0
        for download in self._downloads.values():
            rest = download.left()
            if rest is None:
                return None
            left += rest
        said = [download.said_speed(now) for download in self._downloads.values()]
        known = [speed for speed in said if speed is not None]
        is_said = known and self._rate.is_coarse(now)
        return _seconds(left, sum(known) if is_said else self._rate.value(now))


def _seconds(left: int | None, rate: float | None) -> float | None:
    if left is None or rate is None or rate <= 0:
        return None
    return min(SECONDS_MAX, left / rate)
