"""The demo: everything runs on loopback in a temporary folder; the real civitdl installs three models."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import socketio
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from service.app import Service
from service.config import Settings, load_settings
from service.demo.civitai import StandInCivitai, sha256
from service.demo.instance import DemoInstance
from service.demo.models import FOLDERS, GONE, MODELS, write_cards
from service.events.event_types import TERMINAL_TYPES
from service.runner.instance.attempt_program import civitdl_config
from service.web.socket_events import EVENT_NAMES, STATUS

NAMESPACE = "/resources"
DEFAULT_PORT = 5000
# python-socketio's own limit of one second is too short on a busy machine.
CONNECT_SECONDS_MAX = 60
BARS = ("stage_start", "progress", "stage_complete")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """How the demo ended. ``verified``: files with the right SHA-256."""

    job_id: str
    ended: Mapping[str, Any]
    verified: int

    @property
    def exit_status(self) -> int:
        return 0 if self.ended["type"] == "job_completed" and self.verified == len(MODELS) else 1


async def run_demo(*, once: bool, fail: bool, console: Console) -> int:
    """Run the demo and serve until SIGINT, unless ``once``. Returns the job's exit status."""
    with tempfile.TemporaryDirectory(prefix="resource-installer-demo-") as name:
        folder = Path(name)
        stand_in = StandInCivitai(folder / "civitai")
        await stand_in.start()
        stand_in.add(*MODELS)
        if fail:
            next(model for model in MODELS if model.id == GONE).status = 404
        instance = DemoInstance(folder / "instance", stand_in.env)
        await instance.start()
        _configure_civitdl(instance.home)
        cards = write_cards(folder / "resources")
        service = Service(_settings(folder, instance))
        await service.start()
        if not once:
            console.print(f"The service listens on [bold]{service.url}[/]. All files are in {escape(str(folder))}.\n")
        try:
            result = await _install(service.url, instance, cards, console)
            _show(result, console)
            if not once:
                _show_addresses(result.job_id, service.url, console)
                await _until_interrupted(console)
            return result.exit_status
        finally:
            await service.stop()
            await instance.stop()
            await stand_in.stop()


def _settings(folder: Path, instance: DemoInstance) -> Settings:
    return load_settings(
        host="127.0.0.1",
        port=_port(),
        database_url=f"sqlite+aiosqlite:///{folder / 'installer.sqlite3'}",
        resources_dir=folder / "resources",
        ssh_key=instance.key_path,
        known_hosts=folder / "known_hosts",
    )


def _port() -> int:
    """The default port, or any free one if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            return 0
    return DEFAULT_PORT


def _configure_civitdl(home: Path) -> None:
    """Set short pauses. The default ones are for CivitAI's own site; the stand-in does not need them."""
    path = home / ".config/civitdl/config.json"
    path.parent.mkdir(parents=True)
    path.write_text(civitdl_config("", retry_count=1, pause_seconds=0.2), encoding="utf-8")


async def _install(url: str, instance: DemoInstance, cards: list[str], console: Console) -> DemoResult:
    ui_home = instance.home / "ComfyUI"
    ui_home.mkdir()
    body = {"ssh_host": "127.0.0.1", "ssh_port": instance.port, "ui_home": str(ui_home), "resources": cards}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/resources/install", json=body) as response:
        answer = await response.json()
    if not answer["success"]:
        raise RuntimeError(answer["message"])
    with _Bars(console) as bars:
        ended = await _watch(url, answer["job_id"], bars)
    verified = sum(_is_there(ui_home, model_id) for model_id in FOLDERS)
    return DemoResult(job_id=answer["job_id"], ended=ended, verified=verified)


async def _watch(url: str, job_id: str, bars: _Bars) -> Mapping[str, Any]:
    """Show the progress until the job ends; returns its terminal event. Survives a broken connection."""
    ended: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
    client = socketio.AsyncClient()
    last = 0

    async def subscribe() -> None:
        await client.emit("subscribe_install", {"job_id": job_id, "after": last}, namespace=NAMESPACE)

    def seen(event: Mapping[str, Any]) -> None:
        nonlocal last
        last = event["sequence"]
        if event["type"] in TERMINAL_TYPES:
            ended.set_result(event)
        elif event["type"] in BARS:
            bars.show(event)

    client.on("connect", subscribe, namespace=NAMESPACE)
    for name in {*EVENT_NAMES.values(), STATUS}:
        client.on(name, seen, namespace=NAMESPACE)
    await client.connect(url, namespaces=[NAMESPACE], wait_timeout=CONNECT_SECONDS_MAX)
    try:
        return await ended
    finally:
        await client.disconnect()


class _Bars:
    """One bar per stage of each resource. Names come from elsewhere: they are text, never markup."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            console=console,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._names: dict[str, str] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Mapping[str, Any]) -> None:
        resource = event["resource"]
        if event["type"] == "stage_start":
            self._names[resource] = event["name"]
            self._progress.console.print(f"Downloading: {event['name']}", markup=False, highlight=False)
        elif event["type"] == "stage_complete":
            self._progress.console.print(f"Completed: {event['name']}", markup=False, highlight=False)
        else:
            key = (resource, event["stage"])
            if key not in self._tasks:
                label = f"{self._names.get(resource, resource)} · {event['stage']}"
                self._tasks[key] = self._progress.add_task(label, total=100, speed="")
            self._progress.update(self._tasks[key], completed=event["percent"] or 0, speed=event["speed"] or "")


def _is_there(ui_home: Path, model_id: int) -> bool:
    """Whether the file of this model exists with the right SHA-256."""
    model = next(model for model in MODELS if model.id == model_id)
    found = list((ui_home / "models" / FOLDERS[model_id]).rglob(f"model_{model_id}-*.safetensors"))
    return len(found) == 1 and hashlib.sha256(found[0].read_bytes()).hexdigest() == sha256(model)


def _show(result: DemoResult, console: Console) -> None:
    console.print()
    for entry in result.ended["results"]:
        why = f" ({entry['cause']}: {entry['error']})" if entry["cause"] else ""
        console.print(f"  {entry['state']:<10} {entry['resource']}{why}", markup=False, highlight=False)
    counts = f"{result.ended['installed']}/{result.ended['total']} installed"
    console.print(
        f"\n{counts}, {result.verified} files with the right SHA-256. Job {result.job_id}",
        highlight=False,
        soft_wrap=True,
    )


def _show_addresses(job_id: str, url: str, console: Console) -> None:
    """Where to look while the demo serves."""
    console.print(f"\nIn a browser: {url}/#/jobs/{job_id}", highlight=False, soft_wrap=True)
    job = f"{url}/resources/jobs/{job_id}"
    console.print("\nIts state and its history:", highlight=False)
    console.print(f"  curl {job}\n  curl '{job}/events?after=0&limit=20'", highlight=False, soft_wrap=True)
    console.print(f"  curl -H 'Accept: application/x-ndjson' {job}/events", highlight=False, soft_wrap=True)
    console.print(f"  curl -N -H 'Accept: text/event-stream' {job}/events", highlight=False, soft_wrap=True)


async def _until_interrupted(console: Console) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    console.print("\nServing until Ctrl-C.")
    await ended.wait()
