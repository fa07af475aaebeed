"""What only PostgreSQL has to be asked: its locks, its limits, and a server that goes away and comes back."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from service.errors import (
    ConfigError,
    DatabaseNewer,
    ReplyLost,
    StoreUnavailable,
    UnknownJob,
)
from service.events import event_types as types
from service.events.fold import fold
from service.events.recorded_event import NewEvent
from service.store.database import database_of
from service.store.database_postgres import PostgresDatabase
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresServer, shared_server
from tests.kit.service import until
from tests.store.conftest import Store
from tests.store.test_database import ALEMBIC, REVISIONS
from tests.store.test_store import bar, running_job


@pytest.fixture
async def own_store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await Store(postgres_url).open()
    yield opened
    await opened.close()


def asked(url: str) -> psycopg.Connection:
    """A client beside the service."""
    return psycopg.connect(url.replace("+psycopg", ""))


def test_without_the_driver_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'resource-installer\[postgres\]'"):
        database_of("postgresql+psycopg://u:p@h/d")


@pytest.mark.parametrize("url", ["postgresql+asyncpg://h/d", "postgresql+psycopg://h"])
def test_another_driver_or_no_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"postgresql\+psycopg://"):
        database_of(url)


async def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:\d+/d cannot be opened") as failed:
        await database_of(f"postgresql+psycopg://u:hush@127.0.0.1:{free_port()}/d").open()
    assert "hush" not in str(failed.value)


async def test_of_several_servers_all_are_named() -> None:
    hosts = f"host=127.0.0.1:{free_port()}&host=localhost:{free_port()}&target_session_attrs=read-write"
    with pytest.raises(ConfigError, match=r": 127\.0\.0\.1:\d+,localhost:\d+/d cannot be opened") as failed:
        await database_of(f"postgresql+psycopg://u:hush@/d?{hosts}").open()
    assert "hush" not in str(failed.value)


async def test_of_several_servers_readers_find_the_one_that_is_written(postgres_url: str) -> None:
    """Readers' sessions are read-only, and the server is the one that is not."""
    parsed = make_url(postgres_url)
    hosts = f"host=127.0.0.1:{free_port()}&host=127.0.0.1:{parsed.port}&target_session_attrs=read-write"
    store = await Store(f"postgresql+psycopg://{parsed.username}@/{parsed.database}?{hosts}").open()
    job_id = await running_job(store)
    async with store.database.read() as connection:
        assert await connection.scalar(text("show transaction_read_only")) == "on"
    assert [event.type for event in await store.events.read(job_id)][:1] == ["job_queued"]
    assert (await store.database.check()).ready
    await store.close()


async def test_a_commit_that_was_given_up_is_over_before_the_next_begins(own_store: Store, postgres_url: str) -> None:
    """Another transaction holds up the commit until its connection is cut; that commit is made all the same, and is
    found: it is neither lost nor made twice."""
    database = own_store.database
    assert isinstance(database, PostgresDatabase)
    database._answer_seconds = 1.0
    job_id = await running_job(own_store)
    # Deferred to the commit, which waits for a lock there, as it would for a standby.
    with asked(postgres_url) as client:
        client.execute(DEFERRED.encode())
    with asked(postgres_url) as client:
        client.execute(b"select pg_advisory_lock(7)")
        appending = asyncio.create_task(own_store.journal.append(job_id, [bar(1)]))
        await until(lambda: own_store.events.lost_replies == 1, 10)
        await asyncio.sleep(1)
        assert not appending.done()
        client.execute(b"select pg_advisory_unlock(7)")
    await appending
    history = await own_store.events.read(job_id)
    assert [event.type for event in history].count("progress") == 1
    assert [event.to_json() for event in own_store.published] == [event.to_json() for event in history]
    assert (own_store.events.conflicts, own_store.events.lost_replies) == (0, 1)


DEFERRED = """
create function waits() returns trigger language plpgsql as
    'begin perform pg_advisory_lock(7); perform pg_advisory_unlock(7); return null; end';
create constraint trigger waits after insert on events deferrable initially deferred for each row
    execute function waits();
"""


async def test_a_second_service_is_let_in_and_a_newer_database_refused(own_store: Store, postgres_url: str) -> None:
    second = await Store(postgres_url).open()
    await running_job(second)
    await running_job(own_store)
    await second.close()
    with shared_server().database() as newer:
        with asked(newer) as client:
            client.execute("update alembic_version set version_num = '9999'")
            client.execute("update works_from set revision = '9999'")
        with pytest.raises(DatabaseNewer, match="revision 9999"):
            await database_of(newer).open()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_database_of_every_revision_is_brought_to_the_newest(revision: str) -> None:
    with shared_server().database(template="template0") as url:
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            config = Config(str(ALEMBIC))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        database = database_of(url)
        await database.open()
        health = await database.check()
        await database.close()
    assert health.ready
    assert health.revision == REVISIONS[-1]


async def test_readers_cannot_write_and_every_wait_for_the_server_ends(own_store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="read-only"):
        async with own_store.database.read() as connection:
            await connection.execute(text("delete from events"))
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert await shown(own_store, name) not in (None, "0")
    assert await shown(own_store, "synchronous_commit") == "on"


async def test_what_no_text_holds_finds_nothing(own_store: Store) -> None:
    for asked_for in ("a\0b", "\0", "\ud800"):
        with pytest.raises(UnknownJob):
            await own_store.queue.get(asked_for)
        assert await own_store.queue.page(host=asked_for) == ([], None)
        assert await own_store.queue.by_idempotency_key(asked_for) is None


async def test_events_lose_what_the_engine_cannot_hold_and_keep_whole_numbers(own_store: Store) -> None:
    job_id = await running_job(own_store)
    line = NewEvent(event=types.Output(line='a\0b "\\u0000" \\ %s {} é 🎈'), resource="a.md", attempt=1)
    large = NewEvent(event=types.Progress(stage="model", total_bytes=2**53 - 1), resource="a.md", attempt=1)
    job = await own_store.journal.append(job_id, [line, large])
    history = await own_store.events.read(job_id)
    assert history[-2].to_dict()["line"] == 'ab "\\u0000" \\ %s {} é 🎈'
    assert job == await own_store.queue.get(job_id) == fold(history)
    assert job.resources[0].total_bytes == 2**53 - 1


async def test_a_table_that_is_locked_for_a_while_is_only_a_delay(own_store: Store, postgres_url: str) -> None:
    job_id = await running_job(own_store)
    with asked(postgres_url) as blocker:
        blocker.execute("lock table events in exclusive mode")
        recording = asyncio.create_task(own_store.journal.append(job_id, [bar(1)]))
        await asyncio.sleep(0.3)
        assert not recording.done()
        assert len(await own_store.events.read(job_id)) == 3
    await recording
    assert len(await own_store.events.read(job_id)) == 4


async def test_connections_that_the_server_ends_while_they_are_idle_cost_nothing(
    own_store: Store, postgres_url: str
) -> None:
    job_id = await running_job(own_store)
    with asked(postgres_url) as client:
        ended = client.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
    assert ended is not None
    assert ended[0] >= 2
    # The server ends them when it comes to it.
    others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    with asked(postgres_url) as client:
        client.autocommit = True
        while client.execute(others).fetchone() != (0,):
            await asyncio.sleep(0.01)
    await own_store.journal.append(job_id, [bar(1)])
    assert len(await own_store.events.read(job_id)) == 4


async def test_a_connection_that_breaks_in_a_commit_leaves_the_question_open(own_store: Store) -> None:
    end = text("select pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(ReplyLost, match="broke in a commit"):
        await own_store.database.write(lambda connection: connection.execute(end))
    assert (await own_store.database.check()).ready


async def test_a_conflict_is_told_from_a_fault_of_the_server(own_store: Store, postgres_url: str) -> None:
    job_id = await running_job(own_store)
    with asked(postgres_url) as other:
        other.execute(
            "insert into events (job_id, sequence, type, version, at_ms, data_json) values (%s, 4, 'x', 1, 1, '{}')",
            [job_id],
        )
    # A fault of the server would be refused. A conflict is published, and decided again.
    await own_store.journal.append(job_id, [bar(1)])
    history = await own_store.events.read(job_id)
    assert [event.type for event in history[3:]] == ["x", types.Progress.type]
    assert [event.to_json() for event in own_store.published] == [event.to_json() for event in history]


async def shown(store: Store, setting: str) -> object:
    return await store.database.write(lambda connection: connection.scalar(text(f"show {setting}")))


@pytest.mark.slow
async def test_a_server_that_crashes_is_a_delay() -> None:
    """Appends while the server is killed and started again: what was published is in the log, once and in order."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "own", port=free_port(), durable=True)
        server.create()
        server.start()
        server.execute("create database installer")
        store = await Store(server.url("installer")).open()
        ended = asyncio.Event()
        try:
            job_id = await running_job(store)
            appending = asyncio.create_task(append_until(ended, store, job_id))
            for _ in range(3):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.stop, "immediate")
                health = await store.database.check()
                assert not health.ready
                assert health.detail
                with pytest.raises(StoreUnavailable):
                    await store.events.read(job_id)
                await asyncio.to_thread(server.start)
                assert (await store.database.check()).ready
            await asyncio.sleep(0.1)
            ended.set()
            told = await appending
            history = await store.events.read(job_id, limit=1_000_000)
            assert [event.sequence for event in history] == list(range(1, len(history) + 1))
            assert [event.to_json() for event in history] == [event.to_json() for event in store.published]
            # What was refused was not written: a reply that is lost is looked up before anybody is told.
            assert sum(event.type == types.Progress.type for event in history) == told
        finally:
            ended.set()
            await store.close()
            server.stop()


async def append_until(ended: asyncio.Event, store: Store, job_id: str) -> int:
    """How many appends were told that they are written. What is refused is tried again, as it may be."""
    told = 0
    while not ended.is_set():
        try:
            await store.journal.append(job_id, [bar(1)])
            told += 1
        except StoreUnavailable:
            await asyncio.sleep(0.02)
    return told
