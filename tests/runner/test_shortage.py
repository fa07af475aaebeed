"""A service without a descriptor or without memory lets a job wait, and tries again."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import aiohttp
import asyncssh
import pytest
from sqlalchemy import insert, update

from service.errors import LeaseLost, LinkDown, SequenceConflict, StoreError, is_shortage
from service.library import Library
from service.runner import worker
from service.runner.instance import ssh
from service.runner.instance.key_files import LoginKeys
from service.runner.instance.shell import script
from service.runner.live_job import LiveJob
from service.store.tables import jobs, replicas
from tests.kit.ports import silent_port
from tests.kit.running import running, write_card


def shortage(number: int = errno.EMFILE) -> OSError:
    return OSError(number, os.strerror(number))


def test_what_passes_by_itself() -> None:
    assert all(is_shortage(shortage(n)) for n in (errno.EMFILE, errno.ENFILE, errno.ENOMEM))
    assert is_shortage(MemoryError())
    assert is_shortage(ExceptionGroup("several", [ValueError(), shortage()]))
    wrapped = StoreError("cannot")
    wrapped.__cause__ = shortage()
    assert is_shortage(wrapped)
    assert not is_shortage(shortage(errno.ENOENT))
    assert not is_shortage(ValueError())


@pytest.mark.parametrize("error", [shortage(), MemoryError()])
async def test_a_job_waits_until_there_are_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(worker, "SHORTAGE_RETRY_SECONDS", 0.01)
    write_card(tmp_path, "a.md")
    tries = 0
    works = asyncio.Event()
    async with running(tmp_path) as service:
        real = service._worker._installer.install

        async def install(live_job: LiveJob) -> None:
            nonlocal tries
            tries += 1
            if tries <= 3:
                raise error
            works.set()
            await real(live_job)

        monkeypatch.setattr(service._worker._installer, "install", install)
        body = {"ssh_host": "127.0.0.1", "ssh_port": silent_port(), "ui_home": "/ui", "resources": ["a.md"]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{service.url}/resources/install", json=body) as response,
        ):
            job_id = (await response.json())["job_id"]
        async with asyncio.timeout(60):
            await works.wait()
        assert (await service._jobs.get(job_id)).state == "running"


def test_a_card_or_a_key_that_cannot_be_opened_now_is_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card(tmp_path, "a.md")
    (tmp_path / "key").write_text("no key")

    def no_descriptor(*_arguments: object, **_options: object) -> bytes:
        raise shortage()

    monkeypatch.setattr(Path, "read_bytes", no_descriptor)
    with pytest.raises(OSError, match="Too many open files"):
        Library(tmp_path / "resources").get("a.md")
    monkeypatch.setattr(asyncssh, "load_keypairs", no_descriptor)
    with pytest.raises(LinkDown, match="cannot be read now"):
        ssh.client_keys(LoginKeys(path=tmp_path / "key"))


def test_scripts_are_read_once_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_arguments: object, **_options: object) -> str:
        raise shortage()

    monkeypatch.setattr(Path, "read_text", no_descriptor)
    assert script("verify_files.sh")


TAKEN = LeaseLost("a later owner was there")


@pytest.mark.parametrize(
    ("error", "is_taken", "tries_wanted", "last"),
    [
        (SequenceConflict("another was first"), False, 2, "job_started"),
        (TAKEN, True, 1, "job_started"),
        # An instance that says so of a job that is ours.
        (TAKEN, False, 1, "job_failed"),
    ],
    ids=["conflict", "taken over", "a false word"],
)
async def test_a_job_with_another_writer_is_taken_up_again_or_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, is_taken: bool, tries_wanted: int, last: str
) -> None:
    monkeypatch.setattr(worker, "SHORTAGE_RETRY_SECONDS", 0.01)
    write_card(tmp_path, "a.md")
    tries = 0
    async with running(tmp_path) as service:

        async def install(live_job: LiveJob) -> None:
            nonlocal tries
            tries += 1
            if is_taken:
                other = insert(replicas).values(replica_id=99, name="other", version="1", started_at_ms=0)
                taken = update(jobs).values(owner=99, epoch=jobs.c.epoch + 1)
                await service._database.write(lambda connection: connection.execute(other))
                await service._database.write(lambda connection: connection.execute(taken))
            if tries == 1:
                raise error

        monkeypatch.setattr(service._worker._installer, "install", install)
        body = {"ssh_host": "127.0.0.1", "ssh_port": silent_port(), "ui_home": "/ui", "resources": ["a.md"]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{service.url}/resources/install", json=body) as answer,
        ):
            job_id = (await answer.json())["job_id"]
        async with asyncio.timeout(60):
            while tries < tries_wanted or service._worker._running:
                await asyncio.sleep(0.01)
        assert (await service._event_store.read(job_id))[-1].type == last
    assert tries == tries_wanted
