"""A job without resources removes files from its instance. What was removed is an event each, before the job ends."""

from __future__ import annotations

from service.crash_points import crash_point
from service.events import event_types as types
from service.events.causes import Cause
from service.events.job import Job
from service.events.recorded_event import NewEvent
from service.runner.endings import job_failed
from service.runner.instance.remote import Remote, Removed
from service.runner.instance.ssh import Connection
from service.runner.live_job import LiveJob
from service.runner.outcome import failed


class Removal:
    """``run`` it over a connection, as often as the link breaks; then ``failure`` is the end of the job if something
    stays."""

    def __init__(self, live_job: LiveJob) -> None:
        self._live_job = live_job
        self._stays: list[Removed] = []

    async def run(self, connection: Connection) -> None:
        """Raises LinkDown, RemoteProtocolError, LeaseLost."""
        job = self._live_job.job
        await self._live_job.until_may_act()
        crash_point("before_removal")
        found = await Remote(connection).remove_files(job.job_id, self._live_job.epoch, job.ui_home, job.removes)
        crash_point("after_removal")
        self._stays = [each for each in found if each.problem is not None]
        gone = [each for each in found if each.problem is None]
        removed = [NewEvent(event=types.FileRemoved(path=each.path, size=each.size)) for each in gone]
        warned = [NewEvent(event=_warning(each)) for each in self._stays]
        await self._live_job.append([*removed, *warned])

    def failure(self, job: Job) -> types.JobFailed | None:
        if not self._stays:
            return None
        first, more = self._stays[0], len(self._stays) - 1
        others = f" (and {more} more)" if more else ""
        return job_failed(job, failed(Cause.PERMISSION, f"{first.path} stays: {first.problem}{others}"))


def _warning(stays: Removed) -> types.ResourceWarned:
    return types.ResourceWarned(code="not_removed", text=f"{stays.path} stays: {stays.problem}", paths=[stays.path])
