"""Every error this service raises on purpose, as one tree. A message names the thing and the way out.

InstallerError
├── RequestError                 answered to the caller in the contract's shape; carries an HTTP status
│   ├── InvalidRequest           400  with one entry per wrong field
│   ├── Unauthorized             401
│   ├── Forbidden                403  foreign Host or Origin
│   ├── NotFound                 404
│   │   ├── UnknownResource
│   │   └── UnknownJob
│   ├── WrongState               409  carries the state and what is possible in it
│   ├── KeyReused                409  an Idempotency-Key that named another request before
│   ├── BodyTooLarge             413
│   └── UnsupportedMediaType     415
├── ConfigError                  a setting that cannot be served; the process ends with its message
├── CardError                    a resource card that cannot be read
├── StoreError
│   ├── StoreUnavailable         503  full or locked disk; the same call may work later
│   ├── SequenceConflict         another writer appended to this stream first
│   ├── DatabaseHeld             a running service holds this database
│   └── DatabaseNewer            a newer version of the service wrote this database
└── RemoteError
    ├── LinkDown                 the link broke or never came up: never a failure in itself
    ├── LinkFailed               the link cannot come up any more; carries the cause of the failure
    ├── TargetRefused            the address may not be a target (also raised at the POST, as 400)
    ├── AuthenticationFailed     the instance refused the key: cause ssh_auth
    ├── HostKeyChanged           the instance showed another key than before: cause host_key_changed
    └── RemoteProtocolError      the instance answered something that the protocol does not know
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class InstallerError(Exception):
    """The root: whatever is raised on purpose derives from it."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request: its name in the JSON body, and what is wrong with it."""

    field: str
    message: str


class RequestError(InstallerError):
    """Something that the caller can mend; ``status`` is the HTTP status of the answer."""

    status: ClassVar[int] = 400

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)


class InvalidRequest(RequestError):
    """The request is not valid."""


class Unauthorized(RequestError):
    """The token is missing or wrong."""

    status = 401


class Forbidden(RequestError):
    """The request comes from a Host or an Origin that is not let in."""

    status = 403


class NotFound(RequestError):
    """No such thing."""

    status = 404


class UnknownResource(NotFound):
    """No card of this path lies in the library."""


class UnknownJob(NotFound):
    """No job of this id is in the log."""


class WrongState(RequestError):
    """The job's state does not allow what was asked. ``possible``: the controls that it does allow."""

    status = 409

    def __init__(self, message: str, *, state: str, possible: Sequence[str]) -> None:
        super().__init__(message)
        self.state = state
        self.possible = tuple(possible)


class KeyReused(RequestError):
    """The Idempotency-Key belongs to another request."""

    status = 409


class BodyTooLarge(RequestError):
    """The body is larger than a request may be."""

    status = 413


class UnsupportedMediaType(RequestError):
    """The body is not JSON."""

    status = 415


class ConfigError(InstallerError):
    """A setting cannot be served."""


class CardError(InstallerError):
    """A resource card cannot be read; the message says why."""


class StoreError(InstallerError):
    """The event log could not do what was asked."""


class StoreUnavailable(StoreError):
    """The disk is full, or the database locked for too long: the same call may work later."""


class SequenceConflict(StoreError):
    """Another writer appended to this stream first."""


class DatabaseHeld(StoreError):
    """Another running service holds this database."""


class DatabaseNewer(StoreError):
    """A newer version of this service wrote the database."""


class RemoteError(InstallerError):
    """The instance could not be used as wanted."""


class LinkDown(RemoteError):
    """The link broke, or did not come up. The install on the instance goes on."""


class LinkFailed(RemoteError):
    """The instance cannot be used any more. ``cause``: a cause of failure, as events name it."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class TargetRefused(RemoteError):
    """This address may not be a target."""


class AuthenticationFailed(RemoteError):
    """The instance refused the user or the key."""


class HostKeyChanged(RemoteError):
    """The instance showed another host key than the one that is known or was asked for."""

    def __init__(self, message: str, fingerprint: str | None = None) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class RemoteProtocolError(RemoteError):
    """The instance answered something that the remote protocol does not know."""
