"""The description of the API: complete, valid, and true of a running service, which schemathesis tries to refute."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import aiohttp
import pytest
from aiohttp import hdrs, web
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from sqlalchemy import select

from service.app import VERSION, Service
from service.store.tables import jobs
from service.web import (
    answers,
    bundle_answers,
    instance_answers,
    key_answers,
    receiver_answers,
    router,
    workflow_answers,
)
from service.web.endpoint import JSON, Endpoint
from service.web.endpoints import ENDPOINTS, INSTALL_EXAMPLE
from service.web.openapi import document
from service.web.requests import InstallRequest, parse
from service.web.workflow_endpoints import WORKFLOW_EXAMPLE
from tests.events.golden import TRANSCRIPTS, exit_code
from tests.events.golden import parse as parsed
from tests.kit.ports import free_port
from tests.kit.running import card_text, running, write_card

TOKEN = "a-token-for-the-tests"
CARD = "checkpoints/flux_schnell.md"
TRY_SECONDS_MAX = 560
# A schema cannot say which job waits in which queue, or which card is broken: a request that fits it can still be
# refused. All other checks keep the defaults of the tool.
RULES = "\n".join(
    f"""
[[operations]]
include-name = "{name}"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 412, 428, "5xx"]
checks.negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"""
    for name in (
        *(
            "POST /resources/jobs/{job_id}/move",
            "POST /resources/install",
            "POST /resources/preview",
            "POST /resources",
        ),
        *(
            "GET /resources/{path}",
            "PUT /resources/{path}",
            "DELETE /resources/{path}",
            "GET /resources/{path}/picture",
        ),
        *(
            "POST /keys/ssh",
            "DELETE /keys/ssh",
            "DELETE /keys/{name}",
            "POST /keys/{name}/check",
            "POST /instances/check",
            "GET /instances/{instance}",
            "GET /instances/{instance}/models",
            "POST /instances/{instance}/removals",
        ),
        *("POST /workflows/inspect", "POST /catalogue/refresh"),
        *("GET /vast/instances", "POST /vast/instances/{id}/stop", "DELETE /vast/instances/{id}"),
        *("GET /resources/export", "POST /resources/import"),
        *("POST /receivers", "DELETE /receivers/{receiver_id}", "POST /receivers/{receiver_id}/test"),
    )
)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(VERSION)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_card(tmp_path, CARD)
    write_card(tmp_path, "loras/b.md", front=f"dependencies: [{CARD}]\nsize: 5\nstars: 3\n")
    (tmp_path / "resources/loras/broken.md").write_text("no front matter", encoding="utf-8")
    return tmp_path


@pytest.fixture
async def service(folder: Path) -> AsyncIterator[Service]:
    async with running(folder) as started:
        yield started


def routes(service: Service) -> Iterator[tuple[str, str]]:
    """Method and path of every route of the API, without those of the pages and of Socket.IO."""
    for route in service._runner.app.router.routes():
        if route.handler.__module__ == router.__name__ and route.method != hdrs.METH_HEAD:
            assert isinstance(route.resource, web.Resource)
            yield route.method.lower(), route.resource.canonical


async def test_no_route_is_missing_and_none_is_invented(service: Service, described: dict[str, Any]) -> None:
    described_routes = {(method, path) for path, methods in described["paths"].items() for method in methods}
    assert described_routes == set(routes(service))
    assert len(described_routes) == len(ENDPOINTS)


def test_it_is_openapi(described: dict[str, Any]) -> None:
    validate(described)
    assert described["openapi"].startswith("3.1")
    ids = [operation["operationId"] for methods in described["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)


def test_what_clients_were_promised_is_still_there(described: dict[str, Any]) -> None:
    """Names that were published once stay; more may be added."""
    promised = json.loads((Path(__file__).parent / "contract.json").read_text(encoding="utf-8"))
    for route, once in promised["paths"].items():
        method, _, path = route.partition(" ")
        now = described["paths"][path][method.lower()]
        assert now["operationId"] == once["name"]
        assert set(once["parameters"]) <= {f"{each['in']} {each['name']}" for each in now.get("parameters", [])}, route
        assert set(once["answers"]) <= set(now["responses"]), route
    for name, fields in promised["fields"].items():
        assert set(fields) <= set(described["components"]["schemas"][name]["properties"]), name


def test_the_example_is_a_request() -> None:
    assert parse(InstallRequest, json.dumps(INSTALL_EXAMPLE).encode()).resources == [CARD]


def event_schema(described: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({"$ref": "#/components/schemas/Event", "components": described["components"]})


def test_all_that_the_tools_print_fits_the_events(described: dict[str, Any]) -> None:
    validator, kinds = event_schema(described), set()
    head = {"job_id": "j", "sequence": 1, "at": "2026-01-31T00:00:00.000Z", "resource": "a.md", "attempt": 1}
    for path in TRANSCRIPTS:
        for new in parsed([path.read_bytes()], exit_code(path))[:50]:
            validator.validate({**head, **new.event.to_dict()})
            kinds.add(new.event.type)
    assert kinds == {"stage_start", "progress", "stage_complete", "output"}


@pytest.mark.parametrize(
    "wrong", [{"percent": "45"}, {"stage": None}, {"sequence": 0}, {"type": "job_started", "at": None}]
)
def test_a_malformed_event_does_not_fit(described: dict[str, Any], wrong: dict[str, Any]) -> None:
    good = {"type": "progress", "job_id": "j", "sequence": 1, "at": "2026-01-31T00:00:00.000Z", "stage": "model"}
    assert event_schema(described).is_valid(good)
    assert not event_schema(described).is_valid({**good, **wrong})


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_handler_takes_what_is_declared_and_returns_it(endpoint: Endpoint) -> None:
    services, *arguments = inspect.signature(endpoint.handler).parameters.values()
    assert services.name == "services"
    assert all(argument.kind is argument.KEYWORD_ONLY for argument in arguments)
    declared = {parameter.argument for parameter in endpoint.parameters}
    declared |= {"body"} if endpoint.body is not None else set()
    declared |= {"content_type"} if len(endpoint.content_types) > 1 else set()
    assert {argument.name for argument in arguments} == declared
    hints = get_type_hints(endpoint.handler)
    if endpoint.body is not None:
        assert hints["body"] is endpoint.body
    answer = (
        endpoint.answer[JSON] if JSON in endpoint.content_types and len(endpoint.content_types) > 1 else endpoint.answer
    )
    if isinstance(answer, type) and answer is not answers.EventPage:
        returned = hints["return"]
        assert answer in (get_args(returned) or (returned,))


def closed(schema: Any) -> Any:
    """The schema, with no field allowed that it does not describe."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **inner} if schema.get("type") == "object" else inner


class Asked:
    """Answers of a service, each validated by its description: a field that nobody described fails."""

    def __init__(self, service: Service) -> None:
        self._url = service.url
        schemas = document(VERSION)["components"]["schemas"]
        events = {name: schema for name, schema in schemas.items() if name.endswith("Event")}
        self._components = {"schemas": {name: closed(schema) for name, schema in schemas.items()} | events}

    async def asked(self, model: type, method: str, path: str, status: int = 200, **more: Any) -> Any:
        async with aiohttp.ClientSession() as http, http.request(method, self._url + path, **more) as response:
            answer = await response.json()
            assert response.status == status, answer
        schema = {"$ref": f"#/components/schemas/{model.__name__}", "components": self._components}
        Draft202012Validator(schema).validate(answer)
        return answer


async def test_answers_are_what_the_models_say(folder: Path, described: dict[str, Any]) -> None:
    wanted = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/ui", "resources": ["loras/b.md"]}
    async with running(folder) as service:
        asked = Asked(service).asked
        job_id = (await asked(answers.Accepted, "POST", "/resources/install", 202, json=wanted))["job_id"]
        await asked(answers.Accepted, "POST", "/resources/install", 202, json=wanted)
        path = f"/resources/jobs/{job_id}"
        await asked(answers.Controlled, "PATCH", path, 202, json={"bandwidth_limit": 2048})
        await asked(answers.Conflict, "POST", f"{path}/retry", 409)
        instance = f"root@127.0.0.1:{wanted['ssh_port']}"
        await asked(answers.ControlledJobs, "POST", f"/resources/instances/{instance}/pause", 202)
        await asked(answers.ControlledJobs, "POST", f"/resources/instances/{instance}/resume", 202)
    # The next service gives up its first connection soon: then the job's report holds a failure.
    async with running(folder, connect_timeout=1) as service:
        asked = Asked(service).asked
        async with asyncio.timeout(60):
            while (await asked(answers.JobView, "GET", path))["state"] != "failed":
                await asyncio.sleep(0.1)
        await asked(answers.JobPage, "GET", "/resources/jobs?limit=1")
        assert (await asked(answers.Report, "GET", f"{path}/report"))["failures"]
        assert (await asked(answers.FailureGroups, "GET", "/resources/failures"))["failures"]
        assert (await asked(answers.EventPage, "GET", f"{path}/events?replay=compact"))["skipped"] == []
        for event in (await asked(answers.EventPage, "GET", f"{path}/events"))["events"]:
            event_schema(described).validate(event)
        assert (await asked(answers.Cards, "GET", "/resources"))["broken"]
        assert (await asked(answers.CardWithScript, "GET", "/resources/loras/b.md"))["stars"] == 3
        await asked_about_cards(asked, folder)
        await asked_about_keys(asked)
        await asked_about_instances(asked, instance)
        await asked_about_receivers(asked)
        await asked_about_bundles(asked)
        await asked(answers.Health, "GET", "/healthz")
        await asked(answers.Readiness, "GET", "/readyz")
        assert (await asked(answers.ReplicaViews, "GET", "/replicas"))["replicas"][0]["is_this"]
        again = await asked(answers.Controlled, "POST", f"{path}/retry", 202)
        await asked(answers.Refusal, "POST", f"/resources/jobs/{again['job_id']}/move", 400, json={"before": ""})
        await asked(answers.Deleted, "DELETE", path)
        for status, method, where, more in (
            (400, "GET", "/resources/jobs?limit=0", {}),
            (404, "GET", path, {}),
            (404, "GET", "/nothing", {}),
            (405, "GET", "/resources/install", {}),
            (415, "POST", "/resources/install", {"data": "x"}),
            (403, "GET", "/resources", {"headers": {"Origin": "https://evil.example"}}),
        ):
            await asked(answers.Refusal, method, where, status, **more)


async def asked_about_keys(asked: Any) -> None:
    await asked(key_answers.ChangedKey, "PUT", "/keys/civitai", json={"value": "0123456789abcdef0123456789abcdef"})
    await asked(key_answers.KeyList, "GET", "/keys")
    await asked(key_answers.MadeSshKey, "POST", "/keys/ssh", 201)
    await asked(answers.Conflict, "POST", "/keys/ssh", 409)
    await asked(key_answers.DeletedKey, "DELETE", "/keys/ssh")
    await asked(answers.Refusal, "POST", "/keys/vast/check", 404)


async def asked_about_instances(asked: Any, instance: str) -> None:
    where = {"ssh_host": "127.0.0.1", "ssh_port": free_port()}
    assert not (await asked(instance_answers.CheckedInstance, "POST", "/instances/check", json=where))["ok"]
    await asked(instance_answers.InstanceList, "GET", "/instances")
    assert (await asked(instance_answers.InstanceDetail, "GET", f"/instances/{instance}"))["recent"]
    await asked(answers.Refusal, "GET", f"/instances/{instance}/models", 502)
    await asked(answers.Refusal, "GET", "/vast/instances", 400)
    await asked(answers.Refusal, "DELETE", "/vast/instances/5", 403)
    workflow = {"workflow": WORKFLOW_EXAMPLE}
    assert (await asked(workflow_answers.InspectedWorkflow, "POST", "/workflows/inspect", json=workflow))["models"]
    await asked(workflow_answers.CataloguePage, "GET", "/catalogue?search=x")
    paths = {"ui_home": "/ui", "paths": ["x.pt"]}
    await asked(instance_answers.StartedRemoval, "POST", f"/instances/{instance}/removals", 202, json=paths)


async def asked_about_bundles(asked: Any) -> None:
    bundle = await asked(bundle_answers.Bundle, "GET", "/resources/export?cards=loras/b.md")
    shown = await asked(bundle_answers.Import, "POST", "/resources/import", json={"bundle": bundle})
    assert not shown["saved"]
    confirmed = {"bundle": bundle, "confirm": shown["digest"]}
    assert (await asked(bundle_answers.Import, "POST", "/resources/import", json=confirmed))["saved"]
    found = await asked(bundle_answers.CardInstalls, "GET", "/resources/loras/b.md/installs")
    assert "failed" in {each["state"] for each in found["installs"]}
    await asked(answers.Refusal, "GET", "/resources/export?cards=none.md", 404)


async def asked_about_receivers(asked: Any) -> None:
    wanted = {"url": "https://hooks.example/x", "events": ["failed"]}
    added = await asked(receiver_answers.AddedReceiver, "POST", "/receivers", 201, json=wanted)
    await asked(receiver_answers.ReceiverList, "GET", "/receivers")
    path = f"/receivers/{added['receiver_id']}"
    assert not (await asked(receiver_answers.TestedReceiver, "POST", f"{path}/test"))["delivered"]
    await asked(receiver_answers.DeletedReceiver, "DELETE", path)
    await asked(answers.Refusal, "DELETE", path, 404)
    await asked(answers.Refusal, "POST", "/receivers", 400, json={"url": "http://127.0.0.1/"})


async def asked_about_cards(asked: Any, folder: Path) -> None:
    text = card_text("new", "echo new")
    made = await asked(answers.SavedCard, "POST", "/resources", 201, json={"path": "new.md", "card": text})
    seen = {"If-Match": f'"{made["sha256"]}"'}
    await asked(answers.Conflict, "POST", "/resources", 409, json={"path": "new.md", "card": text})
    await asked(answers.Refusal, "PUT", "/resources/new.md", 428, json={"card": text})
    await asked(answers.SavedCard, "PUT", "/resources/new.md", json={"card": text + "# more"}, headers=seen)
    await asked(answers.Refusal, "DELETE", "/resources/new.md", 412, headers=seen)
    await asked(answers.DeletedCard, "DELETE", "/resources/new.md", headers={"If-Match": "*"})
    await asked(answers.Refusal, "POST", "/resources/preview", 400, json={"url": "http://127.0.0.1/x.pth"})
    await asked(answers.Refusal, "GET", "/resources/loras/b.md/picture", 404)


async def test_the_content_types_of_a_history(service: Service, described: dict[str, Any]) -> None:
    wanted = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/ui", "resources": [CARD]}
    async with aiohttp.ClientSession(base_url=service.url) as http:
        async with http.post("/resources/install", json=wanted) as response:
            path = response.headers["Location"]
        responses = described["paths"]["/resources/jobs/{job_id}/events"]["get"]["responses"]
        for content_type in responses["200"]["content"]:
            async with http.get(f"{path}/events", headers={"Accept": content_type}) as response:
                assert (response.status, response.content_type) == (200, content_type)
        async with http.get(f"{path}/events", headers={"Last-Event-ID": "x"}) as response:
            assert response.status == 400


async def test_whole_numbers_may_be_written_as_floats() -> None:
    """To a JSON schema, 22.0 is an integer."""
    body = json.dumps({**INSTALL_EXAMPLE, "ssh_port": 22.0})
    assert parse(InstallRequest, body.encode()).ssh_port == 22


async def fetched(service: Service) -> bytes:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession() as http, http.get(f"{service.url}/openapi.json", headers=headers) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return await response.read()


async def one_failed_job(service: Service) -> None:
    body = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/ui", "resources": [CARD]}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with asyncio.timeout(60), aiohttp.ClientSession(base_url=service.url, headers=headers) as http:
        async with http.post("/resources/install", json=body) as response:
            path = response.headers["Location"]
        while True:
            async with http.get(path) as response:
                if (await response.json())["state"] == "failed":
                    return
            await asyncio.sleep(0.1)


async def nowhere(host: str, port: int) -> list[str]:
    """Every name leads to an address that is refused, so a link is the caller's mistake and no site's."""
    return ["127.0.0.1"]


class _Nowhere:
    """Every name leads to an address that is refused."""

    async def addresses(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]


async def tried(folder: Path, *options: str) -> None:
    """Run schemathesis with all its checks against a service of its own; it must find nothing."""
    write_card(folder, CARD)
    write_card(folder, "loras/b.md")
    (folder / "resources/loras/broken.md").write_text("no front matter", encoding="utf-8")
    (folder / "schemathesis.toml").write_text(RULES, encoding="utf-8")
    program = Path(sys.executable).with_name("schemathesis")
    async with running(folder, api_token=TOKEN, connect_timeout=1, private_targets=True) as service:
        await one_failed_job(service)
        # From here on no job is claimed: the service must never connect to the hosts that the tool makes up.
        await service._worker.stop()
        # Nor does a link lead anywhere.
        service._outbound._resolve = nowhere
        # Nor is an instance asked.
        service._connector._private_targets = False
        service._connector._lookups = _Nowhere()  # type: ignore[assignment]
        # From a file: the tool does not test the address that it fetched a schema from.
        (folder / "openapi.json").write_bytes(await fetched(service))
        process = await asyncio.create_subprocess_exec(
            program,
            "run",
            "openapi.json",
            *("--url", service.url, "--header", f"Authorization: Bearer {TOKEN}", "--checks", "all", "--no-color"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--request-timeout", "60"),
            # The time that the tool takes to make up its data says nothing about the service.
            *("--suppress-health-check", "too_slow"),
            *options,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), TRY_SECONDS_MAX)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, said.decode()
        assert f"Tested: {len(ENDPOINTS)}" in said.decode()
        async with service._database.read() as connection:
            states = set((await connection.execute(select(jobs.c.state))).scalars())
        assert "running" not in states


@pytest.mark.timeout(600)
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    await tried(tmp_path, "--max-examples", "4", "--generation-deterministic")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_schemathesis_finds_nothing_for_longer(tmp_path: Path, seed: int) -> None:
    await tried(tmp_path, "--max-examples", "100", "--seed", str(seed))
