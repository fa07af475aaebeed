"""One try at telling one receiver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from standardwebhooks import Webhook

from service.errors import OutboundError
from service.notify.address import Address
from service.notify.message import Message
from service.outbound import Outbound

# The receiver says that it wants no more of this.
_GONE = 410
_RETRY_AFTER_SECONDS_MAX = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``status``: of the answer over HTTP. ``error``: why the try failed, for a person, without what is secret.
    ``is_final``: no other try can help. ``retry_after_seconds``: the receiver asked to wait so long."""

    is_delivered: bool
    status: int | None = None
    error: str | None = None
    is_final: bool = False
    retry_after_seconds: int | None = None


class Sender(Protocol):
    async def send(self, address: Address, message: Message) -> Outcome:
        """Try once, within a bounded time. Never raises for what a receiver does."""


class WebhookSender:
    """A POST after the specification of Standard Webhooks. The body of the answer is not read and no redirect is
    followed: the address that was named gets the message, or nobody.

    ``clock_ms``: milliseconds since the epoch.
    """

    def __init__(self, outbound: Outbound, *, clock_ms: Callable[[], int]) -> None:
        self._outbound = outbound
        self._clock_ms = clock_ms

    async def send(self, address: Address, message: Message) -> Outcome:
        try:
            answer = await self._outbound.fetch(
                address.url,
                method="POST",
                headers=self._headers(address, message),
                body=message.body.encode(),
                bytes_max=0,
                reads=False,
                follows=False,
            )
        except OutboundError as error:
            return Outcome(is_delivered=False, error=str(error))
        if 200 <= answer.status < 300:
            return Outcome(is_delivered=True, status=answer.status)
        if 300 <= answer.status < 400:
            why = f"it answered {answer.status}: redirects are not followed, name the address that it leads to"
        else:
            why = f"it answered {answer.status}"
        return Outcome(
            is_delivered=False,
            status=answer.status,
            error=why,
            is_final=answer.status == _GONE,
            retry_after_seconds=_retry_after(answer.headers),
        )

    def _headers(self, address: Address, message: Message) -> dict[str, str]:
        assert address.secret is not None
        at = datetime.fromtimestamp(self._clock_ms() // 1000, UTC)
        return {
            "Content-Type": "application/json",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(address.secret).sign(message.message_id, at, message.body),
        }


def _retry_after(headers: Mapping[str, str]) -> int | None:
    given = headers.get("Retry-After", "")
    return (
        min(int(given), _RETRY_AFTER_SECONDS_MAX) if given.isascii() and given.isdigit() and len(given) < 10 else None
    )
