"""The description of the Socket.IO interface: it covers every event that the handlers take and that a client gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio
from jsonschema import Draft202012Validator

from service.app import VERSION
from service.web import socket_events
from service.web.asyncapi import document
from tests.kit.ports import free_port
from tests.kit.running import running, write_card
from tests.kit.service import NAMESPACE, connect, until


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(VERSION)


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [ref for each in value for ref in references(each)]
    if not isinstance(value, dict):
        return []
    return [value["$ref"]] if "$ref" in value else references(list(value.values()))


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    found = references(described)
    assert found
    for reference in found:
        target = described
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


async def test_what_is_handled_and_sent_is_described(described: dict[str, Any], tmp_path: Path) -> None:
    """One client subscribes, also with mistakes, and leaves: everything that it receives fits the description."""
    operations = described["operations"]
    received: list[tuple[str, Any]] = []

    def fits(message: str, payload: Any) -> None:
        schema = {**described["components"]["messages"][message]["payload"], "components": described["components"]}
        Draft202012Validator(schema).validate(payload)

    write_card(tmp_path, "a.md")
    body = {"ssh_host": "127.0.0.1", "ssh_port": free_port(), "ui_home": "/ui", "resources": ["a.md"]}
    async with running(tmp_path) as service, aiohttp.ClientSession(base_url=service.url) as http:
        async with http.get("/asyncapi.json") as response:
            assert await response.json() == json.loads(json.dumps(described))
        handled = set(service._sockets.server.handlers[NAMESPACE]) - {"connect", "disconnect"}
        assert handled == {name for name, operation in operations.items() if operation["action"] == "receive"}
        async with http.post("/resources/install", json=body) as response:
            job_id = (await response.json())["job_id"]
        client = socketio.AsyncClient(reconnection=False)
        client.on("*", lambda name, payload: received.append((name, payload)), namespace=NAMESPACE)
        await connect(client, service.url)
        for name, wanted in (
            ("subscribe_install", {"job_id": job_id, "replay": "compact"}),
            ("subscribe_install", {"job_id": "nope"}),
            ("subscribe_install", {"job_id": job_id, "after": -1}),
            ("unsubscribe_install", {"job_id": "nope"}),
        ):
            fits(f"{name}_answer", await client.call(name, wanted, namespace=NAMESPACE))
        await until(
            lambda: (
                {socket_events.SUBSCRIBED, socket_events.SKIPPED, socket_events.ERROR, socket_events.STATUS}
                <= {name for name, _ in received}
            )
        )
        fits(
            "unsubscribe_install_answer",
            await client.call("unsubscribe_install", {"job_id": job_id}, namespace=NAMESPACE),
        )
        await client.disconnect()
    for name, payload in received:
        assert operations[name]["action"] == "send"
        fits(name, payload)
