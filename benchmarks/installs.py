"""(j) What an install costs beside the same wget lines in one plain ``ssh host bash``: many small files, where each
round trip counts, and few large ones, where each byte that is read again counts.

Both run over the same sshd, from the same HTTP server, in turns, so that what else the machine does meets both. What a
job took is the time from its POST to its terminal event. "Without" verification is the same job with ``verify`` off.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import socketio

from benchmarks.file_source import FileSource, file_source
from benchmarks.scratch import scratch
from benchmarks.table import Row, median
from tests.kit.service import COMPLETE, ERROR, NAMESPACE, ServiceProcess, connect
from tests.kit.sshd import USER, Sshd

MEGABYTE = 1_000_000


class Case(NamedTuple):
    """``ratio_max``: the goal, by the plain one. ``parallel`` of the job, and of xargs beside it."""

    name: str
    files: int
    size: int
    ratio_max: float
    verify: bool = True
    parallel: int = 1


SMALL = (
    Case("12 files of 3 MB, verified", 12, 3 * MEGABYTE, 4.0),
    Case("12 files of 3 MB", 12, 3 * MEGABYTE, 2.5, verify=False),
    Case("12 files of 3 MB, parallel 4, verified", 12, 3 * MEGABYTE, 1.5, parallel=4),
    Case("12 files of 3 MB, parallel 4", 12, 3 * MEGABYTE, 1.5, verify=False, parallel=4),
)
LARGE = (Case("4 files of 1 GB with sha256, verified", 4, 1000 * MEGABYTE, 1.10),)
QUICK = (*SMALL, Case("2 files of 200 MB with sha256, verified", 2, 200 * MEGABYTE, 1.10))


class Bench:
    """One instance, one service and one source of files."""

    def __init__(self, folder: Path, sshd: Sshd, service: ServiceProcess, source: FileSource) -> None:
        self._folder = folder
        self._sshd = sshd
        self._service = service
        self._source = source
        self._runs = 0

    async def measure(self, case: Case, repetitions: int) -> Row:
        """The median of the ratios of each pair, not the ratio of the medians: the machine changes between pairs."""
        resources = self.write_cards(case)
        plain: list[float] = []
        ours: list[float] = []
        for repetition in range(repetitions + 1):
            pair = (await self._plain(case), await self._install(case, resources))
            # The first pair warms up: sshd's pages, the tools' identities, the host's key.
            if repetition:
                plain.append(pair[0])
                ours.append(pair[1])
        ratio = median([a / b for a, b in zip(ours, plain, strict=True)])
        return Row(
            name=f"(j) {case.name}",
            value=median(ours),
            unit="s",
            peer=f"xargs -P{case.parallel} wget" if case.parallel > 1 else "plain wget",
            peer_value=median(ours) / ratio,
            goal=f"<= {case.ratio_max:g}",
            holds=ratio <= case.ratio_max,
        )

    async def _plain(self, case: Case) -> float:
        """A new connection, and all the lines on its standard input."""
        home = self.new_home()
        folder = shlex.quote(str(home / "models/loras"))
        urls = [self._source.url(case.size, name) for name in names(case)]
        if case.parallel > 1:
            words = " ".join(map(shlex.quote, urls))
            script = f"printf '%s\\n' {words} | xargs -P{case.parallel} -n1 wget -P {folder}\n"
        else:
            script = "".join(f"wget -P {folder} {shlex.quote(url)}\n" for url in urls)
        begin = time.perf_counter()
        await self._ssh(script)
        took = time.perf_counter() - begin
        self._forget(home, case)
        return took

    async def _install(self, case: Case, resources: Sequence[str]) -> float:
        home = self.new_home()
        client = socketio.AsyncClient(reconnection=False)
        has_ended = asyncio.Event()
        for name in (COMPLETE, ERROR):
            client.on(name, lambda _event: has_ended.set(), namespace=NAMESPACE)
        await connect(client, self._service.url, transports=["websocket"])
        async with aiohttp.ClientSession() as http:
            begin = time.perf_counter()
            job_id = await self.post(http, case, home, resources)
            await client.call("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE)
            await has_ended.wait()
            took = time.perf_counter() - begin
        await client.disconnect()
        job = await self._service.job(job_id)
        assert job["state"] == "completed", job
        self._forget(home, case)
        return took

    @property
    def service_url(self) -> str:
        return self._service.url

    def url(self, case: Case) -> str:
        """Of the first file."""
        return self._source.url(case.size, names(case)[0])

    def cut(self) -> None:
        """Break the connections to the instance, kept ones too."""
        self._sshd.cut()

    async def post(self, http: aiohttp.ClientSession, case: Case, home: Path, resources: Sequence[str]) -> str:
        """The id of the job."""
        body = {
            "ssh_host": "127.0.0.1",
            "ssh_port": self._sshd.port,
            "ui_home": str(home),
            "resources": list(resources),
            "verify": case.verify,
            "parallel": case.parallel,
        }
        async with http.post(f"{self._service.url}/resources/install", json=body) as response:
            return str((await response.json())["job_id"])

    async def _ssh(self, script: str) -> None:
        process = await self.open_ssh(script)
        await process.communicate()
        assert process.returncode == 0, process.returncode

    async def open_ssh(self, script: str) -> asyncio.subprocess.Process:
        """A plain connection with these lines on its standard input."""
        options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "IdentitiesOnly=yes", "LogLevel=ERROR"]
        process = await asyncio.create_subprocess_exec(
            "ssh",
            "-F/dev/null",
            f"-i{self._sshd.key_path}",
            f"-p{self._sshd.port}",
            *(f"-o{option}" for option in options),
            f"{USER}@127.0.0.1",
            "bash",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdin is not None
        process.stdin.write(script.encode())
        process.stdin.close()
        return process

    def write_cards(self, case: Case) -> list[str]:
        sha256 = self._source.sha256(case.size)
        folder = self._folder / "resources" / f"{case.files}x{case.size}"
        folder.mkdir(exist_ok=True)
        for name in names(case):
            line = f'wget -P "$UI_HOME/models/loras" {self._source.url(case.size, name)}'
            card = f"---\ntitle: {name}\nsha256: {sha256}\n---\n# Download\n```bash\n{line}\n```\n"
            (folder / f"{name}.md").write_text(card, encoding="utf-8")
        return [f"{folder.name}/{name}.md" for name in names(case)]

    def new_home(self) -> Path:
        self._runs += 1
        home = self._folder / f"ui{self._runs}"
        (home / "models/loras").mkdir(parents=True)
        (home / "main.py").touch()
        return home

    def _forget(self, home: Path, case: Case) -> None:
        found = sorted((home / "models/loras").glob("*.safetensors"))
        assert [path.stat().st_size for path in found] == [case.size] * case.files, found
        shutil.rmtree(home)


def names(case: Case) -> list[str]:
    return [f"m{number:02}.safetensors" for number in range(1, case.files + 1)]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with scratch() as folder, file_source() as source:
        (folder / "resources").mkdir()
        sshd = await Sshd(folder).start()
        sshd.key_path.chmod(0o600)  # OpenSSH's client refuses it otherwise
        service = ServiceProcess(
            folder,
            {
                "INSTALLER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'log.sqlite3'}",
                "INSTALLER_RESOURCES_DIR": str(folder / "resources"),
                "INSTALLER_KNOWN_HOSTS": str(folder / "known_hosts"),
                "INSTALLER_SSH_KEY": str(sshd.key_path),
                "INSTALLER_SSH_USER": USER,
            },
        )
        try:
            await service.start()
            yield Bench(folder, sshd, service, source)
        finally:
            await service.kill()
            await sshd.close()


async def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    async with bench() as measured:
        for case in QUICK if quick else SMALL:
            rows.append(await measured.measure(case, 3 if quick else 9))
        for case in () if quick else LARGE:
            rows.append(await measured.measure(case, 4))
    return rows
