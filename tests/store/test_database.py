"""A new file, one of an earlier version, and the revisions that are read without Alembic."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from service.store.database import Database, database_of
from service.store.database_sqlite import READERS_MAX

ALEMBIC = Path(__file__).parents[2] / "alembic.ini"
SCRIPTS = ScriptDirectory.from_config(Config(str(ALEMBIC)))
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()][::-1]


async def test_a_new_file_has_what_the_migrations_make(tmp_path: Path) -> None:
    database = await opened(tmp_path / "new.sqlite3")
    await database.close()
    migrate(tmp_path / "migrated.sqlite3", REVISIONS[-1])

    assert schema(tmp_path / "new.sqlite3") == schema(tmp_path / "migrated.sqlite3")


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_file_of_every_revision_is_brought_to_the_newest(tmp_path: Path, revision: str) -> None:
    migrate(tmp_path / "old.sqlite3", revision)
    database = await opened(tmp_path / "old.sqlite3")
    health = await database.check()
    await database.close()

    assert health.ready
    assert (health.revision, health.head) == (REVISIONS[-1], SCRIPTS.get_current_head())


async def test_readers_wait_for_each_other_in_any_number(tmp_path: Path) -> None:
    database = await opened(tmp_path / "read.sqlite3")
    inside = most = 0
    # All readers that may be open at once meet here: with fewer, none would pass.
    together = asyncio.Barrier(READERS_MAX)

    async def read() -> int:
        nonlocal inside, most
        async with database.read() as connection:
            inside += 1
            most = max(most, inside)
            await together.wait()
            found = int((await connection.execute(text("select count(*) from jobs"))).scalar_one())
            inside -= 1
        return found

    found = await asyncio.gather(*(read() for _ in range(50 * READERS_MAX)))
    await database.close()

    assert found == [0] * (50 * READERS_MAX)
    assert most == READERS_MAX


async def test_nothing_of_a_reader_is_left_when_it_is_closed(tmp_path: Path) -> None:
    """Also of one that was cancelled while it connected or asked: its thread needs the loop until its end."""
    before = set(threading.enumerate())
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(80):
        database = await opened(tmp_path / "closed.sqlite3")

        async def read(database: Database = database) -> None:
            async with database.read() as connection:
                await connection.execute(text("select count(*) from jobs"))

        readers = [asyncio.create_task(read()) for _ in range(READERS_MAX)]
        await asyncio.sleep(chance.uniform(0, 0.001))
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await database.close()
        # Those of the loop's own pool stay.
        left = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")}
        assert left <= before


async def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "private.sqlite3"
    before = os.umask(0)
    try:
        database = await opened(path)
    finally:
        os.umask(before)
    await database.write(lambda connection: connection.execute(text("create table x (y)")))
    rights = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    await database.close()
    assert set(rights.values()) == {"0o600"}, rights
    assert len(rights) == 4, rights
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def opened(path: Path) -> Database:
    database = database_of(f"sqlite+aiosqlite:///{path}")
    await database.open()
    return database


def migrate(path: Path, revision: str) -> None:
    """Bring the file to this revision by Alembic alone."""
    config = Config(str(ALEMBIC))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def schema(path: Path) -> dict[str, object]:
    """The columns, indexes and keys of each table. The order of columns is left out: a migration adds at the end."""
    connection = sqlite3.connect(path)
    try:
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        return {table: _table(connection, table) for table in tables if not table.startswith("sqlite_")}
    finally:
        connection.close()


def _table(connection: sqlite3.Connection, table: str) -> object:
    columns = {
        (name, kind, required, default, key)
        for _, name, kind, required, default, key in connection.execute(f"pragma table_info({table})")
    }
    indexes = {
        (name, unique, partial, tuple(row[2] for row in connection.execute(f"pragma index_info('{name}')")))
        for _, name, unique, _, partial in connection.execute(f"pragma index_list({table})").fetchall()
    }
    keys = {row[2:7] for row in connection.execute(f"pragma foreign_key_list({table})")}
    return columns, indexes, keys
