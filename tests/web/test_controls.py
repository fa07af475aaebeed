"""Each control in each standing of a job: the answer, and the events in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import Service
from service.events import event_types as types
from service.events.event_types import Event
from service.events.job import Standing
from service.events.recorded_event import NewEvent
from service.runner.controls import POSSIBLE
from tests.kit.ports import silent_port
from tests.kit.running import running, write_card

ENDED: dict[str, Any] = {"installed": 0, "total": 2, "results": []}
FAILED = types.ResourceFailed(cause="network", error="e", hint="h", exit_code=1, seconds=1.0, tail=[])
INSTALLED = types.ResourceInstalled(exit_code=0, seconds=1.0)
# The events that bring a running job to each standing.
LEADING_TO: dict[str, list[tuple[Event, str | None]]] = {
    "running": [],
    "cancelling": [(types.CancelRequested(), None)],
    "paused": [(types.JobPaused(), None)],
    "completed": [(types.JobCompleted(**ENDED), None)],
    "failed": [
        (INSTALLED, "a.md"),
        (FAILED, "b.md"),
        (types.JobFailed(error="e", cause="network", hint="h", **ENDED), None),
    ],
    "cancelled": [(types.JobCancelled(error="e", cause="cancelled", hint="h", **ENDED), None)],
}
STANDINGS = ("queued", "paused in the queue", *LEADING_TO)
CALLS: dict[str, tuple[str, str, Any]] = {
    "pause": ("POST", "/pause", None),
    "resume": ("POST", "/resume", None),
    "cancel": ("POST", "/cancel", None),
    "retry": ("POST", "/retry", None),
    "move": ("POST", "/move", {"before": "last"}),
    "change": ("PATCH", "", {"bandwidth_limit": 2_000_000}),
    "delete": ("DELETE", "", None),
}


class World:
    """A service that cannot reach its instance: what it claims stays running, the rest of the queue stays queued."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.port = silent_port()
        for name in ("a.md", "b.md"):
            write_card(folder, name)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.service.url + path, json=body, headers=headers) as response,
        ):
            return response.status, await response.json()

    async def install(self, **more: Any) -> str:
        body = {"ssh_host": "127.0.0.1", "ssh_port": self.port, "ui_home": "/ui", "resources": ["a.md", "b.md"], **more}
        status, answer = await self.call("POST", "/resources/install", body)
        assert status == 202, answer
        return str(answer["job_id"])

    async def running(self) -> str:
        job_id = await self.install()
        await self.reached(job_id, "running")
        return job_id

    async def reached(self, job_id: str, state: str) -> None:
        async with asyncio.timeout(60):
            while (await self.job(job_id))["state"] != state:
                await asyncio.sleep(0.01)

    async def job(self, job_id: str) -> Any:
        return (await self.call("GET", f"/resources/jobs/{job_id}"))[1]

    async def history(self, job_id: str) -> list[dict[str, Any]]:
        return list((await self.call("GET", f"/resources/jobs/{job_id}/events"))[1]["events"])

    async def types_of(self, job_id: str) -> list[str]:
        return [event["type"] for event in await self.history(job_id) if event["type"] != "queue_position_changed"]

    async def control(self, job_id: str, name: str) -> tuple[int, Any]:
        method, path, body = CALLS[name]
        return await self.call(method, f"/resources/jobs/{job_id}{path}", body)

    async def job_in(self, standing: str) -> str:
        if standing in ("queued", "paused in the queue"):
            await self.running()
            await self.install()
            job_id = await self.install()
            if standing != "queued":
                assert (await self.control(job_id, "pause"))[0] == 202
            return job_id
        job_id = await self.running()
        for event, resource in LEADING_TO[standing]:
            await self.service._journal.append(job_id, [NewEvent(event=event, resource=resource)])
        return job_id


EVENTS = {"pause": "job_paused", "resume": "job_resumed", "change": "limits_changed"}


@pytest.mark.parametrize("control", list(CALLS))
@pytest.mark.parametrize("standing", STANDINGS)
async def test_each_control_in_each_standing(tmp_path: Path, standing: str, control: str) -> None:
    async with running(tmp_path) as service:
        await control_in_standing(World(service, tmp_path), standing, control)


@pytest.mark.parametrize(("standing", "control"), [("running", "pause"), ("queued", "move"), ("failed", "retry")])
async def test_controls_on_postgres(tmp_path: Path, postgres_url: str, standing: str, control: str) -> None:
    async with running(tmp_path, database_url=postgres_url) as service:
        await control_in_standing(World(service, tmp_path), standing, control)


@pytest.mark.long
@pytest.mark.parametrize("control", list(CALLS))
@pytest.mark.parametrize("standing", STANDINGS)
async def test_each_control_in_each_standing_on_postgres(
    tmp_path: Path, postgres_url: str, standing: str, control: str
) -> None:
    async with running(tmp_path, database_url=postgres_url) as service:
        await control_in_standing(World(service, tmp_path), standing, control)


async def control_in_standing(world: World, standing: str, control: str) -> None:
    job_id = await world.job_in(standing)
    before = await world.types_of(job_id)
    allowed = () if standing == "cancelling" else POSSIBLE[Standing(standing)]
    assert (await world.job(job_id))["possible"] == list(allowed)
    status, answer = await world.control(job_id, control)
    if control not in allowed:
        assert (status, answer["success"], answer["possible"]) == (409, False, list(allowed)), answer
        assert control in answer["message"]
        assert answer["state"] == (await world.job(job_id))["state"]
        assert await world.types_of(job_id) == before
        return
    assert (status, answer["success"]) == (200 if control == "delete" else 202, True), answer
    if control == "delete":
        assert (await world.call("GET", f"/resources/jobs/{job_id}"))[0] == 404
        assert (await world.call("GET", f"/resources/jobs/{job_id}/events"))[0] == 404
    elif control == "retry":
        assert answer["retry_of"] == job_id != answer["job_id"]
        wanted = ["b.md"] if standing == "failed" else ["a.md", "b.md"]
        assert [resource["resource"] for resource in answer["resources"]] == wanted
        assert await world.types_of(job_id) == before
    elif control == "cancel":
        started = standing in ("running", "paused")
        added = await world.types_of(job_id)
        assert added[len(before)] == ("cancel_requested" if started else "job_cancelled")
        assert await ended(world, job_id) == "cancelled"
    elif control == "move":
        # It is the last already: nothing changes.
        assert await world.types_of(job_id) == before
        assert answer["queue_position"] == (2 if standing == "queued" else None)
    else:
        assert await world.types_of(job_id) == [*before, EVENTS[control]]
        state = {"pause": "paused", "change": answer["state"]}.get(control)
        state = state or ("queued" if standing == "paused in the queue" else "running")
        assert (answer["state"], (await world.job(job_id))["state"]) == (state, state)


async def ended(world: World, job_id: str) -> str:
    async with asyncio.timeout(60):
        while (job := await world.job(job_id))["ended_at"] is None:
            await asyncio.sleep(0.02)
    assert (await world.types_of(job_id))[-1] == "job_cancelled"
    assert job["cause"] == "cancelled"
    assert {resource["state"] for resource in job["resources"]} == {"cancelled"}
    return str(job["state"])


@pytest.mark.parametrize("control", ["pause", "cancel", "retry", "change"])
async def test_two_at_once_have_one_effect(tmp_path: Path, control: str) -> None:
    async with running(tmp_path) as service:
        world = World(service, tmp_path)
        job_id = await world.job_in("failed" if control == "retry" else "running")
        answers = await asyncio.gather(*(world.control(job_id, control) for _ in range(5)))
        statuses = sorted(status for status, _ in answers)
        if control == "retry":
            assert statuses == [202] * 5
            assert len({answer["job_id"] for _, answer in answers}) == 1
        elif control == "change":
            assert (await world.types_of(job_id)).count("limits_changed") == 1
        else:
            assert statuses == [202, 409, 409, 409, 409]
            event = {"pause": "job_paused", "cancel": "cancel_requested"}[control]
            assert (await world.types_of(job_id)).count(event) == 1


async def test_the_queue_is_moved(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        world = World(service, tmp_path)
        await world.running()
        a, b, c, d = [await world.install() for _ in range(4)]

        async def order() -> list[str]:
            jobs = [await world.job(job_id) for job_id in (a, b, c, d)]
            return [job["job_id"] for job in sorted(jobs, key=lambda job: job["queue_position"])]

        async def told(job_id: str) -> list[int]:
            events = await world.history(job_id)
            return [event["queue_position"] for event in events if event["type"] == "queue_position_changed"]

        async def move(job_id: str, before: str) -> tuple[int, Any]:
            return await world.call("POST", f"/resources/jobs/{job_id}/move", {"before": before})

        assert await order() == [a, b, c, d]
        # Positions follow the decision; several changes at once give one event.
        async with asyncio.timeout(60):
            while await told(b) != [2]:
                await asyncio.sleep(0.01)
        assert (await move(d, "first"))[0] == 202
        assert await order() == [d, a, b, c]
        assert (await move(d, c))[0] == 202
        assert await order() == [a, b, d, c]
        assert (await move(a, "last"))[0] == 202
        assert await order() == [b, d, c, a]
        for _ in range(30):
            assert (await move(c, d))[0] == (await move(d, c))[0] == 202
        assert await order() == [b, d, c, a]
        status, answer = await move(a, "550e8400-e29b-41d4-a716-446655440000")
        assert (status, answer["errors"][0]["field"]) == (400, "before")
        status, answer = await world.call("POST", f"/resources/jobs/{a}/move", {"behind": "x"})
        assert (status, {error["field"] for error in answer["errors"]}) == (400, {"before", "behind"})
        async with asyncio.timeout(60):
            while (await told(b))[-1] != 1:
                await asyncio.sleep(0.01)


async def test_jobs_of_an_instance_are_claimed_in_the_order_of_its_queue(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        world = World(service, tmp_path)
        first = await world.running()
        a, b, c = [await world.install() for _ in range(3)]
        await world.call("POST", f"/resources/jobs/{c}/move", {"before": "first"})
        await world.control(a, "pause")
        for running_job, following in ((first, c), (c, b)):
            await world.control(running_job, "cancel")
            await ended(world, running_job)
            await world.reached(following, "running")
            waiting = [job_id for job_id in (a, b) if job_id != following]
            assert {(await world.job(job_id))["started_at"] for job_id in waiting} == {None}
        await world.control(b, "cancel")
        await ended(world, b)
        await asyncio.sleep(0.1)
        assert (await world.job(a))["state"] == "paused"
        await world.control(a, "resume")
        await world.reached(a, "running")


async def test_all_jobs_of_an_instance(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        world = World(service, tmp_path)
        jobs = [await world.running(), await world.install()]
        instance = (await world.job(jobs[0]))["instance"]
        status, answer = await world.call("POST", f"/resources/instances/{instance}/pause")
        assert (status, [job["job_id"] for job in answer["jobs"]]) == (202, jobs)
        assert [(await world.job(job_id))["state"] for job_id in jobs] == ["paused", "paused"]
        assert (await world.call("POST", f"/resources/instances/{instance}/pause"))[0] == 409
        status, answer = await world.call("POST", f"/resources/instances/{instance.partition('@')[2]}/resume")
        assert (status, [job["state"] for job in answer["jobs"]]) == (202, ["running", "queued"])
        status, answer = await world.call("POST", "/resources/instances/root@nowhere:22/pause")
        assert status == 404
        assert "nowhere" in answer["message"]


async def test_a_started_job_that_is_paused_keeps_its_instance(tmp_path: Path) -> None:
    async with running(tmp_path, max_concurrent_jobs=1) as service:
        world = World(service, tmp_path)
        first = await world.running()
        second = await world.install()
        await world.control(first, "pause")
        world.port = silent_port()
        elsewhere = await world.install()
        await world.reached(elsewhere, "running")
        assert (await world.job(second))["state"] == "queued"


async def test_an_idempotency_key(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        world = World(service, tmp_path)
        body = {"ssh_host": "127.0.0.1", "ssh_port": world.port, "ui_home": "/ui", "resources": ["a.md"]}
        same = dict(reversed(body.items()))

        async def post(wanted: Any, key: str) -> tuple[int, Any]:
            return await world.call("POST", "/resources/install", wanted, **{"Idempotency-Key": key})

        answers = await asyncio.gather(*(post(wanted, "key-1") for wanted in (body, same, body)))
        assert {status for status, _ in answers} == {202}
        assert len({answer["job_id"] for _, answer in answers}) == 1
        status, answer = await post({**body, "parallel": 2}, "key-1")
        assert (status, answer["errors"][0]["field"]) == (409, "Idempotency-Key")
        assert (await post(body, "key-2"))[1]["job_id"] != answers[0][1]["job_id"]
        assert (await post(body, "two words"))[0] == 400
    async with running(tmp_path) as service:
        world.service = service
        assert (await post(body, "key-1"))[1]["job_id"] == answers[0][1]["job_id"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"parallel": 9}, "parallel"),
        ({"parallel": 0}, "parallel"),
        ({"bandwidth_limit": 1}, "bandwidth_limit"),
        ({"bandwidth_limit": "2M"}, "bandwidth_limit"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"verify": "yes"}, "verify"),
    ],
)
async def test_impossible_options_are_refused(tmp_path: Path, more: dict[str, Any], field: str) -> None:
    async with running(tmp_path) as service:
        world = World(service, tmp_path)
        body = {"ssh_host": "h", "ssh_port": 22, "ui_home": "/ui", "resources": ["a.md"], **more}
        status, answer = await world.call("POST", "/resources/install", body)
        assert (status, [error["field"] for error in answer["errors"]]) == (400, [field])


async def test_an_unknown_job_allows_no_control(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        world = World(service, tmp_path)
        for name in CALLS:
            assert (await world.control("550e8400-e29b-41d4-a716-446655440000", name))[0] == 404
