"""Free ports that stay free: no other worker gets the same one, and no outgoing connection is ever given it.

A port that the kernel picks is free at that moment only: another process may get it before the test uses it, or while
a service that keeps its port is down. These ports lie below the range that the kernel picks from, and each process
holds a block of them until it ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

FIRST_PORT = 10_000
BLOCK_PORTS = 500
LAST_PORT_USUAL = 32_767


def free_port() -> int:
    """A port that nothing is bound to. It is handed out again only after all others of the block."""
    ports = _ports()
    for _ in range(BLOCK_PORTS):
        port = next(ports)
        if _is_free(port):
            return port
    raise RuntimeError(f"all {BLOCK_PORTS} ports of this process are in use")


def silent_port() -> int:
    """A port where something listens and never says a word: who connects waits until its own limit."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", free_port()))
    listener.listen(1_000)
    port = int(listener.getsockname()[1])
    listener.detach()
    return port


@cache
def _ports() -> Iterator[int]:
    """The ports of this process's block. Its lock is the name of an abstract socket, which ends with the process."""
    blocks = (_end() - FIRST_PORT) // BLOCK_PORTS
    for n in range(blocks):
        block = (os.getpid() + n) % blocks
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0resource-installer-tests-ports-{block}")
        except OSError:
            holder.close()
            continue
        # It stays open until the process ends; no object may close it.
        holder.detach()
        first = FIRST_PORT + block * BLOCK_PORTS
        return cycle(range(first, first + BLOCK_PORTS))
    raise RuntimeError(f"all {blocks} blocks of ports are held by other processes")


def _end() -> int:
    """Where the kernel's own range begins."""
    begin = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    return begin if begin >= FIRST_PORT + BLOCK_PORTS else LAST_PORT_USUAL + 1


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
