"""Every error this service raises on purpose, as one tree. A message names the thing and the way out.

Each class knows the HTTP status and the ``code`` of its answer: a stable word for programs, since messages are for
people and may change. An error without a status of its own is the service's fault: 500, ``internal``.

InstallerError
├── RequestError                 answered to the caller in the contract's shape
│   ├── InvalidRequest           400  invalid            one entry for each wrong field
│   ├── Unauthorized             401  unauthorized
│   ├── Forbidden                403  forbidden          foreign Host or Origin
│   ├── NotFound                 404  not_found
│   │   ├── UnknownResource
│   │   ├── UnknownJob
│   │   ├── UnknownKey           there is no such key, or none is stored
│   │   ├── UnknownReceiver
│   │   └── UnknownLink          a site has nothing at this address, or does not show it
│   ├── NoModelFile              400  no_model_file      a link that leads to no model file
│   ├── KeyNeeded                400  key_needed         a site wants a key, or another one
│   ├── WrongState               409  conflict           carries the state and what is possible in it
│   ├── KeyReused                409  conflict           the Idempotency-Key belongs to another request
│   ├── CardExists               409  exists             the library has a card at this path
│   ├── KeyExists                409  exists             the service has an SSH key of its own
│   ├── ReceiverGiven            409  conflict           the settings name the receiver
│   ├── LibraryReadOnly          409  read_only          the folder of the cards cannot be written
│   ├── CardChanged              412  changed            somebody else changed the card in the meantime
│   ├── VersionRequired          428  version_required   a change that does not say of which version of the card
│   ├── BodyTooLarge             413  too_large
│   ├── TooManyGuesses           429  too_many           of the token, from one address
│   ├── UnsupportedMediaType     415  unsupported_media
│   └── InstanceUnavailable      502  instance_unavailable   the instance cannot be asked now
├── ConfigError                  a setting that the service cannot run with; the process ends with its message
├── CardError                    400  invalid            a resource card that cannot be read
├── KeyFileUnusable              503  unavailable        the file with which keys are encrypted cannot be used
├── OutboundError                502  site_unavailable   a site did not answer as it should
│   └── AddressRefused           400  invalid            an address from which the service fetches nothing
├── TransitionRefused            an event that cannot follow in its job's state; nothing is appended
├── LeaseLost                    503  unavailable        another owner may have the job: leave it, without an event
├── StoreError
│   ├── StoreUnavailable         503  unavailable        full or locked disk; the same call may work later
│   │   └── ReplyLost            the connection broke in a commit: it may have been made
│   ├── UnstorableEvent          an event holds a number or a text that no log can keep
│   ├── SequenceConflict         another writer was first: with this sequence, or with what only one job may have
│   ├── CopyWrong                the copy of a database is not what the original is
│   ├── DatabaseHeld             a running service holds this database
│   └── DatabaseNewer            a newer version of the service wrote this database
└── RemoteError
    ├── LinkDown                 the link broke or never came up: not a failure in itself
    │   ├── NoAnswer             the instance is connected and does not do what it was asked to
    │   └── NoShell              the login ran no program: cause no_shell if no login of the job ever ran one
    ├── LinkFailed               the link cannot come up any more; carries the cause of the failure
    ├── TargetRefused            400  invalid            the address may not be a target
    ├── AuthenticationFailed     the instance refused the key: cause ssh_auth
    │   └── KeyUnusable          the service has no key that it could offer
    ├── HostKeyChanged           the instance showed another key than before: cause host_key_changed
    └── RemoteProtocolError      the instance's answer does not fit the remote protocol
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass


class InstallerError(Exception):
    """The root: every error that is raised on purpose derives from it.

    ``status``: the HTTP status of the answer. ``code``: its word for programs, the same over Socket.IO.
    ``retry_after_seconds``: how long to wait before the same call may work; None where waiting does not help.
    """

    status: int = 500
    code: str = "internal"
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request: its name in the JSON body, and what is wrong with it."""

    field: str
    message: str


class RequestError(InstallerError):
    """Something that the caller can correct."""

    status = 400
    code = "invalid"

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)


class InvalidRequest(RequestError):
    """The request is not valid."""


class Unauthorized(RequestError):
    """The token is missing or wrong."""

    status = 401
    code = "unauthorized"


class Forbidden(RequestError):
    """The service does not answer to this Host, or does not let in this Origin."""

    status = 403
    code = "forbidden"


class NotFound(RequestError):
    """The thing does not exist."""

    status = 404
    code = "not_found"


class UnknownResource(NotFound):
    """The library has no card at this path."""


class UnknownJob(NotFound):
    """The log has no job with this id."""


class UnknownKey(NotFound):
    """There is no key of this name, or none is stored."""


class UnknownReceiver(NotFound):
    """There is no receiver with this id."""


class UnknownLink(NotFound):
    """The site has nothing at this address, or does not show it to us."""


class NoModelFile(RequestError):
    """The link leads to something else than a model file, or to several of which none is named."""

    code = "no_model_file"


class KeyNeeded(RequestError):
    """The site wants a key for this, or refuses the one that the service has."""

    code = "key_needed"


class WrongState(RequestError):
    """The job's state does not allow the control. ``possible``: the controls that it does allow."""

    status = 409
    code = "conflict"

    def __init__(self, message: str, *, state: str, possible: Sequence[str]) -> None:
        super().__init__(message)
        self.state = state
        self.possible = tuple(possible)


class KeyReused(RequestError):
    """The Idempotency-Key belongs to another request."""

    status = 409
    code = "conflict"


class CardExists(RequestError):
    """The library has a card at this path."""

    status = 409
    code = "exists"


class KeyExists(RequestError):
    """The service has an SSH key of its own."""

    status = 409
    code = "exists"


class ReceiverGiven(RequestError):
    """The settings name the receiver, so only they can remove it."""

    status = 409
    code = "conflict"


class LibraryReadOnly(RequestError):
    """The folder of the cards cannot be written, or must not be."""

    status = 409
    code = "read_only"


class CardChanged(RequestError):
    """The card is not the version any more that the caller saw."""

    status = 412
    code = "changed"


class VersionRequired(RequestError):
    """The caller does not say which version of the card it saw."""

    status = 428
    code = "version_required"


class BodyTooLarge(RequestError):
    """The body is larger than a request may be."""

    status = 413
    code = "too_large"


class TooManyGuesses(RequestError):
    """Too many wrong tokens came from this address."""

    status = 429
    code = "too_many"

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__(f"too many wrong tokens from this address: wait {retry_after_seconds} seconds")
        self.retry_after_seconds = retry_after_seconds


class UnsupportedMediaType(RequestError):
    """The body is not JSON."""

    status = 415
    code = "unsupported_media"


class InstanceUnavailable(RequestError):
    """The instance cannot be asked now; the message says why."""

    status = 502
    code = "instance_unavailable"


class ConfigError(InstallerError):
    """The service cannot run with a setting."""


class CardError(InstallerError):
    """A resource card cannot be read; the message says why."""

    status = 400
    code = "invalid"


class KeyFileUnusable(InstallerError):
    """The file with which the keys are encrypted is missing, damaged, open to others, or another one."""

    status = 503
    code = "unavailable"


class OutboundError(InstallerError):
    """A site that the service asked did not answer, or not as it should."""

    status = 502
    code = "site_unavailable"


class AddressRefused(OutboundError):
    """The service fetches nothing from this address."""

    status = 400
    code = "invalid"


class TransitionRefused(InstallerError):
    """This event cannot follow in the job's state: a mistake in the caller, never a fact about an instance."""


class LeaseLost(InstallerError):
    """Another owner has taken the job over, or may do so: nothing more may be done for it here, and its log is not
    told. Who asked for something may ask again: this replica soon has a lease again, and others have theirs."""

    status = 503
    code = "unavailable"
    retry_after_seconds = 1


class StoreError(InstallerError):
    """The event log could not do its work."""


class StoreUnavailable(StoreError):
    """The disk is full, or the database was locked for too long: the same call may work later."""

    status = 503
    code = "unavailable"
    retry_after_seconds = 5


class ReplyLost(StoreUnavailable):
    """The connection to the database broke in a commit, so nobody knows whether it was made: look before you repeat it.
    By the time this is raised the transaction has ended, one way or the other."""


class UnstorableEvent(StoreError):
    """An event holds what the log cannot keep: a number beyond 2^53, or text that is not Unicode."""


class SequenceConflict(StoreError):
    """Another writer was first: with an event of this sequence, or with something that only one job may have at a time,
    such as its instance. Look at what it wrote, then decide again."""


class DatabaseHeld(StoreError):
    """Another running service holds this database."""


class CopyWrong(StoreError):
    """The copy of a database is not what the original is."""


class DatabaseNewer(StoreError):
    """A newer version of this service wrote the database."""


class RemoteError(InstallerError):
    """The instance could not be used."""


class LinkDown(RemoteError):
    """The link broke, or did not come up. The install on the instance goes on. ``reason``: its word for programs, as
    the event ``connecting`` names it."""

    reason = "broken"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason if reason is not None else self.reason


class NoAnswer(LinkDown):
    """The instance is connected and does not do what it was asked to: it says nothing, or never comes to the end."""

    reason = "no_answer"


class NoShell(LinkDown):
    """The instance accepted the key, and the login ran no program. The message holds what it printed instead."""

    reason = "no_shell"


class LinkFailed(RemoteError):
    """The instance cannot be used any more. ``cause``: a cause of failure, as events name it."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class TargetRefused(RemoteError):
    """This address may not be a target."""

    status = 400
    code = "invalid"


class AuthenticationFailed(RemoteError):
    """The instance refused the user or the key."""


class KeyUnusable(AuthenticationFailed):
    """The service itself has no key to offer, or cannot read it: no instance can cure that."""


class HostKeyChanged(RemoteError):
    """The instance showed another host key than the known or the requested one."""

    def __init__(self, message: str, fingerprint: str | None = None) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class RemoteProtocolError(RemoteError):
    """The instance's answer does not fit the remote protocol."""


_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


def is_shortage(error: BaseException) -> bool:
    """Whether the process or the machine is out of descriptors or memory: it passes, so the same call may be made
    again."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_shortage, error.exceptions))
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES):
        return True
    return error.__cause__ is not None and is_shortage(error.__cause__)
