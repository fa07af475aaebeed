"""(f) Memory of the service with 1,000 clients that watch one job."""

from __future__ import annotations

from pathlib import Path

from benchmarks.scratch import scratch
from benchmarks.table import Row
from benchmarks.watchers import watchers
from tests.kit.service import ServiceProcess

CLIENTS = 1_000


async def run(quick: bool) -> list[Row]:
    with scratch() as folder:
        (folder / "resources").mkdir()
        (folder / "resources/a.md").write_text(
            "---\ntitle: A\ninstalls: nothing\n---\n# Download\n```bash\ntrue\n```\n", encoding="utf-8"
        )
        service = ServiceProcess(
            folder,
            {
                "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'log.sqlite3'}",
                "INSTALLER_RESOURCES_DIR": str(folder / "resources"),
                "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
            },
        )
        await service.start()
        body = {"ssh_host": "127.0.0.1", "ssh_port": 9, "ui_home": "/ui", "resources": ["a.md"]}
        _, answer = await service.post("/resources/install", body)
        try:
            async with watchers(service.url, answer["job_id"], CLIENTS, 1) as watching:
                assert await watching.line() == "ready"
                megabytes = resident_megabytes(service.pid)
        finally:
            await service.kill()
    name = f"(f) memory at {CLIENTS:,} clients"
    return [Row(name=name, value=megabytes, unit="MB", goal="<= 150", holds=megabytes <= 150)]


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6
