"""A version of the service after this one: it knows an event more, and one in a newer version, and appends both of them
to each job that it begins to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from service.events import event_types, fold, formats
from service.events.event_types import Event, ResourceWarned
from service.events.job import Standing
from service.events.recorded_event import NewEvent

FORMAT = 2


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Surveyed(Event):
    """Of a type that this version does not know."""

    type: ClassVar[str] = "job_surveyed"
    since: ClassVar[int] = FORMAT
    rooms: int


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class WarnedBetter(Event):
    """Of a type that this version knows, with other fields."""

    type: ClassVar[str] = ResourceWarned.type
    version: ClassVar[int] = 2
    since: ClassVar[int] = FORMAT
    first: str
    second: str

    def earlier(self) -> Event:
        return ResourceWarned(code="words", text=f"{self.first} {self.second}")


CLASSES = (Surveyed, WarnedBetter)
STANDINGS = (Standing.QUEUED, Standing.PAUSED_IN_QUEUE, Standing.RUNNING, Standing.PAUSED)


def both() -> list[NewEvent]:
    return [NewEvent(event=Surveyed(rooms=3)), NewEvent(event=WarnedBetter(first="a", second="b"))]


@contextmanager
def newer_version() -> Iterator[None]:
    """Within the block this process is the newer version."""
    _learn()
    try:
        yield
    finally:
        for cls in CLASSES:
            del event_types._CLASSES[cls.type, cls.version], fold._FOLDS[cls]
        for standing in STANDINGS:
            del fold.TRANSITIONS[standing, Surveyed.type]
        formats.newest_format.cache_clear()


def become_newer() -> None:
    """For a process that only then builds the service."""
    from service.runner.installer import ResourceInstaller

    _learn()
    look = ResourceInstaller._look

    async def look_and_survey(self: Any, live_job: Any, connection: Any) -> None:
        await look(self, live_job, connection)
        await live_job.append(both())

    ResourceInstaller._look = look_and_survey  # type: ignore[method-assign]


def _learn() -> None:
    for cls in CLASSES:
        event_types._CLASSES[cls.type, cls.version] = cls
        fold._FOLDS[cls] = fold._unchanged
    for standing in STANDINGS:
        fold.TRANSITIONS[standing, Surveyed.type] = standing
    formats.newest_format.cache_clear()
