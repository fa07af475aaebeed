"""The answers about keys. None holds a value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.web.projection import Time


class KeyView(TypedDict):
    """One key; its value is never shown."""

    name: str
    title: str
    use: Annotated[str, Field(description="What it is for.")]
    setting: Annotated[str, Field(description="The environment variable that goes before a stored key.")]
    page: Annotated[str, Field(description="Where a person makes one.")]
    set: bool
    source: Annotated[
        Literal["environment", "stored"] | None, Field(description="Which one counts; null where there is none.")
    ]
    stored: Annotated[bool, Field(description="Whether one is stored, also if the environment goes before.")]
    set_at: Annotated[Time | None, Field(description="When the stored one was set.")]
    problem: Annotated[str | None, Field(description="Why the stored one cannot be read.")]


class SshKeyView(TypedDict):
    """The SSH key of the service's own."""

    set: bool
    public_key: Annotated[str | None, Field(description="The line for authorized_keys: it is no secret.")]
    fingerprint: str | None
    set_at: Time | None
    problem: str | None
    where: Annotated[list[str], Field(description="Where the public key goes.")]


class KeyList(TypedDict):
    keys: list[KeyView]
    ssh: SshKeyView


class ChangedKey(KeyView):
    success: Literal[True]
    message: str


class MadeSshKey(SshKeyView):
    success: Literal[True]
    message: str


class DeletedKey(TypedDict):
    success: Literal[True]
    name: str
    message: str


class CheckedKey(TypedDict):
    """What the key's own site says of it."""

    success: Literal[True]
    name: str
    verdict: Annotated[
        Literal["accepted", "refused", "unknown"], Field(description="unknown: the site did not say; message says why.")
    ]
    message: str
