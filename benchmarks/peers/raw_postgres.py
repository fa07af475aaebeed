"""Raw fenced group commit on PostgreSQL: plain psycopg, one transaction for an event of each job.

The same rows into the same table as ours, the fence (the row of a replica is read ``for key share``) and a NOTIFY in
the same transaction; its statements travel together. Nothing is folded, no projection is written, and each batch is as
large as can be: the most that a journal with these promises can reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, LiteralString

import orjson
import psycopg

FENCE: LiteralString = "select 1 from replicas where replica_id = %s for key share"
NOTIFY: LiteralString = "select pg_notify('raw_news', %s)"
COLUMNS: LiteralString = "job_id, sequence, type, version, at_ms, resource, attempt, source_offset, data_json"
# All rows as one parameter: the fastest that psycopg has, measured beside executemany and arrays.
INSERT: LiteralString = (
    f"insert into events ({COLUMNS}) select {COLUMNS} from json_to_recordset(%s::json) as new(job_id varchar, "
    "sequence bigint, type varchar, version bigint, at_ms bigint, resource text, attempt bigint, source_offset bigint, "
    "data_json text)"
)
INSERT_ONE: LiteralString = f"insert into events ({COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
# More would not fit into the 8,000 bytes of a notice.
TOLD_MAX = 160

EventRow = Callable[[int, int], dict[str, Any]]


def appends(
    url: str,
    jobs: int,
    seconds: float,
    event_row: EventRow,
    *,
    is_fenced: bool = True,
    tells: bool = True,
    by_row: bool = False,
) -> float:
    """The events a second that are durable. ``event_row``: of a job and a number. ``by_row``: with executemany."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        registered = "insert into replicas (name, version, started_at_ms) values ('raw', '', 0) returning replica_id"
        (replica_id,) = connection.execute(registered).fetchone() or (0,)
        connection.commit()
        begin, count = time.perf_counter(), 0
        while time.perf_counter() < begin + seconds:
            rows = [event_row(job, count) for job in range(jobs)]
            commit(connection, rows, replica_id if is_fenced else None, tells=tells, by_row=by_row)
            count += 1
        took = time.perf_counter() - begin
        (stored,) = connection.execute("select count(*) from events").fetchone() or (0,)
        if stored != count * jobs:
            raise RuntimeError(f"PostgreSQL holds {stored} events instead of {count * jobs}")
    return count * jobs / took


def commit(
    connection: psycopg.Connection[Any],
    rows: Sequence[dict[str, Any]],
    replica_id: int | None,
    *,
    tells: bool,
    by_row: bool,
) -> None:
    held = None
    with connection.pipeline():
        if replica_id is not None:
            held = connection.execute(FENCE, (replica_id,))
        if by_row:
            connection.cursor().executemany(INSERT_ONE, [tuple(row.values()) for row in rows])
        else:
            connection.execute(INSERT, (orjson.dumps(rows).decode(),))
        if tells:
            told = ",".join(f"{row['job_id']}={row['sequence']}" for row in rows) if len(rows) <= TOLD_MAX else "*"
            connection.execute(NOTIFY, (told,))
        connection.commit()
    if held is not None and held.rowcount != 1:
        raise RuntimeError("the row of the replica is gone")
