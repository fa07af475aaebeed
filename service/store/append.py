"""An append, and the statements that write a commit of many appends.

What makes a commit cheap:

1. At most seven statements, each for many rows, however many appends the commit holds.
2. The statements are made once, with the store: compiling one costs more than running it.
3. A row is a plain tuple that one itemgetter takes from an event or a projection, made of the same names as the
   statement, so that the two cannot differ.
4. Only what changed is written. The fold keeps the identity of a resource that an event leaves alone, so that ``is``
   finds the changed ones. Most events are progress: they touch one row of job_resources, and of that row only what a
   line of output can change.
5. The row of a job does not hold its last sequence: it would change with every event, and the log has it already.

A stream has at most one append in a commit (event_store.py joins several), so that no row is in it twice and the order
of the appends does not matter. The order of the statements does: a job before its resources, which refer to it. The
unique pair (job_id, sequence) of the events makes the whole commit fail if another writer was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from service.crash_points import crash_point
from service.events.job import Job, ResourceProgress
from service.events.recorded_event import RecordedEvent
from service.store.database import Database, PreparedStatement, Work
from service.store.rows import (
    ATTEMPT_CHANGES,
    JOB_CHANGES,
    JOB_COLUMNS,
    PROGRESS_CHANGES,
    RESOURCE_COLUMNS,
    job_row,
    resource_rows,
)
from service.store.tables import events, job_resources, jobs

_EVENT_COLUMNS = tuple(column.name for column in events.columns if column.name != "position")


class Append(NamedTuple):
    """Events of one stream and the job before and after them: one all-or-nothing unit. ``before`` is None when they
    begin the stream."""

    before: Job | None
    after: Job
    events: Sequence[RecordedEvent]


Outbox = Callable[[Sequence[Append]], Work | None]


class Commit:
    """The statements of one commit, each with its rows, and what else belongs to its transaction."""

    def __init__(
        self,
        statements: Iterable[tuple[PreparedStatement, list[tuple[Any, ...]]]],
        fence: Work | None = None,
        also: Work | None = None,
    ) -> None:
        self._fence = fence
        self._also = also
        self._statements = [(statement, rows) for statement, rows in statements if rows]

    def write(self, connection: Connection) -> None:
        crash_point("before_append")
        if self._fence is not None:
            self._fence(connection)
        for statement, rows in self._statements:
            statement.run(connection, rows)
        if self._also is not None:
            self._also(connection)
        crash_point("after_append")


class Statements:
    """All statements of appends, compiled for one database. ``fence`` begins each transaction that appends, and makes
    it fail once this replica has lost its lease. ``outbox``: what else belongs to the transaction of these appends."""

    def __init__(self, database: Database, fence: Work | None = None, outbox: Outbox | None = None) -> None:
        self._fence = fence
        self._outbox = outbox
        resource_changes = (*ATTEMPT_CHANGES, *PROGRESS_CHANGES)
        key = ("job_id", "number")
        self._insert_job = database.prepare_insert(jobs, JOB_COLUMNS)
        self._insert_resource = database.prepare_insert(job_resources, RESOURCE_COLUMNS)
        self._insert_event = database.prepare_insert(events, _EVENT_COLUMNS)
        self._update_job = database.prepare_update(jobs, JOB_CHANGES, ("job_id",))
        self._update_owner = database.prepare_update(jobs, ("owner", "epoch"), ("job_id",))
        self._update_progress = database.prepare_update(job_resources, PROGRESS_CHANGES, key)
        self._update_resource = database.prepare_update(job_resources, resource_changes, key)
        self._event = _getter(RecordedEvent, _EVENT_COLUMNS)
        self._job = _getter(Job, JOB_CHANGES)
        self._attempt = _getter(ResourceProgress, ATTEMPT_CHANGES)
        self._progress = _getter(ResourceProgress, PROGRESS_CHANGES)
        self._resource = _getter(ResourceProgress, resource_changes)

    def commit(self, appends: Sequence[Append]) -> Commit:
        """The statements for these appends, each of another stream."""
        new = [append.after for append in appends if append.before is None]
        old = [(append.before, append.after) for append in appends if append.before is not None]
        jobs_changed = [after for before, after in old if self._job(before) != self._job(after)]
        claimed = [(after.owner, after.epoch, after.job_id) for before, after in old if before.epoch != after.epoch]
        attempt_changed: list[tuple[str, ResourceProgress]] = []
        progress_only: list[tuple[str, ResourceProgress]] = []
        for was, job in old:
            for before, after in zip(was.resources, job.resources, strict=True):
                if before is not after:
                    is_progress = self._attempt(before) == self._attempt(after)
                    (progress_only if is_progress else attempt_changed).append((job.job_id, after))
        new_resources = [_in_order(row, RESOURCE_COLUMNS) for job in new for row in resource_rows(job)]
        return Commit(
            (
                (self._insert_job, [_in_order(job_row(job), JOB_COLUMNS) for job in new]),
                (self._insert_resource, new_resources),
                (self._insert_event, [self._event(event) for append in appends for event in append.events]),
                (self._update_job, [(*self._job(job), job.job_id) for job in jobs_changed]),
                (self._update_owner, claimed),
                (self._update_progress, [(*self._progress(r), job_id, r.number) for job_id, r in progress_only]),
                (self._update_resource, [(*self._resource(r), job_id, r.number) for job_id, r in attempt_changed]),
            ),
            self._fence,
            self._outbox(appends) if self._outbox is not None else None,
        )


def _getter(of: type[NamedTuple], names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """These fields of the tuple, in this order: by their places, which costs half as much as by their names."""
    return itemgetter(*map(of._fields.index, names))


def _in_order(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple([row[name] for name in names])
