"""Where attacks happen: a service as a process, an honest instance, an instance that lies, and somebody who installs
honestly and watches while the attack runs."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attack.attack import Attack
from tests.attack.liar import Liar
from tests.e2e.conftest import World
from tests.kit.raw_watcher import RawWatcher
from tests.kit.running import card_text
from tests.kit.service import TERMINAL, ServiceProcess, check_stream, until
from tests.kit.sshd import USER, Sshd

PROBE = Path(__file__).with_name("health_probe.py")
HEALTH_MS_MAX = 250
# In company, where caches are cold and callbacks queue: what this kind of attack once took were seconds.
LOOP_MS_MAX = 1_000
HONEST = "for n in 1 2 3 4 5; do echo honest line $n; sleep 0.1; done"
HONEST_CARD = "other/honest.md"
SECRET = "S3cret+key/of=the.service"
TOKEN = "a-token-of-32-characters-or-more!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``after``: what the attack saw. The rest is what the honest one saw meanwhile; milliseconds."""

    after: str
    p99_ms: float
    p99_loop_ms: float
    honest_events: int


class Arena(World):
    """One service for many attacks. ``chance``: for all that an attack makes up; its seed is printed."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder)
        self.seed = seed
        self.chance = random.Random(seed)
        self.liar: Liar
        # Both instances are this machine: in one folder each would find what is new of the other's.
        self.liar_home = folder / "liar-ComfyUI"
        self._number = 0

    async def start(self, *, with_service: bool = True) -> None:
        await super().start()
        self.liar_home.mkdir()
        await self.service.terminate()
        await self.service.start(
            INSTALLER_CIVITAI_API_KEY=SECRET, INSTALLER_CONNECT_TIMEOUT="20", INSTALLER_MAX_CONCURRENT_JOBS="200"
        )
        self.card(HONEST_CARD, HONEST)
        self.liar = Liar(self.folder / "liar")
        self._know(self.liar.sshd)
        await self.liar.sshd.start()

    def _know(self, instance: Sshd) -> None:
        keys = (self.instances[0].folder / "authorized_keys").read_bytes()
        (instance.folder / "authorized_keys").write_bytes(keys)
        self.instances.append(instance)

    async def run(self, attack: Attack) -> Result:
        """The attack beside an honest install, which must complete with its events 1..n. Raises AssertionError."""
        self.chance = random.Random(f"{self.seed} {attack.id}")
        self.liar.lies()
        if attack.harms_own:
            return Result(after=await attack.run(self), p99_ms=0, p99_loop_ms=0, honest_events=0)
        async with probed(self.service, self.folder / f"health-{attack.id}") as samples:
            honest = asyncio.create_task(honest_install(self.service, self.instance, self.ui_home))
            try:
                after = await attack.run(self)
                events = await honest
            finally:
                honest.cancel()
                await asyncio.gather(honest, return_exceptions=True)
        return Result(after=after, honest_events=events, **percentiles(samples()))

    def new_name(self) -> str:
        """A card's path that nobody has used."""
        self._number += 1
        return f"attack/card_{self._number}.md"

    def raw_card(self, text: str | bytes) -> str:
        """A card of exactly this text."""
        path = self.new_name()
        file = self.cards / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        return path

    def new_card(self, script: str, front: str = "") -> str:
        return self.raw_card(card_text(f"attack {self._number}", script, front))

    async def lied_to(
        self, script: str = "echo x", front: str = "", seconds: float = 100, **lies: Any
    ) -> tuple[Any, list[Any]]:
        """Install such a card on the instance that lies; the job and its events after its end."""
        self.liar.lies(**lies)
        job_id = await self.service.install(self.liar.sshd, self.liar_home, self.new_card(script, front))
        job = await self.service.ended(job_id, seconds)
        history = await self.service.history(job_id)
        check_stream(history)
        return job, history

    @asynccontextmanager
    async def other_service(
        self, name: str, python: list[str] | None = None, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[ServiceProcess]:
        """A service of the attack's own, with these settings, beside that of the honest."""
        folder = self.folder / f"{name}-{self.chance.randrange(10**9)}"
        folder.mkdir()
        service = ServiceProcess(
            folder,
            {
                "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'installer.sqlite3'}",
                "INSTALLER_RESOURCES_DIR": str(self.cards),
                "INSTALLER_SSH_USER": USER,
                "INSTALLER_SSH_KEY": str(self.instance.key_path),
                "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
                "INSTALLER_MAX_ATTEMPTS": "1",
                **(settings or {}),
            },
        )
        try:
            yield await service.start_under(python or [sys.executable])
        finally:
            await service.kill()


async def honest_install(service: ServiceProcess, instance: Sshd, ui_home: Path) -> int:
    """An install that is watched from its beginning: it completes, and both the watcher and the log have 1..n."""
    job_id = await service.install(instance, ui_home, HONEST_CARD)
    watcher = RawWatcher(service.url, job_id)
    await watcher.join()
    try:
        job = await service.ended(job_id)
        history = await service.history(job_id)
        await until(lambda: watcher.sequences[-1:] == [len(history)])
    finally:
        await watcher.leave()
    assert job["state"] == "completed", f"the honest install ended as {job['state']}: {job['error']}"
    check_stream(history)
    assert watcher.sequences == list(range(1, len(history) + 1)), "the honest watcher missed an event"
    lines = [event["line"] for event in history if event["type"] == "output"]
    assert lines[:5] == [f"honest line {n}" for n in range(1, 6)]
    return len(history)


@asynccontextmanager
async def probed(service: ServiceProcess, file: Path) -> AsyncIterator[Any]:
    """Yields a function that gives the samples so far: pairs of seconds, of the answer and of the loop's work."""
    file.touch()
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", str(PROBE), str(service.port), str(service.pid), str(file)],
        stdin=subprocess.DEVNULL,
    )

    def samples() -> list[tuple[float, float]]:
        lines = file.read_text(encoding="ascii").split("\n")[:-1]
        return [(float(line.split()[1]), float(line.split()[2])) for line in lines]

    try:
        await until(lambda: samples() or process.poll() is not None)
        assert process.poll() is None, "the service does not answer /healthz"
        begun = len(samples())
        yield samples
        # An answer that the service still owes counts too.
        await until(lambda: len(samples()) > begun or process.poll() is not None, 130)
    finally:
        process.kill()
        process.wait()


def percentiles(samples: list[tuple[float, float]]) -> dict[str, float]:
    """The 99th of each, in milliseconds; of fewer than a hundred, the second highest."""
    place = max(2, len(samples) // 100)
    waits, works = (sorted(sample[n] for sample in samples)[-place:] for n in (0, 1))
    return {"p99_ms": waits[0] * 1000, "p99_loop_ms": works[0] * 1000}


def terminal_of(history: list[Mapping[str, Any]]) -> str:
    assert history[-1]["type"] in TERMINAL
    return str(history[-1]["type"])


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin
