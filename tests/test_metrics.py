"""/metrics of a running service: the figures follow what happens, and the token protects them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from service.app import Service
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from service.store.tables import events
from tests.kit.ports import silent_port
from tests.kit.running import running, write_card
from tests.kit.service import Watcher, until

TOKEN = "a-token-for-the-tests"


async def figures(service: Service, **headers: str) -> dict[str, float]:
    """Every sample; the labels follow the name."""
    async with aiohttp.ClientSession() as http, http.get(f"{service.url}/metrics", headers=headers) as response:
        text = await response.text()
        assert response.status == 200, text
        assert response.content_type == "text/plain"
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def install(service: Service, port: int, **more: Any) -> str:
    body = {"ssh_host": "127.0.0.1", "ssh_port": port, "ui_home": "/ui", "resources": ["a.md"], **more}
    async with aiohttp.ClientSession() as http, http.post(f"{service.url}/resources/install", json=body) as response:
        return str((await response.json())["job_id"])


async def test_what_happened_is_counted(tmp_path: Path) -> None:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as service:
        before = await figures(service)
        assert before["installer_events_appended_total"] == 0
        assert before["installer_jobs queued"] == before["installer_jobs running"] == 0
        port = silent_port()
        first, second = [await install(service, port) for _ in range(2)]
        assert first != second
        await until_running(service, first)
        # Two are queued, one is started, and the other is told its place.
        async with asyncio.timeout(60):
            while (stored := await count_events(service)) < 4:
                await asyncio.sleep(0.02)
        after = await figures(service)
        assert (after["installer_jobs running"], after["installer_jobs queued"]) == (1, 1)
        assert (after["installer_queue_jobs"], after["installer_queue_instances"]) == (1, 1)
        assert after["installer_events_appended_total"] == stored
        assert after["installer_commit_events_sum"] == stored
        commits = after["installer_commit_seconds_count"]
        assert 2 <= commits <= stored
        assert after["installer_publish_seconds_count"] == commits
        assert 0 < after["installer_commit_seconds_sum"] < 60
        assert after["installer_wal_bytes"] == (tmp_path / "installer.sqlite3-wal").stat().st_size > 0
        assert after["process_resident_memory_bytes"] > 1_000_000


async def count_events(service: Service) -> int:
    async with service._database.read() as connection:
        return len((await connection.execute(select(events.c.position))).all())


async def until_running(service: Service, job_id: str) -> None:
    state = ""
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while state != "running":
            async with http.get(f"{service.url}/resources/jobs/{job_id}") as response:
                state = (await response.json())["state"]


async def test_remote_bytes_follow_the_logs_of_the_instances(tmp_path: Path) -> None:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as service:
        job_id = await install(service, silent_port())
        await until_running(service, job_id)
        started = types.ResourceStarted(title="A", card_sha256="0" * 64)
        lines = [("one", 10), ("two", 25)]
        await service._journal.append(job_id, [NewEvent(event=started, resource="a.md", attempt=1)])
        for line, offset in lines:
            output = types.Output(line=line)
            await service._journal.append(
                job_id, [NewEvent(event=output, resource="a.md", attempt=1, source_offset=offset)]
            )
        assert (await figures(service))["installer_remote_bytes_total"] == 25


async def test_clients_and_replays_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as service:
        job_id = await install(service, silent_port())
        await until_running(service, job_id)
        watcher = Watcher(service.url, job_id)
        await watcher.join()
        await until(lambda: not service._rooms.replaying())
        seen = await figures(service)
        assert (seen["installer_clients"], seen["installer_replaying_subscriptions"]) == (1, 0)
        assert seen["installer_replay_lag_events"] == 0
        # One that fell back: out of the room, and some events late.
        room = service._rooms._rooms[job_id]
        (subscription,) = room.values()
        subscription.after = 0
        service._rooms.leave(subscription)
        last = (await service._journal.check_after(job_id, 0)).last_sequence
        seen = await figures(service)
        assert (seen["installer_replaying_subscriptions"], seen["installer_replay_lag_events"]) == (1, last)
        await watcher.leave()
        await until(lambda: service._rooms.client_count == 0)


async def test_the_token_protects_it(tmp_path: Path) -> None:
    async with running(tmp_path, api_token=TOKEN) as service, aiohttp.ClientSession() as http:
        async with http.get(f"{service.url}/metrics") as response:
            assert response.status == 401
        assert "installer_clients" in await figures(service, Authorization=f"Bearer {TOKEN}")


async def test_two_services_in_one_process_share_no_figures(tmp_path: Path) -> None:
    write_card(tmp_path, "a.md")
    (tmp_path / "other").mkdir()
    async with running(tmp_path) as service, running(tmp_path / "other") as other:
        await install(service, silent_port())
        assert (await figures(other))["installer_events_appended_total"] == 0
        assert (await figures(service))["installer_events_appended_total"] > 0
