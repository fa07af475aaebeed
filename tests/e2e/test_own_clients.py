"""What is not a foreign page goes on working as the README says, without a token and with one: curl, the terminal
client, and Socket.IO clients in Python and Node. The dashboard with a token is in test_dashboard.py."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import socketio

from tests.e2e.conftest import World
from tests.kit.service import NAMESPACE, TERMINAL, connect

TOKEN = "a-token-of-32-characters-or-more!"
JS = Path(__file__).parent / "js"
SECONDS_MAX = 100
NODE = """
import { io } from "socket.io-client";
const [url, job, token] = process.argv.slice(1);
const socket = io(`${url}/resources`, token ? { auth: { token } } : {});
const kept = [];
for (const name of ["progress", "complete", "error", "status", "output"]) {
  socket.on(`resource_install_${name}`, (event) => {
    kept.push(event.sequence);
    if (["job_completed", "job_failed"].includes(event.type)) {
      console.log(JSON.stringify(kept));
      socket.close();
    }
  });
}
socket.on("connect_error", (error) => { console.log(error.message); socket.close(); });
socket.on("connect", () => socket.emit("subscribe_install", { job_id: job }));
"""


async def said(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("INSTALLER_")}, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS_MAX):
        output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "token"])
async def test_own_clients(world: World, token: str | None) -> None:
    if token is not None:
        await world.service.terminate()
        await world.service.start(INSTALLER_API_TOKEN=token, INSTALLER_PRIVATE_TARGETS="true")
    url = world.service.url
    card = world.card("other/lines.md", "for n in 1 2 3; do echo line $n; sleep 0.1; done")
    curl, node = shutil.which("curl"), shutil.which("node")
    assert curl is not None
    assert node is not None
    authorized = ["-H", f"Authorization: Bearer {token}"] if token else []
    order = {
        "ssh_host": "127.0.0.1",
        "ssh_port": world.instance.port,
        "ui_home": str(world.ui_home),
        "resources": [card],
    }
    json_type = ["-H", "Content-Type: application/json"]
    posted = await said(curl, "-sS", *authorized, *json_type, "-d", json.dumps(order), f"{url}/resources/install")
    job_id = json.loads(posted)["job_id"]
    followed = await said(
        curl, "-sSN", *authorized, "-H", "Accept: text/event-stream", f"{url}/resources/jobs/{job_id}/events"
    )
    last = followed.count("\ndata: ") + followed.startswith("data: ")
    assert last > 5
    everything = list(range(1, last + 1))
    assert (
        json.loads(await said(node, "--input-type=module", "-e", NODE, url, job_id, token or "", cwd=JS)) == everything
    )
    assert await python_client(url, job_id, token) == everything
    env = {"INSTALLER_URL": url, **({"INSTALLER_TOKEN": token} if token else {})}
    listed = await said(sys.executable, "-m", "service", "jobs", "--json", env=env)
    assert job_id in listed
    watched = await said(sys.executable, "-m", "service", "watch", job_id[:8], env=env)
    assert "line 3" in watched or "installed" in watched
    if token is not None:
        assert "401" in await said(curl, "-sS", "-o", os.devnull, "-w", "%{http_code}", f"{url}/resources/jobs")
        assert "token" in await said(node, "--input-type=module", "-e", NODE, url, job_id, cwd=JS)
        assert "token" in await said(sys.executable, "-m", "service", "jobs", env={"INSTALLER_URL": url})


async def python_client(url: str, job_id: str, token: str | None) -> list[int]:
    client = socketio.AsyncClient(reconnection=False)
    kept: list[int] = []
    ended = asyncio.Event()

    def keep(event: dict[str, object]) -> None:
        kept.append(int(str(event["sequence"])))
        if event["type"] in TERMINAL:
            ended.set()

    for name in ("progress", "complete", "error", "status", "output"):
        client.on(f"resource_install_{name}", keep, namespace=NAMESPACE)
    await connect(client, url, auth={"token": token} if token else None)
    await client.emit("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE)
    async with asyncio.timeout(SECONDS_MAX):
        await ended.wait()
    await client.disconnect()
    return kept
