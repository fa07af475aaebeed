"""Runs Apprise once, in a process of its own: ``python -m service.notify.apprise_program``, a job as JSON on standard
input. Exit status 0: done; else standard output says why not, without what is secret.

From the moment at which Apprise may act, this process opens connections only to addresses that the service's fetcher
would connect to, also after a redirect or when a name resolves to something else, and starts no other program: Python
itself asks before each connection (``sys.addaudithook``), whichever library opens it.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from service.errors import TargetRefused
from service.runner.instance.targets import check_target

_PROGRAMS = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "syslog.openlog",
    }
)
_CONNECTIONS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


class _Refused(OSError):
    """What this process may not do."""


class Gate:
    """An audit hook. ``allowed``: private targets that are let in."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.refused: str | None = None
        self._allowed = tuple(allowed)
        # The name that this thread looked up last: what it connects to then are that name's addresses.
        self._name = threading.local()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
            self._name.value = host.decode("idna") if isinstance(host, bytes) else str(host)
        elif event in _CONNECTIONS:
            self._connect(arguments)
        elif event in _PROGRAMS:
            self._refuse("Apprise wanted to start a program or to write into this machine's log: use another service")

    def _connect(self, arguments: tuple[Any, ...]) -> None:
        opened, place = arguments[0], arguments[-1]
        if opened.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(place, tuple):
            self._refuse("Apprise wanted to connect to something on this machine: use another service")
        address, port = str(place[0]), int(place[1])
        name = getattr(self._name, "value", address)
        try:
            check_target(name, port, address, private_targets=False, allowed=self._allowed)
        except TargetRefused:
            self._refuse_address(address)

    def _refuse_address(self, address: str) -> None:
        self._refuse(
            f"{address} is a private, link-local, metadata or reserved address, to which the service sends nothing: if "
            "it is in a private network of yours, list it in INSTALLER_OUTBOUND_TARGETS"
        )

    def _refuse(self, why: str) -> None:
        self.refused = self.refused or why
        raise _Refused(why)


def main() -> int:
    import apprise

    job = json.load(sys.stdin)
    receiver = apprise.Apprise.instantiate(job["url"], suppress_exceptions=True)
    if receiver is None:
        print("Apprise cannot read this address: see https://appriseit.com/services/ for how its services are written")
        return 1
    if "text" not in job:
        return 0
    gate = Gate(job["allowed"])
    sys.addaudithook(gate)
    if receiver.notify(body=job["text"], title=job["title"]):
        return 0
    print(gate.refused or "the service behind it did not take the message: check the address and its keys")
    return 1


if __name__ == "__main__":
    sys.exit(main())
