"""The examples of README and docs/, run as they stand there: the terminal's commands and the Socket.IO client."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from service.demo.civitai import StandInModel
from tests.e2e.conftest import World
from tests.kit.pages import BLOCK, examples, page, section

JS = Path(__file__).parent / "js"
CARD = "loras/wan21_fusionx.md"
FIRST_CARD = "upscalers/realesrgan_x4plus.md"
RUN_SECONDS_MAX = 100


async def shell(command: str, **env: str) -> tuple[int | None, str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": path, **env},
    )
    async with asyncio.timeout(RUN_SECONDS_MAX):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def the_card(world: World, model: StandInModel, path: str = CARD) -> None:
    """The card of the example, which installs this model."""
    card = world.model(model)
    (world.cards / path).parent.mkdir(exist_ok=True)
    (world.cards / path).write_bytes((world.cards / card).read_bytes())


async def test_the_first_install(world: World) -> None:
    the_card(world, StandInModel(id=1001, name="First", size_bytes=300_000), FIRST_CARD)
    readme = page("README.md")
    assert examples(readme, "resource-installer serve") == [
        "resource-installer serve\nresource-installer listens on http://127.0.0.1:5000\n"
    ]
    (command,) = examples(readme, "resource-installer install")
    there = command.replace("44686 root@109.231.106.68", f"{world.instance.port} root@127.0.0.1")
    assert FIRST_CARD in there
    there = there.replace(FIRST_CARD, f"{FIRST_CARD} --ui-home {world.ui_home}")
    status, out, err = await shell(there, INSTALLER_URL=world.service.url)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].endswith("everything is installed")


async def test_the_commands_of_the_terminal(world: World) -> None:
    the_card(world, StandInModel(id=1001, name="Fusion", size_bytes=300_000))
    (block,) = BLOCK.finditer(section(page("docs/using.md"), "In a terminal"))
    commands = [line.removeprefix("$ ") for line in block["text"].splitlines()]
    assert len(commands) == 6
    job_id = ""
    for command in commands:
        if " add " in command:
            continue  # It asks the real site: tests/e2e/test_library.py adds a card from a stand-in.
        # This test's instance and job stand in for those of the example.
        there = command.replace("44686 root@109.231.106.68", f"{world.instance.port} root@127.0.0.1")
        there = there.replace(CARD, f"{CARD} --ui-home {world.ui_home}").replace("550e8400", job_id[:8])
        status, out, err = await shell(there, INSTALLER_URL=world.service.url)
        assert (status, err) == (0, ""), there
        if " install " in there:
            job_id = out.splitlines()[0]
        if " cards " in there:
            assert CARD in out
        if " watch " in there:
            assert out.splitlines()[-1].endswith("everything is installed")
        if " report " in there:
            assert job_id in out


async def test_the_socket_io_client(world: World) -> None:
    the_card(world, StandInModel(id=1001, name="Fusion", size_bytes=3_000_000, bytes_per_second=1_500_000))
    (block,) = (
        found for found in BLOCK.finditer(section(page("docs/api.md"), "Watch it")) if found["language"] == "javascript"
    )
    job_id = await world.service.install(world.instance, world.ui_home, CARD)
    assert "http://localhost:5000" in block["text"]
    script = re.sub(r"^(import .*)$", rf"\1\nconst jobId = '{job_id}';", block["text"], count=1, flags=re.MULTILINE)
    script = script.replace("http://localhost:5000", world.service.url)
    # The example never ends by itself.
    script += "\nsocket.on('resource_install_complete', () => socket.close());\n"
    script += "socket.on('resource_install_error', () => socket.close());\n"
    file = world.folder / "example.mjs"
    file.write_text(script, encoding="utf-8")
    (world.folder / "node_modules").symlink_to(JS / "node_modules")
    status, out, err = await shell(f"node {file}")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == "1/1 installed"
    assert [line for line in lines if re.fullmatch(r"model: \d+% - .+", line)]
