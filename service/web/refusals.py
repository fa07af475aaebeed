"""Refusals in the contract's shape, over HTTP and in Socket.IO's acknowledgements alike."""

from __future__ import annotations

from aiohttp import web

from service.errors import (
    FieldError,
    InstallerError,
    OutboundError,
    RequestError,
    StoreUnavailable,
    TargetRefused,
    WrongState,
)
from service.web.answers import Conflict, Refusal, WrongField
from service.web.socket_events import SocketRefusal

# aiohttp's own refusals: no such path, a method that a path does not have, an expectation that cannot be met.
_CODES = {404: "not_found", 405: "method_not_allowed"}


def acknowledgement(error: InstallerError) -> SocketRefusal:
    """What Socket.IO's acknowledgements say, and what the answers over HTTP begin with."""
    refusal: SocketRefusal = {"success": False, "message": _message(error), "code": error.code}
    if error.retry_after_seconds is not None:
        refusal["retry_after_seconds"] = error.retry_after_seconds
    return refusal


def response(error: InstallerError) -> web.Response:
    """The answer to the caller."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    errors: list[WrongField] = [{"field": wrong.field, "message": wrong.message} for wrong in _wrong_fields(error)]
    body: Refusal | Conflict = {**acknowledgement(error), "errors": errors}
    if isinstance(error, WrongState):
        body = {**body, "state": error.state, "possible": list(error.possible)}
    return web.json_response(body, status=error.status, headers=headers)


def http_response(error: web.HTTPException, what: str) -> web.Response:
    """aiohttp's own refusal, in the same shape. ``what``: the method and path, as far as they are shown."""
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    code = _CODES.get(error.status, "invalid" if error.status < 500 else "internal")
    body: Refusal = {"success": False, "message": f"{error.reason}: {what}", "code": code, "errors": []}
    return web.json_response(body, status=error.status, headers=headers)


def _message(error: InstallerError) -> str:
    if isinstance(error, StoreUnavailable):
        return f"the service cannot do this now, try again: {error}"
    # The service's own fault: the reason is in its log alone.
    return str(error) if error.status != 500 else "the service failed: its log says why"


def _wrong_fields(error: InstallerError) -> tuple[FieldError, ...]:
    if isinstance(error, TargetRefused):
        return (FieldError("ssh_host", str(error)),)
    if isinstance(error, OutboundError):
        return (FieldError("url", str(error)),)
    return error.errors if isinstance(error, RequestError) else ()
