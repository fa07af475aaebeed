"""Where a receiver is: an address with what is secret in it, and how it is shown. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from dataclasses import asdict, dataclass
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from service.errors import FieldError, InvalidRequest

WEBHOOK, APPRISE = "webhook", "apprise"
Kind = Literal["completed", "failed", "cancelled", "stalled", "instance_lost"]
KINDS: tuple[Kind, ...] = ("completed", "failed", "cancelled", "stalled", "instance_lost")
ADDRESS_CHARACTERS_MAX = 2_048
SECRET_PREFIX = "whsec_"  # noqa: S105
# As the specification of Standard Webhooks has it.
SECRET_BYTES = (24, 64)
_NEW_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """``secret``: what webhooks are signed with; None for another kind of receiver."""

    url: str
    secret: str | None = None

    @property
    def kind(self) -> str:
        return WEBHOOK if self.url.lower().startswith(("https://", "http://")) else APPRISE

    @property
    def shown(self) -> str:
        """Without what may be secret: of a webhook its site, of anything else only what it is."""
        scheme, _, rest = self.url.partition("://")
        if self.kind == APPRISE:
            return f"{scheme[:40]}://…"
        site = re.split("[/?#]", rest, maxsplit=1)[0]
        return f"{scheme}://{site}" if len(rest) <= len(site) + 1 else f"{scheme}://{site}/…"

    @property
    def stable_id(self) -> str:
        """The same for the same address: of a receiver that the settings name."""
        return str(uuid5(NAMESPACE_URL, self.url))

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Address:
        return cls(**json.loads(text))


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_NEW_SECRET_BYTES)).decode()


def check_secret(secret: str) -> str:
    """Raises InvalidRequest, which does not show it."""
    least, most = SECRET_BYTES
    message = f"must be {SECRET_PREFIX} and {least} to {most} bytes in base64; leave it out, and the service makes one"
    try:
        raw = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not (secret.startswith(SECRET_PREFIX) and least <= len(raw) <= most):
        raise InvalidRequest(f"secret: {message}", [FieldError("secret", message)])
    return secret
