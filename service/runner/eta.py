"""Estimates how long a job will still take: the bytes left, divided by a measured rate. Pure: the time comes in.

The rate of a job is the sum of the downloads that run, the rate of a resource the sum of its files (downloads.py). What
is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
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
        at = now - self._paused_seconds if self._paused_at is None else self._at(now)
        if self._downloads[resource].report(at, downloaded_bytes, total_bytes, bytes_per_second):
            self._estimated.clear()

    def estimates(self, resource: str, now: float) -> Estimates:
        """For this resource and for the job, at most ESTIMATE_SECONDS old, in tenths of a second."""
        made_at, found = self._estimated.get(resource, _NEVER)
        if 0 <= now - made_at < ESTIMATE_SECONDS:
            return found
        of_resource, of_job = self._seconds_left(resource, now)
        found = Estimates(_rounded(of_resource), _rounded(of_job))
        self._estimated[resource] = (now, found)
        return found

    def resource_eta_seconds(self, resource: str, now: float) -> float | None:
        """For this resource alone, at its own rate."""
        return self._seconds_left(resource, now)[0]

    def job_eta_seconds(self, now: float) -> float | None:
        """For all that is still to come, at the summed rate of all downloads that run."""
        return self._seconds_left(None, now)[1]

    def bytes_per_second(self, resource: str, now: float) -> float | None:
        """The measured rate of this resource."""
        return self._downloads[resource].bytes_per_second(self._at(now))

    def _seconds_left(self, resource: str | None, now: float) -> tuple[float | None, float | None]:
        """Of this resource and of the job, in one pass."""
        at = now - self._paused_seconds if self._paused_at is None else self._at(now)
        of_resource: float | None = None
        left, rate, verified_rate, is_known, is_one_waiting = 0, 0.0, 0.0, True, False
        for name, download in self._downloads.items():
            its_left, its_rate = download.left(), download.bytes_per_second(at)
            if name == resource:
                of_resource = _seconds(its_left, its_rate)
            if its_left is None:
                is_known = False
                continue
            left += its_left
            if not download.has_begun:
                is_one_waiting = True
            elif its_rate is not None:
                if its_left > 0:
                    rate += its_rate
                else:
                    verified_rate += its_rate
        # A download that has all its bytes is being verified, and will leave its place to one that waits.
        rate = rate + verified_rate if is_one_waiting else rate
        return of_resource, _seconds(left, rate) if is_known else None

    def _at(self, now: float) -> float:
        """The time without the pauses."""
        return (now if self._paused_at is None else min(now, self._paused_at)) - self._paused_seconds


def with_estimates(new: NewEvent, eta: Eta, now: float, *, is_measured: bool) -> NewEvent:
    """A progress with its estimates, any other event as it is. ``is_measured``: its bytes count for the rate."""
    bar, resource, attempt, source_offset = new
    if not isinstance(bar, Progress) or resource is None or bar.downloaded_bytes is None:
        return new
    speed = bar.bytes_per_second
    if is_measured:
        eta.observe(resource, now, bar.downloaded_bytes, bar.total_bytes, speed)
        if speed is None and bar.downloaded is None:
            # No tool printed it: only its bytes are known, so its speed is the measured one.
            speed = _rounded(eta.bytes_per_second(resource, now))
    left, left_of_job = eta.estimates(resource, now)
    # A NewEvent, made in half the time of its own constructor.
    return tuple.__new__(NewEvent, (bar.with_estimates(left, left_of_job, speed), resource, attempt, source_offset))


_NEVER = (-inf, Estimates(None, None))


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _seconds(left: int | None, rate: float | None) -> float | None:
    if left == 0:
        return 0.0
    if left is None or rate is None or rate <= 0:
        return None
    seconds = left / rate
    return seconds if seconds < SECONDS_MAX else SECONDS_MAX
