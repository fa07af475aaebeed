"""The heads of the queues: the job that comes first on each instance where no job runs or is paused."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, literal_column, select

from service.events.job import JobState
from service.store.tables import jobs

# Not a parameter: for a limit that it does not know, PostgreSQL plans anew at each call.
ONE: ColumnElement[int] = literal_column("1")


def holds_its_instance(of: Any) -> ColumnElement[bool]:
    """A started job that has not ended: it runs, or it is paused and keeps its instance. In the words of the index
    uq_jobs_busy_instance, and without parameters: only so a database knows that the index has all of these rows."""
    states: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in (JobState.RUNNING, JobState.PAUSED)]
    return and_(of.c.started_at_ms.is_not(None), of.c.state.in_(states))


def heads_of_free_instances() -> Select[Any]:
    """Their numbers. Walk from instance to instance, then take the head of the queue of each one that is free.

    SQL has no "first row of each group" that stops at the first row. A recursive query has: each of its steps asks the
    index (state, instance_key, place) for the smallest key of an instance after the last one. So ten thousand jobs that
    wait for one instance cost a step, not ten thousand.
    """
    waiting = jobs.alias()
    first = select(waiting.c.instance_key).where(waiting.c.state == JobState.QUEUED)
    keys = select(_least(first, waiting.c.instance_key).label("key")).cte("keys", recursive=True)
    after = first.where(waiting.c.instance_key > keys.c.key)
    keys = keys.union_all(select(_least(after, waiting.c.instance_key)).where(keys.c.key.is_not(None)))
    other = jobs.alias()
    # Asked for each instance: a join with all busy ones may be begun by reading all jobs that have not ended.
    busy = select(other.c.number).where(other.c.instance_key == keys.c.key, holds_its_instance(other)).limit(ONE)
    # First the place, then the number: by both at once, a database that thinks its queues short would sort them.
    queued, first_place = jobs.alias(), jobs.alias()
    place = select(first_place.c.place).where(
        first_place.c.state == JobState.QUEUED, first_place.c.instance_key == keys.c.key
    )
    head = (
        select(func.min(queued.c.number))
        .where(
            queued.c.state == JobState.QUEUED,
            queued.c.instance_key == keys.c.key,
            queued.c.place == _least(place.correlate(keys), first_place.c.place),
        )
        .scalar_subquery()
    )
    return select(head.label("number")).where(keys.c.key.is_not(None), busy.scalar_subquery().is_(None))


def _least(query: Select[Any], column: ColumnElement[Any]) -> ScalarSelect[Any]:
    """The least value of this column, or null. As the first in order: in a table that is said to be empty, the same
    costs nothing to PostgreSQL by reading all rows, but a sort costs something."""
    return query.order_by(column).limit(ONE).scalar_subquery()
