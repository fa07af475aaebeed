"""What goes out: events as a ``Batch``, everything else as packets of Engine.IO.

Made for many clients: what they share is one batch, encoded once, when the first of them needs it, and a client's
WebSocket is written whatever waits for it at once (``Writing``). So the more there is to send, the less each event
costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from engineio import packet as engineio_packet

from service.events.recorded_event import RecordedEvent
from service.web.socket_events import NAMESPACE, name_of


class Batch:
    """Events on their way to any number of clients, encoded once: as frames of a WebSocket, or as packets for those
    that poll."""

    def __init__(self, events: Sequence[RecordedEvent]) -> None:
        self.count = len(events)
        self._events = events

    @cached_property
    def packets(self) -> list[Any]:
        return [event_packet(name_of(event.type), event.to_json()) for event in self._events]

    @cached_property
    def frames(self) -> bytes:
        return b"".join(
            [frame(f'42{NAMESPACE},["{name_of(event.type)}",{event.to_json()}]'.encode()) for event in self._events]
        )


class Writing:
    """Whatever waits for a WebSocket, in the place of one packet: Engine.IO's writer encodes it and sends it on."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def encode(self) -> list[bytes]:
        return [item.frames if isinstance(item, Batch) else frame(item.encode().encode()) for item in self.items]


def event_packet(name: str, payload_json: str) -> Any:
    """Socket.IO's EVENT is ``2<namespace>,<JSON>``."""
    return engineio_packet.Packet(engineio_packet.MESSAGE, f'2{NAMESPACE},["{name}",{payload_json}]')


def as_packets(items: Iterable[Any]) -> list[Any]:
    """Batches and packets, as packets alone."""
    return [packet for item in items for packet in (item.packets if isinstance(item, Batch) else [item])]


def frame(payload: bytes) -> bytes:
    """One whole text frame of a WebSocket, as a server sends it (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload
