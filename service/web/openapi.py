"""The description of the API, OpenAPI 3.1: made from the declarations of the endpoints, the models that validate
requests, the types of the answers and the types of the events."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import is_typeddict

from service.events import event_types
from service.events.event_types import Event
from service.web import (
    answers,
    bundle_answers,
    instance_answers,
    key_answers,
    receiver_answers,
    vast_answers,
    workflow_answers,
)
from service.web.endpoint import JSON, Endpoint
from service.web.endpoints import ENDPOINTS

ANSWERS = (
    answers,
    key_answers,
    instance_answers,
    vast_answers,
    workflow_answers,
    bundle_answers,
    receiver_answers,
)
REFS = "#/components/schemas/{model}"
_REFUSED = {
    400: "The request is not valid; `errors` names every wrong field.",
    401: "The token is missing or wrong.",
    403: "The service does not let in this Host or Origin.",
    404: "The job, instance, card or receiver does not exist.",
    409: "The state of the job, or of the library, does not allow it; of a job `possible` says what it does allow.",
    412: "The card is not the version any more that If-Match names.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    428: "If-Match is missing.",
    502: "The site or the instance that was asked did not answer as it should.",
    503: "The service cannot do this now: the same request may work later.",
}
_ALWAYS = (403, 503)
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    503: {"Retry-After": {"schema": {"type": "integer"}}},
}
ETAG = {"ETag": {"description": "The version, for If-Match.", "required": True, "schema": {"type": "string"}}}
LOCATION = {"Location": {"description": "What was made or changed.", "required": True, "schema": {"type": "string"}}}


def document(version: str) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
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
                    "description": "INSTALLER_API_TOKEN; without that setting the service asks for no token.",
                }
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": endpoint.name, "summary": endpoint.summary}
    if endpoint.note:
        described["description"] = endpoint.note
    if endpoint.is_open:
        described["security"] = []
    if endpoint.parameters:
        described["parameters"] = [parameter.described() for parameter in endpoint.parameters]
    if endpoint.body is not None:
        content = {"schema": _ref(endpoint.body), "example": endpoint.example}
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    described["responses"] = _responses(endpoint)
    return described


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    done: dict[str, Any] = {"description": endpoint.summary, "content": _content(endpoint.answer)}
    headers = (LOCATION if endpoint.location is not None else {}) | (ETAG if endpoint.version is not None else {})
    if headers:
        done["headers"] = headers
    responses = {str(endpoint.status): done}
    for status, answer in endpoint.more.items():
        is_text = isinstance(answer, str)
        responses[str(status)] = (
            {"description": answer} if is_text else {"description": "Not ready.", "content": _content(answer)}
        )
    always = _ALWAYS if endpoint.is_open else (401, *_ALWAYS)
    for status in sorted({*endpoint.errors, *always}):
        if str(status) not in responses:
            responses[str(status)] = _refused(status)
    return dict(sorted(responses.items()))


def _refused(status: int) -> dict[str, Any]:
    model = answers.Conflict if status == 409 else answers.Refusal
    refused: dict[str, Any] = {"description": _REFUSED[status], "content": _content(model)}
    if status in _HEADERS:
        refused["headers"] = _HEADERS[status]
    return refused


def _content(answer: type | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(answer, Mapping):
        return {kind: {"schema": _ref(of) if isinstance(of, type) else dict(of)} for kind, of in answer.items()}
    return {JSON: {"schema": _ref(answer)}}


def _ref(model: type) -> dict[str, str]:
    return {"$ref": REFS.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    bodies = {endpoint.body for endpoint in ENDPOINTS if endpoint.body is not None}
    given = definitions(bodies, "validation")
    returned = definitions(kind for module in ANSWERS for kind in types_of(module))
    returned["EventPage"]["properties"]["events"]["items"] = {"$ref": REFS.format(model="Event")}
    return {**given, **returned, **event_schemas()}


def types_of(module: ModuleType) -> list[type]:
    """The TypedDicts that a module defines."""
    return [kind for kind in vars(module).values() if is_typeddict(kind) and kind.__module__ == module.__name__]


def definitions(
    models: Iterable[type], mode: Literal["validation", "serialization"] = "serialization"
) -> dict[str, Any]:
    """The schemas of these and of all that they consist of, by name. They say nothing of other fields: a later version
    may add some to an answer."""
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schema = TypeAdapter.json_schemas([(model, mode, TypeAdapter(model)) for model in ordered], ref_template=REFS)
    found: dict[str, Any] = schema["$defs"]
    return found


def event_schemas() -> dict[str, Any]:
    kinds = event_kinds()
    schemas = {kind.__name__ + "Event": _event_schema(kind) for kind in kinds}
    known = [{"$ref": REFS.format(model=name)} for name in schemas]
    common = _common({"type": "string", "description": "The service passes on types that this version does not know."})
    return schemas | {
        "Event": {
            "description": "One event of a job, the same over HTTP and Socket.IO. Fields may be added to a type.",
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


def event_kinds() -> list[type[Event]]:
    """The types of events that this version knows."""
    known = [kind for kind in vars(event_types).values() if isinstance(kind, type) and issubclass(kind, Event)]
    return sorted((kind for kind in known if kind is not Event), key=lambda kind: kind.type)
