"""Cheap clients in a process of their own: raw WebSockets that subscribe and count.

``python -m benchmarks.watchers URL JOB CLIENTS EXPECTED`` prints ``ready`` when all have joined, and the time (of
``time.monotonic``, which all processes share) when each has received as many events as expected.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvloop


async def watch(http: aiohttp.ClientSession, url: str, job_id: str, expected: int, joined: asyncio.Semaphore) -> None:
    target = url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with http.ws_connect(target, max_msg_size=0, compress=0) as socket:
        await socket.send_str("40/resources,")
        count = 0
        async for message in socket:
            text = message.data
            if text == "2":
                await socket.send_str("3")
            elif text.startswith("40/resources"):
                await socket.send_str(f'42/resources,1["subscribe_install",{{"job_id":"{job_id}"}}]')
            elif text.startswith("43/resources"):
                joined.release()
            elif text.startswith('42/resources,["resource_install_progress"'):
                count += 1
                if count == expected:
                    return


async def main(url: str, job_id: str, clients: int, expected: int) -> None:
    joined = asyncio.Semaphore(0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        watching = []
        for n in range(clients):
            watching.append(asyncio.create_task(watch(http, url, job_id, expected, joined)))
            if n % 50 == 49:
                await asyncio.sleep(0.05)
        for _ in range(clients):
            await joined.acquire()
        print("ready", flush=True)
        await asyncio.gather(*watching)
        print(time.monotonic(), flush=True)


class Watchers:
    """The other process, seen from the measuring one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, seconds: float = 180) -> str:
        assert self._process.stdout is not None
        return (await asyncio.wait_for(self._process.stdout.readline(), seconds)).decode().strip()

    async def done_at(self) -> float:
        return float(await self.line())


@asynccontextmanager
async def watchers(url: str, job_id: str, clients: int, expected: int) -> AsyncIterator[Watchers]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.watchers",
        url,
        job_id,
        str(clients),
        str(expected),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Watchers(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
