"""The description of the HTTP face, OpenAPI 3.1: built from the models that validate requests, the models of the
answers and the events' own types, so that it cannot say anything else than they do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from service.events import event_types
from service.events.event_types import Event
from service.web import answers
from service.web.endpoints import JSON, OPERATIONS, Operation
from service.web.requests import ChangeRequest, InstallRequest, MoveRequest

REFS = "#/components/schemas/{model}"
_REFUSED = {
    400: "The request is not valid; `errors` names every wrong field.",
    401: "The token is missing or wrong.",
    403: "The Host or the Origin is not let in.",
    404: "No such job, instance or card.",
    409: "The state of the job does not allow it; `possible` says what it does allow.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    503: "Not able now: the same request may work later.",
}
_ALWAYS = (403, 503)
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    503: {"Retry-After": {"schema": {"type": "integer"}}},
}
_REQUESTS: tuple[type[BaseModel], ...] = (InstallRequest, MoveRequest, ChangeRequest)


def document(version: str) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Resource installer",
            "version": version,
            "description": "Installs AI model files onto GPU instances over SSH, with a replayable history of each "
            "job. Live events also come over Socket.IO, namespace `/resources`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "INSTALLER_API_TOKEN; without that setting nothing is asked for.",
                }
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary}
    if operation.note:
        described["description"] = operation.note
    if operation.is_open:
        described["security"] = []
    if operation.parameters:
        described["parameters"] = [dict(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        content = {"schema": _ref(operation.body), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    described["responses"] = _responses(operation)
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    done: dict[str, Any] = {"description": operation.summary, "content": _content(operation.answer)}
    if operation.headers:
        done["headers"] = dict(operation.headers)
    responses = {str(operation.status): done}
    for status, answer in operation.more.items():
        is_text = isinstance(answer, str)
        responses[str(status)] = (
            {"description": answer} if is_text else {"description": "Not able now.", "content": _content(answer)}
        )
    always = _ALWAYS if operation.is_open else (401, *_ALWAYS)
    for status in sorted({*operation.errors, *always}):
        if str(status) not in responses:
            responses[str(status)] = _refused(status)
    return dict(sorted(responses.items()))


def _refused(status: int) -> dict[str, Any]:
    model = answers.Conflict if status == 409 else answers.Refusal
    refused: dict[str, Any] = {"description": _REFUSED[status], "content": _content(model)}
    if status in _HEADERS:
        refused["headers"] = _HEADERS[status]
    return refused


def _content(answer: type[BaseModel] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(answer, Mapping):
        return {kind: {"schema": _ref(of) if isinstance(of, type) else dict(of)} for kind, of in answer.items()}
    return {JSON: {"schema": _ref(answer)}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFS.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    shown = {
        model
        for model in vars(answers).values()
        if isinstance(model, type) and issubclass(model, answers.Answer) and model is not answers.Answer
    }
    _, given = models_json_schema([(model, "validation") for model in _REQUESTS], ref_template=REFS)
    _, told = models_json_schema(
        [(model, "serialization") for model in sorted(shown, key=lambda model: model.__name__)], ref_template=REFS
    )
    schemas = {**given["$defs"], **{name: _open(schema) for name, schema in told["$defs"].items()}}
    schemas["EventPage"]["properties"]["events"]["items"] = {"$ref": REFS.format(model="Event")}
    return {**schemas, **_event_schemas()}


def _open(schema: dict[str, Any]) -> dict[str, Any]:
    """A later version may add fields to an answer: a client must not be told that there are none."""
    return {name: value for name, value in schema.items() if not (name == "additionalProperties" and value is False)}


def _event_schemas() -> dict[str, Any]:
    kinds = sorted(_subclasses(Event), key=lambda kind: kind.type)
    schemas = {kind.__name__ + "Event": _event_schema(kind) for kind in kinds}
    known = [{"$ref": REFS.format(model=name)} for name in schemas]
    common = _common({"type": "string", "description": "A type that this version does not know is passed on."})
    return schemas | {
        "Event": {
            "description": "One event of a job: the same flat object on every way. Fields may be added to a type.",
            "anyOf": [*known, {"$ref": REFS.format(model="OtherEvent")}],
        },
        "OtherEvent": {**common, "not": {"properties": {"type": {"enum": [kind.type for kind in kinds]}}}},
    }


def _event_schema(kind: type[Event]) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema(mode="serialization", ref_template=REFS)
    common = _common({"const": kind.type})
    # A field with a default may be missing in what an earlier version of the service wrote.
    needed = [f.name for f in dataclasses.fields(kind) if _has_no_default(f)]
    return {
        **common,
        "description": re.sub(r"\s+", " ", kind.__doc__ or "").strip(),
        "properties": {**common["properties"], **schema.get("properties", {})},
        "required": [*common["required"], *needed],
    }


def _common(type_schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "type": type_schema,
            "job_id": {"type": "string"},
            "sequence": {"type": "integer", "minimum": 1},
            "at": {"type": "string", "format": "date-time"},
            "resource": {"type": "string"},
            "attempt": {"type": "integer", "minimum": 0},
        },
        "required": ["type", "job_id", "sequence", "at"],
    }


def _has_no_default(of: dataclasses.Field[Any]) -> bool:
    return of.default is dataclasses.MISSING and of.default_factory is dataclasses.MISSING


def _subclasses(kind: type[Event]) -> list[type[Event]]:
    return [known for known in vars(event_types).values() if isinstance(known, type) and _is_event(known, kind)]


def _is_event(known: type, kind: type[Event]) -> bool:
    return issubclass(known, kind) and known is not kind and hasattr(known, "type")
