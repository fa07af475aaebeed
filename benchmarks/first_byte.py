"""(o) From the POST of a job to the first byte of its tool at a client: over a connection that an earlier job left, and
over a new one. Beside it the same wget in a plain ``ssh host bash``, which always logs in anew."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import socketio

from benchmarks.installs import Bench, Case, bench
from benchmarks.table import Row, median
from tests.kit.service import NAMESPACE, connect

CASE = Case("first byte", files=1, size=1_000, ratio_max=0.0)
OF_THE_TOOL = {"output", "stage_start", "progress"}


async def run(quick: bool) -> list[Row]:
    rows = []
    async with bench() as measured:
        cards = measured.write_cards(CASE)
        for name, is_warm in (("kept connection", True), ("new connection", False)):
            pairs = []
            for repetition in range(4 if quick else 16):
                pair = (await plain(measured), await install(measured, cards, is_warm))
                # The first warms up.
                if repetition:
                    pairs.append(pair)
            ratio = median([ours / theirs for theirs, ours in pairs])
            ours = median([pair[1] for pair in pairs])
            rows.append(
                Row(
                    name=f"(o) POST to a tool's first byte, {name}",
                    value=ours * 1000,
                    unit="ms",
                    peer="ssh host bash",
                    peer_value=ours * 1000 / ratio,
                )
            )
    return rows


async def plain(measured: Bench) -> float:
    home = measured.new_home()
    begin = time.perf_counter()
    process = await measured.open_ssh(f"exec 2>&1; wget -P {home} {measured.url(CASE)}\n")
    assert process.stdout is not None
    await process.stdout.read(1)
    took = time.perf_counter() - begin
    await process.communicate()
    return took


async def install(measured: Bench, cards: list[str], is_warm: bool) -> float:
    if not is_warm:
        measured.cut()
    first: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    has_ended = asyncio.Event()

    def heard(_name: str, event: dict[str, Any]) -> None:
        if event.get("type") in OF_THE_TOOL and not first.done():
            first.set_result(time.perf_counter())
        if event.get("type") in ("job_completed", "job_failed"):
            has_ended.set()

    client = socketio.AsyncClient(reconnection=False)
    client.on("*", heard, namespace=NAMESPACE)
    await connect(client, measured.service_url, transports=["websocket"])
    async with aiohttp.ClientSession() as http:
        begin = time.perf_counter()
        job_id = await measured.post(http, CASE, measured.new_home(), cards)
        await client.call("subscribe_install", {"job_id": job_id}, namespace=NAMESPACE)
        took = await first - begin
        await has_ended.wait()
    await client.disconnect()
    return took
