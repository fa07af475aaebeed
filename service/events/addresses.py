"""How an instance is named, and the one rule for each part of its name: the user, the host key's fingerprint, the key
that the queue knows it by."""

from __future__ import annotations

import ipaddress
import re

USER_PATTERN = r"^[A-Za-z0-9_.][A-Za-z0-9_.$-]{0,63}$"
FINGERPRINT_PATTERN = r"^(?:SHA256:)?[A-Za-z0-9+/]{43}=?$"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_LOCAL_ADDRESSES = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
# Bounded, since Python refuses to read thousands of digits.
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,16}|[1-9][0-9]{0,16}")
_FINGERPRINT = re.compile(FINGERPRINT_PATTERN)
_FINGERPRINT_PREFIX = "SHA256:"


def is_fingerprint(text: str) -> bool:
    """Whether the text is a SHA-256 fingerprint in any of its usual forms: with or without prefix and padding."""
    return _FINGERPRINT.fullmatch(text) is not None


def plain_fingerprint(text: str) -> str:
    """The form in which fingerprints are compared and stored: ``SHA256:…`` without padding, as OpenSSH prints it."""
    return _FINGERPRINT_PREFIX + text.removeprefix(_FINGERPRINT_PREFIX).rstrip("=")


def instance_name(user: str, host: str, port: int) -> str:
    """``user@host:port``, with an IPv6 address in brackets: how clients and messages name an instance."""
    return f"{user}@[{host}]:{port}" if ":" in host else f"{user}@{host}:{port}"


def plain_host(host: str) -> str:
    """The one spelling of a host in the queue's keys. No look-up is made: two names of one machine stay two.

    An address has one spelling: 127.1, 0x7f000001 and ::ffff:127.0.0.1 are 127.0.0.1. A name is lower case, without
    the dot at its end. ``localhost`` and ::1 are the machine of the service, by any resolver: 127.0.0.1.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    name = bare.rstrip(".").lower()
    ip = address_in(name)
    if name in _LOCAL_NAMES or (ip is not None and ip in _LOCAL_ADDRESSES):
        return str(_LOCAL_ADDRESSES[0])
    return name if ip is None else str(ip)


def address_in(host: str) -> Address | None:
    """The address that this text is, in any spelling that a resolver takes for one; None for a name.

    The zone of an IPv6 address is left out, and of one that stands for an IPv4 address, that one is given.
    """
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _loose_ipv4(host)
    if isinstance(ip, ipaddress.IPv6Address):
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in NAT64 else ip.ipv4_mapped or ip
    return ip


def _loose_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """As inet_aton reads it: up to four numbers, decimal, octal or hexadecimal, the last one for all bytes left."""
    parts = host.split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    *head, last = (int(part, _base(part)) for part in parts)
    left_bytes = 4 - len(head)
    if any(number > 0xFF for number in head) or last >= 256**left_bytes:
        return None
    return ipaddress.IPv4Address(int.from_bytes(bytes(head), "big") << 8 * left_bytes | last)


def _base(number: str) -> int:
    if number[:2] in ("0x", "0X"):
        return 16
    return 8 if number.startswith("0") and len(number) > 1 else 10


def instance_key(host: str, port: int) -> str:
    """What an instance is to the queue: its address, however it is written and whichever user logs in there."""
    return f"{plain_host(host)}:{port}"


def key_of_name(name: str) -> str:
    """The key of the instance with this name; the user may be left out."""
    host, _, port = name.rpartition("@")[2].rpartition(":")
    return f"{plain_host(host)}:{port}"
