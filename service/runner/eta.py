"""Estimates how long a job will still take: the bytes left, divided by a measured rate. Pure: the time comes in.

The rate of a job is the sum of the downloads that run, the rate of a resource the sum of its files (downloads.py). What
is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from service.events.event_types import Progress
from service.events.recorded_event import NewEvent
from service.runner.downloads import MEASURE_SECONDS, Download

SECONDS_MAX = 30 * 86_400.0
# Nobody reads more estimates a second than this, however many bars a tool draws.
ESTIMATE_SECONDS = MEASURE_SECONDS


class Estimates(NamedTuple):
    """Seconds for the rest of a resource and for that of its job."""

    resource_eta_seconds: float | None
    job_eta_seconds: float | None


class Eta:
    """``sizes``: of each resource in bytes, from its card, or None. Times are monotonic seconds."""

    def __init__(self, sizes: Mapping[str, int | None]) -> None:
        self._downloads = {resource: Download(size) for resource, size in sizes.items()}
        # The rates of downloads that have ended, for those that take their places.
        self._free_rates: list[float] = []
        self._paused_at: float | None = None
        self._paused_seconds = 0.0
        # Of each resource: when its estimates were made, and what they were.
        self._estimated: dict[str, tuple[float, Estimates]] = {}

    def start(self, resource: str) -> None:
        """An attempt begins: what an earlier one had downloaded no longer counts."""
        self.finish(resource)
        self._estimated.clear()
        rate = self._free_rates.pop() if self._free_rates else None
        self._downloads[resource] = Download(self._downloads[resource].size, has_begun=True, rate=rate)

    def finish(self, resource: str) -> None:
        """Installed, failed or cancelled: nothing of it is left to do."""
        download = self._downloads[resource]
        if download.is_running and download.rate is not None:
            self._free_rates.append(download.rate)
        download.has_ended = True
        self._estimated.clear()

    def pause(self, now: float) -> None:
        if self._paused_at is None:
            self._paused_at = now
            self._estimated.clear()

    def resume(self, now: float) -> None:
        """The time of the pause does not count: the rate continues from what it was."""
        if self._paused_at is not None:
            self._paused_seconds += now - self._paused_at
            self._paused_at = None
            self._estimated.clear()

    def observe(
        self,
        resource: str,
        now: float,
        downloaded_bytes: int | None,
        total_bytes: int | None,
        bytes_per_second: float | None = None,
    ) -> None:
        """A figure that a tool printed: of one file, of several by turns, or of one after the other."""
        if downloaded_bytes is None:
            return
        if self._downloads[resource].report(self._at(now), downloaded_bytes, total_bytes, bytes_per_second):
            self._estimated.clear()

    def estimates(self, resource: str, now: float) -> Estimates:
        """For this resource and for the job, at most ESTIMATE_SECONDS old, in tenths of a second."""
        made_at, found = self._estimated.get(resource, (None, None))
        if found is None or made_at is None or not 0 <= now - made_at < ESTIMATE_SECONDS:
            found = Estimates(_rounded(self.resource_eta_seconds(resource, now)), _rounded(self.job_eta_seconds(now)))
            self._estimated[resource] = (now, found)
        return found

    def resource_eta_seconds(self, resource: str, now: float) -> float | None:
        """For this resource alone, at its own rate."""
        download = self._downloads[resource]
        return _seconds(download.left(), download.bytes_per_second(self._at(now)))

    def bytes_per_second(self, resource: str, now: float) -> float | None:
        """The measured rate of this resource."""
        return self._downloads[resource].bytes_per_second(self._at(now))

    def job_eta_seconds(self, now: float) -> float | None:
        """For all that is still to come, at the summed rate of all downloads that run."""
        left, rate, at = 0, 0.0, self._at(now)
        is_one_waiting = any(not download.has_begun for download in self._downloads.values())
        for download in self._downloads.values():
            rest = download.left()
            if rest is None:
                return None
            left += rest
            # A download that has all its bytes is being verified, and will leave its place to one that waits.
            if rest > 0 or is_one_waiting:
                rate += download.bytes_per_second(at) or 0.0
        return _seconds(left, rate)

    def _at(self, now: float) -> float:
        """The time without the pauses."""
        return (now if self._paused_at is None else min(now, self._paused_at)) - self._paused_seconds


def with_estimates(new: NewEvent, eta: Eta, now: float, *, is_measured: bool) -> NewEvent:
    """A progress with its estimates, any other event as it is. ``is_measured``: its bytes count for the rate."""
    progress = new.event
    if not isinstance(progress, Progress) or new.resource is None or progress.downloaded_bytes is None:
        return new
    if is_measured:
        eta.observe(new.resource, now, progress.downloaded_bytes, progress.total_bytes, progress.bytes_per_second)
        if progress.downloaded is None and progress.bytes_per_second is None:
            # No tool printed it: only its bytes are known, so its speed is the measured one.
            speed = eta.bytes_per_second(new.resource, now)
            progress = replace(progress, bytes_per_second=None if speed is None else round(speed, 1))
    estimates = eta.estimates(new.resource, now)
    if estimates == (None, None) and progress is new.event:
        return new
    estimated = progress.with_estimates(*estimates)
    return NewEvent(event=estimated, resource=new.resource, attempt=new.attempt, source_offset=new.source_offset)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _seconds(left: int | None, rate: float | None) -> float | None:
    if left == 0:
        return 0.0
    if left is None or rate is None or rate <= 0:
        return None
    return min(SECONDS_MAX, left / rate)
