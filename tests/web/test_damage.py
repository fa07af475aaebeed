"""One damaged row of the log: everything that reads the log goes on, and says that an event is damaged."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from service.store.rebuild import rebuild
from tests.kit.ports import silent_port
from tests.kit.running import running, write_card
from tests.kit.service import TERMINAL, Watcher

# What happens to the row, by the sequence of its event; the events of `a_job` stand below.
DAMAGES = {
    "no JSON": ("data_json", "garbage"),
    "cut": ("data_json", '{"stage": "mo'),
    "empty": ("data_json", ""),
    "no object": ("data_json", "[1, 2]"),
    "a blob": ("data_json", b"\xff\xfe\x00"),
    "a blob that is JSON": ("data_json", b"{}"),
    "no field": ("data_json", "{}"),
    "other fields": ("data_json", '{"stage": 5, "percent": {"a": []}, "name": null, "resources": 3}'),
    "another type": ("type", "progress"),
    "an unknown type": ("type", "pro\u2028gress"),
    "a type that is a blob": ("type", b"\x80\x81"),
    "a time that is a text": ("at_ms", "yesterday"),
    "a time beyond the calendar": ("at_ms", 2**60),
    "a resource that is a blob": ("resource", b"\xff"),
    "an unknown resource": ("resource", "../b.md"),
    "an attempt that is a text": ("attempt", "first"),
    "an attempt beyond all": ("attempt", 2**62),
    "another version": ("version", 77),
}
PLACES = {"the first": 1, "one in the middle": 5, "the last": 0}


async def a_job(service: Service, http: aiohttp.ClientSession) -> str:
    """A job with some progress, which failed."""
    body = {"ssh_host": "127.0.0.1", "ssh_port": silent_port(), "ui_home": "/ui", "resources": ["a.md"]}
    async with http.post(f"{service.url}/resources/install", json=body) as response:
        job_id = str((await response.json())["job_id"])
    while (await get(http, service, job_id))["state"] != "running":
        await asyncio.sleep(0.01)
    for event in (
        types.ResourceStarted(title="A", card_sha256="0" * 64),
        types.StageStart(name="A"),
        *(types.Progress(stage="model", percent=percent, downloaded_bytes=percent) for percent in range(10)),
        types.Output(line="a line"),
    ):
        await service._journal.append(job_id, [NewEvent(event=event, resource="a.md", attempt=1)])
    end = types.JobFailed(error="e", cause="tls", hint="h", installed=0, total=1, results=[])
    await service._journal.append(job_id, [NewEvent(event=end)])
    return job_id


async def get(http: aiohttp.ClientSession, service: Service, job_id: str, path: str = "") -> Any:
    async with http.get(f"{service.url}/resources/jobs/{job_id}{path}") as response:
        assert response.status == 200, await response.text()
        return json.loads(await response.text())


async def text(http: aiohttp.ClientSession, service: Service, job_id: str, path: str, accept: str) -> str:
    url = f"{service.url}/resources/jobs/{job_id}{path}"
    async with http.get(url, headers={"Accept": accept}) as response:
        assert response.status == 200
        return await response.text()


def damage(path: Path, job_id: str, sequence: int, column: str, value: object) -> None:
    with sqlite3.connect(path) as connection:
        statement = f"update events set {column} = ? where job_id = ? and sequence = ?"
        assert connection.execute(statement, (value, job_id, sequence)).rowcount == 1
    connection.close()


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("what", list(DAMAGES))
async def test_everything_goes_on(tmp_path: Path, what: str, place: str) -> None:
    write_card(tmp_path, "a.md")
    column, value = DAMAGES[what]
    async with running(tmp_path) as service, aiohttp.ClientSession() as http:
        job_id = await a_job(service, http)
        before = await get(http, service, job_id)
        last = before["last_sequence"]
        damage(tmp_path / "installer.sqlite3", job_id, PLACES[place] or last, column, value)
        everything = list(range(1, last + 1))

        page = await get(http, service, job_id, "/events?limit=10000")
        assert [event["sequence"] for event in page["events"]] == everything
        assert {event["job_id"] for event in page["events"]} == {job_id}
        lines = (await text(http, service, job_id, "/events", "application/x-ndjson")).removesuffix("\n").split("\n")
        assert [json.loads(line) for line in lines] == page["events"]
        followed = await text(http, service, job_id, "/events", "text/event-stream")
        datas = [line.removeprefix("data: ") for line in followed.split("\n") if line.startswith("data: ")]
        assert [json.loads(data) for data in datas] == page["events"]
        compact = await get(http, service, job_id, "/events?replay=compact")
        assert compact["events"]

        watcher = Watcher(service.url, job_id)
        assert (await watcher.join())["success"]
        async with asyncio.timeout(30):
            while len(watcher.received) < last:
                await asyncio.sleep(0.01)
        await watcher.leave()
        assert watcher.events == page["events"]

        report = await get(http, service, job_id, "/report?format=json")
        assert (report["job_id"], report["events"]) == (job_id, last)
        assert "<html" in await text(http, service, job_id, "/report", "text/html")
        assert (await get(http, service, job_id))["state"] == "failed"

        # The service stands beside it here; `rebuild` on the command line is this call after a stop.
        assert await rebuild(service._database) == 1
        after = await get(http, service, job_id)
        assert (after["state"], after["last_sequence"]) == ("failed", last)


@pytest.mark.parametrize("data", ['{"stage": "mo', '{"stage": ["model"], "percent": 5}', '{"percent": 5}'])
async def test_a_damaged_event_is_shown_as_such(tmp_path: Path, data: str) -> None:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as service, aiohttp.ClientSession() as http:
        job_id = await a_job(service, http)
        damage(tmp_path / "installer.sqlite3", job_id, 7, "data_json", data)
        page = await get(http, service, job_id, "/events?limit=10000")
        shown = page["events"][6]
        assert shown["type"] == "event_damaged"
        assert set(shown) >= {"job_id", "sequence", "at", "damaged", "text"}
        report = await get(http, service, job_id, "/report?format=json")
        assert report["damaged_events"] == 1


async def test_the_end_stays_the_end(tmp_path: Path) -> None:
    write_card(tmp_path, "a.md")
    async with running(tmp_path) as service, aiohttp.ClientSession() as http:
        job_id = await a_job(service, http)
        last = (await get(http, service, job_id))["last_sequence"]
        damage(tmp_path / "installer.sqlite3", job_id, last, "data_json", "garbage")
        end = (await get(http, service, job_id, "/events?limit=10000"))["events"][-1]
        assert end["type"] in TERMINAL
        assert (end["success"], end["results"], end["damaged"]) == (False, [], True)
