"""The bodies of requests, as models that validate them, and plain words for each mistake."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from service.errors import FieldError, InvalidRequest
from service.events.addresses import FINGERPRINT_PATTERN, USER_PATTERN, is_fingerprint, plain_fingerprint
from service.library import PATH_CHARACTERS_MAX, RESOURCES_MAX

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_HOST_CHARACTERS_MAX = 253
DEPTH_MAX = 32
# A text, to its end: what stands in one nests nothing. It never looks at a byte twice.
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+\\?(?:"|\Z)', re.DOTALL)


def _host(value: str) -> str:
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if len(bare) > _HOST_CHARACTERS_MAX or not (_HOST_NAME.fullmatch(bare) or _is_ipv6(bare)):
        raise ValueError("must be a host name or an address, without user, port or spaces")
    return bare


def _is_ipv6(value: str) -> bool:
    try:
        return ipaddress.ip_address(value).version == 6 and value.isprintable() and " " not in value
    except ValueError:
        return False


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path, like /workspace/ComfyUI")
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    value.encode("utf-8")
    return value


def _fingerprint(value: str) -> str:
    if not is_fingerprint(value):
        raise ValueError("must be a fingerprint as ssh-keygen -l prints it: SHA256: and 43 characters")
    return plain_fingerprint(value)


PARALLEL_MAX = 8
ATTEMPTS_MAX = 10
BANDWIDTH_MIN = 1024
WAIT_SECONDS_MAX = 86_400
BANDWIDTH_MAX = 1 << 40

# What the description of the API says where a validator checks more than a schema can say.
_PART = r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*"
CARD_PATH_SCHEMA = {"type": "string", "maxLength": PATH_CHARACTERS_MAX, "pattern": rf"^{_PART}(/{_PART})*\.md$"}
_CARD_NAME_SCHEMA = {
    "type": "string",
    "maxLength": PATH_CHARACTERS_MAX,
    "pattern": r"^[^\x00-\x1f\x7f]+$",
    "description": "The path of a card in the library, or one of its aliases, or its AIR.",
}
_HOST_SCHEMA = {
    "type": "string",
    "maxLength": _HOST_CHARACTERS_MAX,
    "anyOf": [
        {"pattern": rf"^{_LABEL}(\.{_LABEL})*\.?$"},
        # Global and local unicast; other addresses are never a target.
        {"format": "ipv6", "pattern": "^([23][0-9A-Fa-f]{3}|[Ff][CcDd][0-9A-Fa-f]{2}):"},
    ],
    "description": "A host name or an address, without user, port or spaces; no link-local and no metadata address.",
}
_UI_HOME_SCHEMA = {"type": "string", "maxLength": 4096, "pattern": r"^/[^\x00]*$"}
_FINGERPRINT_SCHEMA = {"type": "string", "pattern": FINGERPRINT_PATTERN}

Bandwidth = Annotated[int, Field(ge=BANDWIDTH_MIN, le=BANDWIDTH_MAX)]
CardName = Annotated[str, WithJsonSchema(_CARD_NAME_SCHEMA)]
HostName = Annotated[str, AfterValidator(_host), WithJsonSchema(_HOST_SCHEMA)]
UiHome = Annotated[str, Field(max_length=4096), AfterValidator(_absolute), WithJsonSchema(_UI_HOME_SCHEMA)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint), WithJsonSchema(_FINGERPRINT_SCHEMA)]


class Body(BaseModel):
    """What every body has in common: an unknown field is refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InstallRequest(Body):
    """The body of ``POST /resources/install``. ``bandwidth_limit``: bytes a second for the whole job.
    ``reinstall``: load files anew that are there and whole. ``wait_for_ssh_seconds``: how long an instance that does
    not answer yet is waited for, where that is longer than the service's setting."""

    ssh_host: HostName
    ssh_port: int = Field(ge=1, le=65535)
    ui_home: UiHome
    resources: list[CardName] = Field(min_length=1, max_length=RESOURCES_MAX, json_schema_extra={"uniqueItems": True})
    ssh_user: str | None = Field(default=None, pattern=USER_PATTERN)
    host_key_sha256: Fingerprint | None = None
    parallel: int = Field(default=1, ge=1, le=PARALLEL_MAX)
    bandwidth_limit: Bandwidth | None = None
    max_attempts: int | None = Field(default=None, ge=1, le=ATTEMPTS_MAX)
    verify: bool = True
    reinstall: bool = False
    wait_for_ssh_seconds: int | None = Field(default=None, ge=1, le=WAIT_SECONDS_MAX)

    def digest(self) -> str:
        """Equal for requests that ask for the same, also if an earlier version has taken one of them."""
        later_fields = set() if self.reinstall else {"reinstall"}
        later_fields |= set() if self.wait_for_ssh_seconds is not None else {"wait_for_ssh_seconds"}
        return hashlib.sha256(self.model_dump_json(exclude=later_fields).encode()).hexdigest()


class MoveRequest(Body):
    """The body of ``POST /resources/jobs/{id}/move``: the id of a job that waits for the same instance, ``first`` or
    ``last``."""

    before: str = Field(min_length=1, max_length=64)


class ChangeRequest(Body):
    """The body of ``PATCH /resources/jobs/{id}``; null removes the limit."""

    bandwidth_limit: Bandwidth | None


Request = TypeVar("Request", bound=BaseModel)


def parse(model: type[Request], body: bytes) -> Request:
    """The body as this model. Raises InvalidRequest, which names every wrong field."""
    data = _json(body)
    if not isinstance(data, dict):
        example = next(iter(model.model_fields))
        raise InvalidRequest(f'the body must be a JSON object, like {{"{example}": …}}')
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = [FieldError(_field(entry), _message(entry)) for entry in error.errors()[:20]]
        raise InvalidRequest(
            "; ".join(f"{e.field}: {e.message}" if e.field else e.message for e in errors[:5]), errors
        ) from None


def _json(body: bytes) -> Any:
    try:
        if _is_too_deep(body) and _is_too_deep(_STRINGS.sub(b"", body)):
            raise InvalidRequest("the body is nested too deeply")
        text = body.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_number)
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {str(error)[:200]}") from None


def _is_too_deep(body: bytes) -> bool:
    brackets = body.translate(None, delete=_NO_BRACKETS)
    return brackets.count(b"[") + brackets.count(b"{") > 10_000 or _depth(brackets) > DEPTH_MAX


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for byte in body:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f'the field "{name[:80]}" is given twice')
        fields[name] = value
    return fields


def _number(text: str) -> int | float:
    """To JSON, 22.0 is the integer 22."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _field(entry: Any) -> str:
    field = ""
    for part in entry["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else str(part)
    return field[:200]


def _message(entry: Any) -> str:
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown field"
    if kind == "missing":
        return "is missing"
    if kind == "too_long":
        return f"at most {context['max_length']} allowed, got {context.get('actual_length', 'more')}"
    if kind == "too_short":
        return "must name at least one resource"
    if kind == "string_pattern_mismatch":
        return "is not a user name: use letters, digits, _ . - and $"
    return str(entry["msg"]).removeprefix("Value error, ").replace("Input should", "should")[:300]
