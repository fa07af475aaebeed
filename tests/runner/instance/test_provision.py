"""Tools that the instance lacks, over a real sshd: civitdl and hf are installed there once, by the real pip."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from service.demo.civitai import StandInCivitai, StandInModel
from service.events.causes import Cause
from service.events.event_types import Progress, StageComplete, StageStart
from service.events.parser import ProgressParser
from service.events.tools.civitdl import Civitdl
from service.events.tools.hf import Hf
from service.events.tools.protocol import Tool
from service.runner.instance.attempt_program import AttemptSpec
from service.runner.instance.connector import Connector
from service.runner.instance.ended import Ended
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from service.runner.outcome import Outcome, judge
from tests.kit.sshd import USER, Sshd
from tests.runner.instance.test_remote import directory, run, spec, until
from tests.runner.instance.test_signals import running

BEGIN = b"resource-installer: provision begin civitdl\n"
END = b"resource-installer: provision end civitdl\n"
SIZE = 2_000_000


@pytest.fixture
async def civitai(tmp_path: Path) -> AsyncIterator[StandInCivitai]:
    stand_in = StandInCivitai(tmp_path / "civitai")
    await stand_in.start()
    stand_in.add(StandInModel(id=1, name="One"), StandInModel(id=2, name="Two"))
    yield stand_in
    await stand_in.stop()


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """All that a system has but any Python: a test adds the one that it wants."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for place in ("/usr/local/bin", "/usr/bin", "/bin"):
        for tool in Path(place).iterdir():
            if "python" not in tool.name and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    return folder


@pytest.fixture
async def instance(tmp_path: Path, tools: Path) -> AsyncIterator[Sshd]:
    """pip finds its index as it does where the tests run."""
    folder = tmp_path / "instance"
    folder.mkdir()
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    server = Sshd(folder, env={**pip, "PATH": str(tools)})
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def link(instance: Sshd, make_connector: Callable[..., Connector]) -> AsyncIterator[Connection]:
    opened = await make_connector(instance).connect(Instance(host="127.0.0.1", port=instance.port, user=USER))
    yield opened
    await opened.close()


def version_of(tool: type[Tool]) -> str:
    assert tool.package is not None
    return tool.package.version


def add_python(tools: Path) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    (tools / "python3").symlink_to(Path(base).resolve())


def download(civitai: StandInCivitai, model: int, **changes: bool) -> AttemptSpec:
    """Only civitdl goes to the stand-in: the way to pip's index stays as it is."""
    env = " ".join(f'{name}="{value}"' for name, value in civitai.env.items() if value)
    card = f'civitdl --version; {env} civitdl {model} "$HOME/models"'
    return spec(card, **({"provision_tools": True} | changes))


def verdict(output: bytes, ended: Ended) -> Outcome:
    parser = ProgressParser(resource="x.md", attempt=1, title="X", redact=str)
    parser.feed(output)
    parser.close(ended.exit_code)
    return judge(parser.evidence, ended)


@pytest.mark.long
async def test_civitdl_is_installed_once_and_shown_as_a_stage(
    link: Connection, instance: Sshd, civitai: StandInCivitai, tools: Path
) -> None:
    add_python(tools)
    home = instance.home / f".local/share/resource-installer/civitdl-{version_of(Civitdl)}"
    killed = download(civitai, 1)
    async with running(link, killed) as task:
        log = directory(instance, killed) / "log"
        await until(lambda: log.exists() and BEGIN in log.read_bytes())
        await until((home / "bin").exists)
        instance.kill_marked()
        assert (await asyncio.wait_for(task, 30))[1] == Ended(exit_code=None)
    assert not (home / "ready").exists()
    (home / "half").touch()

    results = await asyncio.gather(*(run(link, download(civitai, model)) for model in (1, 2)))
    for output, ended in results:
        assert ended == Ended(exit_code=0), output
        assert verdict(output, ended).installed
    both = b"".join(output for output, _ in results)
    assert (both.count(BEGIN), both.count(END)) == (1, 1)
    assert both.count(b"resource-installer: waiting for another installation of civitdl\n") == 1
    assert (home / "ready").exists()
    assert not (home / "half").exists()

    builder = next(output for output, _ in results if BEGIN in output)
    parser = ProgressParser(resource="x.md", attempt=1, title="X", redact=str)
    events = [new.event for new in (*parser.feed(builder), *parser.close(0))]
    assert next(event.name for event in events if isinstance(event, StageStart)) == "civitdl"
    assert next(event.name for event in events if isinstance(event, StageComplete)) == "civitdl"
    assert [e.percent for e in events if isinstance(e, Progress) and e.stage == "provision"] == [None, 100]

    output, ended = await run(link, download(civitai, 2))
    assert ended == Ended(exit_code=0)
    assert b"provision" not in output


async def test_nothing_is_installed_unasked(
    link: Connection, instance: Sshd, civitai: StandInCivitai, tools: Path
) -> None:
    add_python(tools)
    output, ended = await run(link, download(civitai, 1, provision_tools=False))
    assert (output, ended) == (b"civitdl: command not found\n", Ended(exit_code=127))
    assert not (instance.home / ".local/share").exists()


@pytest.mark.parametrize("python", [None, "#!/bin/sh\nexit 1\n"])
async def test_without_python_it_is_said_what_is_missing(
    link: Connection, civitai: StandInCivitai, tools: Path, python: str | None
) -> None:
    if python is not None:
        (tools / "python3").write_text(python)
        (tools / "python3").chmod(0o755)
    name = "python3" if python is None else "python3-venv"
    output, ended = await run(link, download(civitai, 1))
    assert output == f"resource-installer: {name} is not installed, civitdl needs it\n".encode()
    assert ended == Ended(exit_code=127)
    assert verdict(output, ended).cause is Cause.TOOL_MISSING


async def test_an_index_that_cannot_be_reached_is_a_failure(
    link: Connection, instance: Sshd, civitai: StandInCivitai, tools: Path
) -> None:
    add_python(tools)
    of = spec('PIP_NO_INDEX=1 PIP_FIND_LINKS=/nowhere civitdl 1 "$HOME/models"', provision_tools=True)
    output, ended = await run(link, of)
    assert output.startswith(BEGIN)
    assert END not in output
    assert b"could not be installed" in output
    assert ended == Ended(exit_code=1)
    assert not verdict(output, ended).installed


@pytest.fixture
async def hub() -> AsyncIterator[tuple[str, list[str]]]:
    """As much of a hub as ``hf download`` asks for one file. Its address, and the tokens that it was shown."""
    tokens: list[str] = []

    async def resolve(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers.get("Authorization", ""))
        response = web.StreamResponse(headers={"ETag": f'"{"b" * 64}"', "X-Repo-Commit": "a" * 40})
        response.content_length = SIZE
        await response.prepare(request)
        if request.method == "GET":
            for _ in range(20):
                await response.write(b"x" * (SIZE // 20))
                await asyncio.sleep(0.05)
        return response

    app = web.Application()
    app.router.add_get("/owner/repo/resolve/main/{name}", resolve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", tokens
    await runner.cleanup()


@pytest.mark.long
async def test_hf_is_installed_and_shows_how_far_it_is(
    link: Connection, instance: Sshd, tools: Path, hub: tuple[str, list[str]]
) -> None:
    add_python(tools)
    address, tokens = hub
    card = f'HF_ENDPOINT={address} hf download owner/repo m.safetensors --local-dir "$HOME/out"; ps axww -o args'
    output, ended = await run(link, spec(card, provision_tools=True, hf_token="hf_secret"))
    assert ended == Ended(exit_code=0), output
    assert (instance.home / "out/m.safetensors").stat().st_size == SIZE
    assert (instance.home / f".local/share/resource-installer/hf-{version_of(Hf)}/ready").exists()
    assert set(tokens) == {"Bearer hf_secret"}
    assert b"hf_secret" not in output
    parser = ProgressParser(resource="x.md", attempt=1, title="X", redact=str)
    events = [new.event for new in (*parser.feed(output), *parser.close(0))]
    shown = [e.percent for e in events if isinstance(e, Progress) and e.stage == "download"]
    assert shown[-1] == 100, output
