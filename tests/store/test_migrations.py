"""A migration that dies: whatever statement it has reached, the next start finds the old tables and migrates them."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from service.store.database import database_of

OLDEST = sorted(path for path in (Path(__file__).parents[1] / "upgrade").iterdir() if path.is_dir())[0]
STATEMENTS_MAX = 200
# Opens the database, and dies by KILL before the statement with this number.
OPEN = """
import asyncio, os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from service.store.database import database_of

left = int(sys.argv[2])

@event.listens_for(Engine, "before_cursor_execute")
def count(*_arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    database = database_of("sqlite+aiosqlite:///" + sys.argv[1])
    await database.open()
    await database.close()

asyncio.run(main())
"""


def old_database(path: Path) -> list[object]:
    """A database of the oldest version; returns its events."""
    for file in path.parent.glob(path.name + "*"):
        file.unlink()
    script = (OLDEST / "log.sql").read_text(encoding="utf-8").replace("@PORT@", "22")
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return events(path)


def events(path: Path) -> list[object]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.execute("select job_id, sequence, type, data_json from events order by position"))
    finally:
        connection.close()


def opened(path: Path, dies_at: int) -> int:
    return subprocess.run([sys.executable, "-c", OPEN, str(path), str(dies_at)], check=False, timeout=120).returncode


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_kill_before_any_statement_of_a_migration(tmp_path: Path) -> None:
    path = tmp_path / "installer.sqlite3"
    statement, kills = 1, 0
    while True:
        before = old_database(path)
        status = opened(path, statement)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        kills += 1
        assert events(path) == before
        # The next start is another one's: it has to find a database that it can migrate.
        database = database_of(f"sqlite+aiosqlite:///{path}")
        await database.open()
        try:
            health = await database.check()
        finally:
            await database.close()
        assert health.writable
        assert health.revision == health.head
        assert events(path) == before
        # Close together at the beginning, where the tables change.
        statement += 1 if statement < 12 else 5
        assert statement < STATEMENTS_MAX
    print(f"{kills} kills")
    assert kills >= 5
