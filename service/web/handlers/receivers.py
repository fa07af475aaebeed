"""Who is told how jobs end: list, add, test and delete receivers."""

from __future__ import annotations

from typing import cast

from service.events.recorded_event import rfc3339
from service.store.deliveries import PENDING
from service.store.stored_receivers import LastDelivery, StoredReceiver
from service.web.receiver_answers import (
    AddedReceiver,
    DeletedReceiver,
    DeliveryView,
    ReceiverList,
    ReceiverView,
    TestedReceiver,
)
from service.web.receiver_requests import ReceiverRequest
from service.web.services import Services


async def list_receivers(services: Services) -> ReceiverList:
    rows = services.notifications.receivers.rows
    pending = await rows.pending()
    return {
        "receivers": [
            _view(receiver, pending.get(receiver.receiver_id, 0), await rows.last(receiver.receiver_id))
            for receiver in await rows.all()
        ]
    }


async def add_receiver(services: Services, *, body: ReceiverRequest) -> AddedReceiver:
    receiver, address = await services.notifications.receivers.add(
        url=body.url, secret=body.secret, name=body.name, kinds=body.events
    )
    return {
        "success": True,
        "message": "added: it is told of every event from now on",
        "secret": address.secret if body.secret is None else None,
        **_view(receiver, 0, None),
    }


async def delete_receiver(services: Services, *, receiver_id: str) -> DeletedReceiver:
    await services.notifications.receivers.delete(receiver_id)
    return {"success": True, "receiver_id": receiver_id, "message": "deleted: it is told nothing more"}


async def check_receiver(services: Services, *, receiver_id: str) -> TestedReceiver:
    outcome = await services.notifications.deliverer.test(await services.notifications.receivers.get(receiver_id))
    return {
        "success": True,
        "receiver_id": receiver_id,
        "delivered": outcome.is_delivered,
        "status": outcome.status,
        "message": "the receiver took it" if outcome.is_delivered else outcome.error or "the receiver did not take it",
    }


def _view(receiver: StoredReceiver, pending: int, last: LastDelivery | None) -> ReceiverView:
    view = {
        "receiver_id": receiver.receiver_id,
        "name": receiver.name,
        "kind": receiver.kind,
        "address": receiver.shown,
        "source": "settings" if receiver.sealed is None else "stored",
        "events": list(receiver.kinds),
        "created_at": rfc3339(receiver.created_at_ms),
        "pending": pending,
        "last": _delivery(last) if last is not None else None,
    }
    return cast(ReceiverView, view)


def _delivery(last: LastDelivery) -> DeliveryView:
    return {
        "job_id": last.job_id,
        "event": last.kind,
        "at": rfc3339(last.at_ms),
        "state": last.state,
        "tries": last.tries,
        "next_at": rfc3339(last.next_at_ms) if last.state == PENDING else None,
        "ended_at": rfc3339(last.ended_at_ms) if last.ended_at_ms is not None else None,
        "status": last.status,
        "error": last.error,
    }
