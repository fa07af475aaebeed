"""Which addresses may be connected to."""

from __future__ import annotations

import pytest

from service.errors import TargetRefused
from service.runner.instance.targets import check_host, check_target

NEVER = [
    "169.254.169.254",
    "169.254.1.1",
    "100.100.100.200",
    "fd00:ec2::254",
    "168.63.129.16",
    "192.0.0.192",
    "192.88.99.1",
    "fec0::1",
    "::ffff:168.63.129.16",
    "64:ff9b::a83f:8110",
    "fe80::1",
    "fe80::1%eth0",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    # the same machine, written as IPv6
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::",
    "::ffff:0.0.0.0",
]
PRIVATE = [
    "127.0.0.1",
    "127.5.5.5",
    "::1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "2002:7f00:1::",
    "64:ff9b::10.1.2.3",
]
PUBLIC = ["109.231.106.68", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"]


def may(host: str, port: int = 22, address: str = "", *, private_targets: bool, allowed: tuple[str, ...] = ()) -> bool:
    try:
        check_target(host, port, address or host, private_targets=private_targets, allowed=allowed)
    except TargetRefused:
        return False
    return True


@pytest.mark.parametrize("private_targets", [True, False])
@pytest.mark.parametrize("address", NEVER)
def test_never_a_target_whatever_is_listed(address: str, private_targets: bool) -> None:
    listed = (address, "0.0.0.0/0", "::/0")
    assert not may(address, private_targets=private_targets, allowed=listed)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_a_target_only_where_that_is_set(address: str) -> None:
    assert may(address, private_targets=True)
    assert not may(address, private_targets=False)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_always_a_target(address: str) -> None:
    assert may(address, private_targets=True)
    assert may(address, private_targets=False)


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "expected"),
    [
        ("10.0.0.0/8", "10.1.2.3", 22, "10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1.example", 22, "192.168.0.1", False),
        ("10.1.2.3", "10.1.2.3", 22, "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", 22, "10.1.2.4", False),
        ("10.1.2.3:2222", "10.1.2.3", 2222, "10.1.2.3", True),
        ("10.1.2.3:2222", "10.1.2.3", 22, "10.1.2.3", False),
        ("10.0.0.0/8:2222", "10.9.9.9", 2222, "10.9.9.9", True),
        ("10.0.0.0/8:2222", "10.9.9.9", 22, "10.9.9.9", False),
        ("gpu.lan", "GPU.lan", 22, "192.168.0.7", True),
        ("gpu.lan:22", "gpu.lan", 2222, "192.168.0.7", False),
        ("gpu.lan", "other.lan", 22, "192.168.0.7", False),
        ("192.168.0.0/16", "gpu.lan", 22, "192.168.0.7", True),
        ("fd00::/8", "fd00::1", 22, "fd00::1", True),
        ("[fd00::1]:2222", "fd00::1", 2222, "fd00::1", True),
        ("[fd00::1]:2222", "fd00::1", 22, "fd00::1", False),
        ("[fd00::1]", "fd00::1", 22, "fd00::1", True),
        (" 10.1.2.3 ", "10.1.2.3", 22, "10.1.2.3", True),
        ("10.1.2.3", "::ffff:10.1.2.3", 22, "::ffff:10.1.2.3", True),
        ("", "10.1.2.3", 22, "10.1.2.3", False),
        ("not an address", "10.1.2.3", 22, "10.1.2.3", False),
    ],
)
def test_listed_targets(entry: str, host: str, port: int, address: str, expected: bool) -> None:
    assert may(host, port, address, private_targets=False, allowed=(entry,)) is expected


def test_the_address_of_a_name_decides() -> None:
    assert not may("public.example", address="127.0.0.1", private_targets=False)
    assert not may("public.example", address="169.254.169.254", private_targets=True)
    assert may("public.example", address="8.8.8.8", private_targets=False)


@pytest.mark.parametrize(
    "host",
    [
        "metadata",
        "METADATA.google.internal",
        "metadata.google.internal.",
        "instance-data",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "169.254.43518",
        "::ffff:169.254.169.254",
    ],
)
def test_metadata_services_are_refused_before_a_look_up(host: str) -> None:
    with pytest.raises(TargetRefused, match="never a target"):
        check_host(host, 22, private_targets=True, allowed=(host,))


@pytest.mark.parametrize("host", ["example.com", "gpu.lan", "109.231.106.68", "127.0.0.1"])
def test_a_name_is_judged_when_it_is_resolved(host: str) -> None:
    check_host(host, 22, private_targets=True, allowed=())


def test_a_private_literal_is_refused_before_anything_is_queued() -> None:
    for host in ("10.1.2.3", "10.66051", "0xa010203", "012.1.2.3", "10.1.2.3.", "::ffff:10.1.2.3"):
        with pytest.raises(TargetRefused, match=r"10\.1\.2\.3.*list it in INSTALLER_SSH_TARGETS"):
            check_host(host, 22, private_targets=False, allowed=())
        check_host(host, 22, private_targets=False, allowed=("10.0.0.0/8",))
