"""Instances as people rent them: not ready yet, without a shell, under several names, with ComfyUI somewhere else."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.e2e.conftest import World
from tests.kit.service import check_stream, until


def of_type(history: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in history if event["type"] == kind]


async def test_a_key_that_the_instance_accepts_after_some_seconds(world: World) -> None:
    authorized = world.instance.folder / "authorized_keys"
    key = authorized.read_bytes()
    authorized.write_bytes(b"")
    job_id = await world.service.install(world.instance, world.ui_home, world.card("other/a.md", "echo done"))
    for _ in range(600):
        history = await world.service.history(job_id)
        if of_type(history, "connecting"):
            break
        await asyncio.sleep(0.1)
    authorized.write_bytes(key)
    job = await world.service.ended(job_id)
    assert job["state"] == "completed"
    history = await world.service.history(job_id)
    check_stream(history)
    said = of_type(history, "connecting")
    assert [event["reason"] for event in said] == ["key_refused"]
    assert said[0]["next_seconds"] >= 10


async def test_a_login_without_a_shell_ends_and_frees_the_queue(world: World) -> None:
    await world.service.terminate()
    await world.service.start(INSTALLER_CONNECT_TIMEOUT="4")
    bashrc = world.instance.home / ".bashrc"
    bashrc.write_text("echo 'Please select a pod:'; cat >/dev/null; sleep 900\n")
    card = world.card("other/a.md", "echo done")
    first = await world.service.install(world.instance, world.ui_home, card)
    second = await world.service.install(world.instance, world.ui_home, card)
    # It must not log in before the file is gone.
    await world.service.post(f"/resources/jobs/{second}/pause", {})
    job = await world.service.ended(first)
    bashrc.unlink()
    await world.service.post(f"/resources/jobs/{second}/resume", {})
    assert (job["state"], job["cause"]) == ("failed", "no_shell")
    assert "Please select a pod:" in job["error"]
    assert ".bashrc" in job["resources"][0]["hint"]
    assert (await world.service.ended(second))["state"] == "completed"


async def test_one_instance_under_several_names_is_one_queue(world: World) -> None:
    slow = world.card("other/slow.md", 'while [ ! -e "$HOME/go" ]; do sleep 0.05; done')
    jobs = []
    for host in ("127.0.0.1", "LOCALHOST", "localhost.", "2130706433", "::ffff:127.0.0.1", "[::1]"):
        body = {"ssh_host": host, "ssh_port": world.instance.port, "ui_home": str(world.ui_home), "resources": [slow]}
        status, answer = await world.service.post("/resources/install", body)
        assert status == 202, answer
        jobs.append(answer["job_id"])
    await until(lambda: world.instance.marked_processes())
    await asyncio.sleep(1)
    states = [(await world.service.job(job_id))["state"] for job_id in jobs]
    assert states == ["running"] + ["queued"] * 5
    status, answer = await world.service.post(f"/resources/instances/LocalHost:{world.instance.port}/pause", {})
    assert (status, len(answer["jobs"])) == (202, 6)


async def test_a_ui_home_that_is_not_there_is_said_once_a_job(world: World) -> None:
    real = world.instance.home / "ComfyUI"
    (real / "models").mkdir(parents=True)
    (real / "main.py").touch()
    cards = [world.card(f"other/{name}.md", "echo done") for name in "abc"]
    missing = world.folder / "workspace/ComfyUI"
    job_id = await world.service.install(world.instance, missing, *cards)
    assert (await world.service.ended(job_id))["state"] == "completed"
    history = await world.service.history(job_id)
    warned = of_type(history, "resource_warning")
    assert [(event["code"], event["paths"]) for event in warned] == [("ui_home_missing", [str(real)])]
    assert "resource" not in warned[0]
    job_id = await world.service.install(world.instance, real, *cards)
    assert (await world.service.ended(job_id))["state"] == "completed"
    assert of_type(await world.service.history(job_id), "resource_warning") == []
