"""What the process that runs Apprise may connect to, and what happens without Apprise."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.notify import apprise_sender
from service.notify.address import Address
from service.notify.apprise_program import Gate
from service.notify.apprise_sender import AppriseSender
from service.notify.message import test_message as message_of_a_test

INTERNET = [(socket.AF_INET, "93.184.216.34"), (socket.AF_INET6, "2606:2800:220:1:248:1893:25c8:1946")]


@pytest.fixture
def opened() -> Iterator[dict[Any, socket.socket]]:
    found = {family: socket.socket(family) for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)}
    yield found
    for each in found.values():
        each.close()


@pytest.mark.parametrize(("family", "address"), INTERNET)
def test_the_internet_is_let_in(opened: dict[Any, socket.socket], family: int, address: str) -> None:
    gate = Gate([])
    gate("socket.getaddrinfo", ("ntfy.sh", 443, 0, 0, 0))
    gate("socket.connect", (opened[family], (address, 443)))
    assert gate.refused is None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"])
@pytest.mark.parametrize("event", ["socket.connect", "socket.sendto", "socket.sendmsg"])
def test_a_private_network_is_not(opened: dict[Any, socket.socket], event: str, address: str) -> None:
    """Whatever name led there, and however often it is looked up."""
    gate = Gate(["listed.example"])
    gate("socket.getaddrinfo", ("listed.example", 443, 0, 0, 0))
    gate("socket.getaddrinfo", (b"hooks.example", 443, 0, 0, 0))
    with pytest.raises(OSError, match="INSTALLER_OUTBOUND_TARGETS"):
        gate(event, (opened[socket.AF_INET], (address, 443)))
    assert gate.refused is not None


def test_a_name_that_is_listed_is_let_in_but_for_metadata(opened: dict[Any, socket.socket]) -> None:
    gate = Gate(["mail.example:25"])
    gate("socket.getaddrinfo", ("mail.example", 25, 0, 0, 0))
    gate("socket.connect", (opened[socket.AF_INET], ("10.0.0.1", 25)))
    for place in (("10.0.0.1", 26), ("169.254.169.254", 25)):
        with pytest.raises(OSError, match="private"):
            gate("socket.connect", (opened[socket.AF_INET], place))


def test_nothing_on_this_machine_is_used(opened: dict[Any, socket.socket]) -> None:
    gate = Gate([])
    with pytest.raises(OSError, match="on this machine"):
        gate("socket.connect", (opened[socket.AF_UNIX], "/run/dbus/system_bus_socket"))
    for event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "syslog.openlog"):
        with pytest.raises(OSError, match="start a program"):
            gate(event, ())


async def test_without_apprise_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise_sender, "is_installed", lambda: False)
    address = Address(url="ntfy://topic")
    with pytest.raises(InvalidRequest, match=r"pip install 'resource-installer\[notify\]'"):
        await AppriseSender().check(address)
    outcome = await AppriseSender().send(address, message_of_a_test("test", 0))
    assert (outcome.is_delivered, "pip install" in str(outcome.error)) == (False, True)


async def test_apprise_that_takes_too_long_is_ended() -> None:
    outcome = await AppriseSender(seconds_max=0.01).send(Address(url="json://x.example"), message_of_a_test("t", 0))
    assert (outcome.is_delivered, outcome.error) == (False, "it did not answer in time")
