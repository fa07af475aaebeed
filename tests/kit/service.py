"""The service as a process of its own, and a client that keeps all that it receives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import socketio

from tests.kit.loop_watch import REPORT_VARIABLE
from tests.kit.ports import free_port

NAMESPACE = "/resources"
PROGRESS = "resource_install_progress"
COMPLETE = "resource_install_complete"
ERROR = "resource_install_error"
STATUS = "resource_install_status"
OUTPUT = "resource_install_output"
EVENT_NAMES = (PROGRESS, COMPLETE, ERROR, STATUS, OUTPUT)
# How long a busy machine may take. python-socketio's own bound for the answer to a connect is one second.
START_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 60
TERMINAL = ("job_completed", "job_failed", "job_cancelled")


async def until(condition: Callable[[], Any], seconds: float = 60, every: float = 0.02) -> None:
    """Wait until the condition holds; TimeoutError says that it never did."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(every)


async def connect(client: socketio.AsyncClient, url: str, **options: Any) -> None:
    """Connect to the service's namespace, with as much time as a busy machine needs."""
    await client.connect(url, namespaces=[NAMESPACE], wait_timeout=ANSWER_SECONDS_MAX, **options)


class ServiceProcess:
    """``resource-installer serve`` with these settings, on its own port, which it keeps over restarts."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = ""
        self._settings = dict(settings)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def has_started(self) -> bool:
        return self._process is not None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text(encoding="utf-8", errors="replace")

    async def start(self, **settings: str) -> ServiceProcess:
        return await self.start_under([sys.executable], **settings)

    async def start_under(self, python: Sequence[str], **settings: str) -> ServiceProcess:
        """Start it with this command in place of the interpreter."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INSTALLER_")}
        # The suite watches its loop (loop_watch.py); the benchmarks do not.
        module = "tests.kit.watched_service" if REPORT_VARIABLE in os.environ else "service"
        with open(self.folder / "service.log", "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *python,
                "-m",
                module,
                "serve",
                "--port",
                str(self.port),
                stdout=subprocess.PIPE,
                stderr=log,
                env={**inherited, "INSTALLER_HOST": "127.0.0.1", **self._settings, **settings},
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                line = (await self._process.stdout.readline()).decode()
        except TimeoutError:
            await self.kill()
            raise
        if " on http" not in line:
            raise RuntimeError(f"the service did not start:\n{self.log}")
        self.url = line.split()[-1]
        return self

    async def kill(self) -> None:
        """kill -9, then wait for the process."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    async def wait(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def install(self, instance: Any, ui_home: Path | str, *resources: str, **more: Any) -> str:
        """POST an install; returns the job's id."""
        body = {"ssh_host": "127.0.0.1", "ssh_port": instance.port, "ui_home": str(ui_home)}
        status, answer = await self.post("/resources/install", {**body, "resources": list(resources), **more})
        assert status == 202, answer
        return str(answer["job_id"])

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as http, http.post(self.url + path, json=body) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as response:
            return await response.json()

    async def job(self, job_id: str) -> Any:
        return await self.get(f"/resources/jobs/{job_id}")

    async def history(self, job_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while True:
            page = await self.get(f"/resources/jobs/{job_id}/events?after={len(events)}&limit=10000")
            if not page["events"]:
                return events
            events += page["events"]

    async def ended(self, job_id: str, seconds: float = 100) -> Any:
        """Wait until the job has ended; returns the job."""
        async with asyncio.timeout(seconds):
            while True:
                job = await self.job(job_id)
                if job["state"] not in ("queued", "running", "paused"):
                    return job
                await asyncio.sleep(0.1)


class Watcher:
    """A client that subscribes to one job and keeps every event as it comes, duplicates included."""

    def __init__(self, url: str, job_id: str) -> None:
        self.url = url
        self.job_id = job_id
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.subscribed: list[dict[str, Any]] = []
        self._client: socketio.AsyncClient | None = None

    @property
    def events(self) -> list[dict[str, Any]]:
        return [payload for _, payload in self.received]

    @property
    def sequences(self) -> list[int]:
        return [payload["sequence"] for payload in self.events]

    @property
    def has_ended(self) -> bool:
        return bool(self.received) and self.events[-1]["type"] in TERMINAL

    @property
    def is_connected(self) -> bool:
        return self._client is not None and self._client.connected

    async def join(self, *, whole: bool = False) -> dict[str, Any]:
        """Connect and subscribe after the last event seen (``whole``: from the first). Returns the acknowledgement."""
        client = self._client = socketio.AsyncClient(reconnection=False)
        for name in EVENT_NAMES:
            client.on(name, self._keeper(name), namespace=NAMESPACE)
        client.on("subscribed", self.subscribed.append, namespace=NAMESPACE)
        wanted: dict[str, Any] = {"job_id": self.job_id}
        if self.received and not whole:
            wanted["after"] = self.sequences[-1]

        async def subscribe() -> Any:
            await connect(client, self.url, transports=["websocket"])
            return await client.call("subscribe_install", wanted, namespace=NAMESPACE)

        answer = await _unless_cut(client, subscribe())
        assert isinstance(answer, dict)
        return answer

    async def cut(self) -> None:
        """Break the connection without a close, as a tunnel does to a train."""
        assert self._client is not None
        transport = self._client.eio.ws._response.connection.transport
        transport.abort()
        await self._client.wait()

    async def leave(self) -> None:
        if self._client is not None:
            await self._client.disconnect()

    async def end(self, seconds: float = 100) -> None:
        await until(lambda: self.has_ended, seconds)

    def _keeper(self, name: str) -> Callable[[dict[str, Any]], None]:
        return lambda payload: self.received.append((name, payload))


async def _unless_cut(client: socketio.AsyncClient, asking: Coroutine[Any, Any, Any]) -> Any:
    """Fail at once when the connection breaks: python-socketio would keep waiting for its answer."""
    task = asyncio.create_task(asking)
    was_up = False
    try:
        while not task.done():
            is_up = client.eio.state == "connected"
            if was_up and not is_up:
                raise socketio.exceptions.ConnectionError("the connection broke before the answer")
            was_up = is_up
            await asyncio.wait([task], timeout=0.02)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def check_stream(history: list[dict[str, Any]]) -> None:
    """Sequences 1..n without a hole, and one terminal event, the last."""
    assert [event["sequence"] for event in history] == list(range(1, len(history) + 1))
    assert [event["type"] in TERMINAL for event in history] == [False] * (len(history) - 1) + [True]
