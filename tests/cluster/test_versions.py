"""Replicas of two versions, of which one writes events that the other does not know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.replicas import ClusterWorld
from tests.kit.invariants import check_client
from tests.kit.newer_version import newer_version
from tests.kit.service import Watcher, check_stream

LEASE_SECONDS = 1.5
TICKS = 'echo "run" >>"$HOME/ran"; for n in $(seq 1 {}); do echo "tick $n"; sleep 0.1; done'


@pytest.fixture
async def world(tmp_path: Path, cluster_database: str) -> AsyncIterator[ClusterWorld]:
    built = ClusterWorld(tmp_path, cluster_database, LEASE_SECONDS)
    try:
        await built.start()
        yield built
    finally:
        await built.close()


def types(history: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in history]


async def test_an_older_replica_beside_a_newer_one(world: ClusterWorld) -> None:
    """old, old and new, new, then old and new again: no event comes that the old one does not know while it is there;
    those that came without it, it passes on, and leaves their job to the new one, even if that is killed."""
    short = world.card("other/short.md", TICKS.format(3))
    long = world.card("other/long.md", TICKS.format(120))
    old = await world.new_replica().start()
    new = await world.new_replica(NEWER_VERSION="1").start()
    job_id = await world.installed_by("replica-2", world.instance, short)
    assert (await old.ended(job_id))["state"] == "completed"
    history = await old.history(job_id)
    assert "job_surveyed" not in types(history)
    assert [event["text"] for event in history if event["type"] == "resource_warning"] == ["a b"]
    await old.terminate()
    await asyncio.sleep(LEASE_SECONDS / 2)

    (world.instance.home / "ran").unlink()
    job_id = await new.install(world.instance, world.ui_home, long)
    async with asyncio.timeout(20):
        while "job_surveyed" not in types(await new.history(job_id)):
            await asyncio.sleep(0.05)
    await old.start()
    watcher = Watcher(old.url, job_id)
    await watcher.join()
    await asyncio.sleep(1)
    await new.kill()
    second = await world.new_instance("second")
    # The lease ends and nobody follows; meanwhile the old one does what it can.
    other_id = await old.install(second, world.ui_home, short)
    assert (await old.ended(other_id))["state"] == "completed"
    await asyncio.sleep(LEASE_SECONDS + 1)
    assert world.owner(job_id) is None
    assert f"job {job_id} has events of a newer version" in old.log
    assert (await old.job(job_id))["state"] == "running"
    assert {job["job_id"] for job in (await old.get("/resources/jobs"))["jobs"]} >= {job_id, other_id}
    assert (await old.get("/readyz"))["status"] == "ready"
    assert (await old.post(f"/resources/jobs/{job_id}/pause", None))[0] == 202
    assert (await old.post(f"/resources/jobs/{job_id}/resume", None))[0] == 202

    await new.start()
    assert await world.owned(job_id) == "replica-2"
    assert (await old.ended(job_id))["state"] == "completed"
    await watcher.end(10)
    await watcher.leave()
    history = await old.history(job_id)
    check_stream(history)
    check_client(watcher, history)
    surveyed = [event for event in history if event["type"] == "job_surveyed"]
    assert [(event["rooms"], event["sequence"]) for event in surveyed] == [(3, surveyed[0]["sequence"])]
    warned = [event for event in history if event["type"] == "resource_warning"]
    # The second time, the old one is there.
    assert [event.get("first") or event["text"] for event in warned] == ["a", "a b"]
    assert [event["replica"] for event in history if event["type"] == "job_taken_over"] == ["replica-2"]
    assert (world.instance.home / "ran").read_text() == "run\n"
    assert "Traceback" not in old.log
    with newer_version():
        world.check_database()
