"""Jobs that many ask for at once: one read answers all who asked before it began.

A read is some round trips between two threads, and in a process that is busy each of them waits for its turn. Whoever
asks first reads, and takes along those who ask while it waits for a reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StoreUnavailable
from service.events.job import Job
from service.store.database import Database

Load = Callable[[AsyncConnection, Sequence[str]], Awaitable[Sequence[Job]]]
Found = dict[str, Job]

# What one read brings: whoever asks beyond it begins the next.
GATHERED_MAX = 100


class _Asked:
    """Another one's question. ``answer``: what was found; None: ask again, alone."""

    __slots__ = ("answer", "job_id")

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.answer: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()


class Gathered:
    """``load``: reads the jobs with these ids."""

    def __init__(self, database: Database, load: Load) -> None:
        self._database = database
        self._load = load
        # Those who have asked since the first one, whose read is still to begin.
        self._others: list[_Asked] | None = None

    async def get(self, job_id: str) -> Job | None:
        """The job as it is stored, at the call or later; None: there is none. Raises StoreUnavailable."""
        if self._others is None or len(self._others) >= GATHERED_MAX:
            found = await self._read_for_all(job_id)
        else:
            asked = _Asked(job_id)
            self._others.append(asked)
            found = await asked.answer
        if found is None:
            async with self._database.read() as connection:
                found = _by_id(await self._load(connection, [job_id]))
        return found.get(job_id)

    async def _read_for_all(self, job_id: str) -> Found | None:
        others = self._others = []
        found: Found | None = None
        try:
            # Those who ask in this turn of the loop come along, also where a reader is free.
            await asyncio.sleep(0)
            async with self._database.read() as connection:
                self._begin(others)
                found = _by_id(await self._load(connection, [job_id, *(asked.job_id for asked in others)]))
        except StoreUnavailable as error:
            for asked in others:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            raise
        except Exception:
            # A row that cannot be read concerns only those who ask for it.
            if not others:
                raise
        finally:
            # Also when this task is cancelled.
            self._begin(others)
            for asked in others:
                if not asked.answer.done():
                    asked.answer.set_result(found)
        return found

    def _begin(self, others: list[_Asked]) -> None:
        """Who asks from now on might miss what is stored before the call."""
        if self._others is others:
            self._others = None


def _by_id(jobs: Sequence[Job]) -> Found:
    return {job.job_id: job for job in jobs}
