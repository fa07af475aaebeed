"""The SSH key of the service's own: ed25519, made on request."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

COMMENT = "resource-installer"


def new_private_key() -> str:
    """In OpenSSH's form."""
    raw = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return raw.decode()


def public_line(private: str) -> str:
    """The line of its public half, as ``authorized_keys`` has it."""
    public = load_ssh_private_key(private.encode(), password=None).public_key()
    return f"{public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {COMMENT}"


def fingerprint(line: str) -> str:
    """As ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
