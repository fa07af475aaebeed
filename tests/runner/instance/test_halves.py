"""Half files and whole ones over a real sshd with the real tools: what is left, what is continued, what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from service.runner.instance.ended import Ended
from service.runner.instance.remote import Signal
from service.runner.instance.ssh import Connection
from service.runner.instance.verification import ExpectedFile, verify_program
from tests.kit.sshd import Sshd
from tests.runner.instance.test_ledger import records, runs, text
from tests.runner.instance.test_remote import run, spec, until
from tests.runner.instance.test_signals import running, send

SIZE = 3_000_000
SEED = 10


class HalfServer:
    """``/m.pth``: a file of SIZE bytes. ``drop_after``: the bytes after which the next answers break off, one for each;
    ``bytes_per_second``: None for no limit; ``has_ranges``; ``status``: of the next answers."""

    def __init__(self) -> None:
        self.content = random.Random(SEED).randbytes(SIZE)
        self.drop_after: list[int] = []
        self.status: list[int] = []
        self.bytes_per_second: int | None = None
        self.has_ranges = True
        self.sent = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> HalfServer:
        app = web.Application()
        app.router.add_get("/{name:.*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/m.pth"

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if self.status and request.method != "HEAD":
            return web.Response(status=self.status.pop(0), text="no")
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")) if self.has_ranges else None
        begin = int(found[1]) if found else 0
        end = min(int(found[2] or SIZE), len(self.content) - 1) + 1 if found else len(self.content)
        if begin >= len(self.content):
            return web.Response(status=416)
        response = web.StreamResponse(status=206 if found else 200, headers={"Accept-Ranges": "bytes"})
        if "named" in request.query:
            response.headers["Content-Disposition"] = 'attachment; filename="m.pth"'
        if found:
            response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(self.content)}"
        response.content_length = end - begin
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        drop = self.drop_after.pop(0) if self.drop_after and end - begin > 100_000 else None
        with contextlib.suppress(ConnectionError):
            for at in range(begin, end, 20_000):
                block = self.content[at : min(at + 20_000, end)]
                await response.write(block)
                self.sent += len(block)
                if self.bytes_per_second:
                    await asyncio.sleep(len(block) / self.bytes_per_second)
                if drop is not None and at - begin >= drop:
                    assert request.transport is not None
                    request.transport.close()
                    break
        return response


@pytest.fixture
async def server() -> AsyncIterator[HalfServer]:
    server = await HalfServer().start()
    yield server
    await server.stop()


def names(sshd: Sshd) -> list[str]:
    return sorted(path.name for path in (sshd.home / "L").iterdir())


COMMANDS = {
    "wget -O": "wget -q --tries=1 -O L/m.pth {}",
    "wget -P": "wget -q --tries=1 -P L {}",
    "wget -c": "wget -q --tries=1 -c -P L {}",
    "wget -nc": "wget -qnc --tries=1 -P L {}",
    "curl -o": "curl -s -o L/m.pth {}",
    "curl -O": "cd L; curl -sO {}",
    "curl -C -": "curl -s -C - -o L/m.pth {}",
    "wget --content-disposition": "wget -q --tries=1 --content-disposition -P L {}?named",
    "wget -nc ?": "wget -qnc --tries=1 --content-disposition -P L {}?named",
    "curl -OJ": "cd L; curl -sOJ {}?named",
    "aria2c -d": "aria2c -q -m 1 -d L {}",
    "aria2c": "aria2c -q -m 1 -d L -o m.pth {}",
    "aria2c -c": "aria2c -q -m 1 -c -x 4 -s 4 -k 1M -d L -o m.pth {}",
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_half_is_set_aside_and_continued(
    connection: Connection, sshd: Sshd, server: HalfServer, name: str
) -> None:
    (sshd.home / "L").mkdir()
    server.drop_after = [1_500_000] if name != "aria2c -c" else [400_000] * 4
    card = COMMANDS[name].format(server.url)
    _, ended = await run(connection, spec(card))
    assert ended.exit_code not in (0, None)
    assert set(names(sshd)) <= {"m.pth.part", "m.pth.part.aria2"}
    ((_, _, path, _),) = records(ended, "part")
    assert text(path) == str(sshd.home / "L/m.pth.part")
    server.drop_after = []
    # aria2c first asks for the whole file, and breaks that off.
    server.bytes_per_second = 4_000_000
    output, ended = await run(connection, spec(card))
    assert ended == Ended(exit_code=0), output
    assert names(sshd) == ["m.pth"]
    assert (sshd.home / "L/m.pth").read_bytes() == server.content
    assert server.sent <= 1.1 * SIZE + 2 * 65_536
    ((_, _, path, size),) = records(ended, "file")
    assert (text(path), int(size)) == (str(sshd.home / "L/m.pth"), SIZE)
    # The card once more, by another job: nothing is loaded twice.
    sent = server.sent
    output, ended = await run(connection, spec(card))
    assert (output, ended) == (b"", Ended(exit_code=0))
    assert [record[2:] for record in records(ended, "kept")] == [[path, str(SIZE)]]
    assert [one.exit_code for one in runs(ended)] == [0]
    assert (server.sent, names(sshd)) == (sent, ["m.pth"])


@pytest.mark.parametrize(
    "name", ["wget -P", "curl -o", "aria2c", "wget --content-disposition", "curl -OJ", "aria2c -d"]
)
@pytest.mark.parametrize("end", ["tool", "attempt", "cancel"])
async def test_a_killed_download_heals(
    connection: Connection, sshd: Sshd, server: HalfServer, name: str, end: str
) -> None:
    (sshd.home / "L").mkdir()
    server.bytes_per_second = 1_000_000
    of = spec(COMMANDS[name].format(server.url))
    half = sshd.home / "L/m.pth"
    async with running(connection, of) as task:
        await until(lambda: server.sent > 1_000_000)
        if end == "cancel":
            result = await send(connection, of, Signal.CANCEL)
            assert str(half) + ".part" in result.partial_files
        else:
            sshd.kill_marked("/bin/" + name.split()[0] if end == "tool" else "", job_id=of.job_id)
        _, ended = await asyncio.wait_for(task, 30)
    assert ended.exit_code != 0
    assert set(names(sshd)) <= {"m.pth.part", "m.pth.part.aria2"}
    server.bytes_per_second = None
    output, ended = await run(connection, spec(of.script))
    assert ended == Ended(exit_code=0), output
    assert names(sshd) == ["m.pth"]
    assert half.read_bytes() == server.content


@pytest.mark.parametrize("name", ["wget -O", "wget -nc", "curl -o", "aria2c"])
async def test_a_half_of_other_content_is_not_continued(
    connection: Connection, sshd: Sshd, server: HalfServer, name: str
) -> None:
    """The tool alone would splice the two and call that a success."""
    (sshd.home / "L").mkdir()
    (sshd.home / "L/m.pth.part").write_text("of somebody else")
    card = COMMANDS["curl -o" if name == "aria2c" else name].format(server.url)
    server.drop_after = [1_500_000]
    await run(connection, spec(card))
    # What is not ours stays, and there is only one place for a half.
    assert (sshd.home / "L/m.pth.part").read_text() == "of somebody else"
    assert names(sshd) == ["m.pth.part"]
    (sshd.home / "L/m.pth.part").unlink()
    server.drop_after = [1_500_000]
    await run(connection, spec(card))
    assert names(sshd) == ["m.pth.part"]
    server.content = random.Random(SEED + 1).randbytes(SIZE)
    # A run that reaches nobody leaves the half as it is.
    server.status = [500, 500]
    await run(connection, spec(COMMANDS[name].format(server.url).replace("curl -s", "curl -sf")))
    assert names(sshd) == ["m.pth.part"]
    assert (sshd.home / "L/m.pth.part").stat().st_size > 1_000_000
    output, ended = await run(connection, spec(COMMANDS[name].format(server.url)))
    assert ended == Ended(exit_code=0), output
    assert (sshd.home / "L/m.pth").read_bytes() == server.content
    assert names(sshd) == ["m.pth"]


@pytest.mark.parametrize("name", ["wget -O", "curl -o", "aria2c"])
async def test_without_ranges_it_begins_anew(connection: Connection, sshd: Sshd, server: HalfServer, name: str) -> None:
    (sshd.home / "L").mkdir()
    server.has_ranges = False
    server.drop_after = [1_500_000]
    card = COMMANDS[name].format(server.url)
    await run(connection, spec(card))
    output, ended = await run(connection, spec(card))
    assert ended == Ended(exit_code=0), output
    assert names(sshd) == ["m.pth"]
    assert (sshd.home / "L/m.pth").read_bytes() == server.content


async def test_a_part_that_is_whole_is_not_asked_for_again(
    connection: Connection, sshd: Sshd, server: HalfServer
) -> None:
    (sshd.home / "L").mkdir()
    server.drop_after = [1_500_000]
    card = COMMANDS["curl -o"].format(server.url)
    await run(connection, spec(card))
    (sshd.home / "L/m.pth.part").write_bytes(server.content)
    server.sent = 0
    assert (await run(connection, spec(card)))[1] == Ended(exit_code=0)
    assert server.sent == 65_536
    assert (sshd.home / "L/m.pth").read_bytes() == server.content


async def test_a_file_that_changed_or_comes_from_elsewhere_is_loaded(
    connection: Connection, sshd: Sshd, server: HalfServer
) -> None:
    (sshd.home / "L").mkdir()
    card = COMMANDS["curl -o"].format(server.url)
    await run(connection, spec(card))
    (sshd.home / "L/m.pth").write_bytes(b"x")
    _, ended = await run(connection, spec(card))
    assert (records(ended, "kept"), server.sent) == ([], 2 * SIZE)
    _, ended = await run(connection, spec(card.replace("m.pth ", "m.pth -H 'A: b' ") + "?other"))
    assert (records(ended, "kept"), server.sent) == ([], 3 * SIZE)
    _, ended = await run(connection, spec(card + "?other"))
    assert len(records(ended, "kept")) == 1


async def test_a_card_that_looks_for_its_file_finds_no_half(
    connection: Connection, sshd: Sshd, server: HalfServer
) -> None:
    (sshd.home / "L").mkdir()
    server.drop_after = [1_500_000]
    card = f"[ -f L/m.pth ] || wget -q --tries=1 -O L/m.pth {server.url}"
    assert (await run(connection, spec(card)))[1].exit_code == 4
    assert (await run(connection, spec(card)))[1] == Ended(exit_code=0)
    assert (sshd.home / "L/m.pth").read_bytes() == server.content


async def test_two_runs_of_one_destination_take_turns(connection: Connection, sshd: Sshd, server: HalfServer) -> None:
    (sshd.home / "L").mkdir()
    server.bytes_per_second = 3_000_000
    one = COMMANDS["curl -o"].format(server.url)
    _, ended = await run(connection, spec(f"{one} & {one} & wait"))
    assert (ended, len(records(ended, "kept"))) == (Ended(exit_code=0), 1)
    assert server.sent == SIZE


@pytest.mark.parametrize("name", ["wget -P", "curl -o", "aria2c", "wget --content-disposition", "aria2c -d"])
async def test_a_file_that_was_found_bad_or_is_to_be_installed_again_makes_way(
    connection: Connection, sshd: Sshd, server: HalfServer, name: str
) -> None:
    (sshd.home / "L").mkdir()
    of = spec(COMMANDS[name].format(server.url), ui_home=str(sshd.home))
    await run(connection, of)
    _, ended = await run(connection, spec(of.script, reinstall=True))
    assert (ended, records(ended, "kept"), names(sshd)) == (Ended(exit_code=0), [], ["m.pth"])
    assert len(records(ended, "file")) == 1
    expected = ExpectedFile(path="L/m.pth", sha256="0" * 64)
    program = verify_program(files=[expected], sha256=None)
    verification = spec(program, job_id=of.job_id, directory="1-1-verify", ui_home=str(sshd.home))
    assert (await run(connection, verification))[1].exit_code == 1
    _, ended = await run(connection, spec(of.script))
    assert (ended, records(ended, "kept"), names(sshd)) == (Ended(exit_code=0), [], ["m.pth"])
    assert len(records(ended, "file")) == 1


@pytest.mark.parametrize(
    "card",
    [
        "wget -q --tries=1 -P L {0} {1}",
        "printf '%s\\n' {0} {1} | wget -q --tries=1 -P L -i -",
        "cd L; curl -s -O {0} -O {1}",
        "aria2c -q -m 1 -Z -d L {0} {1}",
    ],
)
async def test_several_files_in_one_call_are_as_many_runs(
    connection: Connection, sshd: Sshd, server: HalfServer, card: str
) -> None:
    """The first one breaks off: it is named and set aside; once more, and neither is there twice."""
    (sshd.home / "L").mkdir()
    server.drop_after = [1_500_000]
    of = spec(card.format(server.url, server.url.replace("m.pth", "n.pth")))
    _, ended = await run(connection, of)
    assert [run.exit_code == 0 for run in runs(ended)] == [False, True]
    assert set(names(sshd)) - {"m.pth.part.aria2"} == {"m.pth.part", "n.pth"}
    output, ended = await run(connection, spec(of.script))
    assert ended == Ended(exit_code=0), output
    assert names(sshd) == ["m.pth", "n.pth"]
    assert (sshd.home / "L/m.pth").read_bytes() == server.content


@pytest.mark.parametrize("tool", ["wget -q --tries=1 -O -", "curl -s"])
async def test_a_file_behind_a_redirection_is_judged(
    connection: Connection, sshd: Sshd, server: HalfServer, tool: str
) -> None:
    (sshd.home / "L").mkdir()
    server.drop_after = [1_500_000]
    card = f"{tool} {server.url} >L/m.pth"
    _, ended = await run(connection, spec(f"{card} || true"))
    assert [(one.is_judged, one.exit_code == 0) for one in runs(ended)] == [(True, False)]
    assert names(sshd) == ["m.pth.part"]
    assert (await run(connection, spec(card)))[1] == Ended(exit_code=0)
    assert names(sshd) == ["m.pth"]
    assert (sshd.home / "L/m.pth").read_bytes() == server.content


@pytest.mark.parametrize("name", ["wget -P", "wget -nc", "wget --content-disposition", "curl -C -", "aria2c -d"])
@pytest.mark.parametrize("there", [SIZE // 2, SIZE])
async def test_what_somebody_else_left_is_continued_or_kept(
    connection: Connection, sshd: Sshd, server: HalfServer, name: str, there: int
) -> None:
    (sshd.home / "L").mkdir()
    card = COMMANDS[name].format(server.url).replace("?named", "")
    (sshd.home / "L/m.pth").write_bytes(server.content[:there])
    server.bytes_per_second = 4_000_000
    output, ended = await run(connection, spec(card))
    assert ended == Ended(exit_code=0), output
    assert names(sshd) == ["m.pth"]
    assert (sshd.home / "L/m.pth").read_bytes() == server.content
    # aria2c first asks for the whole file, and breaks that off.
    assert server.sent <= SIZE - there + 100_000 + (300_000 if there < SIZE else 0)


async def test_a_file_of_somebody_else_with_other_content_stays(
    connection: Connection, sshd: Sshd, server: HalfServer
) -> None:
    (sshd.home / "L").mkdir()
    (sshd.home / "L/m.pth").write_bytes(b"x" * 100_000)
    assert (await run(connection, spec(COMMANDS["wget -P"].format(server.url))))[1] == Ended(exit_code=0)
    assert names(sshd) == ["m.pth", "m.pth.1"]
    assert (sshd.home / "L/m.pth").read_bytes() == b"x" * 100_000


async def test_what_made_way_comes_back_if_the_download_fails(
    connection: Connection, sshd: Sshd, server: HalfServer
) -> None:
    (sshd.home / "L").mkdir()
    card = COMMANDS["wget -P"].format(server.url)
    await run(connection, spec(card))
    server.status = [404]
    assert (await run(connection, spec(card + "?other")))[1].exit_code == 8
    assert names(sshd) == ["m.pth"]
    assert (sshd.home / "L/m.pth").read_bytes() == server.content
