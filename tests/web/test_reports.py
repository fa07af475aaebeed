"""The post-mortem and the compact replay, from real logs of events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import socketio

from service.app import Service
from service.events import event_types as types
from service.events.recorded_event import NewEvent
from tests.e2e.test_clients import begun_job
from tests.kit.running import running
from tests.kit.service import EVENT_NAMES, NAMESPACE, connect, until

FAILED = types.ResourceFailed(
    cause="not_found", error="exit status 8: ERROR 404: Not Found.", hint="h", exit_code=8, seconds=1.0, tail=["x"]
)
LINES = ("Resolving host", "ERROR 404: Not Found.", "<img src=x onerror=alert(1)>")
ENDED: dict[str, Any] = {"installed": 0, "total": 1, "results": []}


def bar(stage: str, done: int) -> NewEvent:
    event = types.Progress(stage=stage, percent=done % 101, downloaded_bytes=done * 1000, total_bytes=10**9)
    return NewEvent(event=event, resource="a.md", attempt=1, source_offset=done)


async def get(service: Service, path: str, accept: str = "application/json") -> Any:
    async with aiohttp.ClientSession() as http, http.get(service.url + path, headers={"Accept": accept}) as response:
        assert response.status == 200, await response.text()
        return await (response.json() if accept == "application/json" else response.text())


async def failed_job(service: Service, folder: Path, bars: int) -> str:
    job_id = await begun_job(service, folder)
    started = types.ResourceStarted(title="A", card_sha256="0" * 64)
    record = service._journal.append
    await record(job_id, [NewEvent(event=started, resource="a.md", attempt=1)])
    for begin in range(0, bars, 2_000):
        await record(job_id, [bar("model", n) for n in range(begin, min(begin + 2_000, bars))])
    lines = [
        NewEvent(event=types.Output(line=line), resource="a.md", attempt=1, source_offset=bars + n)
        for n, line in enumerate(LINES)
    ]
    await record(job_id, [bar("images", 3), *lines, NewEvent(event=FAILED, resource="a.md", attempt=1)])
    ended = types.JobFailed(error="a.md: gone", cause="not_found", hint="h", **ENDED)
    await record(job_id, [NewEvent(event=ended)])
    return job_id


async def test_the_report_shows_the_cause_and_its_evidence(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        job_id = await failed_job(service, tmp_path, 500)
        report = await get(service, f"/resources/jobs/{job_id}/report")
        assert report == await get(service, f"/resources/jobs/{job_id}/report")
        history = (await get(service, f"/resources/jobs/{job_id}/events"))["events"]
        by_sequence = {event["sequence"]: event for event in history}
        (failure,) = report["failures"]
        assert (failure["cause"], failure["retry_would_help"]) == ("not_found", False)
        line, verdict = failure["evidence"]
        assert by_sequence[line["sequence"]]["line"] == line["line"] == "ERROR 404: Not Found."
        assert line["source_offset"] == 501
        assert by_sequence[verdict["sequence"]]["type"] == "resource_failed"
        assert (report["state"], report["cause"], report["events"]) == ("failed", "not_found", len(history))
        assert report["last_lines"] == list(LINES)
        assert [span["kind"] for span in report["timeline"]] == ["queue", "connect", "download"]
        assert all(span["seconds"] >= 0 for span in report["timeline"])
        (attempt,) = report["attempts"]
        assert (attempt["bytes"], attempt["outcome"], attempt["exit_code"]) == (499_000 + 3_000, "failed", 8)
        assert sum(report["throughput"]["bytes_per_second"]) > 0
        page = await get(service, f"/resources/jobs/{job_id}/report", "text/html")
        assert "&lt;img src=x onerror=alert(1)&gt;" in page
        assert "<img" not in page
        assert "not_found" in page
        groups = (await get(service, "/resources/failures?since=2020-01-01T00:00:00Z"))["failures"]
        assert [(g["cause"], g["host"], g["card"], g["count"]) for g in groups] == [
            ("not_found", "127.0.0.1", "a.md", 1)
        ]
        assert (await get(service, "/resources/failures?since=2999-01-01"))["failures"] == []


class Screen:
    """A late client that asks for the compact replay."""

    def __init__(self, service: Service, job_id: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.skipped: list[Sequence[int]] = []
        self._service = service
        self._job_id = job_id
        self._client = socketio.AsyncClient(reconnection=False)
        for name in EVENT_NAMES:
            self._client.on(name, self.events.append, namespace=NAMESPACE)
        self._client.on("resource_install_skipped", lambda said: self.skipped.extend(said["skipped"]), NAMESPACE)

    async def join(self) -> None:
        await connect(self._client, self._service.url, transports=["websocket"])
        wanted = {"job_id": self._job_id, "replay": "compact"}
        assert (await self._client.call("subscribe_install", wanted, namespace=NAMESPACE))["success"]

    async def leave(self) -> None:
        await self._client.disconnect()


async def test_the_compact_replay_says_what_it_skips(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        job_id = await failed_job(service, tmp_path, 3_000)
        history = (await get(service, f"/resources/jobs/{job_id}/events?limit=10000"))["events"]
        page = await get(service, f"/resources/jobs/{job_id}/events?replay=compact")
        wanted = [e for e in history if e["type"] not in ("progress", "output")]
        last = {e["stage"]: e for e in history if e["type"] == "progress"}
        wanted = sorted([*wanted, *last.values()], key=lambda event: int(event["sequence"]))
        assert page["events"] == wanted
        seen = {e["sequence"] for e in page["events"]}
        seen |= {n for first, upto in page["skipped"] for n in range(first, upto + 1)}
        assert seen == set(range(1, len(history) + 1))
        assert sum(upto - first + 1 for first, upto in page["skipped"]) == len(history) - len(wanted)
        screen = Screen(service, job_id)
        await screen.join()
        await until(lambda: screen.events and screen.events[-1]["type"] == "job_failed")
        assert screen.events == wanted
        assert screen.skipped == page["skipped"]
        await screen.leave()


async def test_live_events_follow_a_compact_replay_in_full(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        job_id = await begun_job(service, tmp_path)
        await service._journal.append(job_id, [bar("model", n) for n in range(100)])
        screen = Screen(service, job_id)
        await screen.join()
        await until(lambda: screen.events and screen.events[-1].get("downloaded_bytes") == 99_000)
        await service._journal.append(job_id, [bar("model", n) for n in range(100, 120)])
        await until(lambda: screen.events[-1].get("downloaded_bytes") == 119_000)
        sequences = [event["sequence"] for event in screen.events]
        assert sequences[-21:] == list(range(sequences[-1] - 20, sequences[-1] + 1))
        await screen.leave()


async def test_a_job_of_36_000_events(tmp_path: Path) -> None:
    """How long it takes is printed; bounded is the time of the processor, which a busy machine does not change. The
    goals are 300 ms and 1 s."""
    async with running(tmp_path) as service:
        job_id = await failed_job(service, tmp_path, 36_000)
        took = {}
        for name, path in (("compact", "events?replay=compact"), ("report", "report")):
            begin, begin_processor = time.perf_counter(), time.process_time()
            await get(service, f"/resources/jobs/{job_id}/{path}")
            took[name] = time.process_time() - begin_processor
            print(f"{name}: {1000 * (time.perf_counter() - begin):.0f} ms, {1000 * took[name]:.0f} of the processor")
        assert took["compact"] < 2
        assert took["report"] < 5
