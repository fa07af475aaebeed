"""Decides whether the key that an instance shows is accepted, by the policy and by the keys known before. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal

from service.errors import HostKeyChanged
from service.events.addresses import plain_fingerprint
from service.runner.instance.known_hosts import KnownKey, fingerprint

HostKeyPolicy = Literal["strict", "accept-new", "off"]

# In this order. No certificates: the service does not know the authorities that sign them.
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The key that an instance showed. ``is_new``: it was not known before and will be remembered."""

    fingerprint: str
    algorithm: str
    blob: bytes
    is_new: bool


class HostKeyRule:
    """``target``: what messages call the instance. ``wanted``: the fingerprint of the only key that is accepted."""

    def __init__(self, target: str, policy: HostKeyPolicy, wanted: str | None, known: Sequence[KnownKey]) -> None:
        self._target = target
        self._policy = policy
        self.wanted = None if wanted is None else plain_fingerprint(wanted)
        self._known = [key for key in known if not key.revoked]
        self._revoked = [key for key in known if key.revoked]

    def algorithms(self, without: Container[str] = ()) -> list[str]:
        """What to ask for, the known kinds of key first: a key of another kind would look like a changed key."""
        kinds = [key.algorithm for key in self._known]
        known_first = sorted(HOST_KEY_ALGORITHMS, key=lambda algorithm: _kind(algorithm) not in kinds)
        return [algorithm for algorithm in known_first if _kind(algorithm) not in without]

    def check(self, algorithm: str, blob: bytes) -> HostKey:
        """Raises HostKeyChanged."""
        shown = fingerprint(blob)
        is_known = any(key.blob == blob for key in self._known)
        refusal = self._refusal(shown, blob, is_known)
        if refusal is not None:
            raise HostKeyChanged(refusal, shown)
        is_new = not is_known and self._policy != "off"
        return HostKey(fingerprint=shown, algorithm=algorithm, blob=blob, is_new=is_new)

    def _refusal(self, shown: str, blob: bytes, is_known: bool) -> str | None:
        if self._policy != "off" and any(key.blob == blob for key in self._revoked):
            return f"the host key {shown} of {self._target} is marked as revoked in the file in INSTALLER_KNOWN_HOSTS"
        if self.wanted is not None:
            if self.wanted == shown:
                return None
            return f"{self._target} shows the host key {shown}, but host_key_sha256 asks for {self.wanted}"
        if self._policy == "off":
            return None
        if is_known:
            return None
        if self._known:
            before = ", ".join(key.fingerprint for key in self._known)
            return (
                f"the host key of {self._target} has changed from {before} to {shown}: if this is a new instance at "
                "the same address, start the install again with host_key_sha256 set to the new fingerprint"
            )
        if self._policy == "strict":
            return (
                f"the host key {shown} of {self._target} is not known: add it to the file in INSTALLER_KNOWN_HOSTS, "
                "or send it as host_key_sha256"
            )
        return None


class HostKeyCheck:
    """One handshake's question to the rule: which key was shown, and the rule's answer."""

    def __init__(self, rule: HostKeyRule) -> None:
        self._rule = rule
        self.host_key: HostKey | None = None
        self.shown_algorithm = ""
        self.refusal: HostKeyChanged | None = None

    def accepts(self, algorithm: str, blob: bytes) -> bool:
        self.shown_algorithm = algorithm
        try:
            self.host_key = self._rule.check(algorithm, blob)
        except HostKeyChanged as error:
            self.refusal = error
        return self.refusal is None


def _kind(algorithm: str) -> str:
    """The kind of key that a signature algorithm belongs to, as a file of known hosts names it."""
    return "ssh-rsa" if algorithm.startswith("rsa-") else algorithm
