"""The remote protocol over a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from service.errors import LinkDown
from service.runner.instance import remote
from service.runner.instance.attempt_program import AttemptSpec, attach_program, programs
from service.runner.instance.connector import Connector
from service.runner.instance.ended import Ended
from service.runner.instance.remote import Remote
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from tests.kit.marks import needs_root
from tests.kit.sshd import USER, Sshd


def spec(script: str, **changes: Any) -> AttemptSpec:
    values: dict[str, Any] = {
        "job_id": str(uuid4()),
        "directory": "1-1",
        "script": script,
        "ui_home": "/tmp/ComfyUI",
        "timeout_seconds": 60,
    }
    return AttemptSpec(**(values | changes))


async def run(connection: Connection, of: AttemptSpec, offset: int = 0) -> tuple[bytes, Ended]:
    output = b""
    async with Remote(connection).attach(of, offset) as attachment:
        async for chunk in attachment:
            output += chunk
        return output, attachment.ended()


def directory(sshd: Sshd, of: AttemptSpec) -> Path:
    return sshd.home / ".local/state/resource-installer" / of.job_id / of.directory


def left_of(sshd: Sshd, of: AttemptSpec) -> list[str]:
    """What is in the directory of its job."""
    return sorted(path.name for path in directory(sshd, of).parent.iterdir())


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_output_and_status_come_as_they_are(connection: Connection) -> None:
    output, ended = await run(connection, spec(r"printf 'a\000\377\r50%%'; echo out; echo err >&2; exit 7"))
    assert output == b"a\0\xff\r50%out\nerr\n"
    assert ended == Ended(exit_code=7)


async def test_output_is_live(connection: Connection) -> None:
    of = spec('echo one; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo two')
    async with Remote(connection).attach(of, 0) as attachment:
        chunks = aiter(attachment)
        assert await anext(chunks) == b"one\n"
        assert (await connection.run("touch $HOME/go", b"")).exit_status == 0
        assert b"".join([chunk async for chunk in chunks]) == b"two\n"
        assert attachment.ended() == Ended(exit_code=0)


async def test_what_was_sent_to_an_attempt_is_not_kept_while_it_runs(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the text of all programs: with hundreds of installs a fifth of the service's memory."""
    sent = b""

    def remembered(*arguments: Any, **options: Any) -> bytes:
        nonlocal sent
        sent = attach_program(*arguments, **options)
        return sent

    monkeypatch.setattr(remote, "attach_program", remembered)
    of = spec('echo one; while [ ! -e "$HOME/go" ]; do sleep 0.05; done')
    async with Remote(connection).attach(of, 0) as attachment:
        assert await anext(aiter(attachment)) == b"one\n"
        assert len(sent) > 10_000
        # The name here, and the argument.
        assert sys.getrefcount(sent) == 2
        await connection.run("touch $HOME/go", b"")


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("true", Ended(exit_code=0)),
        ("false; echo never", Ended(exit_code=1)),
        ("false | cat; echo never", Ended(exit_code=1)),
        ("kill -KILL $$", Ended(exit_code=137)),
        ("no-such-tool", Ended(exit_code=127)),
        ("kill -TERM 0; sleep 5", Ended(exit_code=143)),
    ],
)
async def test_every_end_is_reported(connection: Connection, script: str, ended: Ended) -> None:
    output, told = await run(connection, spec(script))
    assert told == ended
    assert b"never" not in output


async def test_an_ended_attempt_is_read_again_and_not_run_again(connection: Connection, sshd: Sshd) -> None:
    of = spec("echo ran >>$HOME/ran; echo hello")
    assert await run(connection, of) == await run(connection, of)
    assert await run(connection, of, 3) == (b"lo\n", Ended(exit_code=0))
    assert (sshd.home / "ran").read_text() == "ran\n"


async def test_ten_attaches_at_once_start_one_process(sshd: Sshd, make_connector: Callable[..., Connector]) -> None:
    of = spec("echo ran >>$HOME/ran; for i in 1 2 3; do echo $i; sleep 0.2; done")
    instance = Instance(host="127.0.0.1", port=sshd.port, user=USER)
    connections = [await make_connector(sshd).connect(instance) for _ in range(10)]
    results = await asyncio.gather(*(run(connection, of) for connection in connections))
    assert results == [(b"1\n2\n3\n", Ended(exit_code=0))] * 10
    assert (sshd.home / "ran").read_text() == "ran\n"
    for connection in connections:
        await connection.close()


async def test_programs_that_another_has_just_laid_stay(
    sshd: Sshd, connection: Connection, make_connector: Callable[..., Connector]
) -> None:
    """Who finds none there, and comes to lay them only after another has, must not take them from under it."""
    assert (await run(connection, spec("echo one")))[0] == b"one\n"
    place = sshd.home / ".local/state/resource-installer/programs" / programs()[0]
    aside = place.with_name("aside")
    place.rename(aside)
    laid = aside.stat().st_ino
    instance = Instance(host="127.0.0.1", port=sshd.port, user=USER)
    other = await make_connector(sshd).connect(instance)
    with open(place.parent.with_name("programs.lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = asyncio.create_task(run(other, spec("echo two")))
        await asyncio.sleep(0.5)
        assert not place.exists()
        aside.rename(place)
    assert await running == (b"two\n", Ended(exit_code=0))
    assert place.stat().st_ino == laid
    await other.close()


async def test_a_cut_link_loses_nothing(
    sshd: Sshd, connection: Connection, make_connector: Callable[..., Connector]
) -> None:
    # What comes after the cut cannot have come before it.
    wait = 'while [ ! -e "$HOME/go" ]; do sleep 0.05; done'
    of = spec(f'echo "pid $$"; for i in $(seq 20); do echo "line $i"; [ $i != 10 ] || {wait}; done')
    seen = b""

    async def read_and_cut() -> None:
        nonlocal seen
        async with Remote(connection).attach(of, 0) as attachment:
            async for chunk in attachment:
                seen += chunk
                if b"line 3\n" in seen:
                    sshd.cut()

    with pytest.raises(LinkDown):
        await read_and_cut()
    (sshd.home / "go").touch()
    again = await make_connector(sshd).connect(connection.instance)
    rest, ended = await run(again, spec("never", job_id=of.job_id, must_exist=True), len(seen))
    await again.close()
    whole = seen + rest
    assert whole.count(b"pid ") == 1
    assert whole.split(b"\n")[1:-1] == [f"line {i}".encode() for i in range(1, 21)]
    assert ended == Ended(exit_code=0)


@pytest.mark.parametrize("then", ["while :; do echo tick; sleep 0.05; done", "sleep 30"])
async def test_nothing_lingers_after_a_cut_link(sshd: Sshd, connection: Connection, then: str) -> None:
    of = spec(f"echo begin; {then}")
    async with Remote(connection).attach(of, 0) as attachment:
        await anext(aiter(attachment))
        log = str(directory(sshd, of) / "log")
        assert _followers(log)
        sshd.cut()
        await until(lambda: not _followers(log))
    assert sshd.marked_processes("card")


async def test_a_follower_that_is_killed_is_a_link_that_broke(connection: Connection, sshd: Sshd) -> None:
    """The attempt goes on, whatever happens to those who watch it."""
    of = spec('echo one; while [ ! -e "$HOME/go" ]; do sleep 0.05; done; echo two')

    killed: list[int] = []

    async def read_and_kill(program: str) -> bytes:
        seen = b""
        async with Remote(connection).attach(of, 0) as attachment:
            async for chunk in attachment:
                seen += chunk
                for pid in _children_of_session(program, of):
                    killed.append(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            attachment.ended()
        return seen

    with pytest.raises(LinkDown, match="could not be followed"):
        await read_and_kill("tail")
    # Without its shell the tail goes on alone, and what is missing at its end is how the attempt ended.
    killed.clear()
    shell = asyncio.create_task(read_and_kill("sh"))
    await until(lambda: killed)
    (sshd.home / "go").touch()
    with pytest.raises(LinkDown, match="before the attempt had ended"):
        await shell
    assert await run(connection, of) == (b"one\ntwo\n", Ended(exit_code=0))


def _children_of_session(program: str, of: AttemptSpec) -> list[int]:
    """The tail that follows this attempt, or the shells above it."""
    listing = subprocess.run(["ps", "axww", "-o", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()[1:]]
    tails = [(int(pid), int(parent)) for pid, parent, args in rows if args.startswith("tail ") and of.job_id in args]
    if program == "tail":
        return [pid for pid, _ in tails]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    shells = [shell for _, parent in tails for shell in (parents.get(parent, 1), parent)]
    # Without its shells the tail is a child of process 1.
    return [shell for shell in shells if shell > 1]


def _followers(log: str) -> list[str]:
    listing = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if line.startswith("tail ") and log in line]


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
async def test_hostile_ui_home_and_noisy_shells(
    tmp_path: Path, make_connector: Callable[..., Connector], shell: str
) -> None:
    ui_home = "/tmp/a $(touch x) `touch y` 'single' \"double\"\nnewline;touch z"
    server = Sshd(tmp_path, login_shell=shell, noise="motd without a newline\nand more")
    await server.start()
    connection = await make_connector(server).connect(Instance(host="127.0.0.1", port=server.port, user=USER))
    output, ended = await run(connection, spec('printf %s "$UI_HOME"', ui_home=ui_home))
    assert output.decode() == ui_home
    assert ended == Ended(exit_code=0)
    assert sorted(path.name for path in server.home.iterdir()) == [".local"]
    await connection.close()
    await server.close()


async def test_the_environment_of_a_card(connection: Connection, sshd: Sshd) -> None:
    output, _ = await run(
        connection,
        spec(
            'printf "%s|" "$LANG" "$PYTHONUTF8" "$PYTHONUNBUFFERED" "$PATH" "$PWD" "${XDG_CONFIG_HOME-none}"; '
            'cat; shopt -q login_shell || echo "not login"',
            remote_path="/opt/tools/bin",
        ),
    )
    lang, utf8, unbuffered, path, cwd, config, rest = output.decode().split("|")
    assert (lang, utf8, unbuffered, cwd, config, rest) == ("C.UTF-8", "1", "1", str(sshd.home), "none", "not login\n")
    assert path.endswith(":/opt/tools/bin")
    assert re.search(r"/1-1/\.\./\.\./programs/\w+/bin$", path.split(":")[0])


async def test_the_tokens_and_the_workspace_of_a_card(connection: Connection, sshd: Sshd) -> None:
    of = spec(
        'echo "$CIVITAI_TOKEN $CIVITAI_API_KEY $HF_TOKEN $WORKSPACE"; ps axww -o args | grep -c "[s]ecret-" || true',
        civitai_api_key="secret-1",
        hf_token="secret-2",
        ui_home="/workspace/a b/ComfyUI",
    )
    assert (await run(connection, of))[0] == b"secret-1 secret-1 secret-2 /workspace/a b\n0\n"
    assert {path.name: path.stat().st_mode & 0o777 for path in directory(sshd, of).glob("*_token")} == {
        "civitai_token": 0o600,
        "hf_token": 0o600,
    }
    output, _ = await run(connection, spec('echo "${CIVITAI_TOKEN-none} ${CIVITAI_API_KEY-none} ${HF_TOKEN-none}"'))
    assert output == b"none none none\n"


@pytest.mark.parametrize(
    ("script", "output", "exit_code"),
    [
        ("#!/bin/bash\nf() { if [[ -z $2 ]]; then return 1; fi; }\nf dir\necho on", b"on\n", 0),
        ("#!/usr/bin/env bash\nset -e\nfalse\necho on", b"", 1),
        ("#!/usr/bin/env python3\nprint('from python')", b"from python\n", 0),
        ("#!/no/such/program\necho on", b"", 127),
        ("false\necho on", b"", 1),
    ],
)
async def test_a_script_is_run_by_the_program_that_it_names(
    connection: Connection, script: str, output: bytes, exit_code: int
) -> None:
    printed, ended = await run(connection, spec(script))
    assert ended.exit_code == exit_code
    assert printed == output or exit_code == 127


async def test_time_limit(connection: Connection, sshd: Sshd) -> None:
    output, ended = await run(connection, spec("echo begin; sleep 90", timeout_seconds=3))
    assert output == b"begin\n"
    assert ended.timed_out
    await until(lambda: not sshd.marked_processes())


async def test_the_clock_of_a_stopped_group_stands_still(connection: Connection, sshd: Sshd) -> None:
    of = spec("echo begin; while [ ! -e $HOME/go ]; do sleep 0.05; done", timeout_seconds=6)
    async with Remote(connection).attach(of, 0) as attachment:
        chunks = aiter(attachment)
        await anext(chunks)
        group = int((directory(sshd, of) / "group").read_text())
        os.killpg(group, signal.SIGSTOP)
        await asyncio.sleep(7.5)
        (sshd.home / "go").touch()
        os.killpg(group, signal.SIGCONT)
        assert [chunk async for chunk in chunks] == []
        assert attachment.ended() == Ended(exit_code=0)


async def test_a_killed_supervisor_leaves_nothing_running(connection: Connection, sshd: Sshd) -> None:
    of = spec("echo begin; sleep 60")
    async with Remote(connection).attach(of, 0) as attachment:
        chunks = aiter(attachment)
        await anext(chunks)
        sshd.kill_marked("supervise")
        assert [chunk async for chunk in chunks] == []
        assert attachment.ended() == Ended(exit_code=None)
    await until(lambda: not sshd.marked_processes())


async def test_what_a_card_leaves_running_ends_with_it(connection: Connection, sshd: Sshd) -> None:
    output, ended = await run(connection, spec("(sleep 60; echo late) & echo done"))
    assert (output, ended) == (b"done\n", Ended(exit_code=0))
    await until(lambda: not sshd.marked_processes())


async def test_another_boot_is_a_lost_instance(connection: Connection, sshd: Sshd) -> None:
    of = spec("echo begin; sleep 60")
    async with Remote(connection).attach(of, 0) as attachment:
        await anext(aiter(attachment))
        (directory(sshd, of) / "boot").write_text("another boot\n1\n")
        sshd.kill_marked()
    assert (await run(connection, of))[1] == Ended(exit_code=None, instance_lost=True)


async def test_nothing_is_started_for_what_must_exist(connection: Connection, sshd: Sshd) -> None:
    lost = Ended(exit_code=None, instance_lost=True)
    assert await run(connection, spec("touch $HOME/ran", must_exist=True)) == (b"", lost)
    of = spec("echo short")
    await run(connection, of)
    assert await run(connection, of, 1000) == (b"", lost)
    assert not (sshd.home / "ran").exists()


@pytest.fixture
async def small_disk(tmp_path: Path) -> AsyncIterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@needs_root
async def test_full_disks(small_disk: Path, tmp_path: Path, make_connector: Callable[..., Connector]) -> None:
    server = Sshd(tmp_path, home=small_disk)
    await server.start()
    connection = await make_connector(server).connect(Instance(host="127.0.0.1", port=server.port, user=USER))
    _, ended = await run(connection, spec("cat /dev/zero >$HOME/filler"))
    assert ended == Ended(exit_code=1, disk_full=True)
    assert await run(connection, spec("echo never")) == (b"", Ended(exit_code=None, disk_full=True))
    await connection.close()
    await server.close()


async def test_the_key_is_on_no_command_line(connection: Connection, sshd: Sshd) -> None:
    of = spec(
        'ps axww -o args; cd "$RESOURCE_INSTALLER_ATTEMPT/config"; cat civitdl/config.json; stat -c %a . "$0"',
        civitai_api_key="very-secret-key",
    )
    output, ended = await run(connection, of)
    listing, _, config = output.decode().partition('{"version"')
    assert ended == Ended(exit_code=0)
    assert "ps axww" in listing
    assert "very-secret-key" not in listing
    assert '"api_key": "very-secret-key"' in config
    assert config.endswith("700\n600\n")


async def test_the_programs_are_sent_once_a_connection_and_again_where_they_are_gone(
    connection: Connection, sshd: Sshd, make_connector: Callable[..., Connector]
) -> None:
    assert not connection.has_programs
    await run(connection, spec("echo hello"))
    assert connection.has_programs
    assert await run(connection, spec("echo hello")) == (b"hello\n", Ended(exit_code=0))
    programs = sshd.home / ".local/state/resource-installer/programs"
    assert [path.name for path in programs.glob("*/*")].count("ready") == 1
    shutil.rmtree(programs)
    with pytest.raises(LinkDown, match="programs"):
        await run(connection, spec("echo hello"))
    again = await make_connector(sshd).connect(Instance(host="127.0.0.1", port=sshd.port, user=USER))
    assert await run(again, spec("echo hello")) == (b"hello\n", Ended(exit_code=0))
    await again.close()


async def test_programs_of_which_some_are_gone_are_laid_anew(connection: Connection, sshd: Sshd) -> None:
    (programs,) = await _laid(connection, sshd)
    (programs / "ready").unlink()
    (programs / "supervise").unlink()
    connection.has_programs = False
    assert await run(connection, spec("echo hello")) == (b"hello\n", Ended(exit_code=0))
    assert await _laid(connection, sshd) == [programs]


async def _laid(connection: Connection, sshd: Sshd) -> list[Path]:
    """The folders of programs after an attempt, each of them whole."""
    await run(connection, spec("true"))
    folders = list((sshd.home / ".local/state/resource-installer/programs").iterdir())
    assert all((folder / "ready").exists() for folder in folders)
    return folders


async def test_a_missing_tool_is_named(tmp_path: Path, make_connector: Callable[..., Connector]) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    wanted = [
        "sh",
        "bash",
        "flock",
        "mkfifo",
        "setsid",
        "tail",
        "cat",
        "rm",
        "mkdir",
        "sed",
        "cut",
        "df",
        "wc",
        "chmod",
        "mv",
    ]
    for name in [*wanted, "grep", "sleep", "head", "ln"]:
        path = shutil.which(name)
        assert path is not None
        (tools / name).symlink_to(path)
    server = Sshd(tmp_path, env={"PATH": str(tools)})
    await server.start()
    connection = await make_connector(server).connect(Instance(host="127.0.0.1", port=server.port, user=USER))
    assert await run(connection, spec("echo hello")) == (b"hello\n", Ended(exit_code=0))
    for name in ("flock", "mkfifo", "setsid", "tail", "bash"):
        (tools / name).rename(tools / "away")
        assert (await run(connection, spec("echo never")))[1] == Ended(exit_code=None, tool_missing=name)
        (tools / "away").rename(tools / name)
    (tools / "tail").unlink()
    (tools / "tail").write_text("#!/bin/sh\necho 'tail: unrecognized option' >&2; exit 1\n")
    (tools / "tail").chmod(0o755)
    _, ended = await run(connection, spec("echo never"))
    assert ended == Ended(exit_code=None, tool_missing="tail --pid (of GNU coreutils)")
    await connection.close()
    await server.close()


async def test_wget_is_asked_for_a_bar(connection: Connection, sshd: Sshd) -> None:
    fake = sshd.home / "bin"
    fake.mkdir()
    (fake / "wget").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "GNU Wget 1.21.3 built on x" || printf "%s|" "$@"'
    )
    (fake / "wget").chmod(0o755)
    output, _ = await run(
        connection, spec(f'PATH="$PATH"; RESOURCE_INSTALLER_PATH={fake}:$RESOURCE_INSTALLER_PATH wget -qO- "a b"')
    )
    assert output == b"--progress=bar:force:noscroll|-qO-|a b|"
    output, ended = await run(connection, spec("RESOURCE_INSTALLER_PATH=/nowhere wget x"))
    assert (output, ended) == (b"wget: command not found\n", Ended(exit_code=127))


async def test_a_look_finds_the_jobs_and_a_removal_leaves_the_others(connection: Connection, sshd: Sshd) -> None:
    mine, foreign = spec("true"), spec("true")
    await run(connection, mine)
    await run(connection, foreign)

    (directory(sshd, mine).parent.parent / "notes").mkdir()
    remote = Remote(connection)
    found = await remote.look("")
    assert sorted(found.job_ids) == sorted([mine.job_id, foreign.job_id])
    assert (found.ui_home, found.elsewhere) == (None, ())
    await remote.remove({mine.job_id: 1})
    assert left_of(sshd, mine) == ["fence"]
    assert (await remote.look("")).job_ids == (foreign.job_id,)
    assert directory(sshd, foreign).exists()


async def test_what_still_runs_ends_when_its_job_is_removed(connection: Connection, sshd: Sshd) -> None:
    gone, kept = spec("echo begin; sleep 60"), spec("echo begin; sleep 60")
    remote = Remote(connection)
    for of in (gone, kept):
        async with remote.attach(of, 0) as attachment:
            await anext(aiter(attachment))
    await remote.remove({gone.job_id: 1})
    await until(lambda: not sshd.marked_processes(gone.job_id))
    assert left_of(sshd, gone) == ["fence"]
    assert sshd.marked_processes(kept.job_id)
    await remote.remove({gone.job_id: 1, str(uuid4()): 1})
    assert directory(sshd, kept).exists()


async def test_only_logs_stay_where_they_are_kept(connection: Connection, sshd: Sshd) -> None:
    """Neither a token nor the configuration of a tool, nor the programs, wherever the service was when it ended."""
    secrets = {"hf_token": "hf_sesame", "civitai_api_key": "civitai_sesame"}
    of = spec("echo one; echo two >&2; touch $HOME/written", **secrets)
    await run(connection, of)
    of_verification = replace(of, directory="1-1-verify", is_card=False)
    await run(connection, of_verification)
    folder = directory(sshd, of)
    (folder / ".hidden").write_text("x")
    # What the supervisor forgets, unless it was killed.
    (folder / "hf_token").write_text("hf_sesame")
    remote = Remote(connection)
    for _ in range(2):
        await remote.remove({of.job_id: 1}, keep_logs=True)
        assert {path.name for path in folder.iterdir()} <= {"log", "exit", "ledger"}
        assert (folder / "log").read_bytes().startswith(b"one\ntwo\n")
        assert {path.name for path in directory(sshd, of_verification).iterdir()} <= {"log", "exit", "ledger"}
    held = b"".join(path.read_bytes() for path in folder.parent.rglob("*") if path.is_file())
    assert b"sesame" not in held
    await remote.remove({of.job_id: 1})
    assert left_of(sshd, of) == ["fence"]
