"""How long a job will still take: bytes left over a measured rate. Pure: the time comes in.

The rate of a job is the sum of what runs, the rate of a resource the sum of its files; each file has its own, so that
several at once, one behind the other, one continued in its middle and the time between them disturb no estimate. A
figure that is too coarse to be measured leaves the word to the tool's own speed. What is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping

from service.runner.rate import WINDOW_SECONDS, WINDOW_SECONDS_MIN, Rate

SPEED_SECONDS_MAX = 5.0
SPEED_GAPS_MAX = 1.5
FILES_MAX = 64
# A file that is begun anew, and silent since: its first try is over.
TRY_SECONDS_MAX = 30.0
# Some tools say nothing more of a file's last seconds.
COMPLETE_SHARE = 0.9
SECONDS_MAX = 30 * 86_400.0


class Eta:
    """``sizes``: of each resource in bytes, as its card says, or None. Times are monotonic seconds."""

    def __init__(self, sizes: Mapping[str, int | None]) -> None:
        self._downloads = {resource: _Download(size) for resource, size in sizes.items()}
        # Of downloads that have ended, for those that take their places.
        self._free_rates: list[float] = []
        self._paused_at: float | None = None
        self._paused_seconds = 0.0

    def start(self, resource: str) -> None:
        """An attempt begins: what an earlier one had downloaded counts no more."""
        self.finish(resource)
        rate = self._free_rates.pop() if self._free_rates else None
        self._downloads[resource] = _Download(self._downloads[resource].size, has_begun=True, rate=rate)

    def finish(self, resource: str) -> None:
        """Installed, failed or cancelled: nothing of it is left to do."""
        download = self._downloads[resource]
        if download.is_running and download.rate is not None:
            self._free_rates.append(download.rate)
        download.has_ended = True

    def pause(self, now: float) -> None:
        if self._paused_at is None:
            self._paused_at = now

    def resume(self, now: float) -> None:
        """The pause counts for nothing: the rate goes on from what it was."""
        if self._paused_at is not None:
            self._paused_seconds += now - self._paused_at
            self._paused_at = None

    def observe(
        self,
        resource: str,
        now: float,
        downloaded_bytes: int | None,
        total_bytes: int | None,
        bytes_per_second: float | None = None,
    ) -> None:
        """What a tool reports of one file, of several at once by turns, or of one after the other."""
        if downloaded_bytes is not None:
            self._downloads[resource].report(self._at(now), downloaded_bytes, total_bytes, bytes_per_second)

    def resource_eta_seconds(self, resource: str, now: float) -> float | None:
        """For this resource alone, at its own rate."""
        download = self._downloads[resource]
        return _seconds(download.left(), download.bytes_per_second(self._at(now)))

    def job_eta_seconds(self, now: float) -> float | None:
        """For all that is still to come, at the rate of all that run together."""
        left, rate, at = 0, 0.0, self._at(now)
        is_one_waiting = any(not download.has_begun for download in self._downloads.values())
        for download in self._downloads.values():
            rest = download.left()
            if rest is None:
                return None
            left += rest
            # What has all its bytes is being looked at, and will leave its place to one that waits.
            if rest > 0 or is_one_waiting:
                rate += download.bytes_per_second(at) or 0.0
        return _seconds(left, rate)

    def _at(self, now: float) -> float:
        """The time without the pauses."""
        return (now if self._paused_at is None else min(now, self._paused_at)) - self._paused_seconds


class _Download:
    """One resource, and the files of which its tool speaks, the last one last. ``rate``: the last that was known."""

    def __init__(self, size: int | None, *, has_begun: bool = False, rate: float | None = None) -> None:
        self.size = size
        self.rate = rate
        self.has_begun = has_begun
        self.has_ended = False
        self._done = 0
        self._files: list[_File] = []

    @property
    def is_running(self) -> bool:
        return self.has_begun and not self.has_ended

    def report(self, now: float, downloaded: int, total: int | None, speed: float | None) -> None:
        self._forget(now)
        file = self._find(now, downloaded, total)
        if file is None:
            file = _File(now, downloaded, total)
        else:
            self._files.remove(file)
        self._files.append(file)
        file.report(now, downloaded, total, speed)
        rate = self._measured(now)
        self.rate = rate if rate is not None else self.rate

    def left(self) -> int | None:
        if self.has_ended:
            return 0
        # Without a size on the card only the files at hand are known; with one, they may know better.
        at_hand = sum(max(0, file.total - file.current) for file in self._files if file.total is not None)
        if self.size is not None:
            return max(at_hand, self.size - self._done - sum(file.current for file in self._files))
        is_known = self._files and all(file.total is not None for file in self._files)
        return at_hand if is_known else None

    def bytes_per_second(self, now: float) -> float | None:
        if not self.is_running:
            return None
        measured = self._measured(now)
        if measured is not None:
            return measured
        # Between two files, and at the beginning of the next, the rate is what it was.
        files = self._open_files()
        return self.rate if not files or any(file.is_young(now) for file in files) else None

    def _measured(self, now: float) -> float | None:
        """Of all files that run. One that has just begun is taken for one like the others."""
        rates = [(file, file.bytes_per_second(now)) for file in self._open_files()]
        known = [rate for _, rate in rates if rate is not None]
        if not known:
            return None
        young = sum(file.is_young(now) for file, rate in rates if rate is None)
        return sum(known) * (len(known) + young) / len(known)

    def _open_files(self) -> list[_File]:
        return [file for file in self._files if not file.is_complete]

    def _find(self, now: float, downloaded: int, total: int | None) -> _File | None:
        """Tools name no file beside a figure: it is of the file that must be about there by now. A figure that is
        below all is of a next file, or of a new try."""
        same = [file for file in self._files if total is None or file.total in (None, total)]
        files = [file for file in same if not file.is_complete]
        near = [file for file in files if file.current <= downloaded]
        # Of two that were at the same place the figures may have been taken for each other's.
        near = near or [file for file in files if file is not self._files[-1] and file.is_just_above(downloaded)]
        if near:
            return min(near, key=lambda file: (file.surprise(now, downloaded), file.heard_at))
        repeated = [file for file in same if file.current == downloaded]
        if repeated:
            return repeated[-1]
        last = self._files[-1] if self._files else None
        if last is None or last.is_complete or last.total is None or total is None:
            return None
        # The total of several files together grows until all of them are known.
        return last if last.total < total and last.current <= downloaded else None

    def _forget(self, now: float) -> None:
        self._files = [file for file in self._files if not self._is_given_up(file, now)]
        over = max(0, len(self._files) - FILES_MAX + 1)
        self._done += sum(file.current for file in self._files[:over])
        del self._files[:over]

    def _is_given_up(self, file: _File, now: float) -> bool:
        if now - file.heard_at < TRY_SECONDS_MAX or (file.total and file.current >= file.total * COMPLETE_SHARE):
            return False
        return any(other.total == file.total and other.begun_at > file.heard_at for other in self._files)


class _File:
    """One file: how far it is, and how fast. ``heard_at``: when the tool last spoke of it."""

    def __init__(self, now: float, current: int, total: int | None) -> None:
        self.current = current
        self.total = total
        self.begun_at = now
        self.heard_at = now
        self._gap_seconds = 0.0
        self._highest = current
        self._growth = 0
        self._said: float | None = None
        self._rate = Rate()

    @property
    def is_complete(self) -> bool:
        return self.total is not None and self.current >= self.total

    def report(self, now: float, downloaded: int, total: int | None, speed: float | None) -> None:
        growth = downloaded - self._highest
        if growth > 0:
            self._rate.add(now, growth)
            self._highest, self._growth = downloaded, growth
        self._gap_seconds, self.heard_at = now - self.heard_at, now
        # A tool that says 0 does not know yet, or has stopped: both are seen in its figure.
        self.current, self._said = downloaded, speed or None
        self.total = total if total is not None else self.total

    def is_young(self, now: float) -> bool:
        return now - self.begun_at < WINDOW_SECONDS

    def surprise(self, now: float, downloaded: int) -> float:
        """How little the figure looks like the next one of this file."""
        speed = self._said if self._said is not None else self._rate.value(self.heard_at)
        step = (speed or 0.0) * min(now - self.heard_at, SPEED_SECONDS_MAX)
        return abs(downloaded - self.current - step) / (step + 1)

    def is_just_above(self, downloaded: int) -> bool:
        return downloaded < self.current <= downloaded + self._growth

    def bytes_per_second(self, now: float) -> float | None:
        if now - self.begun_at < WINDOW_SECONDS_MIN:
            return None
        is_fresh = now - self.heard_at <= max(SPEED_SECONDS_MAX, SPEED_GAPS_MAX * self._gap_seconds)
        if self._said is not None and is_fresh and self._rate.is_coarse(now):
            return self._said
        return self._rate.value(now)


def _seconds(left: int | None, rate: float | None) -> float | None:
    if left == 0:
        return 0.0
    if left is None or rate is None or rate <= 0:
        return None
    return min(SECONDS_MAX, left / rate)
