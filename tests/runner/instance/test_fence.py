"""A service that was stopped and woken after its job had gone to another one can do nothing on the instance."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from service.errors import LeaseLost
from service.runner.instance.attempt_program import AttemptSpec, program
from service.runner.instance.remote import Remote, Signal
from service.runner.instance.shell import script
from service.runner.instance.ssh import Connection
from tests.kit.sshd import Sshd
from tests.runner.instance.test_remote import directory, run, spec, until

SHELLS = (["dash"], ["bash", "--posix"], ["bash"], ["busybox", "sh"])
LOAD = 'n=$(cat "$HOME/count" 2>/dev/null || echo 0); echo $((n + 1)) >"$HOME/count"; printf good >"$HOME/model.bin"'


def zombie_of(of: AttemptSpec) -> AttemptSpec:
    """What the owner before this one knows of the attempt."""
    return replace(of, epoch=of.epoch - 1)


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_launch_after_the_job_has_ended_elsewhere(connection: Connection, sshd: Sshd) -> None:
    """The zombie stopped between `resource_started` and the launch; the job ended and its directory was removed."""
    of = spec(LOAD, epoch=2)
    await run(connection, of)
    await Remote(connection).remove({of.job_id: 2})
    before = contents(sshd.home)
    for must_exist in (False, True):
        with pytest.raises(LeaseLost):
            await run(connection, replace(zombie_of(of), must_exist=must_exist))
    assert contents(sshd.home) == before
    assert (before["model.bin"], before["count"]) == (b"good", b"1\n")


async def test_a_launch_a_signal_and_a_removal_while_the_owner_is_at_work(connection: Connection, sshd: Sshd) -> None:
    of, remote = spec("echo begin; sleep 60", epoch=8), Remote(connection)
    # The owner before launched it, the one after it finds it.
    for owner in (zombie_of(of), of):
        async with remote.attach(owner, 0) as attachment:
            assert await anext(aiter(attachment)) == b"begin\n"
    folder = directory(sshd, of)
    before, processes = contents(folder.parent), sshd.marked_processes(of.job_id)
    assert before["fence"] == b"\n7\n\n8\n"
    with pytest.raises(LeaseLost):
        await run(connection, zombie_of(of))
    with pytest.raises(LeaseLost):
        await run(connection, replace(zombie_of(of), directory="2-1"))
    for signal in Signal:
        with pytest.raises(LeaseLost):
            await remote.signal(zombie_of(of), [of.directory], signal)
    with pytest.raises(LeaseLost):
        await remote.end_without_room(zombie_of(of), 1 << 62)
    await remote.remove({of.job_id: 7})
    after = contents(folder.parent)
    after.pop("1-1/wake", None), before.pop("1-1/wake", None)  # type: ignore[attr-defined]
    assert after == before
    assert sshd.marked_processes(of.job_id) == processes
    # The owner itself is obeyed, and so is the next one, which signals before it attaches.
    assert (await remote.signal(of, [of.directory], Signal.PAUSE)).was_running
    assert (await remote.signal(replace(of, epoch=9), [of.directory], Signal.CANCEL, grace_seconds=1)).was_running
    assert (folder.parent / "fence").read_bytes() == b"\n7\n\n8\n\n9\n"
    await until(lambda: not sshd.marked_processes(of.job_id))


async def test_files_are_removed_for_the_last_owner_alone(connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
    job_id, remote, ui = str(uuid4()), Remote(connection), str(tmp_path / "ui")
    model = tmp_path / "ui/models/loras/a.safetensors"
    model.parent.mkdir(parents=True)
    model.write_text("first")
    (removed,) = await remote.remove_files(job_id, 2, ui, ["loras/a.safetensors"])
    assert (removed.size, model.exists()) == (5, False)
    # Installed again, while the owner before that one sleeps; also when the removal has ended: the fence stays.
    model.write_text("again")
    for _ in range(2):
        with pytest.raises(LeaseLost):
            await remote.remove_files(job_id, 1, ui, ["loras/a.safetensors"])
        await remote.remove({job_id: 2})
    assert model.read_text() == "again"
    state = sshd.home / ".local/state/resource-installer"
    assert [path.name for path in (state / job_id).iterdir()] == ["fence"]
    # Who cannot write a fence can still make room.
    shutil.rmtree(state)
    state.write_text("not a folder")
    (removed,) = await remote.remove_files(str(uuid4()), 1, ui, ["loras/a.safetensors"])
    assert (removed.size, model.exists()) == (5, False)


async def test_a_removal_of_many_files_ends_when_another_owner_comes(connection: Connection, tmp_path: Path) -> None:
    """The program that has begun notices it before the next file."""
    job_id, remote, ui = str(uuid4()), Remote(connection), tmp_path / "ui"
    names = [f"loras/{n}.safetensors" for n in range(3)]
    for name in names:
        (ui / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (ui / "models" / name).write_text("text")
    tools = tmp_path / "tools"
    tools.mkdir()
    fence = f"$HOME/.local/state/resource-installer/{job_id}/fence"
    (tools / "rm").write_text(f'#!/bin/sh\nprintf "\\n8\\n" >>"{fence}"\nexec /bin/rm "$@"\n')
    (tools / "rm").chmod(0o755)
    text = program("remove_files.sh", nonce="n", job=job_id, epoch=7, ui_home=str(ui), paths=_words(names))
    environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{tools}:{os.environ['PATH']}"}
    said = subprocess.run(["sh"], input=text, env=environment, check=True, capture_output=True).stdout.decode()
    assert said == "\nn\nremoved 4\nstale\n"
    assert [(ui / "models" / name).exists() for name in names] == [False, True, True]
    assert [each.size for each in await remote.remove_files(job_id, 9, str(ui), names)] == [None, 4, 4]


def _words(names: list[str]) -> str:
    return " ".join(base64.b64encode(name.encode()).decode() for name in names)


async def test_a_fence_alone_is_no_job_and_goes_after_a_day(connection: Connection, sshd: Sshd) -> None:
    remote, jobs = Remote(connection), [spec("true", epoch=1) for _ in range(3)]
    for of in jobs:
        await run(connection, of)
    await remote.remove({of.job_id: 1 for of in jobs[:2]})
    for of in (jobs[0], jobs[2]):
        os.utime(directory(sshd, of).parent / "fence", (time.time() - 90_000,) * 2)
    assert (await remote.look("")).job_ids == (jobs[2].job_id,)
    assert [directory(sshd, of).parent.exists() for of in jobs] == [False, True, True]
    assert directory(sshd, jobs[2]).exists()


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
async def test_owners_that_come_at_once_in_every_shell(tmp_path: Path, shell: list[str]) -> None:
    """No program is found: the shell does it alone."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    epochs = random.Random(seed).sample(range(1, 41), 40)

    async def enters(epoch: int) -> bool:
        text = f"epoch={epoch}\n{script('fence.sh')}\nPATH=/nowhere\nenter '{tmp_path}' && echo in"
        command = await asyncio.create_subprocess_exec(
            *shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        stdout, stderr = await command.communicate(text.encode())
        assert stderr == b""
        return stdout == b"in\n"

    entered = await asyncio.gather(*map(enters, epochs))
    assert entered[epochs.index(40)]
    seen = [int(line) for line in (tmp_path / "fence").read_text().split()]
    assert max(seen) == 40
    assert len(set(seen)) == len(seen)
    assert [await enters(epoch) for epoch in (39, 40, 41, 40)] == [False, True, True, False]
    # A line that is no epoch is passed over.
    (tmp_path / "fence").write_text("5\n\nnonsense\n-3\n7")
    assert await enters(5)
    assert not await enters(4)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
async def test_the_scripts_in_every_shell(tmp_path: Path, shell: list[str]) -> None:
    job = str(uuid4())
    folder = tmp_path / ".local/state/resource-installer" / job
    (folder / "1-1").mkdir(parents=True)
    (folder / "1-1/log").write_text("x")
    (folder / "1-1/.hidden").write_text("x")
    (folder / ".hidden").write_text("x")

    def said(name: str, **variables: str | int) -> str:
        text = program(name, nonce="n", **variables)
        environment = os.environ | {"HOME": str(tmp_path)}
        return subprocess.run(shell, input=text, env=environment, check=True, capture_output=True).stdout.decode()

    asked: dict[str, str | int] = {"job": job, "attempts": "1-1", "grace_seconds": 1, "needed_bytes": 0, "ui_home": "/"}
    assert "signalled 0 0" in said("signal.sh", epoch=4, what="pause", **asked)
    assert "stale" in said("signal.sh", epoch=3, what="pause", **asked)
    assert "stale" not in said("signal.sh", epoch=3, what="ask", **asked)
    model = tmp_path / "models/a.pt"
    model.parent.mkdir()
    model.write_text("text")
    removal: dict[str, str | int] = {"job": job, "ui_home": str(tmp_path), "paths": _words(["a.pt"])}
    assert said("remove_files.sh", epoch=3, **removal) == "\nn\nstale\n"
    assert said("remove_files.sh", epoch=4, **removal) == "\nn\nremoved 4\n"
    assert said("remove_files.sh", epoch=4, **removal) == "\nn\ngone\n"
    said("remove.sh", jobs=f"{job}:3", keep_logs=0)
    assert (folder / "1-1/log").exists()
    assert job in said("list.sh", ui_home="")
    said("remove.sh", jobs=f"{uuid4()}:1 {job}:4", keep_logs=0)
    assert [path.name for path in folder.iterdir()] == ["fence"]
    assert "stale" in said("signal.sh", epoch=3, what="cancel", **asked)
    assert job not in said("list.sh", ui_home="")
    os.utime(folder / "fence", (time.time() - 90_000,) * 2)
    said("list.sh", ui_home="")
    assert not folder.exists()
