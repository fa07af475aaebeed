"""Replicas whose clocks are wrong by a minute and a half: nothing of what a job does depends on it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from service.runner.plan import CANCEL_SECONDS_MAX
from tests.cluster.replicas import ClusterWorld, Stopwatch
from tests.kit.invariants import check_client
from tests.kit.service import Watcher

LEASE_SECONDS = 2.0
OFF_SECONDS = (-90, 0, 90)
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


async def test_clocks_that_differ_by_minutes(world: ClusterWorld) -> None:
    """A minute and a half behind, right, and ahead: the time of a stream never falls, and leases last."""
    patch = world.folder / "skew"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SKEW, encoding="utf-8")
    for off in OFF_SECONDS:
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
    check_times(history)
    times = [at(event) for event in history]
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
    waited = (at(again) - at(planned)).total_seconds()
    print(f"planned {planned['delay_seconds']} s, waited {waited} s")
    assert abs(waited - planned["delay_seconds"]) <= 1


async def test_the_patience_with_a_cancel(world: ClusterWorld) -> None:
    """The same ratio as sixty seconds to two, but for what a busy machine adds at the end."""
    await patience_with_a_cancel(world, 6.0, early=0.2, late=2.0)


@pytest.mark.long
async def test_the_whole_patience_with_a_cancel(world: ClusterWorld) -> None:
    await patience_with_a_cancel(world, CANCEL_SECONDS_MAX, early=2.0, late=2.0)


async def patience_with_a_cancel(world: ClusterWorld, patience: float, *, early: float, late: float) -> None:
    """A job on each of the replicas, whose instance then is gone; each is cancelled through another one, and two of
    them go to another owner meanwhile."""
    patch = world.folder / "skew"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SKEW, encoding="utf-8")
    for off in OFF_SECONDS:
        replica = world.new_replica(
            PYTHONPATH=str(patch), CLOCK_OFF_SECONDS=str(off), CANCEL_SECONDS_MAX=f"{patience:g}"
        )
        await replica.start()
    card = world.card("other/waits.md", "sleep 100")
    names = [f"replica-{n}" for n in (1, 2, 3, 2)]
    instances = [world.instance, *[await world.new_instance(f"instance{n}") for n in (1, 2, 3)]]
    jobs = [await world.installed_by(name, instance, card) for name, instance in zip(names, instances, strict=True)]
    for instance in instances:
        async with asyncio.timeout(20):
            while not instance.marked_processes():
                await asyncio.sleep(0.05)
        await instance.stop()
    # The second replica is stopped below.
    watchers = [Watcher(world.replicas[0 if n % 2 else 2].url, job_id) for n, job_id in enumerate(jobs)]
    for watcher in watchers:
        await watcher.join()

    async def cancelled(n: int) -> float:
        watch = Stopwatch()
        status, answer = await world.replicas[(n + 1) % 3].post(f"/resources/jobs/{jobs[n]}/cancel", None)
        assert status == 202, answer
        await watchers[n].end(patience + 30)
        return watch.seconds

    cancelling = [asyncio.create_task(cancelled(n)) for n in range(4)]
    await asyncio.sleep(patience / 3)
    # The jobs of the second replica, whose clock is right, go to those whose clocks are not.
    moves = Stopwatch()
    await world.replicas[1].terminate()
    for n in (1, 3):
        await world.owned(jobs[n], lambda name: name != "replica-2")
    print(f"moved in {moves.seconds:.2f} s")
    await world.replicas[1].start()
    waited = await asyncio.gather(*cancelling)
    print("waited", [f"{seconds:.2f}" for seconds in waited])
    for n, job_id in enumerate(jobs):
        history = await world.replicas[n % 3].history(job_id)
        await watchers[n].leave()
        check_client(watchers[n], history)
        check_times(history)
        assert history[-1]["type"] == "job_cancelled"
        (asked,) = [event for event in history if event["type"] == "cancel_requested"]
        by_the_log = (at(history[-1]) - at(asked)).total_seconds()
        assert patience - early <= by_the_log <= patience + late, (n, by_the_log)
        assert patience - early <= waited[n] <= patience + late, (n, waited)
    for replica in world.replicas:
        assert "has lost its lease" not in replica.log
    world.check_database()
    shutil.rmtree(patch)


def check_times(history: list[dict[str, Any]]) -> None:
    times = [at(event) for event in history]
    assert times == sorted(times)


def at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"])
