"""Kind 8: files that are damaged, deleted or replaced under the running service, and on the instance."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.attack.arena import HONEST_CARD, Arena, Stopwatch
from tests.attack.attack import attack
from tests.attack.kind1_appends import BLOCK
from tests.kit.service import ServiceProcess, check_stream, until

NOTICED_SECONDS_MAX = 10
TOLD = "/readyz stayed 200, and accepted jobs were gone after a restart"


async def harmed(arena: Arena, harm: Callable[[Path], None]) -> str:
    """Harm the file of a service, and wait until it says so: /readyz is 503 and names the file; no install is taken."""
    async with arena.other_service("harmed") as service:
        await service.ended(await service.install(arena.instance, arena.ui_home, HONEST_CARD))
        harm(service.folder / "installer.sqlite3")
        watch = Stopwatch()
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{service.url}/readyz") as response:
                    answer = await response.text()
                    if response.status == 503:
                        break
                assert watch.seconds < NOTICED_SECONDS_MAX, "it was not noticed"
                await asyncio.sleep(0.1)
            noticed = watch.seconds
            assert "installer.sqlite3" in answer, answer
            order = {"ssh_host": "127.0.0.1", "ssh_port": 9, "ui_home": "/ui", "resources": [HONEST_CARD]}
            async with http.post(f"{service.url}/resources/install", json=order) as response:
                assert response.status == 503, await response.text()
            async with http.get(f"{service.url}/healthz") as response:
                assert response.status == 200
        return f"503 after {noticed:.1f} s, named; no install is accepted"


def replaced(file: Path) -> None:
    copy = file.with_suffix(".copy")
    shutil.copy(file, copy)
    copy.replace(file)


def swapped_for_another(file: Path) -> None:
    other = file.with_suffix(".other")
    sqlite3.connect(other).close()
    other.replace(file)


def damaged(file: Path) -> None:
    """Overwrite the second half: pages of events."""
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(size // 2)
        stream.write(os.urandom(size - size // 2))


@attack(
    8,
    "half of the pages of the database are damaged, then the service starts",
    before="/readyz 200, and everything else 500",
    harms_own=True,
)
async def pages_damaged(arena: Arena) -> str:
    async with arena.other_service("pages") as service:
        lines = arena.new_card("for n in $(seq 500); do echo line $n; done")
        job_id = await service.install(arena.instance, arena.ui_home, lines)
        await service.ended(job_id)
        await service.terminate()
        damaged(service.folder / "installer.sqlite3")
        try:
            await service.start()
        except RuntimeError:
            assert "damaged" in service.log, service.log[-1000:]
            return "it does not start, and says what is damaged"
        async with aiohttp.ClientSession() as http:
            for path in ("/events", "/report", ""):
                async with http.get(f"{service.url}/resources/jobs/{job_id}{path}") as response:
                    assert response.status in (200, 404, 503), (path, await response.text())
            async with http.get(f"{service.url}/readyz") as response:
                answer = await response.text()
                assert response.status == 503, answer
                assert "damaged" in answer, answer
        return "/readyz 503, named; what cannot be read is 503"


@attack(8, "the database is deleted under the running service", before=TOLD, harms_own=True)
async def database_deleted(arena: Arena) -> str:
    return await harmed(arena, lambda file: file.unlink())


@attack(8, "the database is replaced by a copy of itself", before=TOLD, harms_own=True)
async def database_replaced(arena: Arena) -> str:
    return await harmed(arena, replaced)


@attack(8, "the database is replaced by an empty one", harms_own=True)
async def database_swapped(arena: Arena) -> str:
    return await harmed(arena, swapped_for_another)


@attack(8, "the WAL is deleted", before=TOLD, harms_own=True)
async def wal_deleted(arena: Arena) -> str:
    return await harmed(arena, lambda file: file.with_name(file.name + "-wal").unlink())


@attack(8, "the whole folder of the database is moved away", harms_own=True)
async def folder_moved(arena: Arena) -> str:
    def moved(file: Path) -> None:
        file.parent.rename(file.parent.with_name(file.parent.name + "-gone"))
        file.parent.mkdir()
        (file.parent / "service.log").touch()

    return await harmed(arena, moved)


@attack(
    8,
    "one row of the log is damaged: no JSON, another type, half of it",
    before="the report was 500, rebuild a traceback, the page of events no JSON",
    harms_own=True,
)
async def damaged_row(arena: Arena) -> str:
    async with arena.other_service("row") as service:
        job_id = await service.install(arena.instance, arena.ui_home, HONEST_CARD)
        other = await service.install(arena.instance, arena.ui_home, HONEST_CARD)
        for each in (job_id, other):
            await service.ended(each)
        await service.terminate()
        with sqlite3.connect(service.folder / "installer.sqlite3") as connection:
            for sequence, text in ((3, '{"half": '), (5, "[1]"), (6, ""), (7, '{"line": 5}'), (8, '"x"')):
                connection.execute(
                    "update events set data_json = ? where job_id = ? and sequence = ?", (text, job_id, sequence)
                )
        connection.close()
        await service.start()
        async with aiohttp.ClientSession() as http:
            for path in ("", "/report", "/report?format=html", "/events", "/events?replay=compact"):
                for accept in ("application/json", "application/x-ndjson", "text/event-stream"):
                    url = f"{service.url}/resources/jobs/{job_id}{path}"
                    async with http.get(url, headers={"Accept": accept}) as response:
                        text = await response.text()
                        assert response.status == 200, (path, accept, text[:300])
                        if response.content_type == "application/json":
                            await response.json()
        check_stream(await service.history(other))
        await service.terminate()
        done = subprocess.run(
            [sys.executable, "-m", "service", "rebuild"],
            env={**os.environ, "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{service.folder / 'installer.sqlite3'}"},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return "passed on as damaged, skipped by the fold; the other job whole; rebuild works"


@attack(8, "cards that are folders, pipes, devices, links in circles, a terabyte of nothing, and unreadable")
async def odd_cards(arena: Arena) -> str:
    folder = arena.cards / "odd"
    folder.mkdir()
    try:
        os.mkfifo(folder / "pipe.md")
        (folder / "zero.md").symlink_to("/dev/zero")
        (folder / "circle.md").symlink_to("circle.md")
        (folder / "passwd.md").symlink_to("/etc/passwd")
        (folder / "up").symlink_to("..")
        (folder / "folder.md").mkdir()
        with (folder / "sparse.md").open("wb") as file:
            file.truncate(1 << 40)
        (folder / os.fsdecode(b"\xff\xfe.md")).write_text(f"# a\n{BLOCK}")
        (folder / "new\nline.md").write_text(f"# a\n{BLOCK}")
        (folder / ("n" * 250 + ".md")).write_text(f"# a\n{BLOCK}")
        for _ in range(3):
            listed = await arena.service.get("/resources")
        assert "root:" not in str(listed)
        statuses = []
        async with aiohttp.ClientSession() as http:
            for name in ("pipe", "zero", "circle", "passwd", "up/odd/pipe", "folder", "sparse", "new%0Aline", "%FF%FE"):
                async with http.get(f"{arena.service.url}/resources/odd/{name}.md") as response:
                    text = await response.text()
                    assert response.status in (200, 400, 404), (name, text[:300])
                    assert "root:" not in text
                    statuses.append(response.status)
    finally:
        shutil.rmtree(folder)
    return f"{len(listed['broken'])} broken by name; {statuses}"


@attack(8, "the cards' folder, the known hosts and the SSH key vanish or become folders while the service runs")
async def files_of_the_service(arena: Arena) -> str:
    cards, key, hosts = (arena.folder / f"own-{name}" for name in ("cards", "key", "hosts"))
    shutil.copytree(arena.cards, cards)
    shutil.copy(arena.instance.key_path, key)
    settings = {"INSTALLER_RESOURCES_DIR": cards, "INSTALLER_SSH_KEY": key, "INSTALLER_KNOWN_HOSTS": hosts}
    seen = []
    async with arena.other_service("files", settings={name: str(path) for name, path in settings.items()}) as service:
        for broken in (hosts, key, cards):
            away = broken.with_name(broken.name + "-away")
            if broken.exists():
                broken.rename(away)
            if broken is not cards:
                broken.mkdir()
            seen.append(await outcome(arena, service))
            assert (await service.get("/healthz")) is not None
            if broken.is_dir():
                shutil.rmtree(broken)
            if away.exists():
                away.rename(broken)
        ended = await service.ended(await service.install(arena.instance, arena.ui_home, HONEST_CARD))
        assert ended["state"] == "completed", ended["error"]
    return f"{', '.join(seen)}; completed when they are back"


async def outcome(arena: Arena, service: ServiceProcess) -> str:
    body: dict[str, Any] = {"ssh_host": "127.0.0.1", "ssh_port": arena.instance.port, "ui_home": str(arena.ui_home)}
    status, answer = await service.post("/resources/install", {**body, "resources": [HONEST_CARD]})
    if status != 202:
        assert status in (404, 503), answer
        return str(status)
    # What may come back is waited for; a cancel always works.
    watch = Stopwatch()
    while watch.seconds < 3 and (await service.job(answer["job_id"]))["state"] == "running":
        await asyncio.sleep(0.1)
    await service.post(f"/resources/jobs/{answer['job_id']}/cancel", {})
    job = await service.ended(answer["job_id"])
    return str(job["cause"] or job["state"])


@attack(8, "an attempt's files on the instance are deleted, truncated and replaced while it runs")
async def files_of_the_attempt(arena: Arena) -> str:
    seen = []
    harms: list[Callable[[Path], Any]] = [
        shutil.rmtree,
        lambda folder: (folder / "log").unlink(),
        lambda folder: os.truncate(folder / "log", 0),
        lambda folder: (folder / "exit.new").write_bytes(b"\x00\xff" * 500),
        lambda folder: (folder / "ledger").write_bytes(os.urandom(5_000)),
        lambda folder: (folder / "lock").unlink(),
        lambda folder: (folder / "boot").write_text("another\n1\n"),
    ]
    for harm in harms:
        job_id = await arena.service.install(
            arena.liar.sshd, arena.liar_home, arena.new_card("echo x; sleep 1.5; echo y")
        )
        folder = arena.liar.sshd.home / ".local/state/resource-installer" / job_id / "1-1"
        await until((folder / "group").exists)
        harm(folder)
        job = await arena.service.ended(job_id)
        check_stream(await arena.service.history(job_id))
        seen.append(str(job["cause"] or job["state"]))
        print(seen)
    return ", ".join(seen)
