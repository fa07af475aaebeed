"""What must hold after any kill, cut or full disk: checked against the log, the clients and the instances."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from service.events.event_types import decode
from service.events.fold import fold
from service.events.parser import ProgressParser
from service.events.recorded_event import RecordedEvent
from service.runner.phases import mark_of
from tests.kit.postgres import connected_to
from tests.kit.service import TERMINAL, Watcher, check_stream
from tests.kit.sshd import Sshd

ENDED = ("resource_installed", "resource_failed")
ESTIMATES = ("resource_eta_seconds", "job_eta_seconds")
SPEED = "bytes_per_second"
RUNS = ("run_started", "run_ended", "file_kept", "resource_warning")
PARSED = ("stage_start", "progress", "stage_complete", "output", *RUNS)


EVENTS = "select * from events order by job_id, sequence"
JOBS = "select job_id, state, cause from jobs"


def check_database(path: Path) -> None:
    """The file is whole, every stream is 1..n, and every row is the fold of its stream."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        connection.execute("begin")
        rows = connection.execute(EVENTS).fetchall()
        jobs = connection.execute(JOBS).fetchall()
    connection.close()
    _check_rows(rows, jobs)


def check_postgres(url: str) -> None:
    """Every stream in this database is 1..n, and every row is the fold of its stream."""
    with connected_to(url) as connection:
        # Both at one moment: jobs may be running.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        _check_rows(connection.execute(EVENTS).fetchall(), connection.execute(JOBS).fetchall())


def _check_rows(rows: Iterable[tuple[Any, ...]], jobs: Sequence[tuple[Any, ...]]) -> None:
    streams: dict[str, list[RecordedEvent]] = {}
    for row in rows:
        streams.setdefault(row[1], []).append(RecordedEvent._make(row))
    assert sorted(streams) == sorted(job[0] for job in jobs)
    for job_id, state, cause in jobs:
        stream = streams[job_id]
        assert [event.sequence for event in stream] == list(range(1, len(stream) + 1))
        job = fold(stream)
        assert job is not None
        assert (job.state, job.last_sequence, job.cause) == (state, len(stream), cause)
        ends = [event.sequence for event in stream if event.type in TERMINAL]
        assert ends == ([len(stream)] if job.is_terminal else [])


def check_client(watcher: Watcher, history: list[dict[str, Any]]) -> None:
    """A client's view is the log, in order, each event once."""
    assert watcher.events == history


def check_job(history: list[dict[str, Any]], instance: Sshd, titles: Iterable[tuple[str, str]]) -> None:
    """The stream is whole, and its output events are those that one clean reading of the remote logs gives.

    ``titles``: the path and the title of each resource, in the order of the job.
    """
    check_stream(history)
    folder = instance.home / ".local/state/resource-installer" / history[0]["job_id"]
    for number, (path, title) in enumerate(titles, start=1):
        attempts = {event["attempt"] for event in history if event.get("resource") == path and "attempt" in event}
        for attempt in attempts:
            mine = [e for e in history if e.get("resource") == path and e.get("attempt") == attempt]
            log = (folder / f"{number}-{attempt}/log").read_bytes()
            parser = ProgressParser(title=title, mark=mark_of(history[0]["job_id"], f"{number}-{attempt}"))
            exit_code = next((e["exit_code"] for e in mine if e["type"] in ENDED), None)
            clean = [new.event.to_dict() for new in parser.feed(log) + parser.close(exit_code)]
            types = [event["type"] for event in mine]
            # The events after it come from the verification, which has its own log.
            end = types.index("verification_started") if "verification_started" in types else len(types)
            seen = [_own_fields(event) for event in mine[:end] if event["type"] in PARSED]
            assert seen == clean


def _own_fields(event: dict[str, Any]) -> dict[str, Any]:
    fields = json.loads(json.dumps(event))
    own = decode(event["type"], 1, fields).to_dict()
    # The service makes the estimates by its clock, and the speed of what is only known by its bytes; the log does not
    # hold them.
    measured = (*ESTIMATES, SPEED) if own.get("downloaded") is None else ESTIMATES
    return {name: None if name in measured else value for name, value in own.items()}
