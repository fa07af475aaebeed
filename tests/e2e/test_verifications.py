"""Verifications that overlap the next download: order, bound, dependents, controls, and a restart in the middle.

The instance's sha256sum waits until the test lets it continue, so that a verification takes as long as needed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from service.runner.plan import VERIFYING_MAX
from tests.e2e.conftest import World
from tests.e2e.test_job_control import control, of_type, reached, state_of
from tests.kit.service import check_stream, until

SHA256SUM = """#!/bin/sh
echo begun >>{folder}/hashed
while [ ! -e {folder}/go ]; do
    sleep 0.05
done
exec /usr/bin/sha256sum
"""


class Held:
    """The instance's hashing, held until ``release``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        program = folder / "bin/sha256sum"
        program.write_text(SHA256SUM.format(folder=folder), encoding="utf-8")
        program.chmod(0o755)

    @property
    def begun(self) -> int:
        log = self.folder / "hashed"
        return len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0

    def release(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
async def held(world: World) -> Held:
    held = Held(world.folder / "held")
    path = f"{held.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    world.instance = await world.new_instance("held_instance", PATH=path)
    return held


def writes(world: World, name: str, front: str = "", first: str = "true") -> str:
    """A card that writes a file, which its verification hashes."""
    folder = '"$UI_HOME/models/loras"'
    script = f"{first}\nmkdir -p {folder}\nhead -c 1000 /dev/zero >{folder}/{name}.bin # not by wget"
    return world.card(f"loras/{name}.md", script, f"files:\n  - path: models/loras/{name}.bin\n{front}")


def phases(history: list[dict[str, Any]], path: str) -> dict[str, int]:
    """The sequence of each event of this resource, by its type."""
    return {event["type"]: event["sequence"] for event in history if event.get("resource") == path}


def are_verifying(job: Any, *paths: str) -> bool:
    found = {resource["resource"]: resource["stage"] for resource in job["resources"]}
    return all(found[path] == "verify" for path in paths)


async def test_the_next_download_begins_and_a_dependent_waits(world: World, held: Held) -> None:
    first, second = writes(world, "first"), writes(world, "second")
    dependent = writes(world, "dependent", f"dependencies: [{first}]\n")
    job_id = await world.service.install(world.instance, world.ui_home, first, second, dependent)
    await reached(world, job_id, lambda job: are_verifying(job, first, second))
    job = await world.service.job(job_id)
    assert [resource["state"] for resource in job["resources"]] == ["running", "running", "pending"]
    held.release()
    job = await world.service.ended(job_id)
    assert job["state"] == "completed", job
    history = await world.service.history(job_id)
    check_stream(history)
    of_first = phases(history, first)
    assert phases(history, second)["resource_started"] < of_first["resource_verified"]
    assert phases(history, dependent)["resource_started"] > of_first["resource_installed"]


async def test_so_many_verify_at_once_and_no_more(world: World, held: Held) -> None:
    paths = [writes(world, f"file{number}") for number in range(VERIFYING_MAX + 2)]
    job_id = await world.service.install(world.instance, world.ui_home, *paths, parallel=2)
    await until(lambda: held.begun == VERIFYING_MAX)
    while len(of_type(await world.service.history(job_id), "verification_started")) < len(paths):
        await asyncio.sleep(0.05)
    assert held.begun == VERIFYING_MAX
    held.release()
    assert (await world.service.ended(job_id))["state"] == "completed"
    assert held.begun == len(paths)


async def test_a_pause_reaches_a_verification_and_the_download_beside_it(world: World, held: Held) -> None:
    first = writes(world, "first")
    second = writes(world, "second", first='while [ ! -e "$HOME/go" ]; do sleep 0.05; done')
    job_id = await world.service.install(world.instance, world.ui_home, first, second)
    await until(lambda: held.begun == 1 and world.instance.marked_processes("2-1/card"))
    assert (await control(world.service, job_id, "pause"))[0] == 202
    marked = world.instance.marked_processes
    await until(lambda: {state_of(pid) for pid in (*marked("1-1-verify/card"), *marked("2-1/card"))} == {"T"})
    held.release()
    (world.instance.home / "go").touch()
    assert (await control(world.service, job_id, "resume"))[0] == 202
    job = await world.service.ended(job_id)
    assert job["state"] == "completed", job
    check_stream(await world.service.history(job_id))


async def test_a_cancel_ends_a_verification_and_those_that_wait_for_theirs(world: World, held: Held) -> None:
    paths = [writes(world, f"file{number}") for number in range(VERIFYING_MAX + 1)]
    job_id = await world.service.install(world.instance, world.ui_home, *paths)
    await reached(world, job_id, lambda job: all(r["state"] == "running" for r in job["resources"]))
    await until(lambda: held.begun == VERIFYING_MAX)
    assert (await control(world.service, job_id, "cancel"))[0] == 202
    job = await world.service.ended(job_id)
    assert job["state"] == "cancelled", job
    check_stream(await world.service.history(job_id))
    await until(lambda: not world.instance.marked_processes(job_id=job_id))


async def test_a_restart_in_the_middle_verifies_nothing_twice(world: World, held: Held) -> None:
    paths = [writes(world, f"file{number}") for number in range(VERIFYING_MAX + 1)]
    job_id = await world.service.install(world.instance, world.ui_home, *paths)
    await until(lambda: held.begun == VERIFYING_MAX)
    await reached(world, job_id, lambda job: all(r["state"] == "running" for r in job["resources"]))
    await world.service.kill()
    await world.service.start()
    held.release()
    job = await world.service.ended(job_id)
    assert job["state"] == "completed", job
    history = await world.service.history(job_id)
    check_stream(history)
    assert held.begun == len(paths)
    for kind in ("resource_started", "verification_started", "resource_verified", "resource_installed"):
        assert len(of_type(history, kind)) == len(paths), kind
