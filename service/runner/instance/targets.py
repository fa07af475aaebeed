"""An instance's address, and which addresses may be connected to at all.

Pure: the caller resolves names and connects to the very address that was checked, so that a name cannot point elsewhere
a moment later.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import TargetRefused
from service.events.addresses import Address, address_in, instance_name

# Where clouds keep the credentials of a machine; nobody rents an instance there.
METADATA_NAMES = ("metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal")
METADATA_ADDRESSES = tuple(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
# Networks that Python does not call reserved: site-local (RFC 3879) and the relays of 6to4 (RFC 7526), both withdrawn.
WITHDRAWN = tuple(map(ipaddress.ip_network, ("fec0::/10", "192.88.99.0/24")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Where to connect to. ``host_key_sha256``: accept exactly this key."""

    host: str
    port: int
    user: str
    host_key_sha256: str | None = None

    def __str__(self) -> str:
        return instance_name(self.user, self.host, self.port)


def check_host(host: str, port: int, *, private_targets: bool, allowed: Sequence[str]) -> None:
    """Refuse what needs no look-up: a literal address that may not be a target, a name that never is one.

    Raises TargetRefused.
    """
    if host.rstrip(".").lower() in METADATA_NAMES:
        raise TargetRefused(f'ssh_host "{host}" is a metadata service of a cloud and never a target')
    literal = address_in(host.rstrip("."))
    if literal is not None:
        check_target(host, port, str(literal), private_targets=private_targets, allowed=allowed)


def check_target(host: str, port: int, address: str, *, private_targets: bool, allowed: Sequence[str]) -> None:
    """Raises TargetRefused unless ``address``, to which ``host`` resolves, may be connected to.

    ``private_targets``: whether any private or loopback address may be one. ``allowed``: hosts, addresses, networks
    (10.0.0.0/8), each optionally with ``:port``, that may be one though they are private, and nothing else.
    """
    ip = _plain(address)
    # To Python, ::1 is reserved as well.
    reserved = (ip.is_reserved and not ip.is_loopback) or any(ip in network for network in WITHDRAWN)
    if ip in METADATA_ADDRESSES or ip.is_link_local or ip.is_multicast or ip.is_unspecified or reserved:
        raise TargetRefused(f"ssh_host {host} ({ip}) is a link-local, metadata or reserved address and never a target")
    if private_targets or ip.is_global:
        return
    if not any(_listed(entry, host, port, ip) for entry in allowed):
        raise TargetRefused(
            f"ssh_host {host} ({ip}) is a private address: list it in INSTALLER_SSH_TARGETS to let it be a target, "
            "or set INSTALLER_PRIVATE_TARGETS=true to let all be"
        )


def _plain(address: str) -> Address:
    """The IPv4 address inside an IPv6 one, which reaches the same machine or its network."""
    ip = address_in(address)
    if ip is None:
        raise TargetRefused(f"{address} is not an address")
    return (ip.sixtofour or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _listed(entry: str, host: str, port: int, ip: Address) -> bool:
    name, wanted_port = _split(entry.strip())
    if wanted_port is not None and wanted_port != port:
        return False
    if name.rstrip(".").lower() == host.rstrip(".").lower():
        return True
    try:
        return ip in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _split(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdigit() else None
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and ":" not in name:
        return name, int(port)
    return entry, None
