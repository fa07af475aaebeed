"""The ``eventsourcing`` library: one event of each job in one transaction of its SQLite recorder.

That is its lowest layer and its best case: no aggregate is built, and no application stands in front of it. Its mapper
would encode each event, so each is encoded here too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

FULL = 2


def appends(folder: Path, jobs: int, seconds: float, encoded: Callable[[], bytes], pragmas: Sequence[str]) -> float:
    """The events a second that are durable. ``pragmas``: those of all peers."""
    datastore = SQLiteDatastore(str(folder / "eventsourcing.sqlite3"))
    try:
        recorder = SQLiteApplicationRecorder(datastore)
        recorder.create_table()
        _same_rules(datastore, pragmas)
        ids = [uuid4() for _ in range(jobs)]
        begin, count = time.perf_counter(), 0
        while time.perf_counter() < begin + seconds:
            count += 1
            recorder.insert_events(_events(ids, count, encoded))
        took = time.perf_counter() - begin
        stored = len(recorder.select_events(ids[-1]))
        if stored != count:
            raise RuntimeError(f"eventsourcing holds {stored} events of a job instead of {count}")
        return count * jobs / took
    finally:
        datastore.close()


def _events(ids: Sequence[UUID], version: int, encoded: Callable[[], bytes]) -> list[StoredEvent]:
    return [
        StoredEvent(originator_id=job_id, originator_version=version, topic="progress", state=encoded())
        for job_id in ids
    ]


def _same_rules(datastore: SQLiteDatastore, pragmas: Sequence[str]) -> None:
    """Its pool hands the same connection to each transaction that follows: what is set here lasts."""
    with datastore.get_connection(commit=True) as connection:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        for name, wanted in (("journal_mode", "wal"), ("synchronous", FULL)):
            cursor.execute(f"PRAGMA {name}")
            found = cursor.fetchone()[0]
            if found != wanted:
                raise RuntimeError(f"eventsourcing runs with {name}={found} instead of {wanted}")
