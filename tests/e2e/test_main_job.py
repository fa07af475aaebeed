"""The main job on real input: the real civitdl over a real sshd, watched by real clients."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.demo.civitai import StandInModel, sha256
from tests.e2e.conftest import World
from tests.kit.service import COMPLETE, PROGRESS, STATUS, Watcher, check_stream, until

JS = Path(__file__).parent / "js"


@pytest.mark.timeout(300)
async def test_three_models_and_the_official_client(world: World) -> None:
    models = [
        StandInModel(id=1001, name="Dramatic Lighting Slider", size_bytes=2_000_000, images=3),
        StandInModel(id=1002, name='The "Quoted" LoRA — 光の魔法', size_bytes=1_500_000, bytes_per_second=1_000_000),
        StandInModel(id=1003, name="[Bars] | 45%| <b>x</b>", size_bytes=3_000_000),
    ]
    cards = [world.model(model) for model in models]
    lines = await printed_by("client.mjs", world, cards)
    for model in models:
        assert f"Downloading: {model.name}" in lines
        assert f"Completed: {model.name}" in lines
        file = next(world.ui_home.rglob(f"model_{model.id}-*.safetensors"))
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256(model)
        assert [request.status for request in world.civitai.downloads(model.id)] == [200]
    assert any(re.fullmatch(r"model: 100% - [\d.]+[kMG]i?B/s", line) for line in lines), lines
    assert lines[-1] == "Installation complete: 3/3 successful"


@pytest.mark.timeout(300)
async def test_the_first_client_prints_each_name_once(world: World) -> None:
    models = [
        StandInModel(id=1001, name="One", size_bytes=500_000),
        StandInModel(id=1002, name="Two", size_bytes=400_000),
    ]
    lines = await printed_by("original.mjs", world, [world.model(model) for model in models])
    assert [line for line in lines if not line.startswith("[")] == [
        "Downloading: One",
        "Completed: One",
        "Downloading: Two",
        "Completed: Two",
        "Installation complete: 2/2 successful",
    ]


async def printed_by(client: str, world: World, cards: Sequence[str]) -> list[str]:
    """The lines of one of the clients in js/, which installs these cards to the end."""
    node = shutil.which("node")
    assert node is not None
    process = await asyncio.create_subprocess_exec(
        node,
        client,
        world.service.url,
        str(world.instance.port),
        str(world.ui_home),
        *cards,
        cwd=JS,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 200)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode().splitlines()


async def test_every_event_has_one_form_everywhere(world: World) -> None:
    card = world.model(StandInModel(id=1001, name="One", size_bytes=500_000))
    job_id = await world.service.install(world.instance, world.ui_home, card)
    watcher = Watcher(world.service.url, job_id)
    answer = await watcher.join()
    assert answer["success"] is True
    await watcher.end()
    history = await world.service.history(job_id)
    assert watcher.events == history
    check_stream(history)
    names = {payload["type"]: name for name, payload in watcher.received}
    assert names["stage_start"] == names["progress"] == names["stage_complete"] == PROGRESS
    assert names["job_queued"] == names["resource_installed"] == STATUS
    assert names["job_completed"] == COMPLETE
    assert [event["type"] for event in history if event["type"] not in ("progress", "output")] == [
        "job_queued",
        "job_started",
        "host_key_accepted",
        "resource_started",
        "run_started",
        "stage_start",
        "stage_complete",
        "run_ended",
        "verification_started",
        "resource_verified",
        "resource_installed",
        "job_completed",
    ]
    first = next(event for event in history if event["type"] == "progress" and event["stage"] == "model")
    assert list(first)[:6] == ["type", "job_id", "sequence", "at", "resource", "attempt"]
    assert first["resource"] == card
    job = await world.service.job(job_id)
    assert (job["state"], job["installed"], job["total"]) == ("completed", 1, 1)
    assert history[-1]["results"] == [
        {name: job["resources"][0][name] for name in history[-1]["results"][0]},
    ]
    await watcher.leave()


async def test_dependencies_come_first_and_what_depends_on_a_failure_is_not_started(world: World) -> None:
    world.card("base/vae.md", "echo vae; exit 3")
    world.card("base/other.md", "echo other")
    world.card("checkpoints/flux.md", "touch $HOME/started", "dependencies: [base/vae.md, base/other.md]\n")
    job_id = await world.service.install(world.instance, world.ui_home, "checkpoints/flux.md")
    job = await world.service.ended(job_id)
    assert [r["resource"] for r in job["resources"]] == ["base/vae.md", "base/other.md", "checkpoints/flux.md"]
    assert [r["state"] for r in job["resources"]] == ["failed", "installed", "failed"]
    assert [r["cause"] for r in job["resources"]] == ["unknown", None, "dependency_failed"]
    assert (job["state"], job["installed"], job["total"], job["cause"]) == ("failed", 1, 3, "unknown")
    assert not (world.instance.home / "started").exists()
    # The directory is removed after the terminal event.
    state = world.instance.home / ".local/state/resource-installer"
    await until(lambda: [path.name for path in (state / job_id).iterdir()] == ["fence"])
