"""The ``eventsourcing`` library: one event of each job in one transaction of its SQLite recorder.

That is its lowest layer and its best case: no aggregate is built, and no application stands in front of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

CHECKPOINT_PAGES = 4_000
FULL = 2


def appends(folder: Path, jobs: int, seconds: float, payload: bytes) -> float:
    """The events a second that are durable."""
    datastore = SQLiteDatastore(str(folder / "eventsourcing.sqlite3"))
    try:
        recorder = SQLiteApplicationRecorder(datastore)
        recorder.create_table()
        _same_rules(datastore)
        ids = [uuid4() for _ in range(jobs)]
        begin, count = time.perf_counter(), 0
        while time.perf_counter() < begin + seconds:
            count += 1
            recorder.insert_events(_events(ids, count, payload))
        took = time.perf_counter() - begin
        stored = len(recorder.select_events(ids[-1]))
        if stored != count:
            raise RuntimeError(f"eventsourcing holds {stored} events of a job instead of {count}")
        return count * jobs / took
    finally:
        datastore.close()


def _events(ids: Sequence[UUID], version: int, payload: bytes) -> list[StoredEvent]:
    return [
        StoredEvent(originator_id=job_id, originator_version=version, topic="progress", state=payload) for job_id in ids
    ]


def _same_rules(datastore: SQLiteDatastore) -> None:
    """Its pool hands the same connection to each transaction that follows: what is set here lasts."""
    with datastore.get_connection(commit=True) as connection:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        for name, wanted in (("journal_mode", "wal"), ("synchronous", FULL)):
            cursor.execute(f"PRAGMA {name}")
            found = cursor.fetchone()[0]
            if found != wanted:
                raise RuntimeError(f"eventsourcing runs with {name}={found} instead of {wanted}")
