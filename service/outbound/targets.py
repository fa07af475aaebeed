"""From which addresses the service fetches. Pure.

The rule for addresses is the one for instances (runner/instance/targets.py): two rules would drift apart. Only the list
of private ones that are let in is another.
"""

from __future__ import annotations

from collections.abc import Sequence

from yarl import URL

from service.errors import AddressRefused, TargetRefused
from service.events.redaction import Redactor
from service.runner.instance.targets import check_host, check_target

ADDRESS_CHARACTERS_MAX = 2_048
_SHOWN_CHARACTERS_MAX = 200
_redacted = Redactor()


def read_address(text: str) -> URL:
    """An http or https address without a password. Raises AddressRefused."""
    if len(text) > ADDRESS_CHARACTERS_MAX:
        raise AddressRefused(f"the address is longer than {ADDRESS_CHARACTERS_MAX} characters")
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise AddressRefused(f'"{shown(text)}" is not an address') from error
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise AddressRefused(f'"{shown(text)}" is not an address that begins with https:// or http://')
    if url.user is not None or url.password is not None:
        raise AddressRefused("the address holds a user or a password: leave them out")
    return url.with_fragment(None)


def check_name(url: URL, allowed: Sequence[str]) -> None:
    """What needs no look-up. Raises AddressRefused."""
    host, port = _place(url)
    try:
        check_host(host, port, private_targets=False, allowed=allowed)
    except TargetRefused as error:
        raise AddressRefused(_refusal(host)) from error


def check_address(url: URL, address: str, allowed: Sequence[str]) -> None:
    """``address``: where the connection goes. ``allowed``: hosts, addresses, networks, each optionally with a port,
    that are let in though they are private. Raises AddressRefused."""
    host, port = _place(url)
    try:
        check_target(host, port, address, private_targets=False, allowed=allowed)
    except TargetRefused as error:
        raise AddressRefused(_refusal(host, address)) from error


def origin_of(url: URL) -> str:
    """Scheme, host and port: to whom a token goes."""
    return str(url.origin())


def shown(text: str) -> str:
    """An address for a message: bounded, without its secrets."""
    plain = "".join(mark if mark.isprintable() else "?" for mark in _redacted(text[:ADDRESS_CHARACTERS_MAX]))
    return plain if len(plain) <= _SHOWN_CHARACTERS_MAX else plain[: _SHOWN_CHARACTERS_MAX - 1] + "…"


def _place(url: URL) -> tuple[str, int]:
    assert url.host is not None
    assert url.port is not None
    return url.host, url.port


def _refusal(host: str, address: str | None = None) -> str:
    what = shown(host) if address in (None, host) else f"{shown(host)} ({address})"
    return (
        f"{what} is a private, link-local, metadata or reserved address, from which the service fetches nothing: "
        "if it is in a private network of yours, list it in INSTALLER_OUTBOUND_TARGETS"
    )
