"""The ledger of runs over a real sshd with the real tools: what is recorded, and when an attempt has ended."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.runner.instance.connector import Connector
from service.runner.instance.ended import Ended
from service.runner.instance.remote import Signal
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from tests.kit.sshd import USER, Sshd
from tests.runner.file_server import FileServer
from tests.runner.instance.test_remote import directory, run, spec, until
from tests.runner.instance.test_signals import running, send

MARK = "0123456789abcdef" * 2


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    server = await FileServer().start()
    yield server
    await server.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as its records say."""

    tool: str
    is_judged: bool
    kind: str
    destination: str
    address: str
    version: str
    exit_code: int | None


def runs(ended: Ended) -> list[Run]:
    assert ended.ledger is not None
    records = [record.split(" ") for record in ended.ledger]
    ends = {record[1]: int(record[2]) for record in records if record[0] == "end"}
    return [
        Run(
            tool=tool,
            is_judged=judged == "1",
            kind=kind,
            destination=text(destination),
            address=text(address),
            version=version,
            exit_code=ends.get(token),
        )
        for _, token, tool, judged, kind, destination, address, version in (r for r in records if r[0] == "begin")
    ]


def text(encoded: str) -> str:
    return "" if encoded == "-" else base64.b64decode(encoded).decode()


def records(ended: Ended, verb: str) -> list[list[str]]:
    return [record.split(" ") for record in ended.ledger or () if record.startswith(verb + " ")]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("wget -q -O a.bin {}/5/x", (True, "file", "a.bin", 0)),
        ("wget -q -P d {}/5/x", (True, "file", "d/x", 0)),
        ("wget -q -P d '{}/5/x?a=b'", (True, "dir", "d", 0)),
        ("wget -q -w 0 -P d {}/5/x {}/5/y", (True, "dir", "d", 0)),
        ("wget -q --content-disposition -P d {}/5/x", (True, "dir", "d", 0)),
        ("wget -q --spider {}/5/x", (False, "-", "", 0)),
        ("wget -qO - {}/5/x >/dev/null", (False, "-", "-", 0)),
        ("wget -q -O a.bin {}/nothing || true", (True, "file", "a.bin", 8)),
        ("curl -s -o a.bin {}/5/x", (True, "file", "a.bin", 0)),
        ("curl -sO {}/5/x", (True, "file", "x", 0)),
        ("curl -sOJ {}/5/x", (True, "dir", "", 0)),
        ("curl -s -o /dev/null -w '%{http_code}' {}/5/x", (False, "-", "dev/null", 0)),
        ("curl -sI {}/5/x -o a", (False, "-", "a", 0)),
        ("curl -s {}/5/x >/dev/null", (False, "-", "", 0)),
        ("aria2c -q -d d -o a.bin {}/5/x", (True, "file", "d/a.bin", 0)),
        ("aria2c -q {}/5/x", (True, "dir", "", 0)),
    ],
)
async def test_a_run_is_recorded(
    connection: Connection, sshd: Sshd, files: FileServer, command: str, expected: tuple[bool, str, str, int]
) -> None:
    base = f"http://127.0.0.1:{files.port}"
    output, ended = await run(connection, spec(command.replace("{}", base), mark=MARK))
    (only,) = runs(ended)
    destination = only.destination.removeprefix(str(sshd.home)).removeprefix("/")
    assert (only.is_judged, only.kind, destination, only.exit_code) == expected, output
    assert only.address.startswith(base)
    assert only.version.startswith({"wget": "wget/1.", "curl": "curl/", "aria2c": "aria2/"}[only.tool])
    # The same records stand in the log, each on a line of its own.
    logged = [line[len(MARK) + 1 :] for line in output.decode().replace("\r", "\n").split("\n") if MARK in line]
    assert [line for line in logged if line.split()[0] in ("begin", "end")] == [
        record for record in ended.ledger or () if record.split()[0] in ("begin", "end")
    ]


async def test_an_address_is_recorded_without_its_password(connection: Connection, files: FileServer) -> None:
    _, ended = await run(connection, spec(f"wget -q -O a http://user:secret@127.0.0.1:{files.port}/5/x"))
    assert [one.address for one in runs(ended)] == [files.url(5, "x")]


# Each tool under the name that people call it by, with options that they use.
OPTIONS = {
    "wget": ["-q -O f", "-nv -O f", "-c -O f", "-qnc -O f", "-O f --tries=2 -T 20", "-q --show-progress -O f"],
    "wget2": ["-q -O f", "-O f", "-c -O f", "-O f --tries=2"],
    "busybox": ["-q -O f", "-O f", "-c -O f"],
    "curl": ["-s -o f", "-L -o f", "-fsSL -o f", "-o f -# --retry 2", "-L -o f -C -"],
    "aria2c": ["-q -o f", "-x4 -s4 -o f", "-c -o f", "-o f --console-log-level=error"],
}


@pytest.mark.parametrize("limit", [None, 100_000_000])
@pytest.mark.parametrize("tool", OPTIONS)
async def test_a_command_that_works_without_the_service_works_with_it(
    connection: Connection, sshd: Sshd, files: FileServer, tool: str, limit: int | None
) -> None:
    name = tool if tool in ("curl", "aria2c") else "wget"
    real = shutil.which(tool)
    assert real is not None, f"{tool} is not installed: scripts/packages.sh tests"
    tools = sshd.home / "tools"
    tools.mkdir()
    (tools / name).symlink_to(real)
    for options in OPTIONS[tool]:
        (sshd.home / "f").unlink(missing_ok=True)
        card = (
            f'export RESOURCE_INSTALLER_PATH="{tools}:$RESOURCE_INSTALLER_PATH"\n{name} {options} {files.url(5, "x")}'
        )
        output, ended = await run(connection, spec(card, bandwidth_bytes_per_second=limit))
        assert ended == Ended(exit_code=0), (options, output)
        assert (sshd.home / "f").read_text() == "xxxxx"
        if options.startswith(("-q -O", "-s -o", "-q -o")):
            assert output == b"", options


async def test_what_a_card_or_an_instance_exports_does_not_reach_a_shim(
    connection: Connection, sshd: Sshd, files: FileServer
) -> None:
    (sshd.home / "environment").write_text("set -u\n")
    card = f"""
export BASH_ENV="$HOME/environment"
flock() {{ exit 9; }}; export -f flock
set -o nounset; export SHELLOPTS
wget -q -O a {files.url(5, "x")}
"""
    output, ended = await run(connection, spec(card))
    assert (output, ended) == (b"", Ended(exit_code=0))
    assert [one.exit_code for one in runs(ended)] == [0]


async def test_without_its_environment_a_run_belongs_to_its_attempt(
    connection: Connection, sshd: Sshd, files: FileServer
) -> None:
    _, ended = await run(connection, spec(f'env -i PATH="$PATH" wget -q -O "$HOME/a" {files.url(5, "x")}'))
    assert [(one.destination, one.exit_code) for one in runs(ended)] == [(f"{sshd.home}/a", 0)]


BACKGROUND = [
    "nohup wget -q -O a {} >/dev/null 2>&1 &",
    "setsid -f wget -q -O a {}",
    "wget -b -q -O a {}",
    "aria2c -q -D -o a {}",
    "(sleep 1; curl -s -o a {}) &",
    "curl -s -o a {} &",
    "bash -c 'wget -q -O a {} &'",
    "echo {} | xargs -n 1 curl -s -o a &",
    "python3 -c \"import subprocess; subprocess.Popen(['wget', '-q', '-O', 'a', '{}'])\"; sleep 0.5",
]


@pytest.mark.parametrize("command", BACKGROUND)
async def test_an_attempt_ends_when_no_run_is_alive(
    connection: Connection, sshd: Sshd, files: FileServer, command: str
) -> None:
    url = files.url(200_000, "x") + "?bytes_per_second=100000"
    _, ended = await run(connection, spec(command.replace("{}", url)))
    assert ended == Ended(exit_code=0)
    assert [one.exit_code for one in runs(ended)] == [0]
    assert (sshd.home / "a").stat().st_size == 200_000
    assert records(ended, "warn") == []


@pytest.mark.parametrize("command", BACKGROUND[:4])
async def test_runs_in_the_background_are_paused_and_cancelled(
    connection: Connection, sshd: Sshd, files: FileServer, command: str
) -> None:
    url = files.url(10_000_000, "x") + "?bytes_per_second=100000"
    of = spec(command.replace("{}", url))
    half = sshd.home / "a"
    async with running(connection, of) as task:
        await until(lambda: half.exists() and half.stat().st_size > 0)
        await asyncio.sleep(0.5)
        assert not task.done()
        assert (await send(connection, of, Signal.PAUSE)).was_running
        await asyncio.sleep(3)
        assert not task.done()
        assert (await send(connection, of, Signal.RESUME)).was_running
        assert (await send(connection, of, Signal.CANCEL)).was_running
        _, ended = await asyncio.wait_for(task, 30)
    assert [one.exit_code not in (0, None) for one in runs(ended)] == [True]
    assert not sshd.marked_processes("wget")


@pytest.mark.parametrize("command", ["setsid -f wget -q -O a {}", "nohup wget -q -O a {} >/dev/null 2>&1 &"])
async def test_the_clock_runs_while_a_run_in_the_background_does(
    connection: Connection, sshd: Sshd, files: FileServer, command: str
) -> None:
    url = files.url(10_000_000, "x") + "?bytes_per_second=100000"
    _, ended = await run(connection, spec(command.replace("{}", url), timeout_seconds=3))
    assert ended.timed_out
    await until(lambda: not sshd.marked_processes())


async def test_where_the_home_knows_no_pipes_runs_are_waited_for_too(
    tmp_path: Path, make_connector: Callable[..., Connector], files: FileServer
) -> None:
    """Some file systems hold no pipes, so they lie in the folder for temporary files, and go with the attempt."""
    tools, temporary = tmp_path / "tools", tmp_path / "temporary"
    tools.mkdir()
    temporary.mkdir()
    program = tools / "mkfifo"
    program.write_text(
        f'#!/bin/sh\ncase $1 in *resource-installer*) exit 1 ;; esac\nexec {shutil.which("mkfifo")} "$@"\n'
    )
    program.chmod(0o755)
    server = Sshd(tmp_path, env={"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(temporary)})
    await server.start()
    connection = await make_connector(server).connect(Instance(host="127.0.0.1", port=server.port, user=USER))
    url = files.url(300_000, "m.bin") + "?bytes_per_second=300000"
    _, ended = await run(connection, spec(f"nohup setsid -f wget -O m.bin '{url}' >/dev/null 2>&1", mark=MARK))
    assert [one.exit_code for one in runs(ended)] == [0]
    assert (server.home / "m.bin").stat().st_size == 300_000
    assert list(temporary.iterdir()) == []
    await connection.close()
    await server.close()


async def test_a_killed_run_has_no_end(connection: Connection, sshd: Sshd, files: FileServer) -> None:
    """The tool dies with its shim."""
    url = files.url(10_000_000, "x") + "?bytes_per_second=100000"
    of = spec(
        f"wget -q -O a {url} & sleep 1; kill -KILL $!; sleep 0.3; ps axww -o args | grep -c '[w]get -.*{url}' || true"
    )
    output, ended = await run(connection, of)
    assert b"0\n" in output
    assert [one.exit_code for one in runs(ended)] == [None]


@pytest.mark.parametrize(("name", "expected"), [("TERM", 143), ("INT", 143), ("HUP", 129)])
async def test_a_signal_to_a_run_ends_its_tool(
    connection: Connection, files: FileServer, name: str, expected: int
) -> None:
    url = files.url(10_000_000, "x") + "?bytes_per_second=100000"
    output, ended = await run(connection, spec(f"timeout --foreground -s {name} 1 curl -s -o a {url} || echo $?"))
    assert (output, ended) == (b"124\n", Ended(exit_code=0))
    assert [one.exit_code for one in runs(ended)] == [expected]


async def test_what_a_card_leaves_running_is_named(connection: Connection, sshd: Sshd) -> None:
    begin = time.monotonic()
    _, ended = await run(connection, spec("nohup sleep 61 >/dev/null 2>&1 & echo done"))
    assert time.monotonic() - begin < 20
    ((_, code, encoded),) = records(ended, "warn")
    assert (code, text(encoded)) == ("daemon_ended", "sleep 61")
    await until(lambda: not sshd.marked_processes())


async def test_what_a_card_in_the_background_leaves_running_stays(connection: Connection, sshd: Sshd) -> None:
    of = spec("nohup sleep 62 >/dev/null 2>&1 & echo done", background=True)
    _, ended = await run(connection, of)
    assert (ended, records(ended, "warn")) == (Ended(exit_code=0), [])
    assert len(sshd.marked_processes("sleep")) == 1
    await until(lambda: len(sshd.marked_processes()) == 1)
    sshd.kill_marked("sleep")


async def test_an_attempt_of_an_earlier_version_has_no_ledger(connection: Connection, sshd: Sshd) -> None:
    of = spec("true")
    assert (await run(connection, of))[1].ledger == ()
    (directory(sshd, of) / "ledger").unlink()
    assert (await run(connection, of))[1].ledger is None


async def test_a_long_ledger_is_cut_to_its_last_records(connection: Connection, sshd: Sshd) -> None:
    of = spec("true")
    await run(connection, of)
    lines = [f"begin t{n} wget 1 file {'YWJj' * 20} YWJj wget/1.21.3" for n in range(2000)]
    (directory(sshd, of) / "ledger").write_text("\n".join([*lines, "bytes t1 5 YWJj", "end t1999 0", ""]))
    _, ended = await run(connection, of)
    assert ended.ledger is not None
    assert ended.ledger[-1] == "end t1999 0"
    assert 500 < len(ended.ledger) <= 1000
    assert set(ended.ledger) <= {*lines, "end t1999 0"}


@pytest.mark.parametrize(
    ("command", "verb", "name"),
    [
        ("wget -q -O a.bin {}", "bytes", "a.bin"),
        ("curl -s -o a.bin {}", "bytes", "a.bin"),
        ("aria2c -q -o a.bin {}", "bytes", "a.bin"),
        ("wget -q --content-disposition -P d {}", "bytes", "x?bytes_per_second=100000"),
        ("python3 -c \"import urllib.request as r; r.urlretrieve('{}', 'a.bin')\"", "idle", "a.bin"),
    ],
)
async def test_how_far_a_quiet_run_is(
    connection: Connection, sshd: Sshd, files: FileServer, command: str, verb: str, name: str
) -> None:
    url = files.url(500_000, "x") + "?bytes_per_second=100000"
    of = spec(command.replace("{}", url), mark=MARK)
    output, ended = await run(connection, of)
    assert ended == Ended(exit_code=0), output
    lines = [line.split(" ") for line in (directory(sshd, of) / "ledger").read_text().splitlines()]
    growth = [(int(line[2]), text(line[3])) for line in lines if line[0] == verb]
    assert 2 <= len(growth) <= 8, lines
    assert {seen for _, seen in growth} == {name}
    rates = [line[4] for line in lines if line[0] == verb]
    assert "-" not in rates[1:], rates
    assert 20_000 < int(rates[1]) < 500_000
    assert growth == sorted(growth)
    assert 0 < growth[0][0] < growth[-1][0] <= 1_200_000
    if verb == "bytes":
        assert {line[1] for line in lines if line[0] == "bytes"} == {line[1] for line in lines if line[0] == "begin"}
    lengths = [line[2] for line in lines if line[0] == "length"]
    assert lengths == (["500000"] if command.startswith("aria2c") else [])
    assert {line[0] for line in lines} <= {"begin", "end", "file", "length", "room", verb}
    assert output.count(f"{MARK} {verb} ".encode()) == len(growth)
