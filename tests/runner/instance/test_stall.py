"""The clocks of an attempt over a real sshd: its time limit, and its watch for downloads that stand still."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from service.runner.instance.ended import Ended
from service.runner.instance.remote import Signal
from service.runner.instance.ssh import Connection
from tests.kit.sshd import Sshd
from tests.runner.file_server import FileServer
from tests.runner.instance.test_remote import directory, run, spec, until
from tests.runner.instance.test_signals import running, send, states


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    server = await FileServer().start()
    yield server
    await server.stop()


@pytest.mark.parametrize("limits", [{"timeout_seconds": 6}, {"stall_seconds": 6}])
async def test_the_clocks_stand_still_in_a_pause(connection: Connection, sshd: Sshd, limits: dict[str, int]) -> None:
    of = spec('until [ -e "$HOME/go" ]; do head -c 20000 /dev/zero >"$HOME/f"; sleep 0.1; done; echo end', **limits)
    async with running(connection, of) as task:
        await until(lambda: len(states(sshd)) >= 2)
        await send(connection, of, Signal.PAUSE)
        await asyncio.sleep(7.5)
        (sshd.home / "go").touch()
        await send(connection, of, Signal.RESUME)
        assert await asyncio.wait_for(task, 60) == (b"end\n", Ended(exit_code=0))


@pytest.mark.parametrize(
    "card", ["sleep 100", "env -i sleep 100", pytest.param("trap '' TERM; sleep 100", marks=pytest.mark.long)]
)
async def test_what_moves_nothing_is_stalled(connection: Connection, sshd: Sshd, card: str) -> None:
    begin = time.monotonic()
    _, ended = await run(connection, spec(f"echo begin; {card}", stall_seconds=2))
    assert ended.stalled
    assert not ended.timed_out
    assert ended.exit_code not in (0, None)
    assert 2 <= time.monotonic() - begin < 60
    # The supervisor itself ends a moment after its last word.
    await until(lambda: not sshd.marked_processes())


async def test_without_a_watch_nothing_stalls(connection: Connection) -> None:
    assert (await run(connection, spec("sleep 3", stall_seconds=0)))[1] == Ended(exit_code=0)


async def test_what_left_the_group_ends_with_a_stalled_attempt(connection: Connection, sshd: Sshd) -> None:
    _, ended = await run(connection, spec("setsid sleep 100 & sleep 100", stall_seconds=2))
    assert ended.stalled
    await until(lambda: not sshd.marked_processes(), seconds=60)


async def test_a_redrawn_bar_alone_is_a_stall(connection: Connection) -> None:
    bar = """exec python3 -S -c '
import sys, time
for n in range(60):
    sys.stdout.write("\\r 45% [====>   ] 3.65M  --.-KB/s")
    sys.stdout.flush()
    time.sleep(0.5)
'"""
    assert (await run(connection, spec(bar, stall_seconds=3)))[1].stalled


@pytest.mark.parametrize("tool", ["wget -O", "curl -o", "aria2c -d / -o"])
async def test_a_server_that_hangs_is_a_stall_for_each_tool(
    connection: Connection, sshd: Sshd, files: FileServer, tool: str
) -> None:
    url = files.url(100_000, "f?hangs=1")
    output, ended = await run(connection, spec(f'{tool} "$HOME/f" "{url}"', stall_seconds=4))
    assert ended.stalled, output


@pytest.mark.parametrize("tool", ["wget -O", "curl -o", "aria2c -d / -o"])
async def test_a_slow_drip_is_no_stall(connection: Connection, sshd: Sshd, files: FileServer, tool: str) -> None:
    url = files.url(160_000, "f?bytes_per_second=20000")
    output, ended = await run(connection, spec(f'{tool} "$HOME/f" "{url}"', stall_seconds=5))
    assert ended == Ended(exit_code=0), output
    assert (sshd.home / "f").stat().st_size == 160_000


async def test_waiting_for_its_turn_is_no_stall(connection: Connection, sshd: Sshd) -> None:
    wait = 'touch "$RESOURCE_INSTALLER_ATTEMPT/waiting"; sleep 6; rm "$RESOURCE_INSTALLER_ATTEMPT/waiting"; echo turn'
    assert await run(connection, spec(wait, stall_seconds=4)) == (b"turn\n", Ended(exit_code=0))


async def test_hashing_in_silence_is_no_stall(connection: Connection, sshd: Sshd) -> None:
    hashing = (
        "head -c 3000000 /dev/zero >$HOME/f; for n in 1 2 3 4 5 6 7 8; do sha256sum $HOME/f >/dev/null; sleep 0.8; done"
    )
    assert (await run(connection, spec(hashing, stall_seconds=4)))[1] == Ended(exit_code=0)


async def test_a_stopped_group_is_not_watched(connection: Connection, sshd: Sshd) -> None:
    """However the stop came: the clock is inside the group."""
    of = spec('until [ -e "$HOME/go" ]; do sleep 0.05; done', stall_seconds=4)
    async with running(connection, of) as task:
        await until((directory(sshd, of) / "group").exists)
        group = int((directory(sshd, of) / "group").read_text())
        os.killpg(group, signal.SIGSTOP)
        await asyncio.sleep(6)
        (sshd.home / "go").touch()
        os.killpg(group, signal.SIGCONT)
        assert (await asyncio.wait_for(task, 60))[1] == Ended(exit_code=0)
