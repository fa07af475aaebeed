"""Takes what has to be told from the database to the receivers, for as long as it takes, beside the installs.

A try that fails is repeated after a wait that doubles, up to an hour, for three days; then the delivery is given up. A
service that ends between a try and its row tries again: a receiver may be told twice, and knows by the message's id.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from service.errors import InstallerError, StoreError
from service.notify.message import Message, is_told, test_message
from service.notify.receivers import Receivers
from service.notify.senders import Outcome, Sender
from service.store.append import Append
from service.store.background import BackgroundLoop
from service.store.deliveries import DELIVERED, GIVEN_UP, PENDING, Claimed, Deliveries
from service.store.stored_receivers import StoredReceiver

logger = logging.getLogger(__name__)

FIRST_WAIT_MS = 5_000
MOST_WAIT_MS = 3_600_000
GIVEN_UP_AFTER_MS = 3 * 86_400_000
# Longer than any sender takes.
CLAIM_MS = 120_000
RECEIVER_MAX = 4
# A row that ended stays so long, to be shown.
KEPT_MS = 7 * 86_400_000
CLEAN_EVERY_MS = 3_600_000
POLL_SECONDS = 30.0
STORE_SECONDS = 5.0


class Deliverer:
    """``start``, ``stop``; ``committed`` after each commit. ``senders``: by the kind of receiver. ``is_alone``: no
    other service shares the database. ``clock_ms``: milliseconds since the epoch."""

    def __init__(
        self,
        deliveries: Deliveries,
        receivers: Receivers,
        senders: Mapping[str, Sender],
        *,
        is_alone: bool,
        clock_ms: Callable[[], int],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._deliveries = deliveries
        self._receivers = receivers
        self._senders = dict(senders)
        self._is_alone = is_alone
        self._clock_ms = clock_ms
        self._chance = chance
        self._loop = BackgroundLoop("deliveries", self._step)
        self._tries: dict[int, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._is_begun = False
        self._cleaned_at_ms = 0

    def start(self) -> None:
        self._loop.start()

    async def stop(self) -> None:
        """Leave what is being sent: it is sent again by the next start, or by another replica."""
        await self._loop.stop()
        left = dict(self._tries)
        for task in left.values():
            task.cancel()
        await asyncio.gather(*left.values(), return_exceptions=True)
        if left:
            try:
                await self._deliveries.release(left)
            except StoreError as error:
                logger.info("claims of deliveries stay until they end: %s", error)

    def committed(self, appends: Sequence[Append]) -> None:
        if any(is_told(append) for append in appends):
            self._loop.wake()

    async def round(self) -> float:
        """Begin all tries that are due and have room. Returns in how many seconds to look again. Raises
        StoreUnavailable."""
        now_ms = self._clock_ms()
        if not self._is_begun and self._is_alone:
            await self._deliveries.release()
        self._is_begun = True
        if now_ms - self._cleaned_at_ms >= CLEAN_EVERY_MS:
            await self._deliveries.forget(now_ms - KEPT_MS)
            self._cleaned_at_ms = now_ms
        claimed = await self._deliveries.claim(
            now_ms=now_ms,
            until_ms=now_ms + CLAIM_MS,
            # Copies: the writer's thread reads them.
            sending=list(self._tries),
            busy=dict(self._busy),
            receiver_max=RECEIVER_MAX,
        )
        for delivery in claimed:
            self._begin(delivery)
        next_at_ms = await self._deliveries.next_at_ms(now_ms)
        return POLL_SECONDS if next_at_ms is None else min(POLL_SECONDS, (next_at_ms - now_ms) / 1000)

    async def settled(self) -> None:
        """Wait until no try is under way."""
        while self._tries:
            await asyncio.wait(list(self._tries.values()))

    async def test(self, receiver: StoredReceiver) -> Outcome:
        """Try once, now, and keep nothing of it."""
        now_ms = self._clock_ms()
        return await self._send(receiver, test_message(f"test_{receiver.receiver_id}_{now_ms}", now_ms))

    async def _step(self) -> float:
        try:
            return await self.round()
        except StoreError as error:
            logger.info("deliveries wait: %s", error)
            return STORE_SECONDS

    def _begin(self, delivery: Claimed) -> None:
        self._busy[delivery.receiver_id] += 1
        task = asyncio.create_task(self._try(delivery), name=f"delivery {delivery.delivery_id}")
        self._tries[delivery.delivery_id] = task
        task.add_done_callback(lambda _: self._done(delivery))

    def _done(self, delivery: Claimed) -> None:
        del self._tries[delivery.delivery_id]
        self._busy[delivery.receiver_id] -= 1
        # Its receiver has room again, and the next delivery of its job may follow.
        self._loop.wake()

    async def _try(self, delivery: Claimed) -> None:
        try:
            receiver = await self._receivers.rows.get(delivery.receiver_id)
            if receiver is None:
                # Deleted since, with its deliveries.
                return
            message = Message(message_id=f"{delivery.job_id}_{delivery.sequence}", body=delivery.body)
            await self._settle(delivery, receiver, await self._send(receiver, message))
        except StoreError as error:
            logger.info("a delivery is repeated once its claim has ended: %s", error)

    async def _send(self, receiver: StoredReceiver, message: Message) -> Outcome:
        try:
            address = await self._receivers.address_of(receiver)
            if address is None:
                return Outcome(is_delivered=False, error="the settings of this service do not name this receiver")
            return await self._senders[receiver.kind].send(address, message)
        except InstallerError as error:
            return Outcome(is_delivered=False, error=str(error))
        except Exception:
            logger.exception("telling receiver %s failed", receiver.receiver_id)
            return Outcome(is_delivered=False, error="the service failed: see its log")

    async def _settle(self, delivery: Claimed, receiver: StoredReceiver, outcome: Outcome) -> None:
        now_ms, tries = self._clock_ms(), delivery.tries + 1
        next_at_ms = now_ms + self._wait_ms(tries, outcome)
        if outcome.is_delivered:
            state = DELIVERED
        elif outcome.is_final or next_at_ms - delivery.at_ms > GIVEN_UP_AFTER_MS:
            state = GIVEN_UP
            logger.warning(
                "receiver %s (%s) was not told that job %s %s: %s",
                receiver.receiver_id,
                receiver.shown,
                delivery.job_id,
                delivery.kind,
                outcome.error,
            )
        else:
            state = PENDING
        await self._deliveries.settle(
            delivery.delivery_id,
            state=state,
            tries=tries,
            next_at_ms=next_at_ms,
            ended_at_ms=None if state == PENDING else now_ms,
            status=outcome.status,
            error=outcome.error,
        )

    def _wait_ms(self, tries: int, outcome: Outcome) -> int:
        """Chance spreads the waits of many deliveries over 50–100 % of the wait."""
        wait = min(MOST_WAIT_MS, FIRST_WAIT_MS << min(tries - 1, 20))
        spread = round(wait * (0.5 + self._chance() / 2))
        return max(spread, 1000 * (outcome.retry_after_seconds or 0))
