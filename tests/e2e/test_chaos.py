"""Everything is killed at random at the same time: the service, the links, the commands on the instances, the clients.
Afterwards what was promised must hold, whatever the end of each install."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from collections.abc import Coroutine
from typing import Any

import aiohttp
import pytest
import socketio

from service.demo.civitai import StandInModel, sha256
from tests.e2e.conftest import World
from tests.kit.invariants import check_client, check_database, check_job
from tests.kit.service import Watcher
from tests.kit.sshd import Sshd

MODELS = 6
MODEL_BYTES = 400_000
END_SECONDS_MAX = 180


class Chaos:
    """One run: jobs are posted, watched and disturbed for some seconds; then left in peace until they have ended."""

    def __init__(self, world: World, second: Sshd, seed: int) -> None:
        print(f"seed {seed}")
        self.world = world
        self.instances = [world.instance, second]
        self.chance = random.Random(seed)
        self.deeds = dict.fromkeys(("service", "link cut", "link frozen", "command", "client"), 0)
        self.watchers: list[Watcher] = []
        self.cards_of: dict[str, list[str]] = {}
        self.instance_of: dict[str, Sshd] = {}
        self.watching: list[asyncio.Task[None]] = []
        self.starting: asyncio.Task[Any] | None = None
        self.models = [
            StandInModel(id=1001 + n, name=f"Model {n}", size_bytes=MODEL_BYTES, bytes_per_second=MODEL_BYTES // 2)
            for n in range(MODELS)
        ]
        self.cards = {world.model(model, f"folder{n}"): model for n, model in enumerate(self.models)}

    async def run(self, seconds: float, jobs: int) -> None:
        disturbers: list[Coroutine[Any, Any, None]] = [
            self.kill_the_service(),
            *(self.break_links(instance) for instance in self.instances),
            self.kill_commands(),
            self.cut_clients(),
        ]
        disturbing = [asyncio.create_task(each) for each in disturbers]
        posting = asyncio.create_task(self.post(jobs, seconds))
        await asyncio.sleep(seconds)
        for task in disturbing:
            task.cancel()
        for ended in await asyncio.gather(*disturbing, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended
        for instance in self.instances:
            instance.thaw()
        if self.starting is not None:
            # A half-started service would still hold the database when the next one starts.
            await self.starting
        await self.world.service.kill()
        await self.world.service.start()
        await posting
        await asyncio.wait_for(asyncio.gather(*self.watching), END_SECONDS_MAX)
        print(self.deeds)

    async def check(self) -> None:
        """Check what must hold after any run."""
        states = []
        for job_id, cards in self.cards_of.items():
            history = await self.world.service.history(job_id)
            states.append(history[-1]["type"])
            instance = self.instance_of[job_id]
            check_job(history, instance, [(card, f"Card {card}") for card in cards])
            for watcher in self.watchers:
                if watcher.job_id == job_id:
                    check_client(watcher, history)
            for event in history:
                if event["type"] == "resource_installed":
                    self.check_file(instance, self.cards[event["resource"]])
        print(f"{len(states)} jobs: {sorted(states)}")
        await self.world.service.terminate()
        check_database(self.world.folder / "installer.sqlite3")

    def check_file(self, instance: Sshd, model: StandInModel) -> None:
        """An installed file is there, byte for byte."""
        found = list((instance.home / "ui").rglob(f"*mid_{model.id}-*.safetensors"))
        assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in found] == [sha256(model)]

    async def post(self, jobs: int, seconds: float) -> None:
        for _ in range(jobs):
            await asyncio.sleep(self.chance.random() * seconds / jobs)
            instance = self.chance.choice(self.instances)
            cards = self.chance.sample(sorted(self.cards), 2)
            job_id = None
            while job_id is None:
                with contextlib.suppress(aiohttp.ClientError, AssertionError):
                    job_id = await self.world.service.install(instance, instance.home / "ui", *cards)
                await asyncio.sleep(0.05)
            # The service acknowledged it: it must never forget it now.
            self.cards_of[job_id], self.instance_of[job_id] = cards, instance
            for _ in range(2):
                self.watchers.append(Watcher(self.world.service.url, job_id))
                self.watching.append(asyncio.create_task(self.watch(self.watchers[-1])))

    async def watch(self, watcher: Watcher) -> None:
        while not watcher.has_ended:
            try:
                answer = await watcher.join()
                assert answer["success"], answer
                while not watcher.has_ended and watcher.is_connected:
                    await asyncio.sleep(0.02)
            except (socketio.exceptions.SocketIOError, aiohttp.ClientError):
                await asyncio.sleep(0.05)
            finally:
                await watcher.leave()

    async def kill_the_service(self) -> None:
        while True:
            await asyncio.sleep(1 + self.chance.random() * 5)
            await self.world.service.kill()
            self.deeds["service"] += 1
            await asyncio.sleep(self.chance.random())
            self.starting = asyncio.create_task(self.world.service.start())
            await asyncio.shield(self.starting)

    async def break_links(self, instance: Sshd) -> None:
        while True:
            await asyncio.sleep(0.5 + self.chance.random() * 5)
            if self.chance.random() < 0.5:
                self.deeds["link cut"] += 1
                instance.cut()
            else:
                self.deeds["link frozen"] += 1
                instance.freeze()
                await asyncio.sleep(self.chance.random() * 4)
                instance.thaw()

    async def kill_commands(self) -> None:
        while True:
            await asyncio.sleep(2 + self.chance.random() * 8)
            running = [pid for instance in self.instances for pid in instance.marked_processes()]
            if running:
                self.deeds["command"] += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.chance.choice(sorted(running)), signal.SIGKILL)

    async def cut_clients(self) -> None:
        while True:
            await asyncio.sleep(self.chance.random())
            connected = [watcher for watcher in self.watchers if watcher.is_connected and not watcher.has_ended]
            if connected:
                self.deeds["client"] += 1
                # Not wait_for: in Python 3.11 it can swallow a cancellation.
                with contextlib.suppress(AttributeError, TimeoutError):
                    async with asyncio.timeout(1):
                        await self.chance.choice(connected).cut()


async def chaos(world: World, *, seconds: float, jobs: int) -> None:
    second = await world.new_instance("second")
    await world.service.terminate()
    world.service._settings |= {"INSTALLER_KEEP_REMOTE_LOGS": "true", "INSTALLER_KEEPALIVE": "2"}
    await world.service.start()
    run = Chaos(world, second, random.randrange(2**32))
    await run.run(seconds, jobs)
    await run.check()


@pytest.mark.timeout(300)
async def test_a_short_chaos(world: World) -> None:
    await chaos(world, seconds=10, jobs=3)


@pytest.mark.long
async def test_a_long_chaos(world: World) -> None:
    await chaos(world, seconds=180, jobs=30)
