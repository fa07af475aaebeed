"""A replica that sleeps beyond its lease and wakes: whatever it was about to do, it does not do it.

Put to sleep at each step on the path of a line, and at random, also within a transaction.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from service.crash_points import POINTS
from tests.cluster.replicas import ClusterWorld, Stopwatch, stop, wake
from tests.e2e.test_crashes import CARD
from tests.kit.invariants import check_client, check_job
from tests.kit.service import ServiceProcess, Watcher
from tests.kit.sshd import USER

LEASE_SECONDS = 1.5
SLEEP_LEASES = 3
# A stop at the very first append would only stop the request.
COUNTS = {"before_append": 6, "after_append": 6, "after_commit": 6, "after_emit": 6}
LONG_CARD = CARD.replace("sleep 0.15", "sleep 1.2")
SHORT = ("before_launch", "after_append", "before_signal")


def is_asleep(replica: ServiceProcess) -> bool:
    return b") T " in Path(f"/proc/{replica.pid}/stat").read_bytes()


async def until_asleep(replica: ServiceProcess, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not is_asleep(replica):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("point", SHORT)
async def test_asleep_at_a_step(tmp_path: Path, cluster_database: str, point: str) -> None:
    await asleep_at(tmp_path, cluster_database, point)


@pytest.mark.long
@pytest.mark.parametrize("point", [point for point in POINTS if point not in SHORT and "removal" not in point])
async def test_asleep_at_every_other_step(tmp_path: Path, cluster_database: str, point: str) -> None:
    await asleep_at(tmp_path, cluster_database, point)


async def asleep_at(folder: Path, url: str, point: str) -> None:
    world = ClusterWorld(folder, url, LEASE_SECONDS)
    try:
        await world.start()
        zombie = world.new_replica(INSTALLER_CRASH_AT=f"{point}:{COUNTS.get(point, 1)}:stop")
        other = world.new_replica()
        await zombie.start()
        card = world.card("other/walk.md", LONG_CARD)
        job_id = await zombie.install(world.instance, world.ui_home, card)
        # The other one comes when the zombie has the job.
        assert await world.owned(job_id) == "replica-1"
        await other.start()
        is_control = point.endswith(("control", "signal"))
        if is_control:
            async with asyncio.timeout(60):
                while not world.instance.marked_processes():
                    await asyncio.sleep(0.02)
            asking = asyncio.create_task(ask(zombie, f"/resources/jobs/{job_id}/pause"))
        await until_asleep(zombie)
        watch = Stopwatch()
        await world.owned(job_id, lambda name: name == "replica-2")
        takeover = watch.seconds
        watcher = Watcher(other.url, job_id)
        await watcher.join()
        if is_control:
            # Whatever the zombie had recorded of the pause, it is over now.
            await ask(other, f"/resources/jobs/{job_id}/resume")
        await asyncio.sleep(max(0.0, SLEEP_LEASES * LEASE_SECONDS - watch.seconds))
        wake(zombie)
        watch = Stopwatch()
        job = await other.ended(job_id, 40)
        assert job["state"] == "completed", job
        await watcher.end(10)
        history = await other.history(job_id)
        check_client(watcher, history)
        await watcher.leave()
        world.check_database()
        assert len((world.instance.home / "ran").read_text().splitlines()) == 1
        if is_control:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert [event["type"] for event in history].count("job_taken_over") == 1
        print(f"{point}: taken over in {takeover:.2f} s of a lease of {LEASE_SECONDS} s")
        assert takeover <= LEASE_SECONDS + 1
        # The zombie begins anew.
        async with asyncio.timeout(20):
            while world.rows("select count(*) from replicas where name = 'replica-1'") != [(1,)]:
                await asyncio.sleep(0.05)
    finally:
        await world.close()


@pytest.mark.parametrize("point", [point for point in POINTS if "removal" in point])
async def test_asleep_around_a_removal(tmp_path: Path, cluster_database: str, point: str) -> None:
    """The file is installed anew before the zombie wakes: it stays."""
    world = ClusterWorld(tmp_path, cluster_database, LEASE_SECONDS)
    try:
        await world.start()
        zombie = world.new_replica(INSTALLER_CRASH_AT=f"{point}:1:stop")
        other = world.new_replica()
        await zombie.start()
        files = [world.ui_home / "models/loras" / f"{n}.safetensors" for n in range(3)]
        files[0].parent.mkdir(parents=True)
        for file in files:
            file.write_text("old")
        asked = f"/instances/{USER}@127.0.0.1:{world.instance.port}/removals"
        names = [f"loras/{file.name}" for file in files]
        status, started = await zombie.post(asked, {"ui_home": str(world.ui_home), "paths": names})
        assert status == 202, started
        await until_asleep(zombie)
        watch = Stopwatch()
        await other.start()
        job = await other.ended(started["job_id"], 40)
        assert (job["state"], [file.exists() for file in files]) == ("completed", [False] * 3), job
        history = await other.history(started["job_id"])
        for file in files:
            file.write_text("new")
        await asyncio.sleep(max(0.0, SLEEP_LEASES * LEASE_SECONDS - watch.seconds))
        former, began = zombie.log.count("registered as replica"), time.monotonic()
        wake(zombie)
        async with asyncio.timeout(20):
            while zombie.log.count("registered as replica") == former:
                await asyncio.sleep(0.05)
        print(f"{point}: {time.monotonic() - began:.2f} s until it began anew")
        await asyncio.sleep(1)
        assert [file.read_text() for file in files] == ["new"] * 3
        assert await other.history(started["job_id"]) == history
        removed = [event["path"] for event in history if event["type"] == "file_removed"]
        assert removed == names
        assert [event["replica"] for event in history if event["type"] == "job_taken_over"] == ["replica-2"]
        world.check_database()
    finally:
        await world.close()


async def ask(replica: ServiceProcess, path: str) -> int:
    status, _ = await replica.post(path, None)
    return status


async def test_asleep_at_random(tmp_path: Path, cluster_database: str) -> None:
    await asleep_at_random(tmp_path, cluster_database, times=1, seed=random.randrange(2**32))


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_asleep_at_random_twenty_times(tmp_path: Path, cluster_database: str) -> None:
    await asleep_at_random(tmp_path, cluster_database, times=20, seed=random.randrange(2**32))


async def asleep_at_random(folder: Path, url: str, times: int, seed: int) -> None:
    """In an install of many lines, so that it sleeps within a transaction now and then."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    world = ClusterWorld(folder, url, LEASE_SECONDS)
    takeovers = []
    lines = 'for n in $(seq 1 2000); do printf "line %s\\n" "$n"; sleep 0.002; done\n'
    try:
        await world.start()
        await world.start_replicas(2, INSTALLER_KEEP_REMOTE_LOGS="true")
        for n in range(times):
            card = world.card(f"other/lines_{n}.md", f'echo "run $$" >>"$HOME/ran_{n}"\n{lines}')
            job_id = await world.replicas[n % 2].install(world.instance, world.ui_home, card)
            name = await world.owned(job_id)
            zombie, other = world.replica(name), world.others(world.replica(name))[0]
            watcher = Watcher(other.url, job_id)
            await watcher.join()
            await asyncio.sleep(1 + chance.random())
            stop(zombie)
            watch = Stopwatch()
            await world.owned(job_id, lambda owner, name=name: owner != name)  # type: ignore[misc]
            takeovers.append(watch.seconds)
            await asyncio.sleep(max(0.0, SLEEP_LEASES * LEASE_SECONDS - watch.seconds))
            wake(zombie)
            assert (await other.ended(job_id, 60))["state"] == "completed"
            await watcher.end(20)
            await watcher.leave()
            history = await other.history(job_id)
            check_client(watcher, history)
            check_job(history, world.instance, [(card, f"Card {card}")])
            assert len((world.instance.home / f"ran_{n}").read_text().splitlines()) == 1
        world.check_database()
        takeovers.sort()
        print(
            f"taken over in {takeovers[len(takeovers) // 2]:.2f} s (median), {takeovers[-1]:.2f} s (worst) of {times}"
        )
        assert takeovers[-1] <= LEASE_SECONDS + 1
    finally:
        await world.close()
