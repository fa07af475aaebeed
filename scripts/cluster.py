"""``make cluster``: three replicas of the service on one PostgreSQL behind one nginx, all on this machine and in a
temporary folder. A job installs ten models; the replica that follows it is killed in the middle.

With ``ONCE=1`` it ends with the job, with status 0 if all went well.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import socketio

from service.demo.civitai import StandInCivitai, StandInModel, sha256
from service.demo.instance import DemoInstance
from service.runner.instance.attempt_program import civitdl_config
from service.web.socket_events import EVENT_NAMES, NAMESPACE, STATUS
from tests.kit.nginx import Nginx
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresServer
from tests.kit.service import TERMINAL, ServiceProcess

LEASE_SECONDS = 3
REPLICAS = 3
SIZE, RATE = 4_000_000, 1_200_000
KILLED_AFTER_MODELS = 2
MODELS = [StandInModel(id=1001 + n, name=f"Model {n + 1}", size_bytes=SIZE, bytes_per_second=RATE) for n in range(10)]


class Cluster:
    """All that runs. ``replicas`` by their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.civitai = StandInCivitai(folder / "civitai")
        self.instance: DemoInstance
        self.server = PostgresServer(folder / "postgres", port=free_port(), durable=True)
        self.replicas: dict[str, ServiceProcess] = {}
        self.nginx: Nginx

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        async with AsyncExitStack() as stack:
            await self.civitai.start()
            stack.push_async_callback(self.civitai.stop)
            self.civitai.add(*MODELS)
            self.instance = DemoInstance(self.folder / "instance", self.civitai.env)
            await self.instance.start()
            stack.push_async_callback(self.instance.stop)
            await asyncio.to_thread(self._start_postgres)
            stack.callback(self.server.stop, "fast")
            stack.push_async_callback(self._stop_replicas)
            await asyncio.gather(*(self._start_replica(f"replica-{n + 1}") for n in range(REPLICAS)))
            self.nginx = Nginx(self.folder / "nginx", [replica.url for replica in self.replicas.values()])
            stack.push_async_callback(self.nginx.stop)
            await self.nginx.start()
            yield self

    def _start_postgres(self) -> None:
        self.server.create()
        self.server.start()
        self.server.execute("create database installer")

    async def _start_replica(self, name: str) -> None:
        folder = self.folder / name
        folder.mkdir()
        settings = {
            "INSTALLER_DATABASE_URL": self.server.url("installer"),
            "INSTALLER_LEASE": str(LEASE_SECONDS),
            "INSTALLER_REPLICA_NAME": name,
            "INSTALLER_RESOURCES_DIR": str(self.folder / "resources"),
            "INSTALLER_SSH_KEY": str(self.instance.key_path),
            "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
        }
        self.replicas[name] = ServiceProcess(folder, settings)
        await self.replicas[name].start()

    async def _stop_replicas(self) -> None:
        for replica in self.replicas.values():
            if replica.is_alive:
                await replica.terminate()

    def write_cards(self) -> list[str]:
        config = self.instance.home / ".config/civitdl/config.json"
        config.parent.mkdir(parents=True)
        config.write_text(civitdl_config("", retry_count=1, pause_seconds=0.1), encoding="utf-8")
        paths = []
        for model in MODELS:
            path = self.folder / f"resources/loras/model_{model.id}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            address = f"https://civitai.com/models/{model.id}?modelVersionId={model.version_id}"
            path.write_text(
                f'# Download\n```bash\ncivitdl "{address}" "$UI_HOME/models/loras"\n```\n', encoding="utf-8"
            )
            paths.append(f"loras/model_{model.id}.md")
        return paths

    def problems(self) -> list[str]:
        """What is not as it should be: each file is there, whole, and was fetched once."""
        found = []
        for model in MODELS:
            files = list((self.instance.home / "ComfyUI").rglob(f"*{model.id}*.safetensors"))
            if [digest(file) for file in files] != [sha256(model)]:
                found.append(f"{model.name} is not whole: {files}")
            fetched = [request.bytes for request in self.civitai.downloads(model.id)]
            if fetched != [SIZE]:
                found.append(f"{model.name} was fetched in {fetched} bytes")
        return found


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Story:
    """Watches the job through nginx and tells what happens. ``sequences``: of all events that came."""

    def __init__(self, url: str, job_id: str) -> None:
        self._url = url
        self._job_id = job_id
        self._begun = time.monotonic()
        self.sequences: list[int] = []
        self.installed = 0
        self.middle = asyncio.Event()
        self.ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._client = socketio.AsyncClient()

    async def begin(self) -> None:
        self._client.on("connect", self._subscribe, namespace=NAMESPACE)
        for name in {*EVENT_NAMES.values(), STATUS}:
            self._client.on(name, self._seen, namespace=NAMESPACE)
        await self._client.connect(self._url, namespaces=[NAMESPACE], wait_timeout=60)

    async def end(self) -> None:
        await self._client.disconnect()

    def tell(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:6.1f} s  {text}", flush=True)

    async def _subscribe(self) -> None:
        after = self.sequences[-1] if self.sequences else 0
        wanted = {"job_id": self._job_id, "after": after}
        await self._client.emit("subscribe_install", wanted, namespace=NAMESPACE)

    def _seen(self, event: dict[str, Any]) -> None:
        self.sequences.append(event["sequence"])
        if event["type"] == "resource_installed":
            self.installed += 1
            if self.installed == KILLED_AFTER_MODELS:
                self.middle.set()
            self.tell(f"{event['resource']} is installed ({self.installed} of {len(MODELS)})")
        elif event["type"] == "job_taken_over":
            self.tell(f"taken over by {event['replica']}")
        elif event["type"] in TERMINAL and not self.ended.done():
            self.ended.set_result(event)
            self.middle.set()


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return await response.json()


async def owner_of(url: str, job_id: str) -> str:
    while True:
        for replica in (await get(f"{url}/replicas"))["replicas"]:
            if any(job["job_id"] == job_id for job in replica["jobs"]):
                return str(replica["name"])
        await asyncio.sleep(0.1)


async def install(cluster: Cluster, cards: list[str]) -> str:
    ui_home = cluster.instance.home / "ComfyUI"
    ui_home.mkdir()
    body = {
        "ssh_host": "127.0.0.1",
        "ssh_port": cluster.instance.port,
        "ui_home": str(ui_home),
        "resources": cards,
        "parallel": 3,
    }
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{cluster.nginx.url}/resources/install", json=body) as answer,
    ):
        return str((await answer.json())["job_id"])


async def story(cluster: Cluster) -> int:
    """The whole, and the exit status."""
    cards = cluster.write_cards()
    url = cluster.nginx.url
    print(f"PostgreSQL, {REPLICAS} replicas with a lease of {LEASE_SECONDS} s, nginx at {url}", flush=True)
    job_id = await install(cluster, cards)
    told = Story(url, job_id)
    await told.begin()
    try:
        name = await owner_of(url, job_id)
        told.tell(f"{name} follows the install of {len(cards)} models: {url}/#/jobs/{job_id}")
        await told.middle.wait()
        told.tell(f"kill -9 {name}")
        await cluster.replicas[name].kill()
        ended = await told.ended
    finally:
        await told.end()
    told.tell(f"{ended['type']}: {ended['installed']} of {ended['total']} installed")
    problems = cluster.problems()
    if told.sequences != list(range(1, ended["sequence"] + 1)):
        problems.append("the watcher did not get every event once, in order")
    if ended["type"] != "job_completed":
        problems.append(f"the job ended as {ended['type']}: {ended.get('error')}")
    for problem in problems:
        print(problem)
    if not problems:
        count = len(told.sequences)
        print(f"Each file was fetched once and is whole; the watcher got events 1 to {count}, each once, in order.")
    return 1 if problems else 0


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="resource-installer-cluster-") as name:
        # PostgreSQL runs as a user of its own.
        os.chmod(name, 0o711)  # noqa: S103
        cluster = Cluster(Path(name))
        async with cluster.running():
            status = await story(cluster)
            if not os.environ.get("ONCE"):
                print(f"\nThe replicas: {cluster.nginx.url}/#/replicas. Serving until Ctrl-C.", flush=True)
                ended = asyncio.Event()
                for number in (signal.SIGINT, signal.SIGTERM):
                    asyncio.get_running_loop().add_signal_handler(number, ended.set)
                await ended.wait()
            return status


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
