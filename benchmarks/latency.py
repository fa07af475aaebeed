"""(c) From the remote byte to the client: jobs that draw ten bars a second, each over its own SSH connection to a real
sshd, each bar carrying the time at which it was drawn."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks.table import Row
from tests.kit.service import ServiceProcess
from tests.kit.sshd import USER, Sshd

CARD = """
exec python3 -S -c '
import sys, time
end = time.time() + %d
while time.time() < end:
    now = time.time()
    sys.stdout.write(f"\\rModel:  45%%|####5     | {now:.6f}/9.0 [00:03<00:04, 60.9MiB/s]")
    sys.stdout.flush()
    time.sleep(max(0.0, 0.1 - (time.time() - now)))
'
"""


async def run(quick: bool) -> list[Row]:
    if quick:
        return await measure([(20, 1, 10.0)], seconds=4)
    wanted = [(1, 1, None), (20, 1, 10.0), (100, 1, 25.0), (100, 5, 40.0), (300, 1, 500.0)]
    return await measure(wanted, seconds=15)


async def measure(wanted: list[tuple[int, int, float | None]], seconds: int) -> list[Row]:
    rows: list[Row] = []
    for jobs, clients, goal in wanted:
        with TemporaryDirectory(dir=".") as name:
            found = sorted(await latencies(Path(name).resolve(), jobs, clients, seconds))
        label = f"(c) latency, {jobs} jobs" + (f" x {clients} clients" if clients > 1 else "")
        p50, p99 = (found[int(len(found) * part)] * 1000 for part in (0.5, 0.99))
        rows.append(Row(name=f"{label}, p50 of {len(found):,}", value=p50, unit="ms"))
        wanted_text = f"<= {goal:g}" if goal is not None else ""
        holds = p99 <= goal if goal is not None else None
        rows.append(Row(name=f"{label}, p99", value=p99, unit="ms", goal=wanted_text, holds=holds))
    return rows


async def latencies(folder: Path, jobs: int, clients: int, seconds: int) -> list[float]:
    """The seconds from the drawing of a bar to its arrival, for every bar that all jobs drew at the same time."""
    (folder / "resources").mkdir()
    drawing_seconds = seconds + 20 + jobs * 2 // 5
    card = f"---\ntitle: A\n---\n# Download\n```bash\n{CARD % drawing_seconds}\n```\n"
    (folder / "resources/a.md").write_text(card, encoding="utf-8")
    sshd = Sshd(folder, listen="0.0.0.0")
    await sshd.start()
    service = ServiceProcess(
        folder,
        {
            "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'log.sqlite3'}",
            "INSTALLER_RESOURCES_DIR": str(folder / "resources"),
            "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
            "INSTALLER_SSH_KEY": str(sshd.key_path),
            "INSTALLER_SSH_USER": USER,
            "INSTALLER_MAX_CONCURRENT_JOBS": str(jobs),
        },
    )
    await service.start()
    try:
        async with aiohttp.ClientSession() as http:
            ids = [await start(http, service.url, f"127.0.{n // 250}.{n % 250 + 1}", sshd.port) for n in range(jobs)]
            return await collect(http, service.url, ids, clients, seconds)
    finally:
        await service.kill()
        await sshd.close()


async def start(http: aiohttp.ClientSession, url: str, host: str, port: int) -> str:
    body = {"ssh_host": host, "ssh_port": port, "ui_home": "/ui", "resources": ["a.md"]}
    async with http.post(f"{url}/resources/install", json=body) as response:
        return str((await response.json())["job_id"])


async def collect(http: aiohttp.ClientSession, url: str, ids: list[str], clients: int, seconds: int) -> list[float]:
    drawing: set[str] = set()
    found: list[float] = []
    measuring = asyncio.Event()

    async def watch(job_ids: list[str]) -> None:
        target = url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        async with http.ws_connect(target, max_msg_size=0, compress=0) as socket:
            await socket.send_str("40/resources,")
            async for message in socket:
                arrived = time.time()
                text = message.data
                if text == "2":
                    await socket.send_str("3")
                elif text.startswith("40/resources"):
                    for job_id in job_ids:
                        await socket.send_str(f'42/resources,["subscribe_install",{{"job_id":"{job_id}"}}]')
                elif text.startswith('42/resources,["resource_install_progress"'):
                    event: dict[str, Any] = json.loads(text[13:])[1]
                    drawing.add(event["job_id"])
                    if measuring.is_set():
                        found.append(arrived - float(event["downloaded"]))

    groups = [ids[n : n + 25] for n in range(0, len(ids), 25)]
    watching = [asyncio.create_task(watch(group)) for group in groups for _ in range(clients)]
    async with asyncio.timeout(120):
        while len(drawing) < len(ids):
            await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    measuring.set()
    await asyncio.sleep(seconds)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    return found
