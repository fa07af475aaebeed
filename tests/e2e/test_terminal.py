"""The terminal client against the real civitdl over a real sshd: piped, and in a terminal of its own."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import sys
from collections.abc import Callable
from typing import Any

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.service import until
from tests.terminal.test_terminal import run

HOSTILE = "[red]x[/red]<img src=x onerror=alert(1)>"
MEGABYTE = 1_000_000


def env(world: World) -> dict[str, str]:
    return {"INSTALLER_URL": world.service.url}


def ssh_line(world: World) -> str:
    return f"ssh -p {world.instance.port} root@127.0.0.1 -L 8080:localhost:8080"


class Terminal:
    """The command in a pseudo terminal; ``seen``: all that it wrote."""

    def __init__(self, world: World, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self._loop = asyncio.get_running_loop()
        self._bytes = bytearray()
        self._loop.add_reader(self._master, self._read)
        self._start = asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **env(world), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
        )
        self._slave = slave

    async def start(self) -> Terminal:
        self._process = await self._start
        os.close(self._slave)
        return self

    @property
    def seen(self) -> str:
        return self._bytes.decode(errors="replace")

    async def status(self) -> int:
        async with asyncio.timeout(100):
            status = await self._process.wait()
        self._read()
        self._loop.remove_reader(self._master)
        os.close(self._master)
        return status

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 65_536):
                self._bytes += chunk
        except (BlockingIOError, OSError):
            # Nothing more to read now, or the other end is closed.
            return


async def test_install_and_watch_in_a_pipe(world: World) -> None:
    card = world.model(StandInModel(id=1001, name="Piped", size_bytes=3 * MEGABYTE, bytes_per_second=2 * MEGABYTE))
    home = str(world.ui_home)
    status, out, err = await run("install", ssh_line(world), card, "--ui-home", home, env=env(world))
    assert (status, err) == (0, "")
    job_id, *lines = out.splitlines()
    assert "\x1b" not in out
    assert any("downloading Card" in line for line in lines)
    assert any(re.search(r"Card loras/model_1001.md: \d+ %, model", line) for line in lines)
    assert lines[-1].endswith("everything is installed")
    # Watch it again later, by the beginning of its id.
    again = await run("watch", job_id[:8], env=env(world))
    assert again[0] == 0
    assert again[1].splitlines()[-1] == lines[-1]

    history = await world.service.history(job_id)
    told = (await run("events", job_id, "--json", env=env(world)))[1].splitlines()
    assert [json.loads(line) for line in told] == history
    plain = (await run("events", job_id, env=env(world)))[1].splitlines()
    assert [int(line.split()[0]) for line in plain] == [event["sequence"] for event in history]
    row = (await run("jobs", env=env(world)))[1].rstrip("\n").split("\t")
    assert row[:4] == [job_id, "completed", f"root@127.0.0.1:{world.instance.port}", "1/1"]
    assert [job["job_id"] for job in json.loads((await run("jobs", "--json", env=env(world)))[1])] == [job_id]


async def test_a_failure_ends_with_1_and_its_report_says_why(world: World) -> None:
    card = world.model(StandInModel(id=1001, name="Keyed", size_bytes=300_000, requires_key="key-of-somebody"))
    home = str(world.ui_home)
    status, out, _ = await run("install", ssh_line(world), card, "--ui-home", home, env=env(world))
    assert status == 1
    assert "failed Card loras/model_1001.md: auth required" in out
    assert "what to do: " in out
    job_id = out.splitlines()[0]
    report = await world.service.get(f"/resources/jobs/{job_id}/report")
    status, told, _ = await run("report", job_id, env=env(world))
    assert status == 0
    assert "loras/model_1001.md: auth required" in told
    for evidence in report["failures"][0]["evidence"]:
        assert f"event {evidence['sequence']}" in told
        assert evidence["line"] in told
    assert report["failures"][0]["hint"] in told
    assert json.loads((await run("report", job_id, "--json", env=env(world)))[1]) == report
    assert "\tloras/model_1001.md\t127.0.0.1\t" in (await run("failures", env=env(world)))[1]


async def test_watch_survives_a_restart_of_the_service_and_says_so(world: World) -> None:
    model = StandInModel(id=1001, name=HOSTILE, size_bytes=20 * MEGABYTE, bytes_per_second=MEGABYTE // 2)
    card = world.model(model)
    (world.cards / card).write_text(
        (world.cards / card).read_text().replace(f"title: Card {card}", f"title: '{HOSTILE}'")
    )
    job_id = await world.service.install(world.instance, world.ui_home, card)
    terminal = await Terminal(world, "watch", job_id).start()
    lines = world.folder / "piped.txt"
    piped = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m service watch {job_id} >{lines}", env={**os.environ, **env(world)}
    )
    # Both are on the way before the service is killed.
    await until(lambda: "kB/s" in terminal.seen and lines.exists() and " %, model" in lines.read_text())
    await world.service.kill()
    await until(lambda: "reconnecting to the service" in terminal.seen)
    await world.service.start()
    await until(lambda: "connected to the service again" in terminal.seen)
    model.bytes_per_second = 10 * MEGABYTE
    assert await terminal.status() == 0
    assert await asyncio.wait_for(piped.wait(), 60) == 0
    out = lines.read_text()
    assert out.count("reconnecting to the service") == out.count("connected to the service again") == 1
    assert out.splitlines()[-1].endswith("everything is installed")
    # The name is there, letter by letter, and did not become a colour.
    for shown in (terminal.seen, out):
        assert HOSTILE in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert len(world.civitai.downloads(model.id)) == 1


async def test_controls_and_exit_statuses(world: World) -> None:
    async def told(*arguments: str) -> str:
        status, _, err = await run(*arguments, env=env(world))
        assert status == 0, err
        return err

    async def state(job_id: str) -> Any:
        return (await world.service.job(job_id))["state"]

    slow = world.card("other/slow.md", 'while [ ! -e "$HOME/go" ]; do sleep 0.1; done')
    bad = world.card("other/bad.md", 'test -e "$HOME/go"')
    first = await world.service.install(world.instance, world.ui_home, slow)
    second = await world.service.install(world.instance, world.ui_home, bad)
    third = await world.service.install(world.instance, world.ui_home, slow)
    await until_state(lambda: state(first), "running")
    watching = asyncio.create_task(run("watch", first, env=env(world)))
    await told("pause", first[:8])
    assert await state(first) == "paused"
    status, _, err = await run("pause", first, env=env(world))
    assert status == 2
    assert "possible now" in err
    await told("resume", first)
    await told("move", third, second[:8])
    assert (await world.service.job(third))["queue_position"] == 1
    await told("pause", f"root@127.0.0.1:{world.instance.port}")
    assert {await state(job) for job in (first, second, third)} == {"paused"}
    await told("resume", f"root@127.0.0.1:{world.instance.port}")
    await told("cancel", third)
    await told("cancel", first)
    status, out, _ = await watching
    assert status == 3
    assert "paused" in out
    assert out.splitlines()[-1].endswith("the install was cancelled")
    assert (await run("watch", second, env=env(world)))[0] == 1
    (world.instance.home / "go").touch()
    status, out, _ = await run("retry", second, env=env(world))
    assert status == 0
    assert out.splitlines()[0] not in (first, second, third)


async def until_state(state: Callable[[], Any], wanted: str) -> None:
    async with asyncio.timeout(60):
        while await state() != wanted:
            await asyncio.sleep(0.05)
