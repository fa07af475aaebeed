"""The link to the instance killed and frozen: known in time, nothing twice, nothing lost, never a failure."""

from __future__ import annotations

import asyncio

import pytest

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.invariants import check_client, check_database, check_job
from tests.kit.service import Watcher, until

KEEPALIVE_SECONDS = 2
# Without keepalives it would take a quarter of an hour to notice a frozen link.
KNOWN_SECONDS_BUSY = 30


async def a_link_that_is_down(world: World, *, frozen: bool, seconds: float, known_seconds: float) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_KEEPALIVE=str(KEEPALIVE_SECONDS), INSTALLER_KEEP_REMOTE_LOGS="true")
    model = StandInModel(
        id=1001, name="Held", size_bytes=4_000_000, hold_after_bytes=2_000_000, bytes_per_second=2_000_000
    )
    card = world.model(model)
    job_id = await world.service.install(world.instance, world.ui_home, card)
    watcher = Watcher(world.service.url, job_id)
    await watcher.join()
    await until(lambda: any(event.get("percent") for event in watcher.events if event.get("stage") == "model"))
    before = sorted(world.instance.marked_processes("civitdl"))
    sessions = world.instance.sessions()
    begin = asyncio.get_running_loop().time()
    if frozen:
        world.instance.freeze()
    else:
        await world.instance.stop()
    await until(lambda: any(event["type"] == "link_lost" for event in watcher.events))
    known_after = asyncio.get_running_loop().time() - begin
    print(f"known after {known_after:.1f} s")
    assert known_after <= known_seconds
    assert (await world.service.job(job_id))["link"] == "reconnecting"
    await asyncio.sleep(max(0.0, seconds - known_after))
    assert sorted(world.instance.marked_processes("civitdl")) == before
    if frozen:
        assert sessions
        await world.instance.stop()
    await world.instance.start()
    world.civitai.release()
    await watcher.end()
    history = await world.service.history(job_id)
    assert history[-1]["type"] == "job_completed"
    check_client(watcher, history)
    check_job(history, world.instance, [(card, f"Card {card}")])
    assert [request.bytes for request in world.civitai.downloads(1001)] == [model.size_bytes]
    await watcher.leave()
    await world.service.terminate()
    check_database(world.folder / "installer.sqlite3")


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_short_cut(world: World, frozen: bool) -> None:
    await a_link_that_is_down(world, frozen=frozen, seconds=4, known_seconds=KNOWN_SECONDS_BUSY)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [15, 60])
@pytest.mark.parametrize("frozen", [False, True])
async def test_a_long_cut(world: World, frozen: bool, seconds: int) -> None:
    await a_link_that_is_down(world, frozen=frozen, seconds=seconds, known_seconds=2 * KEEPALIVE_SECONDS)


@pytest.mark.parametrize(
    ("end", "state", "exit_code", "cause"),
    [
        ("exit 0", "completed", 0, None),
        ("exit 7", "failed", 7, "unknown"),
        ("kill -KILL $$", "failed", 137, "killed"),
    ],
)
async def test_the_command_ended_while_the_service_was_dead(
    world: World, end: str, state: str, exit_code: int, cause: str | None
) -> None:
    script = f'echo ran >>"$HOME/ran"; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo last words; {end}'
    job_id = await world.service.install(world.instance, world.ui_home, world.card("other/end.md", script))
    await until(lambda: (world.instance.home / "ran").exists())
    await world.service.kill()
    (world.instance.home / "go").touch()
    await until(lambda: not world.instance.marked_processes())
    await world.service.start()
    job = await world.service.ended(job_id)
    resource = job["resources"][0]
    assert (job["state"], resource["exit_code"], resource["cause"]) == (state, exit_code, cause)
    history = await world.service.history(job_id)
    assert [event["line"] for event in history if event["type"] == "output"][:1] == ["last words"]
    assert (world.instance.home / "ran").read_text() == "ran\n"


async def test_jobs_of_one_instance_share_a_connection_and_never_miss_one_that_broke(world: World) -> None:
    card = world.card("other/hello.md", "echo hello", front="installs: nothing\n")
    jobs = [await world.service.install(world.instance, world.ui_home, card) for _ in range(3)]
    for job_id in jobs:
        assert (await world.service.ended(job_id))["state"] == "completed"
    log = world.instance.folder / "sshd.log"
    assert log.read_text().count("Accepted publickey") == 1
    world.instance.cut()
    jobs.append(await world.service.install(world.instance, world.ui_home, card))
    assert (await world.service.ended(jobs[-1]))["state"] == "completed"
    assert log.read_text().count("Accepted publickey") == 2
    said = [event["type"] for job_id in jobs for event in await world.service.history(job_id)]
    assert said.count("host_key_accepted") == 1
    assert not {"link_lost", "job_reattached", "connecting"} & set(said)
    await world.service.terminate()
    await until(lambda: not world.instance.sessions())
