"""Bare asyncssh and python-socketio: follows logs on instances and emits each line to a room, and does nothing else.

No parser, no log, no queue, no reconnect: the least that delivers what a tool prints to the clients of a job.
``python -m benchmarks.peers.bare_streams`` reads from standard input a line ``{"port", "user", "key", "streams"}``,
``streams``: the job, the host and the log of each. It prints its address when it follows all of them, and runs until it
is killed. Its clients subscribe as those of the service do.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import Any

import asyncssh
import orjson
import socketio
import uvloop
from aiohttp import web

NAMESPACE = "/resources"
PROGRESS = "resource_install_progress"
READ_BYTES = 1 << 16
LOGINS_AT_ONCE = 8


def server() -> socketio.AsyncServer:
    """A room for each job; who asks joins it."""
    sockets = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*", namespaces=[NAMESPACE])

    async def join(sid: str, data: Any) -> dict[str, Any]:
        await sockets.enter_room(sid, data["job_id"], namespace=NAMESPACE)
        return {"success": True}

    async def connect(_sid: str, _environ: Any, _auth: Any = None) -> None:
        return None

    sockets.on("connect", connect, namespace=NAMESPACE)
    sockets.on("subscribe_install", join, namespace=NAMESPACE)
    return sockets


async def follow(sockets: socketio.AsyncServer, process: asyncssh.SSHClientProcess[bytes], job_id: str) -> None:
    """Emit each line once it is there: a bar is whole at its closing bracket."""
    rest = ""
    while chunk := await process.stdout.read(READ_BYTES):
        *lines, rest = (rest + chunk.decode()).split("\r")
        if rest.endswith("]"):
            lines.append(rest)
            rest = ""
        for line in filter(None, lines):
            await sockets.emit(PROGRESS, {"job_id": job_id, "line": line}, room=job_id, namespace=NAMESPACE)


async def main() -> None:
    wanted = orjson.loads(sys.stdin.readline())
    sockets = server()
    logins = asyncio.Semaphore(LOGINS_AT_ONCE)

    async def opened(job_id: str, host: str, log: str) -> tuple[str, asyncssh.SSHClientProcess[bytes]]:
        async with logins:
            connection = await asyncssh.connect(
                host,
                wanted["port"],
                username=wanted["user"],
                client_keys=[wanted["key"]],
                known_hosts=None,
                config=None,
                agent_path=None,
                compression_algs=None,
                keepalive_interval=15,
            )
            process = await connection.create_process(f"exec tail -c 0 -f {shlex.quote(log)}", encoding=None)
            return job_id, process

    processes = await asyncio.gather(*(opened(*stream) for stream in wanted["streams"]))
    following = [asyncio.create_task(follow(sockets, process, job_id)) for job_id, process in processes]
    app = web.Application()
    sockets.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.gather(*following)


if __name__ == "__main__":
    uvloop.run(main())
