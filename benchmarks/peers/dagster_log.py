"""Dagster's SQLite event log: one log line of each run, as its own instance stores it.

It keeps a database for each run, opens it for each event, and serves one event at a time under a lock of its own, so
that threads beside this loop would only wait. A plain log line is its cheapest event: nothing goes to the index beside
it. Its databases are made before the clock starts.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from uuid import uuid4

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage

FULL = 2


def appends(folder: Path, jobs: int, seconds: float, payload: bytes) -> float:
    """The events a second that are durable."""
    message = payload.decode()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    base = folder / "dagster"
    storage = SqliteEventLogStorage(str(base))
    try:
        runs = [str(uuid4()) for _ in range(jobs)]
        for run_id in runs:
            storage.store_event(_entry(run_id, message))
        _same_rules(base / f"{runs[-1]}.db")
        begin, count = time.perf_counter(), 0
        while time.perf_counter() < begin + seconds:
            storage.store_event(_entry(runs[count % jobs], message))
            count += 1
        took = time.perf_counter() - begin
        stored = len(storage.get_logs_for_run(runs[0]))
        wanted = 1 + -(-count // jobs)
        if stored != wanted:
            raise RuntimeError(f"dagster holds {stored} events of a run instead of {wanted}")
        return count / took
    finally:
        storage.dispose()


def _entry(run_id: str, message: str) -> EventLogEntry:
    return EventLogEntry(
        error_info=None, level="info", user_message=message, run_id=run_id, timestamp=time.time(), job_name="install"
    )


def _same_rules(path: Path) -> None:
    """It sets WAL and leaves ``synchronous`` alone, so that a connection of ours finds what its own find."""
    connection = sqlite3.connect(path)
    try:
        for name, wanted in (("journal_mode", "wal"), ("synchronous", FULL)):
            found = connection.execute(f"PRAGMA {name}").fetchone()[0]
            if found != wanted:
                raise RuntimeError(f"dagster runs with {name}={found} instead of {wanted}")
    finally:
        connection.close()
