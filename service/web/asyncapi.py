"""The description of the Socket.IO interface, AsyncAPI 3.0: made from the types of the events and the names under which
they are sent."""

from __future__ import annotations

from typing import Any

from service.web import socket_events
from service.web.openapi import definitions, event_kinds, event_schemas, types_of
from service.web.socket_events import (
    ERROR,
    EVENT_NAMES,
    NAMESPACE,
    SKIPPED,
    STATUS,
    SUBSCRIBE,
    SUBSCRIBED,
    UNSUBSCRIBE,
    Skipped,
    SocketRefusal,
    SubscribeAnswer,
    Subscribed,
    SubscribeRequest,
    UnknownJobError,
    UnsubscribeAnswer,
    UnsubscribeRequest,
    name_of,
)

CHANNEL = "resources"
_CHANNEL_REF = {"$ref": f"#/channels/{CHANNEL}"}
_NOTES = {
    SUBSCRIBE: "Follow a job: its history after `after`, then each new event. A second subscription to the same job "
    "replaces the first.",
    UNSUBSCRIBE: "Leave a job.",
    SUBSCRIBED: "The subscription begins.",
    SKIPPED: "Before a compact history: what it leaves out.",
}


def document(version: str) -> dict[str, Any]:
    """The whole description."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Resource installer",
            "version": version,
            "description": "The events of each job over Socket.IO: the history first, then live, in order, each once. "
            "A client sends the token as `auth: {token}`. The same events come over HTTP: see /openapi.json.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            CHANNEL: {
                "address": NAMESPACE,
                "description": "A namespace of Socket.IO. The name of a message is the name of the Socket.IO event.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages()},
            }
        },
        "operations": {
            **{name: _received(name) for name in (SUBSCRIBE, UNSUBSCRIBE)},
            **{name: _sent(name) for name in (SUBSCRIBED, SKIPPED, *_event_names())},
        },
        "components": {"messages": _messages(), "schemas": {**definitions(types_of(socket_events)), **event_schemas()}},
    }


def _event_names() -> list[str]:
    return sorted({*EVENT_NAMES.values(), STATUS})


def _messages() -> dict[str, Any]:
    return {
        SUBSCRIBE: _message(SUBSCRIBE, _ref(SubscribeRequest)),
        f"{SUBSCRIBE}_answer": _message(f"{SUBSCRIBE}_answer", _one_of(SubscribeAnswer, SocketRefusal)),
        UNSUBSCRIBE: _message(UNSUBSCRIBE, _ref(UnsubscribeRequest)),
        f"{UNSUBSCRIBE}_answer": _message(f"{UNSUBSCRIBE}_answer", _one_of(UnsubscribeAnswer, SocketRefusal)),
        SUBSCRIBED: _message(SUBSCRIBED, _ref(Subscribed)),
        SKIPPED: _message(SKIPPED, _ref(Skipped)),
        **{name: _message(name, _events_of(name)) for name in _event_names()},
    }


def _message(name: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "payload": payload}


def _events_of(name: str) -> dict[str, Any]:
    """The events that are sent under this name; a type that this version does not know goes out as a status."""
    kinds = [kind for kind in event_kinds() if name_of(kind.type) == name]
    refs = [{"$ref": f"#/components/schemas/{kind.__name__}Event"} for kind in kinds]
    if name == ERROR:
        refs.append(_ref(UnknownJobError))
    if name == STATUS:
        refs.append({"$ref": "#/components/schemas/OtherEvent"})
    return {"anyOf": refs}


def _received(name: str) -> dict[str, Any]:
    """What a client sends; the answer is Socket.IO's acknowledgement."""
    return {
        "action": "receive",
        "channel": _CHANNEL_REF,
        "summary": _NOTES[name],
        "messages": [_message_ref(name)],
        "reply": {"channel": _CHANNEL_REF, "messages": [_message_ref(f"{name}_answer")]},
    }


def _sent(name: str) -> dict[str, Any]:
    described = {"action": "send", "channel": _CHANNEL_REF, "messages": [_message_ref(name)]}
    return {**described, "summary": _NOTES[name]} if name in _NOTES else described


def _message_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{CHANNEL}/messages/{name}"}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _one_of(*kinds: type) -> dict[str, Any]:
    return {"anyOf": [_ref(kind) for kind in kinds]}
