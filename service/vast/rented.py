"""An instance as Vast.ai's API describes it. Pure: what a site says is bounded and of its type, or it is left out."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

TEXT_CHARACTERS_MAX = 200
ID_MAX = 10**12
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# Without a status an instance is still being made.
PROVISIONING = "provisioning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """``dollars_per_hour`` in all. ``disk_total``, ``disk_used``: bytes. ``ssh_host`` None: it has no address yet;
    ``way``: to the instance itself, or through Vast.ai's proxy, which is slower. ``addresses``: all, that one first."""

    id: int
    label: str | None
    gpu: str | None
    gpu_count: int | None
    status: str
    dollars_per_hour: float | None
    disk_total: int | None
    disk_used: int | None
    ssh_host: str | None
    ssh_port: int | None
    way: Literal["direct", "proxy"] | None
    addresses: tuple[tuple[str, int], ...] = ()


def read_rented(given: Mapping[str, Any]) -> Rented | None:
    """None for what is no instance."""
    number = _whole(given.get("id"), ID_MAX)
    if number is None:
        return None
    addresses = _addresses(given)
    host, port, way = addresses[0] if addresses else (None, None, None)
    return Rented(
        id=number,
        label=_text(given.get("label")),
        gpu=_text(given.get("gpu_name")),
        gpu_count=_whole(given.get("num_gpus"), 1_000),
        status=_text(given.get("actual_status")) or PROVISIONING,
        dollars_per_hour=_number(given.get("dph_total")),
        disk_total=_gigabytes(given.get("disk_space")),
        disk_used=_gigabytes(given.get("disk_usage")),
        ssh_host=host,
        ssh_port=port,
        way=way,
        addresses=tuple((host, port) for host, port, _ in addresses),
    )


def _addresses(given: Mapping[str, Any]) -> list[tuple[str, int, Literal["direct", "proxy"]]]:
    """The instance's own address where it has one, then the proxy's. With Jupyter the proxy's port is the next one."""
    found: list[tuple[str, int, Literal["direct", "proxy"]]] = []
    ports = given.get("ports")
    mapped = ports.get("22/tcp") if isinstance(ports, dict) else None
    first = mapped[0] if isinstance(mapped, list) and mapped else None
    direct_port = _port(first.get("HostPort")) if isinstance(first, dict) else None
    address = _ip(given.get("public_ipaddr"))
    if address is not None and direct_port is not None:
        found.append((address, direct_port, "direct"))
    host, port = given.get("ssh_host"), _port(given.get("ssh_port"))
    if isinstance(host, str) and _HOST.fullmatch(host) and port is not None:
        has_jupyter = "jupyter" in str(given.get("image_runtype"))[:TEXT_CHARACTERS_MAX]
        found.append((host, min(port + has_jupyter, 65_535), "proxy"))
    return found


def _ip(value: Any) -> str | None:
    try:
        return str(ipaddress.ip_address(value.strip())) if isinstance(value, str) and len(value) < 60 else None
    except ValueError:
        return None


def _port(value: Any) -> int | None:
    """A number, or its digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        value = int(value)
    found = _whole(value, 65_535)
    return found or None


def _whole(value: Any, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return round(float(value), 6) if is_number and math.isfinite(value) and value >= 0 else None


def _gigabytes(value: Any) -> int | None:
    found = _number(value)
    return None if found is None or found > 1e6 else round(found * 1e9)


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    plain = "".join(mark if mark.isprintable() else " " for mark in value[: TEXT_CHARACTERS_MAX * 2])
    return " ".join(plain.split())[:TEXT_CHARACTERS_MAX] or None
