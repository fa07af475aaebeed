"""The controls over a real sshd and the real civitdl: pause, cancel, retry, parallel, limits, verification."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.demo.civitai import StandInModel, content, sha256
from tests.e2e.conftest import World
from tests.kit.invariants import check_client, check_database
from tests.kit.service import ServiceProcess, Watcher, check_stream, until

MEGABYTE = 1_000_000


async def control(service: ServiceProcess, job_id: str, name: str, body: Any = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{service.url}/resources/jobs/{job_id}/{name}", json=body) as response,
    ):
        return response.status, await response.json()


async def reached(world: World, job_id: str, holds: Callable[[Any], bool], seconds: float = 60) -> Any:
    """Wait until the condition holds for the job; returns the job."""
    job = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                job = await world.service.job(job_id)
                if holds(job):
                    return job
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not reached in {seconds} s: {json.dumps(job, indent=1)}") from None


async def stopped(world: World, job_id: str) -> None:
    """Wait until a requested pause has reached the instance and the log holds all output from before it."""
    await until(lambda: (found := world.instance.marked_processes("card")) and set(map(state_of, found)) == {"T"})
    seen = None
    async with asyncio.timeout(60):
        while seen != (seen := (await world.service.job(job_id))["last_sequence"]):
            await asyncio.sleep(1)


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def of_type(history: list[dict[str, Any]], *types: str) -> list[dict[str, Any]]:
    return [event for event in history if event["type"] in types]


def files_of(world: World, model: StandInModel) -> list[str]:
    found = world.ui_home.rglob(f"*mid_{model.id}-*.safetensors")
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in found]


def downloads(resource: dict[str, Any], percent: int) -> bool:
    """Wait until more than this of the model is there. Its images have their own bar, which ends before."""
    return resource["stage"] == "model" and (resource["percent"] or 0) > percent


def slow(name: str, seconds: float = 20) -> StandInModel:
    """A model slow enough to be paused or cancelled even on a busy machine; ``at_once`` releases it."""
    size_bytes = 16 * MEGABYTE
    return StandInModel(id=1001, name=name, size_bytes=size_bytes, bytes_per_second=int(size_bytes / seconds))


def at_once(model: StandInModel) -> None:
    model.bytes_per_second = 50 * MEGABYTE


async def a_pause(world: World, seconds: float) -> None:
    model = slow("Paused")
    job_id = await world.service.install(world.instance, world.ui_home, world.model(model))
    await reached(world, job_id, lambda job: downloads(job["resources"][0], 5))
    processes = sorted(world.instance.marked_processes("civitdl"))
    status, answer = await control(world.service, job_id, "pause")
    assert (status, answer["state"]) == (202, "paused")
    await stopped(world, job_id)
    before = (await world.service.job(job_id))["resources"][0]["downloaded_bytes"]
    await asyncio.sleep(seconds)
    assert (await world.service.job(job_id))["resources"][0]["downloaded_bytes"] == before
    assert sorted(world.instance.marked_processes("civitdl")) == processes
    assert (await control(world.service, job_id, "resume"))[0] == 202
    at_once(model)
    job = await world.service.ended(job_id)
    assert job["state"] == "completed"
    assert files_of(world, model) == [sha256(model)]
    assert len(world.civitai.downloads(model.id)) == 1
    history = await world.service.history(job_id)
    assert len(of_type(history, "resource_started")) == 1
    verified = of_type(history, "resource_verified")[0]
    assert (verified["sha256"], verified["held_against"], verified["result"]) == (sha256(model), "civitdl", "verified")
    check_stream(history)


async def test_a_short_pause(world: World) -> None:
    await a_pause(world, 2)


@pytest.mark.long
async def test_a_pause_of_twenty_seconds(world: World) -> None:
    await a_pause(world, 20)


async def test_a_pause_survives_a_restart_of_the_service(world: World) -> None:
    model = slow("Paused")
    job_id = await world.service.install(world.instance, world.ui_home, world.model(model))
    await reached(world, job_id, lambda job: downloads(job["resources"][0], 5))
    await control(world.service, job_id, "pause")
    await world.service.kill()
    await world.service.start()
    await stopped(world, job_id)
    before = (await world.service.job(job_id))["resources"][0]["downloaded_bytes"]
    await asyncio.sleep(1.5)
    job = await world.service.job(job_id)
    assert (job["state"], job["resources"][0]["downloaded_bytes"]) == ("paused", before)
    await control(world.service, job_id, "resume")
    at_once(model)
    assert (await world.service.ended(job_id))["state"] == "completed"
    assert files_of(world, model) == [sha256(model)]
    assert len(world.civitai.downloads(model.id)) == 1


async def test_a_cancel_leaves_nothing_but_what_it_names(world: World) -> None:
    home = {"HOME": str(world.instance.home), "PATH": "/usr/bin:/bin"}
    bystander = subprocess.Popen(["sleep", "600"], env=home)
    try:
        models = [
            StandInModel(id=1001 + n, name=f"Model {n}", size_bytes=16 * MEGABYTE, bytes_per_second=MEGABYTE)
            for n in range(2)
        ]
        cards = [world.model(model) for model in models]
        job_id = await world.service.install(world.instance, world.ui_home, *cards)
        watcher = Watcher(world.service.url, job_id)
        await watcher.join()
        await reached(world, job_id, lambda job: downloads(job["resources"][0], 5))
        assert (await control(world.service, job_id, "cancel"))[0] == 202
        job = await world.service.ended(job_id)
        assert (job["state"], job["cause"], job["installed"]) == ("cancelled", "cancelled", 0)
        assert [resource["state"] for resource in job["resources"]] == ["cancelled", "cancelled"]
        history = await world.service.history(job_id)
        await watcher.end()
        check_client(watcher, history)
        assert watcher.received[-1][0] == "resource_install_error"
        assert [result["state"] for result in history[-1]["results"]] == ["cancelled", "cancelled"]
        named = of_type(history, "resource_cancelled")[0]["partial_files"]
        assert named == history[-1]["partial_files"]
        assert any("1001" in name for name in named)
        assert all(Path(name).exists() for name in named)
        # The supervisor itself exits a moment after its last word.
        await until(lambda: not world.instance.marked_processes())
        assert bystander.poll() is None
        status, retried = await control(world.service, job_id, "retry")
        assert (status, [resource["resource"] for resource in retried["resources"]]) == (202, cards)
        await control(world.service, retried["job_id"], "cancel")
        await world.service.ended(retried["job_id"])
        await watcher.leave()
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_cancel_while_the_service_is_dead_or_the_link_is_down(world: World) -> None:
    card = world.card("other/long.md", "echo begun; exec sleep 300")
    job_id = await world.service.install(world.instance, world.ui_home, card)
    await until(lambda: world.instance.marked_processes("sleep\x00300"))
    await world.instance.stop()
    assert (await control(world.service, job_id, "cancel"))[0] == 202
    assert (await control(world.service, job_id, "pause"))[0] == 409
    await world.service.kill()
    await world.instance.start()
    await world.service.start()
    job = await world.service.ended(job_id)
    assert job["state"] == "cancelled"
    await until(lambda: not world.instance.marked_processes())
    check_stream(await world.service.history(job_id))


async def test_the_third_attempt_installs(world: World) -> None:
    model = StandInModel(id=1001, name="Third", size_bytes=300_000, status=500, fails=2)
    card = world.model(model)
    job_id = await world.service.install(world.instance, world.ui_home, card, max_attempts=3)
    job = await world.service.ended(job_id)
    assert (job["state"], job["resources"][0]["attempt"]) == ("completed", 3)
    history = await world.service.history(job_id)
    failures = of_type(history, "resource_failed")
    assert [(event["attempt"], event["cause"]) for event in failures] == [(1, "server_error"), (2, "server_error")]
    scheduled = of_type(history, "resource_retry_scheduled")
    assert [(event["next_attempt"], event["max_attempts"]) for event in scheduled] == [(2, 3), (3, 3)]
    assert [event["attempt"] for event in of_type(history, "resource_started")] == [1, 2, 3]
    assert len(world.civitai.downloads(model.id)) == 3
    assert files_of(world, model) == [sha256(model)]
    check_stream(history)


async def test_a_permanent_failure_is_tried_once_and_a_retry_leaves_out_the_rest(world: World) -> None:
    models = [StandInModel(id=1001 + n, name=f"M{n}", size_bytes=100_000) for n in range(3)]
    gone = [StandInModel(id=2001 + n, name=f"Gone {n}", status=401, requires_key="none") for n in range(2)]
    cards = [world.model(model) for model in (models[0], gone[0], models[1], gone[1], models[2])]
    job_id = await world.service.install(world.instance, world.ui_home, *cards, max_attempts=3, parallel=2)
    job = await world.service.ended(job_id)
    assert (job["state"], job["cause"], job["installed"]) == ("failed", "auth_required", 3)
    assert [resource["attempt"] for resource in job["resources"]] == [1] * 5
    status, retried = await control(world.service, job_id, "retry")
    assert (status, retried["total"], retried["retry_of"]) == (202, 2, job_id)
    assert [resource["resource"] for resource in retried["resources"]] == [cards[1], cards[3]]
    ended = await world.service.ended(retried["job_id"])
    assert (ended["state"], ended["parallel"], ended["max_attempts"]) == ("failed", 2, 3)


async def test_a_killed_command_is_tried_again(world: World) -> None:
    model = slow("Killed")
    job_id = await world.service.install(world.instance, world.ui_home, world.model(model), max_attempts=2)
    await reached(world, job_id, lambda job: downloads(job["resources"][0], 5))
    world.instance.kill_marked()
    at_once(model)
    job = await world.service.ended(job_id)
    assert (job["state"], job["resources"][0]["attempt"]) == ("completed", 2)
    assert files_of(world, model) == [sha256(model)]
    assert of_type(await world.service.history(job_id), "resource_failed")[0]["cause"] == "killed"


async def four_at_once(world: World, size_bytes: int) -> float:
    """How many times faster four at once are than one by one, with a server that limits each connection."""
    seconds = []
    for parallel in (1, 4):
        models = [
            StandInModel(
                id=parallel * 1000 + n, name=f"P{parallel} {n}", size_bytes=size_bytes, bytes_per_second=MEGABYTE
            )
            for n in range(4)
        ]
        cards = [world.model(model, f"folder{parallel}") for model in models]
        job_id = await world.service.install(world.instance, world.ui_home, *cards, parallel=parallel)
        begin = time.monotonic()
        job = await world.service.ended(job_id, 120)
        seconds.append(time.monotonic() - begin)
        assert job["state"] == "completed"
        for model in models:
            assert files_of(world, model) == [sha256(model)]
        history = await world.service.history(job_id)
        check_stream(history)
        started = [event["sequence"] for event in of_type(history, "resource_started")]
        first_end = of_type(history, "verification_started")[0]["sequence"]
        assert sum(sequence < first_end for sequence in started) == parallel
        assert all(event["resource"] in cards and event["attempt"] == 1 for event in of_type(history, "progress"))
    print(f"one by one {seconds[0]:.1f} s, four at once {seconds[1]:.1f} s: {seconds[0] / seconds[1]:.2f} times")
    return seconds[0] / seconds[1]


@pytest.mark.parametrize("parallel", [1, 4])
async def test_parallel_downloads_run_at_the_same_time(world: World, parallel: int) -> None:
    """The server holds each download in its middle, so that the machine's speed does not matter."""
    models = [
        StandInModel(
            id=1001 + n, name=f"M{n}", size_bytes=2 * MEGABYTE, hold_after_bytes=MEGABYTE, bytes_per_second=MEGABYTE
        )
        for n in range(4)
    ]
    cards = [world.model(model, f"folder{n}") for n, model in enumerate(models)]
    job_id = await world.service.install(world.instance, world.ui_home, *cards, parallel=parallel)

    def under_way(job: Any) -> int:
        # Not by percent: a bar that follows within 0.1 s of the first one is not printed.
        return sum(resource["stage"] == "model" for resource in job["resources"])

    await reached(world, job_id, lambda job: under_way(job) == parallel, 100)
    job = await world.service.job(job_id)
    states = [resource["state"] for resource in job["resources"]]
    assert states.count("running") == parallel, job
    for model in models:
        at_once(model)
    world.civitai.release()
    assert (await world.service.ended(job_id))["state"] == "completed"
    for model in models:
        assert files_of(world, model) == [sha256(model)]
    history = await world.service.history(job_id)
    check_stream(history)
    started = [event["sequence"] for event in of_type(history, "resource_started")]
    # From then on it is verified beside the next download.
    first_end = of_type(history, "verification_started")[0]["sequence"]
    assert sum(sequence < first_end for sequence in started) == parallel


@pytest.mark.long
async def test_four_at_once_are_three_times_as_fast(world: World) -> None:
    assert await four_at_once(world, 12 * MEGABYTE) >= 3


TOOLS = {
    "civitdl": None,
    "wget": 'wget -O "$UI_HOME/{id}.safetensors" https://civitai.com/files/{id}.safetensors',
    "curl": 'curl -fLo "$UI_HOME/{id}.safetensors" https://civitai.com/files/{id}.safetensors',
    "aria2c": 'aria2c --ca-certificate={ca} -d "$UI_HOME" -o {id}.safetensors https://civitai.com/files/{id}.safetensors',
}


async def limited(world: World, tool: str, count: int, limit: int, seconds: float) -> float:
    """Bytes a second of this many parallel downloads together."""
    size = int(limit * seconds / count)
    cards = []
    models = [StandInModel(id=3000 + n, name=f"L{n}", size_bytes=size) for n in range(count)]
    for model in models:
        script = TOOLS[tool]
        if script is None:
            cards.append(world.model(model))
        else:
            world.civitai.add(model)
            cards.append(world.card(f"other/{tool}{model.id}.md", script.format(id=model.id, ca=world.civitai.ca_path)))
    job_id = await world.service.install(
        world.instance, world.ui_home, *cards, parallel=count, bandwidth_limit=limit, verify=False
    )
    job = await world.service.ended(job_id, 120)
    assert job["state"] == "completed", job["error"]
    history = await world.service.history(job_id)
    bars = of_type(history, "stage_start", "progress", "stage_complete")
    assert {event["bandwidth"] for event in of_type(history, "resource_started")} == {limit // count}
    spans = []
    for card in cards:
        mine = [event for event in bars if event["resource"] == card and event.get("stage") != "images"]
        spans.append((event_time(mine[0]), event_time(mine[-1])))
    return size * count / (max(end for _, end in spans) - min(begin for begin, _ in spans))


@pytest.mark.parametrize("tool", list(TOOLS))
async def test_a_limit_is_kept(world: World, tool: str) -> None:
    """Timed where the tool runs: a service that reads its output late does not make a download look faster."""
    model = StandInModel(id=3000, name="L", size_bytes=4 * MEGABYTE)
    world.civitai.add(model)
    script = TOOLS[tool] or 'civitdl {id} "$UI_HOME/models"'
    command = script.format(id=model.id, ca=world.civitai.ca_path)
    timed = f'begin=${{EPOCHREALTIME/./}}; {command}; echo; echo "took $((${{EPOCHREALTIME/./}} - begin))"'
    card = world.card("other/limited.md", timed)
    job_id = await world.service.install(world.instance, world.ui_home, card, bandwidth_limit=MEGABYTE, verify=False)
    job = await world.service.ended(job_id)
    assert job["state"] == "completed", job["error"]
    lines = [event["line"] for event in of_type(await world.service.history(job_id), "output")]
    (took,) = [int(line.split()[1]) / 1e6 for line in lines if line.startswith("took ")]
    print(f"{tool}: {model.size_bytes / took / MEGABYTE:.2f} of 1 MB/s")
    assert took >= 4 / 1.35


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("tool", list(TOOLS))
async def test_a_limit_of_two_megabytes_a_second_is_kept_within_a_tenth(world: World, tool: str, count: int) -> None:
    rate = await limited(world, tool, count, 2 * MEGABYTE, 20)
    print(f"{tool} x {count}: {rate / MEGABYTE:.3f} of 2 MB/s")
    assert 0.9 * 2 * MEGABYTE <= rate <= 1.1 * 2 * MEGABYTE


async def test_a_limit_that_is_changed_holds_for_the_next_resource(world: World) -> None:
    models = [StandInModel(id=1001 + n, name=f"M{n}", size_bytes=MEGABYTE) for n in range(2)]
    cards = [world.model(model) for model in models]
    # The first cannot end before the change.
    models[0].hold_after_bytes = MEGABYTE // 2
    job_id = await world.service.install(world.instance, world.ui_home, *cards, bandwidth_limit=MEGABYTE // 2)
    await reached(world, job_id, lambda job: job["resources"][0]["state"] == "running")
    async with (
        aiohttp.ClientSession() as http,
        http.patch(f"{world.service.url}/resources/jobs/{job_id}", json={"bandwidth_limit": None}) as response,
    ):
        answer = await response.json()
    assert (response.status, answer["bandwidth_limit"]) == (202, None)
    assert "next resource" in answer["message"]
    world.civitai.release()
    await world.service.ended(job_id)
    started = of_type(await world.service.history(job_id), "resource_started")
    assert [event["bandwidth"] for event in started] == [MEGABYTE // 2, None]


async def test_two_runs_into_one_folder_take_turns(world: World) -> None:
    model = StandInModel(id=1001, name="Shared", size_bytes=2 * MEGABYTE, hold_after_bytes=MEGABYTE)
    world.civitai.add(model)
    script = 'civitdl {id} "$UI_HOME/models/loras"'
    cards = [world.card(f"loras/{n}.md", script.format(id=model.id)) for n in range(2)]
    job_id = await world.service.install(world.instance, world.ui_home, *cards, parallel=2)
    attempts = world.instance.home / f".local/state/resource-installer/{job_id}"
    await until(lambda: list(attempts.glob("*/waiting")))
    world.civitai.release()
    job = await world.service.ended(job_id)
    assert job["state"] == "completed", job["error"]
    assert files_of(world, model) == [sha256(model)]
    lines = [event["line"] for event in of_type(await world.service.history(job_id), "output")]
    assert any("waiting for another download" in line for line in lines)
    assert any("already existed" in line for line in lines)


def safetensors(body: bytes, claimed: int | None = None) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, claimed or len(body)]}}).encode()
    return struct.pack("<Q", len(header)) + header + body


LOGIN = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>please</body></html>"


@pytest.mark.parametrize(
    ("data", "front", "reason"),
    [
        (safetensors(b"x" * 1000), f"sha256: '{'ab' * 32}'\n", "ab" * 32),
        (safetensors(b"x" * 1000)[:-100], "", "100 bytes short"),
        (LOGIN, "", "HTML page"),
        (b'{"error": "not for you", "code": 403}', "", "not for you"),
        (safetensors(b"x" * 1000, claimed=700), "", "longer than its own header"),
    ],
    ids=["wrong hash", "truncated", "login page", "JSON error", "header that lies"],
)
async def test_a_file_that_is_not_the_model_fails(world: World, data: bytes, front: str, reason: str) -> None:
    source = world.folder / "source"
    source.write_bytes(data)
    card = world.card("other/bad.md", f'cp {source} "$UI_HOME/model.safetensors"', front)
    job_id = await world.service.install(world.instance, world.ui_home, card)
    job = await world.service.ended(job_id)
    assert (job["state"], job["cause"]) == ("failed", "verification_failed")
    failure = of_type(await world.service.history(job_id), "resource_failed")[0]
    assert reason in failure["error"], failure["error"]
    if front:
        assert hashlib.sha256(data).hexdigest() in failure["error"]
    unverified = await world.service.install(world.instance, world.ui_home, card, verify=False)
    assert (await world.service.ended(unverified))["state"] == "completed"


async def test_the_size_of_a_card_is_an_estimate(world: World) -> None:
    source = world.folder / "source"
    source.write_bytes(safetensors(b"x" * 1000))
    card = world.card("other/huge.md", f'cp {source} "$UI_HOME/model.safetensors"', f"size: {10**15 - 1}\n")
    job = await world.service.ended(await world.service.install(world.instance, world.ui_home, card))
    assert (job["state"], job["resources"][0]["size_bytes"]) == ("completed", 10**15 - 1)


async def test_a_bundle_is_installed_after_what_it_names(world: World) -> None:
    source = world.folder / "source"
    source.write_bytes(safetensors(b"x" * 1000))
    world.card("other/one.md", f'cp {source} "$UI_HOME/one.safetensors"', "aliases: the one\n")
    world.card("other/two.md", "exit 3", "AIR: urn:air:wan:lora:civitai:1@2\n")
    (world.cards / "good.md").write_text("---\ndependencies: the one\n---\n")
    (world.cards / "bad.md").write_text("---\ndependencies: [the one, civitai:1@2]\n---\n")
    job = await world.service.ended(await world.service.install(world.instance, world.ui_home, "good"))
    assert job["state"] == "completed"
    assert [entry["resource"] for entry in job["resources"]] == ["other/one.md", "good.md"]
    job = await world.service.ended(await world.service.install(world.instance, world.ui_home, "bad.md"))
    ends = {entry["resource"]: (entry["state"], entry["cause"]) for entry in job["resources"]}
    assert ends["other/one.md"] == ("installed", None)
    assert ends["bad.md"] == ("failed", "dependency_failed")


async def test_a_stall_is_seen_and_tried_again(world: World) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_STALL_TIMEOUT="4")
    model = StandInModel(id=1001, name="Hangs", size_bytes=600_000, hold_after_bytes=300_000)
    job_id = await world.service.install(world.instance, world.ui_home, world.model(model), max_attempts=2)
    await reached(world, job_id, lambda job: job["resources"][0]["retry_at"] or job["resources"][0]["attempt"] == 2)
    world.civitai.release()
    job = await world.service.ended(job_id)
    assert (job["state"], job["resources"][0]["attempt"]) == ("completed", 2)
    history = await world.service.history(job_id)
    assert of_type(history, "resource_stalled")[0]["stall_seconds"] == 4
    assert of_type(history, "resource_failed")[0]["cause"] == "stalled"
    assert files_of(world, model) == [sha256(model)]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """civitdl and its dependencies, as wheels from the package index."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "civitdl==2.2.0"]
    subprocess.run(command, check=True)
    return folder


async def without_civitdl(world: World, wheels: Path, *tools: str) -> None:
    """An instance like a fresh image: without civitdl, and with only the named parts of Python."""
    folder = world.folder / "tools"
    folder.mkdir()
    for tool in tools:
        (folder / tool).symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    # Debian's own python3 stays out of the way, whether it is there or not.
    for name in os.listdir("/usr/bin"):
        if not name.startswith(("python", "civitdl")):
            (folder / name).symlink_to(f"/usr/bin/{name}")
    world.instance._env |= {"PATH": str(folder), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    await world.instance.stop()
    await world.instance.start()


@pytest.mark.timeout(300)
async def test_civitdl_is_installed_where_it_is_missing(world: World, wheels: Path) -> None:
    await without_civitdl(world, wheels, "python3")
    models = [StandInModel(id=1001 + n, name=f"M{n}", size_bytes=200_000) for n in range(2)]
    cards = [world.model(model, f"folder{n}") for n, model in enumerate(models)]
    job_id = await world.service.install(world.instance, world.ui_home, *cards, parallel=2)
    job = await world.service.ended(job_id, 200)
    assert job["state"] == "completed", job["error"]
    history = await world.service.history(job_id)
    provisions = [event["percent"] for event in of_type(history, "progress") if event["stage"] == "provision"]
    assert provisions == [None, 100]
    assert [event["name"] for event in of_type(history, "stage_start", "stage_complete")].count("civitdl") == 2
    for model in models:
        assert files_of(world, model) == [sha256(model)]


async def test_no_python_to_install_it_with(world: World, wheels: Path) -> None:
    await without_civitdl(world, wheels)
    job_id = await world.service.install(world.instance, world.ui_home, world.model(StandInModel(id=1001, name="M")))
    job = await world.service.ended(job_id)
    assert (job["cause"], job["resources"][0]["exit_code"]) == ("tool_missing", 127)
    assert "python3 is not installed" in job["error"]


@pytest.mark.long
async def test_the_estimates_follow_the_rate(world: World) -> None:
    """Two resources, the second still pending; the rate changes by a factor of four, twice."""
    first = StandInModel(id=1001, name="First", size_bytes=270 * MEGABYTE, bytes_per_second=4 * MEGABYTE)
    second = StandInModel(id=1002, name="Second", size_bytes=100 * MEGABYTE)
    cards = []
    for model in (first, second):
        world.civitai.add(model)
        url = f"https://civitai.com/models/{model.id}?modelVersionId={model.version_id}"
        script = f'civitdl "{url}" "$UI_HOME/models"'
        cards.append(world.card(f"loras/{model.id}.md", script, f"size: {model.size_bytes}\n"))
    job_id = await world.service.install(world.instance, world.ui_home, *cards)
    await reached(world, job_id, lambda job: (job["resources"][0]["percent"] or 0) >= 1)
    changes = []
    for rate in (4 * MEGABYTE, MEGABYTE, 4 * MEGABYTE):
        first.bytes_per_second = rate
        changes.append((time.time(), rate))
        await asyncio.sleep(30)
    await control(world.service, job_id, "cancel")
    await world.service.ended(job_id)
    history = await world.service.history(job_id)
    bars = [event for event in of_type(history, "progress") if event["stage"] == "model"]
    told = [event["job_eta_seconds"] for event in bars if event["job_eta_seconds"] is not None]
    assert told
    assert min(told) >= 0
    for begin, rate in changes:
        errors = []
        for event in bars:
            if 15 <= event_time(event) - begin < 30:
                left = first.size_bytes - event["downloaded_bytes"] + second.size_bytes
                errors.append(abs(event["job_eta_seconds"] / (left / rate) - 1))
        print(f"{rate / MEGABYTE:g} MB/s: median error {100 * statistics.median(errors):.1f} % of {len(errors)}")
        assert statistics.median(errors) <= 0.2


def event_time(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["at"].replace("Z", "+00:00")).timestamp()


async def kills_in_the_middle(world: World, name: str, times: int, seed: int) -> None:
    """The service dies at a random moment of a control: the control holds, or it never happened."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    jobs = []
    for n in range(times):
        # It is always cancelled in the end.
        script = "for i in $(seq 6000); do echo $i; sleep 0.05; done"
        card = world.card(f"other/{name}{n}.md", script)
        job_id = await world.service.install(world.instance, world.ui_home, card)
        jobs.append(job_id)
        await reached(world, job_id, lambda job: job["last_sequence"] > 4)
        if name == "resume":
            await control(world.service, job_id, "pause")
        killing = asyncio.create_task(kill_soon(world.service, chance.random() * 0.25))
        answered = None
        try:
            answered = (await control(world.service, job_id, name))[0]
        except aiohttp.ClientError:
            print("killed before the answer")
        await killing
        await world.service.start()
        job = await world.service.job(job_id)
        if answered == 202:
            decided = {"pause": "job_paused", "resume": "job_resumed", "cancel": "cancel_requested"}[name]
            assert of_type(await world.service.history(job_id), decided)
        if name == "cancel" and (answered == 202 or job["cancelling"]):
            assert (await world.service.ended(job_id))["state"] == "cancelled"
            await until(lambda: not world.instance.marked_processes())
        elif job["state"] == "paused":
            await stopped(world, job_id)
            assert (await world.service.job(job_id))["state"] == "paused"
            await control(world.service, job_id, "cancel")
        else:
            await control(world.service, job_id, "cancel")
        await world.service.ended(job_id)
        check_stream(await world.service.history(job_id))
    await world.service.terminate()
    check_database(world.folder / "installer.sqlite3")


async def kills_in_the_middle_of_a_record(world: World, name: str, times: int, seed: int) -> None:
    """Controls that only append an event: an answered one is in the log, and none is there twice."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    holding = await world.service.install(world.instance, world.ui_home, world.card("other/hold.md", "sleep 600"))
    await reached(world, holding, lambda job: job["state"] == "running")
    quick = world.card("other/quick.md", "exit 3")
    elsewhere = await world.new_instance("second")
    failed = await world.service.install(elsewhere, world.ui_home, quick)
    await world.service.ended(failed)
    await elsewhere.stop()
    for n in range(times):
        job_id = failed if name == "retry" else await world.service.install(world.instance, world.ui_home, quick)
        before = await world.service.history(job_id)
        method, path, body = {
            "move": ("POST", "/move", {"before": "first"}),
            "change": ("PATCH", "", {"bandwidth_limit": 1_000_000 + n}),
            "retry": ("POST", "/retry", None),
        }[name]
        killing = asyncio.create_task(kill_soon(world.service, chance.random() * 0.03))
        answered = None
        try:
            url = f"{world.service.url}/resources/jobs/{job_id}{path}"
            async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as response:
                answered = (response.status, await response.json())
        except aiohttp.ClientError:
            print("killed before the answer")
        await killing
        await world.service.start()
        added = [event["type"] for event in (await world.service.history(job_id))[len(before) :]]
        wanted = {"move": "job_moved", "change": "limits_changed", "retry": ""}[name]
        assert added.count(wanted) <= 1
        if answered is not None:
            assert answered[0] == 202, answered
            assert wanted in added or (name == "move" and n == 0) or name == "retry"
        retries = [job for job in (await world.service.get("/resources/jobs"))["jobs"] if job["retry_of"] == failed]
        assert len([job for job in retries if job["ended_at"] is None]) <= 1
        if name == "retry" and answered is not None:
            assert answered[1]["job_id"] in [job["job_id"] for job in retries]
    await world.service.terminate()
    check_database(world.folder / "installer.sqlite3")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["move", "change", "retry"])
async def test_a_kill_in_the_middle_of_a_record(world: World, name: str) -> None:
    await kills_in_the_middle_of_a_record(world, name, 2, random.randrange(2**32))


@pytest.mark.long
@pytest.mark.parametrize("name", ["move", "change", "retry"])
async def test_twenty_kills_in_the_middle_of_a_record(world: World, name: str) -> None:
    await kills_in_the_middle_of_a_record(world, name, 20, random.randrange(2**32))


async def kill_soon(service: ServiceProcess, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await service.kill()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["pause", "resume", "cancel"])
async def test_a_kill_in_the_middle_of_a_control(world: World, name: str) -> None:
    await kills_in_the_middle(world, name, 2, random.randrange(2**32))


@pytest.mark.long
@pytest.mark.parametrize("name", ["pause", "resume", "cancel"])
async def test_twenty_kills_in_the_middle_of_a_control(world: World, name: str) -> None:
    await kills_in_the_middle(world, name, 20, random.randrange(2**32))


def test_the_stand_in_writes_what_its_hash_says() -> None:
    model = StandInModel(id=7, name="x", size_bytes=100_000)
    assert hashlib.sha256(b"".join(content(model))).hexdigest() == sha256(model)
