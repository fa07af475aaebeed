"""What replicas that share the log leave to each other.

A job is for a replica that has its cards: those that are still to be started, and the very version of those that were.
A started job whose cards are not here is left to another replica for a while, be it one that is still to come back; a
queued one only where the replicas have different cards. If nobody took it until then, nobody has them, and the job ends
here as it would without replicas.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from service.errors import CardError, RequestError
from service.events.event_types import JobTakenOver
from service.events.job import ENDED_STATES, Job, ResourceState
from service.library import Library
from service.store.membership import Membership

LEFT_SECONDS_MAX = 30.0


class Sharing:
    """``name``: of this replica. ``tell``: says to the others that jobs may wait for whoever has room. ``clock``:
    monotonic seconds."""

    def __init__(
        self,
        *,
        name: str,
        membership: Membership,
        library: Library,
        tell: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._membership = membership
        self._library = library
        self._clock = clock
        self._left_since: dict[str, float] = {}
        self.tell = tell

    async def takes(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of these jobs, which wait for any replica, that this one takes. Raises StoreUnavailable."""
        lack_cards = await asyncio.to_thread(lambda: {job.job_id for job in jobs if not self._has_cards(job)})
        others_differ = False
        if any(job.job_id in lack_cards and job.started_at_ms is None for job in jobs):
            others_differ = await self._others_differ()
        now, taken = self._clock(), []
        for job in jobs:
            if job.job_id in lack_cards and self._is_left(job, now, others_differ=others_differ):
                continue
            self._left_since.pop(job.job_id, None)
            taken.append(job)
        return taken

    def taken_over(self) -> JobTakenOver:
        """The event that says that this replica has taken a job over."""
        return JobTakenOver(replica=self._name, replica_id=self._membership.replica_id or 0)

    def _is_left(self, job: Job, now: float, *, others_differ: bool) -> bool:
        since = self._left_since.setdefault(job.job_id, now)
        return now - since < LEFT_SECONDS_MAX and (job.started_at_ms is not None or others_differ)

    def _has_cards(self, job: Job) -> bool:
        for resource in job.resources:
            if resource.state in ENDED_STATES:
                continue
            try:
                card = self._library.get(resource.resource)
            except (RequestError, CardError):
                return False
            if resource.state is ResourceState.RUNNING and card.sha256 != resource.card_sha256:
                return False
        return True

    async def _others_differ(self) -> bool:
        return len({replica.library_sha256 for replica in await self._membership.all()}) > 1
