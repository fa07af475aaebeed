"""How an instance is named, and the one rule for each part of its name: the user, the host key's fingerprint, the key
that the queue knows it by."""

from __future__ import annotations

import re

USER_PATTERN = r"^[A-Za-z0-9_.][A-Za-z0-9_.$-]{0,63}$"
FINGERPRINT_PATTERN = r"^(?:SHA256:)?[A-Za-z0-9+/]{43}=?$"

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


def instance_key(host: str, port: int) -> str:
    """What an instance is to the queue: its address, whichever user logs in there."""
    return f"{host}:{port}"


def key_of_name(name: str) -> str:
    """The key of the instance with this name; the user may be left out."""
    host, _, port = name.rpartition("@")[2].rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return f"{bare}:{port}"
