"""The answers about receivers. None holds an address or a secret that was stored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

# pydantic reads typing's own only from Python 3.12 on.
from typing_extensions import TypedDict

from service.web.projection import Count, Time


class DeliveryView(TypedDict):
    """What a receiver was told last, or is being told."""

    job_id: str
    event: str
    at: Annotated[Time, Field(description="Of the event.")]
    state: Annotated[str, Field(description="pending, delivered or given_up.")]
    tries: Count
    next_at: Annotated[Time | None, Field(description="Of the next try, while it is pending.")]
    ended_at: Time | None
    status: Annotated[int | None, Field(description="Of the answer to the last try, over HTTP.")]
    error: Annotated[str | None, Field(description="Why the last try failed.")]


class ReceiverView(TypedDict):
    """One receiver; its secret is never shown."""

    receiver_id: str
    name: str
    kind: Annotated[Literal["webhook", "apprise"], Field(description="apprise: ntfy, Discord, Telegram, mail …")]
    address: Annotated[str, Field(description="Without what may be secret in it.")]
    source: Annotated[Literal["settings", "stored"], Field(description="Only a stored one can be deleted here.")]
    events: Annotated[list[str], Field(description="What it is told.")]
    created_at: Time
    pending: Annotated[Count, Field(description="What it has still to be told.")]
    last: DeliveryView | None


class ReceiverList(TypedDict):
    receivers: list[ReceiverView]


class AddedReceiver(ReceiverView):
    success: Literal[True]
    message: str
    secret: Annotated[
        str | None, Field(description="The one that the service made, shown this once; null if it was given.")
    ]


class DeletedReceiver(TypedDict):
    success: Literal[True]
    receiver_id: str
    message: str


class TestedReceiver(TypedDict):
    success: Literal[True]
    receiver_id: str
    delivered: bool
    status: Annotated[int | None, Field(description="Of the receiver's answer, over HTTP.")]
    message: str
