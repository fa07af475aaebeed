"""The service's own disk full, its database locked, the instance's disk full: a delay, or the true cause."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.invariants import check_client, check_database
from tests.kit.marks import needs_root
from tests.kit.service import ServiceProcess, Watcher, check_stream, until
from tests.kit.sshd import Sshd


@pytest.fixture
async def small_disk(tmp_path: Path) -> AsyncIterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


async def status(service: ServiceProcess, path: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(service.url + path) as response:
        await response.read()
        return response.status


async def full_for(world: World, disk: Path, seconds: float) -> None:
    await world.service.terminate()
    database = disk / "installer.sqlite3"
    world.service._settings["INSTALLER_DATABASE_URL"] = f"sqlite+aiosqlite:///{database}"
    await world.service.start()
    # It draws bars for as long as the disk is full, and cannot end before the disk is free again.
    model = StandInModel(
        id=1001,
        name="Slow",
        size_bytes=4_000_000,
        bytes_per_second=int(4_000_000 / (seconds + 3)),
        hold_after_bytes=3_900_000,
    )
    card = world.model(model)
    job_id = await world.service.install(world.instance, world.ui_home, card)
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await until(lambda: any(event.get("stage") == "model" for event in watcher.events))
    filler = disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], check=False, capture_output=True)
    code = 0
    answer: dict[str, Any] = {}
    async with asyncio.timeout(60):
        while code != 503:
            body = {"ssh_host": "127.0.0.1", "ssh_port": 1, "ui_home": "/ui", "resources": [card]}
            code, answer = await world.service.post("/resources/install", body)
    assert answer["success"] is False
    assert "try again" in answer["message"]
    assert await status(world.service, "/readyz") == 503
    assert await status(world.service, "/healthz") == 200
    await asyncio.sleep(seconds)
    assert world.instance.marked_processes("civitdl")
    filler.unlink()
    world.civitai.release()
    await watcher.end()
    history = await world.service.history(job_id)
    check_stream(history)
    assert history[-1]["type"] == "job_completed"
    check_client(watcher, history)
    assert await status(world.service, "/readyz") == 200
    assert [request.bytes for request in world.civitai.downloads(1001)] == [model.size_bytes]
    await watcher.leave()
    await world.service.terminate()
    check_database(database)


@needs_root
async def test_the_disk_of_the_log_is_full_for_a_while(world: World, small_disk: Path) -> None:
    await full_for(world, small_disk, 2)


@needs_root
@pytest.mark.long
async def test_the_disk_of_the_log_is_full_for_ten_seconds(world: World, small_disk: Path) -> None:
    await full_for(world, small_disk, 10)


async def test_a_locked_database_is_only_a_delay(world: World) -> None:
    script = "for n in $(seq 30); do echo line $n; sleep 0.1; done"
    job_id = await world.service.install(world.instance, world.ui_home, world.card("other/lines.md", script))
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await until(lambda: len([e for e in watcher.events if e["type"] == "output"]) > 5)
    blocker = sqlite3.connect(world.folder / "installer.sqlite3", isolation_level=None, timeout=60)
    blocker.execute("begin immediate")
    last = blocker.execute("select max(sequence) from events where job_id = ?", (job_id,)).fetchone()[0]
    await until(lambda: watcher.sequences[-1] == last)
    await asyncio.sleep(2.3)
    assert watcher.sequences[-1] == last
    blocker.execute("rollback")
    blocker.close()
    await watcher.end()
    lines = [e["line"] for e in watcher.events if e["type"] == "output" and not e["line"].startswith("verification")]
    assert lines == [f"line {n}" for n in range(1, 31)]
    assert watcher.events[-1]["type"] == "job_completed"
    await watcher.leave()


@needs_root
async def test_the_disk_of_the_instance_is_full(world: World, small_disk: Path) -> None:
    folder = world.folder / "tiny"
    folder.mkdir()
    tiny = Sshd(folder, env=world.civitai.env, home=small_disk / "home")
    (folder / "authorized_keys").write_bytes((world.instance.folder / "authorized_keys").read_bytes())
    world.instances.append(tiny)
    await tiny.start()
    card = world.model(StandInModel(id=1001, name="Too large", size_bytes=20_000_000))
    job_id = await world.service.install(tiny, small_disk / "home/ComfyUI", card)
    job = await world.service.ended(job_id)
    assert (job["state"], job["cause"]) == ("failed", "disk_full")
