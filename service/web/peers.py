"""Who a client is by its address, and the brake on guesses of the token.

Only addresses beyond loopback are told apart: behind a proxy on this machine everybody is one address, and a bound on
it would let one stranger lock out all others. A proxy that ``INSTALLER_TRUSTED_PROXIES`` names is believed when it
says, in X-Forwarded-For, for whom it asks; nobody else is.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from service.errors import TooManyGuesses

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The bucket of a peer: so many wrong tokens at once, then one each time so many seconds have passed.
GUESSES_AT_ONCE = 10
GUESS_SECONDS = 5.0
GUESSING_PEERS_MAX = 10_000
# Who holds one IPv6 address usually holds the 2^64 beside it.
IPV6_PREFIX = 64
FORWARDED_CHARACTERS_MAX = 4_096


class Peers:
    """Names the peer of a connection or a request; None: an address that many may share, which has no bound."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def trusts(self, address: str) -> bool:
        """Whether the proxy at this address is believed."""
        found = _address(address) if self._trusted else None
        return found is not None and self._is_trusted(found)

    def of_address(self, address: str) -> str | None:
        found = _address(address)
        if found is None or found.is_loopback or self._is_trusted(found):
            return None
        return _name(found)

    def of_forwarded(self, headers: Iterable[str]) -> str | None:
        """The client for whom a trusted proxy asks: the last address that is not such a proxy's own. What stands
        before it was written by the client itself."""
        named = ",".join(headers)[-FORWARDED_CHARACTERS_MAX:].split(",")
        for text in reversed(named):
            found = _address(text.strip())
            if found is None:
                return None
            if not self._is_trusted(found):
                return None if found.is_loopback else _name(found)
        return None

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


class TokenBrake:
    """Slows down who guesses the token: after ``GUESSES_AT_ONCE`` wrong ones a peer may try one every
    ``GUESS_SECONDS``, and until then none of its tokens is looked at, the right one included: an answer would be a
    guess as well. So a guesser delays a newcomer at the same address, for seconds and only while it guesses. The right
    token is never counted, and who is connected already stays. ``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # For each peer when its bucket will be full again, the latest guesser last.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def check(self, peer: str | None) -> None:
        """Before a token is compared. Raises TooManyGuesses."""
        if peer is None or peer not in self._full_at:
            return
        wait = self._full_at[peer] - self._clock() - (GUESSES_AT_ONCE - 1) * GUESS_SECONDS
        if wait > 0:
            raise TooManyGuesses(retry_after_seconds=math.ceil(wait))

    def wrong(self, peer: str | None) -> None:
        """This peer's token was wrong."""
        if peer is None:
            return
        now = self._clock()
        self._full_at[peer] = max(now, self._full_at.pop(peer, now)) + GUESS_SECONDS
        while len(self._full_at) > GUESSING_PEERS_MAX or next(iter(self._full_at.values())) <= now:
            self._full_at.popitem(last=False)


def _address(text: str) -> Address | None:
    """The address in ``1.2.3.4``, ``1.2.3.4:80``, ``::1``, ``[::1]:80`` or ``fe80::1%eth0``; None: there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _name(address: Address) -> str:
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
