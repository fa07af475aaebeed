"""The clients that measure latency, in processes of their own: raw WebSockets, 25 jobs on each.

``python -m benchmarks.latency_clients`` reads from standard input a line ``{"url", "ids", "clients"}``; it prints
``drawing`` when each client has seen a bar of each job that is younger than this process. Then it reads ``begin end``
and prints, when every client has got a bar that was drawn later or has waited for one in vain, all that was drawn
between: pairs of the time of the drawing and the seconds that it took to arrive.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp
import orjson
import uvloop

JOBS_A_SOCKET = 25
# On two cores, five hundred logins of a service that has started again take minutes.
FIRST_BAR_SECONDS_MAX = 900
STRAGGLER_SECONDS_MAX = 5.0
SAMPLES_BYTES_MAX = 1 << 26
PROGRESS = '42/resources,["resource_install_progress",'


class Sample(NamedTuple):
    drawn_at: float
    seconds: float


class Samples:
    """All that the sockets of this process receive; a view is one client's of one job."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], list[Sample]] = {}

    def add(self, socket: int, text: str, arrived: float) -> None:
        event = orjson.loads(text[len(PROGRESS) : -1])
        # The service says what it read in the line; a bare peer sends the line.
        drawn_at = float(event["downloaded"] if "downloaded" in event else event["line"].split("| ")[1].split("/")[0])
        self._found.setdefault((socket, event["job_id"]), []).append(Sample(drawn_at, arrived - drawn_at))

    async def all_draw(self, views: int) -> None:
        since = time.time()
        async with asyncio.timeout(FIRST_BAR_SECONDS_MAX):
            while len(self._found) < views or any(found[-1].drawn_at < since for found in self._found.values()):
                await asyncio.sleep(0.1)

    async def between(self, begin: float, end: float) -> list[Sample]:
        while time.time() < end + STRAGGLER_SECONDS_MAX:
            if all(samples[-1].drawn_at >= end for samples in self._found.values()):
                break
            await asyncio.sleep(0.1)
        return [sample for samples in self._found.values() for sample in samples if begin <= sample.drawn_at < end]


async def watch(http: aiohttp.ClientSession, url: str, ids: Sequence[str], number: int, samples: Samples) -> None:
    target = url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with http.ws_connect(target, max_msg_size=0, compress=0) as socket:
        await socket.send_str("40/resources,")
        async for message in socket:
            arrived = time.time()
            text = message.data
            if text.startswith(PROGRESS):
                samples.add(number, text, arrived)
            elif text == "2":
                await socket.send_str("3")
            elif text.startswith("40/resources"):
                for job_id in ids:
                    # As the dashboard does: live events are measured, not the history.
                    await socket.send_str(
                        f'42/resources,["subscribe_install",{{"job_id":"{job_id}","replay":"compact"}}]'
                    )


async def main() -> None:
    wanted = orjson.loads(sys.stdin.readline())
    ids = wanted["ids"]
    groups = [ids[n : n + JOBS_A_SOCKET] for n in range(0, len(ids), JOBS_A_SOCKET)] * wanted["clients"]
    samples = Samples()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        watching = [asyncio.create_task(watch(http, wanted["url"], g, n, samples)) for n, g in enumerate(groups)]
        await samples.all_draw(len(ids) * wanted["clients"])
        print("drawing", flush=True)
        begin, end = (float(word) for word in (await asyncio.to_thread(sys.stdin.readline)).split())
        found = await samples.between(begin, end)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    print(orjson.dumps([tuple(sample) for sample in found]).decode(), flush=True)


class Clients:
    """The other processes, seen from the measuring one."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    async def all_draw(self) -> None:
        for process in self._processes:
            assert process.stdout is not None
            line = await process.stdout.readline()
            if line.strip() != b"drawing":
                raise RuntimeError("a client has not seen a bar of each job: its error is above")

    async def samples(self, begin: float, end: float) -> list[Sample]:
        outputs = await asyncio.gather(*(p.communicate(f"{begin!r} {end!r}\n".encode()) for p in self._processes))
        return [Sample(*pair) for output, _ in outputs for pair in orjson.loads(output)]


@asynccontextmanager
async def clients_of(url: str, ids: Sequence[str], clients: int, processes: int) -> AsyncIterator[Clients]:
    """The jobs are divided among the processes."""
    async with AsyncExitStack() as stack:
        parts = [ids[n::processes] for n in range(processes)]
        yield Clients([await stack.enter_async_context(process_of(url, part, clients)) for part in parts])


@asynccontextmanager
async def process_of(url: str, ids: Sequence[str], clients: int) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.latency_clients", stdin=pipe, stdout=pipe, limit=SAMPLES_BYTES_MAX
    )
    try:
        assert process.stdin is not None
        process.stdin.write(orjson.dumps({"url": url, "ids": ids, "clients": clients}) + b"\n")
        await process.stdin.drain()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    uvloop.run(main())
