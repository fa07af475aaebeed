"""All that tells receivers how jobs end, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from service.notify.address import APPRISE, WEBHOOK, Address
from service.notify.apprise_sender import AppriseSender
from service.notify.deliverer import RECEIVER_MAX, Deliverer
from service.notify.message import Outbox
from service.notify.prices import ByAddress, Prices
from service.notify.receivers import RECEIVERS_MAX, Receivers
from service.notify.senders import WebhookSender
from service.outbound import Outbound
from service.store.append import Append
from service.store.database import Database
from service.store.deliveries import Deliveries
from service.store.stored_receivers import StoredReceivers


class Notifications:
    """``outbox`` belongs to the event store, and ``committed`` is called after its commits. ``start`` when the database
    is open, ``stop`` before it closes. The arguments are those of the parts; ``ask_prices``: see Prices."""

    def __init__(
        self,
        database: Database,
        *,
        key_file: Path,
        given: Sequence[Address],
        given_kinds: Sequence[str],
        allowed: Sequence[str],
        is_alone: bool,
        clock_ms: Callable[[], int],
        ask_prices: Callable[[], Awaitable[ByAddress]],
    ) -> None:
        self._prices = Prices(ask_prices, self._has_receivers)
        self.outbox = Outbox(self._prices.of)
        apprise = AppriseSender(allowed=allowed)
        self.receivers = Receivers(
            StoredReceivers(database),
            key_file=key_file,
            given=given,
            given_kinds=given_kinds,
            allowed=allowed,
            check_apprise=apprise.check,
            clock_ms=clock_ms,
        )
        # Without tokens, and with room for all: what is fetched for a client never waits for a slow receiver.
        outbound = Outbound(allowed=allowed, fetches_max=RECEIVERS_MAX * RECEIVER_MAX)
        self.deliverer = Deliverer(
            Deliveries(database),
            self.receivers,
            {WEBHOOK: WebhookSender(outbound, clock_ms=clock_ms), APPRISE: apprise},
            is_alone=is_alone,
            clock_ms=clock_ms,
        )

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        await self.receivers.load()
        self.deliverer.start()
        self._prices.start()

    async def stop(self) -> None:
        await self._prices.stop()
        await self.deliverer.stop()

    def committed(self, appends: Sequence[Append]) -> None:
        self.deliverer.committed(appends)
        self._prices.committed(appends)

    async def _has_receivers(self) -> bool:
        return bool(await self.receivers.rows.all())
