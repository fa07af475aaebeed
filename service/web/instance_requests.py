"""The bodies of requests about instances, and their names in addresses."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema

from service.errors import FieldError, InvalidRequest
from service.events.addresses import USER_PATTERN
from service.web.requests import Body, Fingerprint, HostName, UiHome

PATHS_MAX = 200
PATH_CHARACTERS_MAX = 1_000
_PART = r"[^/\x00]+"
_PATH_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": PATH_CHARACTERS_MAX,
    "pattern": r"^(?!\.{1,2}(/|$))[^/\x00]+(/(?!\.{1,2}(/|$))[^/\x00]+)*$",
    "description": "Below models/, like loras/x.safetensors.",
}


def _model_path(value: str) -> str:
    parts = value.split("/")
    if not 0 < len(value) <= PATH_CHARACTERS_MAX or any(part in ("", ".", "..") for part in parts) or "\0" in value:
        raise ValueError("must be the path of a file below models/, like loras/x.safetensors")
    value.encode("utf-8")
    return value


ModelPath = Annotated[str, AfterValidator(_model_path), WithJsonSchema(_PATH_SCHEMA)]


class CheckRequest(Body):
    """The body of ``POST /instances/check``: where an install would go."""

    ssh_host: HostName
    ssh_port: int = Field(ge=1, le=65535)
    ui_home: UiHome = "/workspace/ComfyUI"
    ssh_user: str | None = Field(default=None, pattern=USER_PATTERN)
    host_key_sha256: Fingerprint | None = None


def _once_each(paths: list[str]) -> list[str]:
    if len(set(paths)) < len(paths):
        raise ValueError("names a file twice")
    return paths


ModelPaths = Annotated[
    list[ModelPath],
    Field(min_length=1, max_length=PATHS_MAX, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_once_each),
]


class RemovalRequest(Body):
    """The body of ``POST /instances/{instance}/removals``. ``paths``: below models/ of ``ui_home``."""

    ui_home: UiHome
    paths: ModelPaths


class _Named(Body):
    ssh_host: HostName
    ssh_port: int = Field(ge=1, le=65535)
    ssh_user: str = Field(pattern=USER_PATTERN)


def parse_instance(name: str) -> tuple[str, str, int]:
    """User, host and port of ``user@host:port``. Raises InvalidRequest."""
    user, at, rest = name.rpartition("@")
    host, colon, port = rest.rpartition(":")
    try:
        if not at or not colon or not (port.isascii() and port.isdigit() and len(port) < 6):
            raise ValueError(name)
        found = _Named(ssh_host=host, ssh_port=int(port), ssh_user=user)
    except (ValidationError, ValueError) as error:
        message = f'"{name[:200]}" is not an instance: name it user@host:port, as its jobs do'
        raise InvalidRequest(message, [FieldError("instance", message)]) from error
    return found.ssh_user, found.ssh_host, found.ssh_port
