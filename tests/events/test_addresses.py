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
