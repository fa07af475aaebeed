"""Late and back again, and a service that dies in the middle: first proofs of the three promises."""

from __future__ import annotations

import asyncio
import os
import time

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.service import Watcher, check_stream, until

# It takes one or two seconds; it would take minutes if it did not close its clients and links.
STOP_SECONDS_MAX = 20


def processes(world: World) -> list[int]:
    return sorted(world.instance.marked_processes("civitdl"))


async def test_late_cut_off_and_back(world: World) -> None:
    model = StandInModel(id=1001, name="Slow", size_bytes=24_000_000, bytes_per_second=1_500_000)
    job_id = await world.service.install(world.instance, world.ui_home, world.model(model))
    first = Watcher(world.service.url, job_id)
    await first.join()
    await until(lambda: any(e.get("stage") == "model" for e in first.events))
    late = Watcher(world.service.url, job_id)
    answer = await late.join()
    assert answer["last_sequence"] > 1
    await until(lambda: len(late.events) > answer["last_sequence"])
    await late.cut()
    seen = len(late.events)
    await until(lambda: len(first.events) > seen + 2)
    await late.join()
    # The slow phase is over.
    model.bytes_per_second = 100_000_000
    await first.end()
    await late.end()
    after_the_end = Watcher(world.service.url, job_id)
    assert (await after_the_end.join())["state"] == "completed"
    await after_the_end.end()
    history = await world.service.history(job_id)
    check_stream(history)
    assert first.events == late.events == after_the_end.events == history
    for watcher in (first, late, after_the_end):
        await watcher.leave()


async def test_kill_9_in_the_middle_of_a_download(world: World) -> None:
    model = StandInModel(
        id=1001, name="Held", size_bytes=6_000_000, hold_after_bytes=3_000_000, bytes_per_second=2_000_000
    )
    job_id = await world.service.install(world.instance, world.ui_home, world.model(model))
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await until(lambda: any((e.get("percent") or 0) > 30 for e in watcher.events if e.get("stage") == "model"))
    before = processes(world)
    assert before
    await world.service.kill()
    await watcher.leave()
    await asyncio.sleep(0.5)
    assert processes(world) == before
    await world.service.start()
    await watcher.join()
    await until(lambda: any(e["type"] == "job_reattached" for e in watcher.events))
    assert processes(world) == before
    world.civitai.release()
    await watcher.end()
    history = await world.service.history(job_id)
    check_stream(history)
    assert watcher.events == history
    assert history[-1]["type"] == "job_completed"
    assert [request.bytes for request in world.civitai.downloads(1001)] == [model.size_bytes]
    await watcher.leave()


async def test_sigterm_with_clients_and_installs(world: World) -> None:
    other = await world.new_instance("other")
    model = StandInModel(
        id=1001, name="Held", size_bytes=2_000_000, hold_after_bytes=1_000_000, bytes_per_second=2_000_000
    )
    card = world.model(model)
    jobs = [
        await world.service.install(instance, folder, card)
        for instance, folder in ((world.instance, world.ui_home), (other, world.folder / "UI 2"))
    ]
    watchers = [Watcher(world.service.url, jobs[n % 2]) for n in range(10)]
    for watcher in watchers:
        await watcher.join()
    await until(lambda: all(any(e.get("stage") == "model" for e in w.events) for w in watchers))
    begin = time.monotonic()
    assert await world.service.terminate() == 0
    assert time.monotonic() - begin < STOP_SECONDS_MAX
    await world.service.start()
    for watcher in watchers:
        await watcher.join()
    world.civitai.release()
    for watcher in watchers:
        await watcher.end()
        assert watcher.events == await world.service.history(watcher.job_id)
        assert watcher.events[-1]["type"] == "job_completed"
        await watcher.leave()
    assert [r.bytes for r in world.civitai.downloads(1001)] == [model.size_bytes] * 2


async def test_a_cut_link_is_no_failure(world: World) -> None:
    model = StandInModel(
        id=1001, name="Held", size_bytes=4_000_000, hold_after_bytes=1_500_000, bytes_per_second=2_000_000
    )
    job_id = await world.service.install(world.instance, world.ui_home, world.model(model))
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await until(lambda: any(e.get("stage") == "model" and e["percent"] for e in watcher.events))
    before = processes(world)
    await world.instance.stop()
    await until(lambda: any(e["type"] == "link_lost" for e in watcher.events))
    assert (await world.service.job(job_id))["link"] == "reconnecting"
    assert (await world.service.job(job_id))["state"] == "running"
    world.civitai.release()
    await asyncio.sleep(1)
    await world.instance.start()
    await watcher.end()
    check_stream(watcher.events)
    kinds = [e["type"] for e in watcher.events]
    assert kinds.count("link_lost") == kinds.count("job_reattached") == 1
    assert kinds[-1] == "job_completed"
    assert [r.bytes for r in world.civitai.downloads(1001)] == [model.size_bytes]
    await until(lambda: all(not os.path.exists(f"/proc/{pid}") for pid in before))
    await watcher.leave()


async def test_an_instance_that_cannot_be_reached(world: World) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_CONNECT_TIMEOUT="1")
    await world.instance.stop()
    job_id = await world.service.install(world.instance, world.ui_home, world.card("other/a.md", "true"))
    job = await world.service.ended(job_id)
    assert (job["state"], job["cause"], job["installed"], job["total"]) == ("failed", "ssh_unreachable", 0, 1)
    assert "refused" in job["error"].lower()


async def test_a_changed_host_key_is_a_question_for_a_person(world: World) -> None:
    card = world.card("other/a.md", "true")
    await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    await world.instance.stop()
    world.instance.new_host_key()
    await world.instance.start()
    job = await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    assert job["cause"] == "host_key_changed"
    shown = world.instance.fingerprint
    assert shown in job["error"]
    accepted = await world.service.install(world.instance, world.ui_home, card, host_key_sha256=shown)
    assert (await world.service.ended(accepted))["state"] == "completed"
    remembered = await world.service.install(world.instance, world.ui_home, card)
    assert (await world.service.ended(remembered))["state"] == "completed"


async def test_jobs_of_one_instance_wait_for_each_other(world: World) -> None:
    slow = world.card("other/slow.md", 'while [ ! -e "$HOME/go" ]; do sleep 0.05; done')
    quick = world.card("other/quick.md", "true")
    first = await world.service.install(world.instance, world.ui_home, slow)
    second = await world.service.install(world.instance, world.ui_home, quick)
    other = await world.new_instance("other")
    third = await world.service.install(other, world.ui_home, quick)
    assert (await world.service.ended(third))["state"] == "completed"
    assert (await world.service.job(first))["state"] == "running"
    assert (await world.service.job(second))["state"] == "queued"
    (world.instance.home / "go").touch()
    assert (await world.service.ended(second))["state"] == "completed"
    jobs = [await world.service.job(job_id) for job_id in (first, second)]
    assert jobs[0]["ended_at"] <= jobs[1]["started_at"]
