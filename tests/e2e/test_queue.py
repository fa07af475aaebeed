"""Many jobs over many instances on one service: first in, first out on each, and none ever runs two."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.test_floods import MEGABYTE, resident_bytes
from tests.kit.invariants import check_database
from tests.kit.service import ServiceProcess, until
from tests.kit.sshd import USER, Sshd

ENDS = ("job_completed", "job_failed", "job_cancelled")


async def many_jobs(folder: Path, *, jobs: int, instances: int, seconds: float) -> None:
    (folder / "resources").mkdir()
    (folder / "resources/a.md").write_text(
        "---\ntitle: A\ninstalls: nothing\n---\n# Download\n```bash\ntrue\n```\n", encoding="utf-8"
    )
    sshd = Sshd(folder, listen="0.0.0.0")
    service = ServiceProcess(
        folder,
        {
            "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'installer.sqlite3'}",
            "INSTALLER_RESOURCES_DIR": str(folder / "resources"),
            "INSTALLER_SSH_USER": USER,
            "INSTALLER_SSH_KEY": str(sshd.key_path),
            "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
        },
    )
    try:
        await sshd.start()
        await service.start()
        hosts = [f"127.0.0.{n + 1}" for n in range(instances)]
        body = {"ssh_port": sshd.port, "ui_home": str(folder), "resources": ["a.md"], "verify": False}
        of_host: dict[str, list[str]] = {host: [] for host in hosts}
        before = resident_bytes(service.pid)
        for n in range(jobs):
            host = hosts[n % instances]
            status, answer = await service.post("/resources/install", {**body, "ssh_host": host})
            assert status == 202, answer
            of_host[host].append(answer["job_id"])
        path = folder / "installer.sqlite3"
        await until(lambda: count_ended(path) == jobs, seconds, every=0.5)
        growth = resident_bytes(service.pid) - before
        print(f"{jobs} jobs over {instances} instances: memory +{growth / MEGABYTE:.1f} MB")
        assert growth <= 64 * MEGABYTE
    finally:
        if service.has_started:
            await service.terminate()
        await sshd.close()
    check_order(path, of_host)
    await asyncio.to_thread(check_database, path)


def count_ended(path: Path) -> int:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found: int = connection.execute("select count(*) from jobs where state = 'completed'").fetchone()[0]
    connection.close()
    return found


def check_order(path: Path, of_host: dict[str, list[str]]) -> None:
    connection = sqlite3.connect(path)
    query = "select job_id, type from events where type = 'job_started' or type in (?, ?, ?) order by position"
    rows = connection.execute(query, ENDS).fetchall()
    connection.close()
    for job_ids in of_host.values():
        mine = [(job_id, event_type) for job_id, event_type in rows if job_id in job_ids]
        assert mine == [pair for job_id in job_ids for pair in ((job_id, "job_started"), (job_id, "job_completed"))]


@pytest.mark.timeout(300)
async def test_some_jobs_over_some_instances(tmp_path: Path) -> None:
    await many_jobs(tmp_path, jobs=40, instances=8, seconds=240)


@pytest.mark.long
async def test_a_thousand_jobs_over_fifty_instances(tmp_path: Path) -> None:
    await many_jobs(tmp_path, jobs=1_000, instances=50, seconds=1_500)
