"""Who is told: the receivers that the settings name, and those that clients have added.

An address and its secret are encrypted in the database, and leave only towards the receiver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from service.errors import FieldError, InvalidRequest, ReceiverGiven, UnknownReceiver
from service.notify.address import APPRISE, KINDS, WEBHOOK, Address, check_secret, new_secret
from service.outbound.targets import check_name, read_address
from service.sealing import Sealing
from service.store.stored_receivers import StoredReceiver, StoredReceivers

RECEIVERS_MAX = 50


class Receivers:
    """``given``: the addresses that the settings name, told of ``given_kinds``. ``allowed``: private targets that are
    let in. ``check_apprise`` raises InvalidRequest. ``clock_ms``: milliseconds since the epoch."""

    def __init__(
        self,
        rows: StoredReceivers,
        *,
        key_file: Path,
        given: Sequence[Address],
        given_kinds: Sequence[str],
        allowed: Sequence[str],
        check_apprise: Callable[[Address], Awaitable[None]],
        clock_ms: Callable[[], int],
    ) -> None:
        self.rows = rows
        self._sealing = Sealing(key_file)
        self._given: Mapping[str, Address] = {address.stable_id: address for address in given}
        self._given_kinds = tuple(given_kinds)
        self._allowed = tuple(allowed)
        self._check_apprise = check_apprise
        self._clock_ms = clock_ms

    async def load(self) -> None:
        """Make the rows of the receivers that the settings name. Raises StoreUnavailable."""
        now_ms = self._clock_ms()
        await self.rows.set_given(
            [
                StoredReceiver(
                    receiver_id=receiver_id,
                    name=address.shown,
                    kind=address.kind,
                    shown=address.shown,
                    sealed=None,
                    kinds=self._given_kinds,
                    created_at_ms=now_ms,
                )
                for receiver_id, address in self._given.items()
            ]
        )

    async def add(
        self, *, url: str, secret: str | None, name: str | None, kinds: Sequence[str] | None
    ) -> tuple[StoredReceiver, Address]:
        """Raises InvalidRequest, KeyFileUnusable, StoreUnavailable."""
        address = await self._checked(url, secret)
        receiver_id = str(uuid4())
        receiver = StoredReceiver(
            receiver_id=receiver_id,
            name=name or address.shown,
            kind=address.kind,
            shown=address.shown,
            sealed=await asyncio.to_thread(self._sealing.seal, receiver_id, address.to_text()),
            kinds=tuple(kind for kind in KINDS if kind in (kinds or KINDS)),
            created_at_ms=self._clock_ms(),
        )
        if not await self.rows.add(receiver, most=RECEIVERS_MAX):
            raise InvalidRequest(f"there are {RECEIVERS_MAX} receivers, and no more may be: delete one first")
        return receiver, address

    async def delete(self, receiver_id: str) -> StoredReceiver:
        """With all that it had still to be told. Raises UnknownReceiver, ReceiverGiven."""
        receiver = await self.get(receiver_id)
        if receiver.sealed is None:
            setting = "INSTALLER_WEBHOOK_URLS" if receiver.kind == WEBHOOK else "INSTALLER_NOTIFY_URLS"
            raise ReceiverGiven(f"this receiver is named in {setting}: take it out there, and restart the service")
        await self.rows.delete(receiver_id)
        return receiver

    async def get(self, receiver_id: str) -> StoredReceiver:
        """Raises UnknownReceiver."""
        receiver = await self.rows.get(receiver_id)
        if receiver is None:
            raise UnknownReceiver(f'there is no receiver "{receiver_id[:80]}": GET /receivers lists them')
        return receiver

    async def address_of(self, receiver: StoredReceiver) -> Address | None:
        """None: another service with other settings named it. Raises KeyFileUnusable."""
        if receiver.sealed is None:
            return self._given.get(receiver.receiver_id)
        return Address.of_text(await asyncio.to_thread(self._sealing.open, receiver.receiver_id, receiver.sealed))

    async def _checked(self, url: str, secret: str | None) -> Address:
        address = Address(url=url)
        if address.kind == APPRISE:
            if secret is not None:
                message = "belongs to a webhook, an address that begins with https:// or http://"
                raise InvalidRequest(f"secret: {message}", [FieldError("secret", message)])
            await self._check_apprise(address)
            return address
        check_name(read_address(url), self._allowed)
        return Address(url=url, secret=check_secret(secret) if secret is not None else new_secret())
