"""What a client may send: packets that our clients send, checked before python-socketio decodes them.

Socket.IO collects as many binary attachments as a client announces, and a frame that it cannot read costs a traceback
in the log. No client of ours sends binary data or acknowledges anything, so neither is let in.
"""

from __future__ import annotations

from typing import Any

import socketio
from engineio import packet as engineio_packet
from engineio import payload as engineio_payload

from service.web.socket_events import NAMESPACE

MESSAGE_BYTES_MAX = 64 * 1024
# The JavaScript client posts everything that waits in one body: one packet for each subscription of a page, and more.
POSTED_PACKETS_MAX = 512
# What the decoders of Engine.IO and Socket.IO raise on garbage.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
_FROM_CLIENTS = "123456"
_CONNECT, _DISCONNECT, _EVENT = 0, 1, 2


def packets_of_body(body: bytes) -> list[Any]:
    """The packets that a client has posted. Raises one of UNREADABLE."""
    return list(engineio_payload.Payload(encoded_payload=body.decode()).packets)


def packet_of_frame(text: str) -> Any | None:
    """The packet in one text frame of a WebSocket; None: no client of ours sends this."""
    if text[:1] not in _FROM_CLIENTS or not text:
        return None
    try:
        return engineio_packet.Packet(encoded_packet=text)
    except UNREADABLE:
        return None


def is_allowed(packet: Any, *, has_joined: bool) -> bool:
    """Whether a client of ours sends this packet. ``has_joined``: the client is in the namespace."""
    if packet.binary:
        return False
    return packet.packet_type != engineio_packet.MESSAGE or _is_message(packet.data, has_joined)


def _is_message(data: Any, has_joined: bool) -> bool:
    """Whether Socket.IO can read this, and a client may send it: it joins, leaves, or names an event where it has
    joined."""
    try:
        found = socketio.packet.Packet(encoded_packet=data)
    except UNREADABLE:
        return False
    if found.packet_type != _EVENT:
        return found.packet_type in (_CONNECT, _DISCONNECT)
    is_here = has_joined and found.namespace == NAMESPACE
    return is_here and isinstance(found.data, list) and bool(found.data) and isinstance(found.data[0], str)
