"""What differs between replicas: their cards, their clocks, the keys that they have seen."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.cluster.replicas import ClusterWorld, Stopwatch
from tests.kit.service import Watcher

LEASE_SECONDS = 2.0
# Python imports this in every process: the wall clock is as far off as the variable says.
SKEW = """
import os, time
_ns = time.time_ns
_off = int(float(os.environ.get("CLOCK_OFF_SECONDS", "0")) * 1_000_000_000)
time.time_ns = lambda: _ns() + _off
time.time = lambda: time.time_ns() / 1_000_000_000
"""


@pytest.fixture
async def world(tmp_path: Path, cluster_database: str) -> AsyncIterator[ClusterWorld]:
    built = ClusterWorld(tmp_path, cluster_database, LEASE_SECONDS)
    try:
        await built.start()
        yield built
    finally:
        await built.close()


async def test_a_job_is_left_to_a_replica_that_has_its_card(world: ClusterWorld) -> None:
    card = world.card("other/short.md", "sleep 0.5")
    bare = world.folder / "bare"
    bare.mkdir()
    without = world.new_replica(INSTALLER_RESOURCES_DIR=str(bare))
    await without.start()
    have = world.new_replica()
    await have.start()
    readiness = await without.get("/readyz")
    assert readiness["library"]["same"] is False
    assert [replica["same_cards"] for replica in (await have.get("/replicas"))["replicas"]] == [False, True]
    jobs = []
    for n in range(4):
        instance = world.instance if n == 0 else await world.new_instance(f"instance{n}")
        jobs.append(await have.install(instance, world.ui_home, card))
    for job_id in jobs:
        assert (await without.ended(job_id))["state"] == "completed"
        assert world.rows("select name from jobs join replicas on owner = replica_id where job_id = %s", job_id) == [
            ("replica-2",)
        ]
    # A job whose owner is lost waits for one that has its card.
    slow = world.card("other/slow.md", "sleep 6")
    job_id = await have.install(world.instance, world.ui_home, slow)
    await world.owned(job_id)
    await asyncio.sleep(1)
    await have.kill()
    await asyncio.sleep(LEASE_SECONDS + 1)
    assert world.owner(job_id) is None
    await have.start()
    assert (await without.ended(job_id))["state"] == "completed"
    assert world.owner(job_id) == "replica-2"


async def test_a_host_key_is_accepted_once(world: ClusterWorld) -> None:
    card = world.card("other/short.md", "sleep 0.2")
    slow = world.card("other/slow.md", "sleep 20")
    one = await world.new_replica().start()
    first = await one.install(world.instance, world.ui_home, card)
    assert (await one.ended(first))["state"] == "completed"
    assert "host_key_accepted" in [event["type"] for event in await one.history(first)]
    second = await one.install(world.instance, world.ui_home, slow)
    await world.owned(second)
    async with asyncio.timeout(20):
        while not world.instance.marked_processes():
            await asyncio.sleep(0.05)
    # Another instance is at this address when the other replica takes over.
    await world.instance.stop()
    world.instance.new_host_key()
    await world.instance.start()
    other = await world.new_replica().start()
    await one.kill()
    job = await other.ended(second)
    assert (job["state"], job["cause"]) == ("failed", "host_key_changed")
    assert "host_key_accepted" not in [event["type"] for event in await other.history(second)]


async def test_clocks_that_differ_by_minutes(world: ClusterWorld) -> None:
    """A minute and a half behind, right, and ahead: the time of a stream never falls, and leases last."""
    patch = world.folder / "skew"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SKEW, encoding="utf-8")
    for off in (-90, 0, 90):
        await world.new_replica(PYTHONPATH=str(patch), CLOCK_OFF_SECONDS=str(off)).start()
    assert len({replica["replica_id"] for replica in (await world.replicas[0].get("/replicas"))["replicas"]}) == 3
    card = world.card("other/ticks.md", 'for n in $(seq 1 60); do echo "tick $n"; sleep 0.15; done')
    job_id = await world.replicas[0].install(world.instance, world.ui_home, card)
    watcher = Watcher(world.replicas[1].url, job_id)
    await watcher.join()
    for _ in range(2):
        await asyncio.sleep(2)
        name = await world.owned(job_id)
        watch = Stopwatch()
        ending = asyncio.create_task(world.replica(name).terminate())
        await world.owned(job_id, lambda owner, name=name: owner != name)  # type: ignore[misc]
        assert watch.seconds < LEASE_SECONDS
        await ending
        await world.replica(name).start()
    assert (await world.replicas[2].ended(job_id))["state"] == "completed"
    history = await world.replicas[2].history(job_id)
    times = [datetime.fromisoformat(event["at"]) for event in history]
    assert times == sorted(times)
    assert (times[-1] - times[0]).total_seconds() < 30
    ((database_ms,),) = world.rows("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
    assert abs(database_ms / 1000 - times[-1].timestamp()) < 10
    for replica in world.replicas:
        assert "has lost its lease" not in replica.log
    await watcher.leave()
    shutil.rmtree(patch)


async def test_a_retry_is_due_at_the_same_time_for_all(world: ClusterWorld) -> None:
    patch = world.folder / "skew"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SKEW, encoding="utf-8")
    card = world.card("other/busy.md", 'echo x >>"$HOME/tries"; echo "curl: (6) Could not resolve host: a"; exit 6')
    settings = {"INSTALLER_MAX_ATTEMPTS": "2", "INSTALLER_RETRY_DELAY": "6", "PYTHONPATH": str(patch)}
    one = await world.new_replica(CLOCK_OFF_SECONDS="-90", **settings).start()
    job_id = await one.install(world.instance, world.ui_home, card)
    async with asyncio.timeout(30):
        while "resource_retry_scheduled" not in [event["type"] for event in await one.history(job_id)]:
            await asyncio.sleep(0.1)
    other = await world.new_replica(CLOCK_OFF_SECONDS="90", **settings).start()
    await one.terminate()
    await other.ended(job_id)
    history = await other.history(job_id)
    (planned,) = [event for event in history if event["type"] == "resource_retry_scheduled"]
    again = [event for event in history if event["type"] == "resource_started"][1]
    waited = (datetime.fromisoformat(again["at"]) - datetime.fromisoformat(planned["at"])).total_seconds()
    print(f"planned {planned['delay_seconds']} s, waited {waited} s")
    assert abs(waited - planned["delay_seconds"]) <= 1.5
