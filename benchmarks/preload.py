"""Events by the million, written past the store by the database itself."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import psycopg

from benchmarks.appending import COLUMNS, encoded
from benchmarks.store import clock_ms

EVENTS_A_JOB = 1_000
# Of a transaction of SQLite.
ROWS = 100_000
_OTHERS = "-0000-4000-8000-000000000000"


def preload(where: Path | str, first: int, end: int, job_id: str | None = None) -> None:
    """Bars numbered from ``first`` to before ``end``: of this job, at these sequences, or of others that have a
    thousand each. ``where``: a file of SQLite, or the URL of a database. ``settle`` after it."""
    if isinstance(where, Path):
        _into_sqlite(where, first, end, job_id)
    else:
        _into_postgres(where, first, end, job_id)


def settle(where: Path | str) -> None:
    """Write what was left to be written, and do at once what a server does by itself a little later."""
    if isinstance(where, Path):
        connection = sqlite3.connect(where, isolation_level=None)
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()
    else:
        with psycopg.connect(where.replace("+psycopg", ""), autocommit=True) as server:
            server.execute("vacuum analyze events")
            server.execute("checkpoint")
    os.sync()


def _into_sqlite(path: Path, first: int, end: int, job_id: str | None) -> None:
    # The SQLite of Python has no series.
    series = "with recursive series(n) as (select ? union all select n + 1 from series where n + 1 < ?)"
    job, sequence = _stream(job_id, "printf('%08x', n / {jobs})")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma synchronous=OFF")
    for begin in range(first, end, ROWS):
        connection.execute("begin immediate")
        connection.execute(
            f"insert into events ({', '.join(COLUMNS)}) {series} select {_row(job, sequence)} from series",
            (begin, min(begin + ROWS, end)),
        )
        connection.execute("commit")
    connection.close()


def _into_postgres(url: str, first: int, end: int, job_id: str | None) -> None:
    job, sequence = _stream(job_id, "lpad(to_hex(n / {jobs}), 8, '0')")
    series = f"generate_series({first}, {end - 1}) as series(n)"
    insert = f"insert into events ({', '.join(COLUMNS)}) select {_row(job, sequence)} from {series}"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute(insert.encode())


def _stream(job_id: str | None, number: str) -> tuple[str, str]:
    """The expressions of a job's id and of a sequence."""
    if job_id is not None:
        return f"'{job_id}'", "n"
    return f"{number.format(jobs=EVENTS_A_JOB)} || '{_OTHERS}'", f"n % {EVENTS_A_JOB} + 1"


def _row(job: str, sequence: str) -> str:
    return f"{job}, {sequence}, 'progress', 1, {clock_ms()}, 'a.md', 1, n, '{encoded().decode()}'"
