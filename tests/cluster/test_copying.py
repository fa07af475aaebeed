"""A log goes from one database to another: whole, also when it is interrupted, and never beside a service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from service.errors import ConfigError, CopyWrong
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from service.store import copying
from service.store.copying import LEFT, OF_JOBS, WHOLE, Copied, copy
from service.store.tables import deliveries, events, jobs, keys, known_hosts, metadata, receivers
from tests.store.conftest import FileStore, Store, queued
from tests.store.test_store import bar, running_job

HOSTILE = 'a "quote" \\u0000 \\ é 🎈 % {} <b>'


def quiet(_count: int, _total: int) -> None:
    """Nobody looks."""


async def filled(store: Store) -> list[str]:
    ids = [await running_job(store) for _ in range(5)]
    for n, job_id in enumerate(ids):
        line = NewEvent(event=types.Output(line=f"{HOSTILE} {n}"), resource="a.md", attempt=1, source_offset=2**40)
        await store.journal.append(job_id, [bar(n), line] * 600)
    return ids


async def rows(store: Store) -> list[list[tuple[object, ...]]]:
    """All that a service reads, but for what only one database knows."""
    found = []
    for table in (events, jobs):
        columns = [column for column in table.columns if column.name not in ("position", "owner")]
        key = (table.c.job_id, table.c.sequence) if table is events else (table.c.job_id,)
        async with store.database.read() as connection:
            found.append([tuple(row) for row in (await connection.execute(select(*columns).order_by(*key))).all()])
    return found


async def test_all_of_it_is_there_and_the_queue_goes_on(tmp_path: Path, postgres_url: str) -> None:
    source = await FileStore(tmp_path / "from.sqlite3").open()
    target = await Store(postgres_url).open()
    ids = await filled(source)
    copied = await copy(source.database, target.database, quiet)
    assert copied == Copied(jobs=5, events=5 * 1203, skipped=0)
    assert await rows(source) == await rows(target)
    first = await target.queue.get(ids[0])
    assert first._replace(owner=None) == (await source.queue.get(ids[0]))._replace(owner=None)
    # A new job comes after the others, and back again is another copy.
    late = await target.journal.enqueue(queued())
    assert late.place > max(job.place for job in await target.queue.all_of(ids))
    back = await FileStore(tmp_path / "back.sqlite3").open()
    assert (await copy(target.database, back.database, quiet)).jobs == 6
    assert await rows(target) == await rows(back)
    for store in (source, target, back):
        await store.close()


def test_no_table_is_forgotten() -> None:
    assert {*OF_JOBS, *WHOLE, *LEFT} == set(metadata.tables.values())


async def test_what_belongs_to_no_job_is_there_once(tmp_path: Path, postgres_url: str) -> None:
    """Host keys, keys, receivers and what they have still to be told; a second copy adds nothing."""
    source = await FileStore(tmp_path / "from.sqlite3").open()
    target = await Store(postgres_url).open()
    notice = {"receiver_id": "r", "sequence": 1, "kind": "failed", "at_ms": 5, "body": HOSTILE, "next_at_ms": 2**40}

    def fill(connection: Connection) -> None:
        connection.execute(insert(known_hosts), [{"host": "h", "port": 22, "algorithm": "ssh-ed25519", "key": "k"}])
        connection.execute(insert(keys), [{"name": "civitai", "sealed": "s", "set_at_ms": 2**40}])
        shown = {"kind": "webhook", "shown": "https://x/…", "sealed": "s", "kinds": ",failed,", "created_at_ms": 1}
        connection.execute(insert(receivers), [{"receiver_id": "r", "name": HOSTILE, **shown}])
        connection.execute(insert(deliveries), [{"job_id": job_id, **notice} for job_id in ("b", "a")])

    await source.database.write(fill)
    for _ in range(2):
        await copy(source.database, target.database, quiet)
    for table in WHOLE:
        found = []
        for store in (source, target):
            async with store.database.read() as connection:
                columns = select(*[column for column in table.columns if column.name != "delivery_id"])
                rows_of = (await connection.execute(columns.order_by(*table.primary_key.columns))).all()
                found.append([tuple(row) for row in rows_of])
        assert found[0] == found[1] != []
    for store in (source, target):
        await store.close()


async def test_it_goes_on_where_it_was_interrupted(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await FileStore(tmp_path / "from.sqlite3").open()
    target = await Store(postgres_url).open()
    await filled(source)
    copy_job = copying._copy_job
    done = 0

    async def interrupted(*arguments: object) -> None:
        nonlocal done
        if done == 3:
            raise KeyboardInterrupt
        done += 1
        await copy_job(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(copying, "_copy_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await copy(source.database, target.database, quiet)
    monkeypatch.undo()
    assert (await copy(source.database, target.database, quiet)).skipped == 3
    assert await rows(source) == await rows(target)
    for store in (source, target):
        await store.close()


async def test_a_copy_that_differs_and_a_database_with_other_jobs(tmp_path: Path, postgres_url: str) -> None:
    source = await FileStore(tmp_path / "from.sqlite3").open()
    target = await Store(postgres_url).open()
    ids = await filled(source)
    await copy(source.database, target.database, quiet)
    changed = update(events).where(events.c.job_id == ids[2], events.c.sequence == 700).values(at_ms=1)
    await target.database.write(lambda connection: connection.execute(changed))
    with pytest.raises(CopyWrong, match=ids[2]):
        await copy(source.database, target.database, quiet)
    for table in (events, jobs):
        gone = delete(table).where(table.c.job_id == ids[4])
        await source.database.write(lambda connection, gone=gone: connection.execute(gone))  # type: ignore[misc]
    with pytest.raises(ConfigError, match="--to"):
        await copy(source.database, target.database, quiet)
    for store in (source, target):
        await store.close()


def test_the_command(tmp_path: Path, postgres_url: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service", "copy", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    url = f"sqlite+aiosqlite:///{tmp_path / 'from.sqlite3'}"
    done = run("--from", url, "--to", postgres_url)
    assert (done.returncode, done.stdout) == (0, "copied and compared: 0 jobs, 0 events\n"), done.stderr
    refused = run("--from", url, "--to", "mysql://h/d")
    assert refused.returncode == 2
    assert "--to" in refused.stderr
    assert json.dumps(url) not in refused.stderr
