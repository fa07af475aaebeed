"""(n) What a packet of an SSH connection costs the event loop: the cipher that the service offers first beside the one
that asyncssh does."""

from __future__ import annotations

import os
import time

from asyncssh.encryption import get_encryption, get_encryption_params

from benchmarks.table import Row, median
from service.runner.instance.ciphers import ciphers

THEIRS = "chacha20-poly1305@openssh.com"
# A bar or two, and a packet of a log that is read again.
PACKET_BYTES = (200, 32 * 1024)
PACKETS = 1_000
HEADER_BYTES = 4


async def run(quick: bool) -> list[Row]:
    rows = []
    for size in PACKET_BYTES:
        pairs = [(cost(ciphers()[0], size), cost(THEIRS, size)) for _ in range(5 if quick else 15)]
        ratio = median([ours / theirs for ours, theirs in pairs])
        ours = median([pair[0] for pair in pairs])
        rows.append(
            Row(
                name=f"(n) a packet of {size:,} bytes, there and back",
                value=ours,
                unit="us",
                peer="ChaCha20",
                peer_value=ours / ratio,
                goal="<= 0.5",
                holds=ratio <= 0.5,
            )
        )
    return rows


def cost(name: str, size: int) -> float:
    """Microseconds of the thread to encrypt a packet and to decrypt it."""
    key_bytes, iv_bytes, *_ = get_encryption_params(name.encode())
    key, iv = os.urandom(key_bytes), os.urandom(iv_bytes)
    sender, receiver = (get_encryption(name.encode(), key, iv, b"", b"", False) for _ in range(2))
    header, body = size.to_bytes(HEADER_BYTES, "big"), os.urandom(size)
    begin = time.thread_time()
    for number in range(PACKETS):
        packet, tag = sender.encrypt_packet(number, header, body)
        first, _ = receiver.decrypt_header(number, packet[:HEADER_BYTES], HEADER_BYTES)
        receiver.decrypt_packet(number, first, packet[HEADER_BYTES:], HEADER_BYTES, tag)
    return (time.thread_time() - begin) / PACKETS * 1e6
