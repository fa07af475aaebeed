"""What only SQLite has to be asked: its file, its lock, its pragmas and a disk that is full."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text

from service.errors import ConfigError, DatabaseHeld, DatabaseNewer, StoreUnavailable
from service.events import event_types as types
from service.events.fold import fold
from service.events.recorded_event import NewEvent
from service.store.database import database_of
from service.store.database_sqlite import READERS_MAX
from tests.kit.marks import needs_root
from tests.store.conftest import FileStore
from tests.store.test_store import bar, running_job


async def test_a_second_service_and_a_newer_database_are_refused(file_store: FileStore, tmp_path: Path) -> None:
    with pytest.raises(DatabaseHeld, match=r"another running service \(process \d+\) holds"):
        await database_of(f"sqlite+aiosqlite:///{file_store.path}").open()
    newer = tmp_path / "newer.sqlite3"
    with sqlite3.connect(newer) as connection:
        connection.execute("create table alembic_version (version_num varchar(32))")
        connection.execute("insert into alembic_version values ('9999')")
    connection.close()
    with pytest.raises(DatabaseNewer, match="revision 9999"):
        await database_of(f"sqlite+aiosqlite:///{newer}").open()
    for url in ("sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", "mysql://x/y"):
        with pytest.raises(ConfigError):
            database_of(url)


async def test_the_writer_is_durable_and_the_readers_cannot_write(file_store: FileStore) -> None:
    assert await file_store.database.write(lambda c: c.scalar(text("pragma journal_mode"))) == "wal"
    assert await file_store.database.write(lambda c: c.scalar(text("pragma synchronous"))) == 2
    async with file_store.database.read() as connection:
        assert await connection.scalar(text("pragma wal_autocheckpoint")) == 0
    with pytest.raises(StoreUnavailable, match="readonly"):
        async with file_store.database.read() as connection:
            await connection.execute(text("delete from events"))


async def test_a_read_is_one_hop_to_a_thread_and_back(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hop is a wait for a turn of a loop that may be busy."""
    job_id = await running_job(file_store)
    hops = 0
    real = aiosqlite.Connection._execute

    async def execute(connection: aiosqlite.Connection, *arguments: Any) -> Any:
        nonlocal hops
        hops += 1
        return await real(connection, *arguments)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(aiosqlite.Connection, "_execute", execute)
    assert len(await file_store.events.read(job_id)) == 3
    assert hops == 1
    async with file_store.database.read() as connection:
        for _ in range(5):
            assert await connection.scalar(text("select count(*) from events")) == 3
    assert hops == 6


async def test_readers_survive_what_fails_and_who_leaves(file_store: FileStore) -> None:
    job_id = await running_job(file_store)
    long = text("with recursive n(x) as (select 1 union all select x + 1 from n where x < 200000) select sum(x) from n")

    async def read() -> None:
        async with file_store.database.read() as connection:
            await connection.execute(long)

    reads = [asyncio.create_task(read()) for _ in range(3 * READERS_MAX)]
    await asyncio.sleep(0.02)
    for task in reads[::2]:
        task.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    assert [task.exception() for task in reads[1::2]] == [None] * len(reads[1::2])
    for _ in range(2 * READERS_MAX):
        with pytest.raises(StoreUnavailable, match="no such column"):
            async with file_store.database.read() as connection:
                await connection.execute(text("select no_column from events"))
    assert all(map(len, await asyncio.gather(*(file_store.events.read(job_id) for _ in range(3 * READERS_MAX)))))


async def test_a_database_that_is_locked_for_a_while_is_only_a_delay(file_store: FileStore) -> None:
    job_id = await running_job(file_store)
    blocker = sqlite3.connect(file_store.path, isolation_level=None, timeout=60)
    blocker.execute("begin immediate")
    recording = asyncio.create_task(file_store.journal.append(job_id, [bar(1)]))
    await asyncio.sleep(1)
    assert not recording.done()
    assert len(await file_store.events.read(job_id)) == 3
    blocker.execute("rollback")
    blocker.close()
    await recording
    assert len(await file_store.events.read(job_id)) == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@needs_root
async def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    store = FileStore(small_disk / "test.sqlite3")
    await store.open()
    job_id = await running_job(store)
    filler = small_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], check=False, capture_output=True)
    big = NewEvent(event=types.Output(line="x" * 10_000), resource="a.md", attempt=1)
    recorded = 0

    async def record_until_full() -> None:
        nonlocal recorded
        while True:
            await store.journal.append(job_id, [big])
            recorded += 1

    with pytest.raises(StoreUnavailable, match="full"):
        await record_until_full()
    assert (await store.database.check()).writable is False
    filler.unlink()
    await store.journal.append(job_id, [big])
    history = await store.events.read(job_id)
    assert [event.sequence for event in history] == list(range(1, 3 + recorded + 1 + 1))
    assert [event.to_json() for event in store.published] == [event.to_json() for event in history]
    assert await store.queue.get(job_id) == fold(history)
    assert (await store.database.check()).ready
    await store.close()
