"""Pause, resume and cancel on the instance, over a real sshd: the whole attempt, and nothing beside it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.runner.instance.attempt_program import AttemptSpec
from service.runner.instance.ended import Ended
from service.runner.instance.remote import Remote, Signal, SignalResult
from service.runner.instance.ssh import Connection
from tests.kit.sshd import Sshd
from tests.runner.instance.test_remote import directory, run, spec, until

# A loop in the card's group, one that left it by setsid, and one that ignores TERM.
TICKS = """
setsid sh -c 'while :; do echo away >>"$HOME/ticks"; sleep 0.05; done' &
while :; do echo tick >>"$HOME/ticks"; echo tick; sleep 0.05; done
"""
STUBBORN = """
trap '' TERM
echo trapped
while :; do sleep 0.05; done
"""


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "gone"


def states(sshd: Sshd) -> dict[int, str]:
    """Of the attempts' processes without their supervisors."""
    found = {pid: state(pid) for pid in sshd.marked_processes() if not is_supervisor(pid)}
    return {pid: letter for pid, letter in found.items() if letter != "gone"}


def is_supervisor(pid: int) -> bool:
    """It leads its session; the card's shell, which is forked from it, does not."""
    try:
        return os.getsid(pid) == pid and b"/supervise" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def send(connection: Connection, of: AttemptSpec, signal_: Signal, **more: Any) -> SignalResult:
    """To both phases of the attempt, as the service does."""
    directories = [of.directory, f"{of.directory}-verify"]
    return await Remote(connection).signal(of, directories, signal_, **more)


async def printed(sshd: Sshd, of: AttemptSpec) -> None:
    """Until the card has printed something: whatever stands before that in its script is done."""
    log = directory(sshd, of) / "log"
    await until(lambda: log.exists() and log.stat().st_size)


@asynccontextmanager
async def running(connection: Connection, of: AttemptSpec) -> AsyncIterator[asyncio.Task[tuple[bytes, Ended]]]:
    task = asyncio.create_task(run(connection, of))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_pause_stops_everything_and_a_resume_continues_it(connection: Connection, sshd: Sshd) -> None:
    of = spec(TICKS)
    ticks = sshd.home / "ticks"
    async with running(connection, of):
        await until(lambda: ticks.exists() and b"away" in ticks.read_bytes() and b"tick" in ticks.read_bytes())
        begin = time.monotonic()
        result = await send(connection, of, Signal.PAUSE)
        assert time.monotonic() - begin < 20
        assert result.was_running
        assert result.processes >= 3
        assert set(states(sshd).values()) == {"T"}
        size = ticks.stat().st_size
        await asyncio.sleep(0.5)
        assert ticks.stat().st_size == size
        assert (await send(connection, of, Signal.PAUSE)).processes == 0
        assert (await send(connection, of, Signal.RESUME)).was_running
        await until(lambda: ticks.stat().st_size > size + 50)
        assert "T" not in states(sshd).values()
        await send(connection, of, Signal.CANCEL)


async def test_a_cancel_ends_the_attempt_and_nothing_else(connection: Connection, sshd: Sshd) -> None:
    bystander = subprocess.Popen(["sleep", "60"], env={"HOME": str(sshd.home), "PATH": os.environ["PATH"]})
    try:
        of = spec(TICKS)
        async with running(connection, of) as task:
            await printed(sshd, of)
            await send(connection, of, Signal.PAUSE)
            result = await send(connection, of, Signal.CANCEL)
            assert result.was_running
            output, ended = await asyncio.wait_for(task, 30)
        assert ended.exit_code == 143
        assert output.startswith(b"tick\n")
        assert states(sshd) == {}
        assert bystander.poll() is None
        assert (await send(connection, of, Signal.CANCEL)) == SignalResult(was_running=False, processes=0)
    finally:
        bystander.kill()
        bystander.wait()


async def test_what_ignores_the_term_is_killed_after_the_grace_time(connection: Connection, sshd: Sshd) -> None:
    of = spec(STUBBORN)
    async with running(connection, of) as task:
        await printed(sshd, of)
        begin = time.monotonic()
        await send(connection, of, Signal.CANCEL, grace_seconds=1)
        _, ended = await asyncio.wait_for(task, 30)
        # Without a grace time of its own it would be ten seconds.
        assert 0.9 < time.monotonic() - begin < 10
        assert ended.exit_code == 137
    assert states(sshd) == {}


async def test_a_pause_at_the_launch_holds(connection: Connection, sshd: Sshd) -> None:
    """The pause may come at any moment of the launch: once it has found the attempt, nothing of it continues."""
    for delay in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        of = spec(TICKS)
        (sshd.home / "ticks").unlink(missing_ok=True)
        async with running(connection, of):
            await asyncio.sleep(delay)
            while not (await send(connection, of, Signal.PAUSE)).was_running:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            before = len((sshd.home / "ticks").read_bytes()) if (sshd.home / "ticks").exists() else 0
            await asyncio.sleep(0.3)
            after = len((sshd.home / "ticks").read_bytes()) if (sshd.home / "ticks").exists() else 0
            assert before == after
            await send(connection, of, Signal.RESUME)
            await until(lambda: (sshd.home / "ticks").exists() and b"tick" in (sshd.home / "ticks").read_bytes())
            await send(connection, of, Signal.CANCEL)


async def test_the_half_files_of_a_cancelled_download_are_named(connection: Connection, sshd: Sshd) -> None:
    of = spec('exec 5>"$HOME/a model\'s \\$(x).safetensors"; echo x >&5; echo y >"$HOME/done"; echo go; sleep 60')
    async with running(connection, of):
        await printed(sshd, of)
        result = await send(connection, of, Signal.CANCEL)
    assert result.partial_files == (f"{sshd.home}/a model's $(x).safetensors",)


async def test_what_announces_more_than_is_free_ends(connection: Connection, sshd: Sshd) -> None:
    of = spec("echo go; sleep 60", ui_home=str(sshd.home / "not/there/yet"))
    async with running(connection, of) as following:
        await printed(sshd, of)
        assert (await Remote(connection).end_without_room(of, 1_000)).processes == 0
        result = await Remote(connection).end_without_room(of, 1 << 58)
        _, ended = await following
    assert result.was_running
    assert result.processes > 0
    assert ended.no_room is not None
    assert ended.no_room[0] == 1 << 58 > ended.no_room[1] > 0
    # Also for a service that was restarted in between.
    assert (await run(connection, of))[1].no_room == ended.no_room
    assert not (await Remote(connection).end_without_room(of, 1 << 58)).was_running


async def test_the_free_room_is_the_first_record_of_the_log(connection: Connection, sshd: Sshd) -> None:
    mark = "0123456789abcdef" * 2
    output, _ = await run(connection, spec("echo go", mark=mark, ui_home=str(sshd.home / "not/there/yet")))
    found = re.match(rb"\r%s room (\d+)\n" % mark.encode(), output)
    assert found is not None
    assert int(found[1]) > 0
    assert (await run(connection, spec("echo go", ui_home="/proc/not/there", mark=mark)))[0] == b"go\n"
    assert (await run(connection, spec("echo go")))[0] == b"go\n"


async def test_the_verification_runs_beside_its_download(connection: Connection, sshd: Sshd) -> None:
    of = spec("echo download")
    await run(connection, of)
    verification = spec("echo verify", job_id=of.job_id, directory="1-1-verify")
    assert await run(connection, verification) == (b"verify\n", Ended(exit_code=0))
    assert (directory(sshd, verification) / "log").read_text() == "verify\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_supervisor_outlives_signals(connection: Connection, sshd: Sshd, number: signal.Signals) -> None:
    of = spec('echo begin; while [ ! -e "$HOME/go" ]; do sleep 0.05; done')
    async with running(connection, of) as task:
        await printed(sshd, of)
        supervisors = [pid for pid in sshd.marked_processes() if is_supervisor(pid)]
        assert len(supervisors) == 1
        os.kill(supervisors[0], number)
        (sshd.home / "go").touch()
        assert (await asyncio.wait_for(task, 30))[1] == Ended(exit_code=0)


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
async def test_a_signal_in_the_moment_in_which_the_card_ends_changes_no_status(
    connection: Connection, name: str
) -> None:
    for attempt in range(1, 9):
        of = spec(f'kill -s {name} "$PPID"; exit 7', directory=f"1-{attempt}")
        assert await run(connection, of) == (b"", Ended(exit_code=7))


async def test_a_process_without_the_mark_is_stopped_and_ended_too(connection: Connection, sshd: Sshd) -> None:
    of = spec('env -i sh -c \'while :; do echo x >>"$1"; sleep 0.05; done\' loop "$HOME/ticks"')
    ticks = sshd.home / "ticks"
    async with running(connection, of) as task:
        await until(ticks.exists)
        await send(connection, of, Signal.PAUSE)
        size = ticks.stat().st_size
        await asyncio.sleep(0.3)
        assert ticks.stat().st_size == size
        await send(connection, of, Signal.CANCEL)
        await asyncio.wait_for(task, 30)
        size = ticks.stat().st_size
        await asyncio.sleep(0.3)
        assert ticks.stat().st_size == size


async def test_forking_as_fast_as_it_can_does_not_escape_a_pause(connection: Connection, sshd: Sshd) -> None:
    of = spec("for n in 1 2 3; do (while :; do /bin/true & wait; done) & done; echo go; wait")
    async with running(connection, of):
        await printed(sshd, of)
        await send(connection, of, Signal.PAUSE)
        assert set(states(sshd).values()) <= {"T", "Z"}
        assert (await send(connection, of, Signal.PAUSE)).processes == 0
        await send(connection, of, Signal.CANCEL)
    assert states(sshd) == {}


async def test_a_cancel_at_the_launch_holds(connection: Connection, sshd: Sshd) -> None:
    """Once a cancel has found the attempt, it ends, however early that was."""
    for delay in (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15):
        of = spec(TICKS)
        async with running(connection, of) as task:
            await asyncio.sleep(delay)
            while not (await send(connection, of, Signal.CANCEL)).was_running:
                await asyncio.sleep(0.01)
            _, ended = await asyncio.wait_for(task, 30)
            assert ended.exit_code not in (0,)
            assert states(sshd) == {}


async def test_a_cancel_that_is_asked_for_again_says_the_same(connection: Connection, sshd: Sshd) -> None:
    of = spec('exec 5>"$HOME/half.bin"; echo x >&5; echo go; sleep 60')
    async with running(connection, of) as task:
        await printed(sshd, of)
        first = await send(connection, of, Signal.CANCEL)
        await asyncio.wait_for(task, 30)
        again = await send(connection, of, Signal.CANCEL)
    assert first.partial_files == again.partial_files == (f"{sshd.home}/half.bin",)
    assert (first.was_running, again.was_running) == (True, False)


async def test_the_verification_gets_signals_too(connection: Connection, sshd: Sshd) -> None:
    of = spec("true")
    await run(connection, of)
    verification = spec("echo begin; sleep 60", job_id=of.job_id, directory="1-1-verify")
    async with running(connection, verification) as task:
        await printed(sshd, verification)
        assert (await send(connection, of, Signal.PAUSE)).processes >= 2
        assert (await send(connection, of, Signal.CANCEL)).was_running
        assert (await asyncio.wait_for(task, 30))[1].exit_code == 143


async def test_eight_are_followed_and_signalled_over_one_connection(connection: Connection, sshd: Sshd) -> None:
    specs = [spec("echo begin; sleep 60", directory=f"{number}-1") for number in range(1, 9)]
    tasks = [asyncio.create_task(run(connection, of)) for of in specs]
    for of in specs:
        await printed(sshd, of)
    for of in specs:
        assert (await asyncio.wait_for(send(connection, of, Signal.CANCEL), 30)).was_running
    assert [(output, ended.exit_code) for output, ended in await asyncio.gather(*tasks)] == [(b"begin\n", 143)] * 8
