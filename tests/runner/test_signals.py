"""Pause, resume and cancel on the instance, over a real sshd: the whole attempt, and nothing beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.runner.outcome import Ended
from service.runner.remote import CANCEL, PAUSE, RESUME, AttemptSpec, Remote, Told
from service.runner.ssh import Connection
from tests.kit.sshd import Sshd
from tests.runner.test_remote import directory, run, spec, until

# A loop in the card's group, one that left it by setsid, and one that ignores TERM.
TICKS = """
setsid sh -c 'while :; do echo away >>"$HOME/ticks"; sleep 0.05; done' &
while :; do echo tick >>"$HOME/ticks"; echo tick; sleep 0.05; done
"""
STUBBORN = """
trap '' TERM
while :; do sleep 0.05; done
"""


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "gone"


def states(sshd: Sshd) -> dict[int, str]:
    """Of the attempts' processes, but for the supervisors, which lead their sessions."""
    found = {}
    for pid in sshd.marked_processes():
        try:
            if os.getsid(pid) == pid and b"/supervise" in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue
        except (ProcessLookupError, OSError):
            continue
        found[pid] = state(pid)
    return found


async def tell(connection: Connection, of: AttemptSpec, what: str, **more: Any) -> Told:
    return await Remote(connection).signal(of.job_id, of.number, of.attempt, what, **more)


@asynccontextmanager
async def running(connection: Connection, of: AttemptSpec) -> AsyncIterator[asyncio.Task[tuple[bytes, Ended]]]:
    task = asyncio.create_task(run(connection, of))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_pause_stops_everything_and_a_resume_lets_it_go_on(connection: Connection, sshd: Sshd) -> None:
    of = spec(TICKS)
    ticks = sshd.home / "ticks"
    async with running(connection, of):
        await until(lambda: ticks.exists() and b"away" in ticks.read_bytes() and b"tick" in ticks.read_bytes())
        begin = time.monotonic()
        told = await tell(connection, of, PAUSE)
        assert time.monotonic() - begin < 2
        assert told.running
        assert told.processes >= 3
        assert set(states(sshd).values()) == {"T"}
        size = ticks.stat().st_size
        await asyncio.sleep(0.5)
        assert ticks.stat().st_size == size
        assert (await tell(connection, of, PAUSE)).processes == 0
        assert (await tell(connection, of, RESUME)).running
        await until(lambda: ticks.stat().st_size > size + 50)
        assert "T" not in states(sshd).values()
        await tell(connection, of, CANCEL)


async def test_a_cancel_ends_the_attempt_and_nothing_else(connection: Connection, sshd: Sshd) -> None:
    bystander = subprocess.Popen(["sleep", "60"], env={"HOME": str(sshd.home), "PATH": os.environ["PATH"]})
    try:
        of = spec(TICKS)
        async with running(connection, of) as task:
            await until((sshd.home / "ticks").exists)
            await tell(connection, of, PAUSE)
            told = await tell(connection, of, CANCEL)
            assert told.running
            output, ended = await asyncio.wait_for(task, 5)
        assert ended.exit_code == 143
        assert output.startswith(b"tick\n")
        assert states(sshd) == {}
        assert bystander.poll() is None
        assert (await tell(connection, of, CANCEL)) == Told(running=False, processes=0)
    finally:
        bystander.kill()
        bystander.wait()


async def test_what_ignores_the_term_is_killed_after_the_grace_time(connection: Connection, sshd: Sshd) -> None:
    of = spec(STUBBORN)
    async with running(connection, of) as task:
        await until(lambda: len(states(sshd)) >= 2)
        begin = time.monotonic()
        await tell(connection, of, CANCEL, grace_seconds=1)
        _, ended = await asyncio.wait_for(task, 5)
        assert 0.9 < time.monotonic() - begin < 4
        assert ended.exit_code == 137
    assert states(sshd) == {}


async def test_a_pause_at_the_launch_holds(connection: Connection, sshd: Sshd) -> None:
    """The pause may come at any moment of the launch: once it has found the attempt, nothing of it goes on."""
    for delay in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        of = spec(TICKS)
        (sshd.home / "ticks").unlink(missing_ok=True)
        async with running(connection, of):
            await asyncio.sleep(delay)
            while not (await tell(connection, of, PAUSE)).running:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            before = len((sshd.home / "ticks").read_bytes()) if (sshd.home / "ticks").exists() else 0
            await asyncio.sleep(0.3)
            after = len((sshd.home / "ticks").read_bytes()) if (sshd.home / "ticks").exists() else 0
            assert before == after
            await tell(connection, of, RESUME)
            await until(lambda: (sshd.home / "ticks").exists() and b"tick" in (sshd.home / "ticks").read_bytes())
            await tell(connection, of, CANCEL)


async def test_the_half_files_of_a_cancelled_download_are_named(connection: Connection, sshd: Sshd) -> None:
    of = spec('exec 5>"$HOME/a model\'s \\$(x).safetensors"; echo x >&5; echo y >"$HOME/done"; echo go; sleep 60')
    async with running(connection, of):
        await until((sshd.home / "done").exists)
        told = await tell(connection, of, CANCEL)
    assert told.partial_files == (f"{sshd.home}/a model's $(x).safetensors",)


async def test_the_clocks_stand_still_in_a_pause(connection: Connection, sshd: Sshd) -> None:
    of = spec('while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo end', timeout_seconds=3, stall_seconds=0)
    async with running(connection, of) as task:
        await until(lambda: len(states(sshd)) >= 2)
        await tell(connection, of, PAUSE)
        await asyncio.sleep(4)
        (sshd.home / "go").touch()
        await tell(connection, of, RESUME)
        output, ended = await asyncio.wait_for(task, 5)
    assert (output, ended.exit_code, ended.timed_out) == (b"end\n", 0, False)


async def test_what_moves_nothing_is_stalled(connection: Connection, sshd: Sshd) -> None:
    begin = time.monotonic()
    _, ended = await run(connection, spec("echo begin; sleep 30", stall_seconds=2))
    assert ended.stalled
    assert not ended.timed_out
    assert 2 <= time.monotonic() - begin < 8


async def test_a_redrawn_bar_alone_is_a_stall_and_a_slow_download_is_none(connection: Connection) -> None:
    bar = """exec python3 -S -c '
import sys, time
for n in range(60):
    sys.stdout.write("\\r 45% [====>   ] 3.65M  --.-KB/s")
    sys.stdout.flush()
    time.sleep(0.5)
'"""
    assert (await run(connection, spec(bar, stall_seconds=3)))[1].stalled
    slow = 'for n in $(seq 8); do head -c 4000 /dev/zero >>"$HOME/slow"; sleep 0.5; done'
    assert (await run(connection, spec(slow, stall_seconds=3)))[1] == Ended(exit_code=0)


async def test_room_first(connection: Connection, sshd: Sshd) -> None:
    of = spec('touch "$HOME/ran"', size_bytes=1 << 58, ui_home=str(sshd.home / "not/there/yet"))
    output, ended = await run(connection, of)
    assert (output, ended.exit_code) == (b"", None)
    assert ended.no_room is not None
    assert ended.no_room[0] == 1 << 58 > ended.no_room[1] > 0
    assert not (sshd.home / "ran").exists()
    assert (await run(connection, spec("true", size_bytes=1000)))[1] == Ended(exit_code=0)


async def test_the_verification_runs_beside_its_download(connection: Connection, sshd: Sshd) -> None:
    of = spec("echo download")
    await run(connection, of)
    verification = spec("echo verify", job_id=of.job_id, phase="verify")
    assert await run(connection, verification) == (b"verify\n", Ended(exit_code=0))
    assert (directory(sshd, of).with_name("1-1-verify") / "log").read_text() == "verify\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_supervisor_outlives_signals(connection: Connection, sshd: Sshd, number: signal.Signals) -> None:
    of = spec('while [ ! -e "$HOME/go" ]; do sleep 0.05; done')
    async with running(connection, of) as task:
        await until(lambda: len(states(sshd)) >= 2)
        for pid in set(sshd.marked_processes()) - set(states(sshd)):
            os.kill(pid, number)
        (sshd.home / "go").touch()
        assert (await asyncio.wait_for(task, 5))[1] == Ended(exit_code=0)
