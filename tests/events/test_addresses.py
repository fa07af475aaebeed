"""The names of an instance and of its parts."""

from __future__ import annotations

import re

import pytest

from service.events.addresses import (
    USER_PATTERN,
    instance_key,
    instance_name,
    is_fingerprint,
    key_of_name,
    plain_fingerprint,
    plain_host,
)

DIGEST = "A" * 42 + "w"


@pytest.mark.parametrize("text", [DIGEST, f"{DIGEST}=", f"SHA256:{DIGEST}", f"SHA256:{DIGEST}="])
def test_a_fingerprint_has_one_form_however_it_is_written(text: str) -> None:
    assert is_fingerprint(text)
    assert plain_fingerprint(text) == f"SHA256:{DIGEST}"


@pytest.mark.parametrize("text", ["", "SHA256:", DIGEST[1:], f"MD5:{DIGEST}", f"{DIGEST}\n", f" {DIGEST}"])
def test_what_is_not_a_fingerprint(text: str) -> None:
    assert not is_fingerprint(text)


@pytest.mark.parametrize(("host", "name"), [("10.0.0.1", "root@10.0.0.1:22"), ("::1", "root@[::1]:22")])
def test_the_key_of_an_instance_is_found_by_its_name(host: str, name: str) -> None:
    assert instance_name("root", host, 22) == name
    assert key_of_name(name) == key_of_name(name.partition("@")[2]) == instance_key(host, 22)


@pytest.mark.parametrize(("user", "is_valid"), [("root", True), ("host$", True), ("-oProxy", False), ("a b", False)])
def test_user_names(user: str, is_valid: bool) -> None:
    assert bool(re.fullmatch(USER_PATTERN, user)) is is_valid


@pytest.mark.parametrize(
    ("spellings", "plain"),
    [
        (
            (
                "127.0.0.1 localhost LOCALHOST LocalHost. localhost. 127.1 127.0.1 0x7f000001 0X7F.1 2130706433 "
                "0177.0.0.01 017700000001 ::1 [::1] 0:0:0:0:0:0:0:1 ::ffff:127.0.0.1 [::FFFF:7f00:1] "
                "64:ff9b::127.0.0.1 localhost.localdomain"
            ),
            "127.0.0.1",
        ),
        ("203.0.113.7 203.0.113.7. 0xcb007107 3405803783 203.113.7 ::ffff:203.0.113.7 0313.0.0161.07", None),
        ("2001:db8::7 2001:DB8:0:0::7 [2001:db8::7] 2001:0db8::0007 2001:db8::7%eth0 [2001:db8::7%2]", "2001:db8::7"),
        ("gpu.example GPU.Example gpu.example. GPU.EXAMPLE.", "gpu.example"),
    ],
)
def test_one_instance_has_one_key_however_it_is_written(spellings: str, plain: str | None) -> None:
    # "203.113.7" is 203.113.0.7, another machine.
    same = [host for host in spellings.split() if host != "203.113.7"]
    assert {plain_host(host) for host in same} == {plain or "203.0.113.7"}
    assert len({instance_key(host, 22) for host in same}) == 1
    for host in same:
        assert key_of_name(instance_name("root", host.strip("[]"), 22)) == instance_key(host, 22)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1", "127.0.0.2"),
        ("203.113.7", "203.0.113.7"),
        ("gpu1.example", "gpu2.example"),
        ("2001:db8::7", "2001:db8::8"),
        # What no resolver takes for an address is a name.
        ("08.0.0.1", "8.0.0.1"),
        ("1.2.3.4.5", "1.2.3.4"),
        ("256.1.1.1", "0.1.1.1"),
        ("0x1ffffffff", "255.255.255.255"),
        ("1" * 5_000, "1"),
        ("localhost.example", "localhost"),
        ("", "localhost"),
    ],
)
def test_two_instances_have_two_keys(one: str, other: str) -> None:
    assert instance_key(one, 22) != instance_key(other, 22)
    assert instance_key(other, 22) != instance_key(other, 23)


def test_a_key_is_found_by_every_spelling_of_a_name() -> None:
    for name in ("root@LOCALHOST:22", "localhost.:22", "[::1]:22", "someone@[::ffff:127.0.0.1]:22", "x@2130706433:22"):
        assert key_of_name(name) == "127.0.0.1:22"
    assert key_of_name("nonsense") != key_of_name("root@localhost:22")
