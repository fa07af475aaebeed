"""The file of known hosts as OpenSSH writes it, and the rule that decides about a key."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import asyncssh
import pytest

from service.errors import HostKeyChanged, LinkDown
from service.events.addresses import plain_fingerprint
from service.runner.instance.host_keys import HOST_KEY_ALGORITHMS, HostKeyPolicy, HostKeyRule
from service.runner.instance.known_hosts import KnownHosts, KnownKey, fingerprint

KEYS = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(3)]
LINES = [key.export_public_key().decode().strip() for key in KEYS]
BLOBS = [key.public_data for key in KEYS]


def known(path: Path, host: str, port: int) -> list[bytes]:
    return [key.blob for key in KnownHosts(path).keys(host, port)]


@pytest.mark.parametrize(
    ("names", "host", "port", "expected"),
    [
        ("gpu.example", "gpu.example", 22, True),
        ("gpu.example", "GPU.Example", 22, True),
        ("GPU.example", "gpu.example", 22, True),
        ("gpu.example", "gpu.example", 2222, False),
        ("[gpu.example]:2222", "gpu.example", 2222, True),
        ("[gpu.example]:2222", "gpu.example", 22, False),
        ("[gpu.example]:2222", "gpu.example", 2223, False),
        ("a.example,gpu.example", "gpu.example", 22, True),
        ("*.example", "gpu.example", 22, True),
        ("*.example", "[gpu.example]", 22, False),
        ("*,!gpu.example", "gpu.example", 22, False),
        ("*,!gpu.example", "other.example", 22, True),
        ("[10.0.0.?]:*", "10.0.0.5", 40001, True),
        ("[g]", "g", 22, False),
        ("fd00::1", "fd00::1", 22, True),
        ("[fd00::1]:2222", "fd00::1", 2222, True),
    ],
)
def test_names(tmp_path: Path, names: str, host: str, port: int, expected: bool) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"# a comment\n\n{names} {LINES[0]} a comment\n")
    assert known(path, host, port) == ([BLOBS[0]] if expected else [])


@pytest.mark.parametrize(("host", "port"), [("gpu.example", 22), ("10.0.0.5", 40001)])
def test_names_that_openssh_hashed(tmp_path: Path, host: str, port: int) -> None:
    path = tmp_path / "known_hosts"
    name = host if port == 22 else f"[{host}]:{port}"
    path.write_text(f"{name} {LINES[0]}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)
    assert name not in path.read_text()
    assert known(path, host, port) == [BLOBS[0]]
    assert known(path, host, port + 1) == []
    KnownHosts(path).remember(host, port, "ssh-ed25519", BLOBS[1])
    assert known(path, host, port) == [BLOBS[1]]


def test_what_is_no_key_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    foreign = [
        b"nonsense",
        b"gpu.example ssh-ed25519",
        b"gpu.example ssh-ed25519 !!!not-base64!!!",
        b"|1|x|y ssh-ed25519 AAAA",
        b"\xff\xfe latin",
        f"@cert-authority gpu.example {LINES[2]}".encode(),
        f"@unknown gpu.example {LINES[2]}".encode(),
        f"*.example {LINES[2]}".encode(),
    ]
    path.write_bytes(b"\n".join(foreign) + b"\n")
    assert known(path, "gpu.example", 22) == [BLOBS[2]]
    KnownHosts(path).remember("gpu.example", 22, "ssh-ed25519", BLOBS[0])
    assert path.read_bytes().splitlines() == [*foreign, f"gpu.example {LINES[0]}".encode()]
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_key_for_one_name(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"a.example,gpu.example {LINES[0]}\ngpu.example {LINES[1]}\n[gpu.example]:2222 {LINES[1]}\n")
    KnownHosts(path).remember("gpu.example", 22, "ssh-ed25519", BLOBS[2])
    assert known(path, "gpu.example", 22) == [BLOBS[2]]
    assert known(path, "a.example", 22) == [BLOBS[0]]
    assert known(path, "gpu.example", 2222) == [BLOBS[1]]


def test_openssh_finds_what_was_remembered(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    KnownHosts(path).remember("10.0.0.5", 40001, "ssh-ed25519", BLOBS[0])
    found = subprocess.run(
        ["ssh-keygen", "-F", "[10.0.0.5]:40001", "-f", path], check=True, capture_output=True, text=True
    )
    assert base64.b64encode(BLOBS[0]).decode() in found.stdout


def test_a_revoked_key_stays_revoked(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"@revoked gpu.example {LINES[0]}\n")
    KnownHosts(path).remember("gpu.example", 22, "ssh-ed25519", BLOBS[1])
    assert [(key.blob, key.revoked) for key in KnownHosts(path).keys("gpu.example", 22)] == [
        (BLOBS[0], True),
        (BLOBS[1], False),
    ]


def test_a_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LinkDown, match=r"cannot write .*file/known_hosts .* INSTALLER_KNOWN_HOSTS"):
        KnownHosts(tmp_path / "file" / "known_hosts").remember("x", 22, "ssh-ed25519", BLOBS[0])
    with pytest.raises(LinkDown, match="cannot read"):
        KnownHosts(tmp_path).keys("x", 22)


@pytest.mark.parametrize("form", ["SHA256:{}", "{}", "{}=", "SHA256:{}="])
def test_fingerprints(form: str) -> None:
    whole = KEYS[0].get_fingerprint()
    assert fingerprint(BLOBS[0]) == whole
    assert plain_fingerprint(form.format(whole.removeprefix("SHA256:"))) == whole


def rule(policy: HostKeyPolicy = "accept-new", wanted: str | None = None, *known: KnownKey) -> HostKeyRule:
    return HostKeyRule("root@gpu.example:22", policy, wanted, known)


def key(number: int, *, revoked: bool = False) -> KnownKey:
    return KnownKey(algorithm="ssh-ed25519", blob=BLOBS[number], revoked=revoked)


@pytest.mark.parametrize(
    ("tried", "is_new"),
    [
        (rule("strict", None, key(0)), False),
        (rule("accept-new"), True),
        (rule("accept-new", None, key(0)), False),
        (rule("accept-new", None, key(1), key(0)), False),
        (rule("accept-new", None, key(1, revoked=True)), True),
        (rule("off", None, key(1)), False),
        (rule("off", None, key(0, revoked=True)), False),
        (rule("strict", fingerprint(BLOBS[0])), True),
        (rule("accept-new", fingerprint(BLOBS[0]), key(1)), True),
        (rule("accept-new", fingerprint(BLOBS[0]), key(0)), False),
        (rule("off", fingerprint(BLOBS[0])), False),
    ],
)
def test_keys_that_are_accepted(tried: HostKeyRule, is_new: bool) -> None:
    shown = tried.check("ssh-ed25519", BLOBS[0])
    assert (shown.fingerprint, shown.algorithm, shown.is_new) == (fingerprint(BLOBS[0]), "ssh-ed25519", is_new)


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (rule("strict"), "is not known: add it to the file in INSTALLER_KNOWN_HOSTS"),
        (rule("strict", None, key(1)), "has changed from"),
        (rule("accept-new", None, key(1)), f"has changed from {fingerprint(BLOBS[1])} to {fingerprint(BLOBS[0])}"),
        (rule("off", fingerprint(BLOBS[1])), f"host_key_sha256 asks for {fingerprint(BLOBS[1])}"),
        (rule("accept-new", None, key(0, revoked=True)), "revoked"),
        (rule("accept-new", None, key(0), key(0, revoked=True)), "revoked"),
        (rule("accept-new", fingerprint(BLOBS[0]), key(0, revoked=True)), "revoked"),
    ],
    # The fingerprints are new in each process: they must not be part of a test's name.
    ids=range(7),
)
def test_keys_that_are_refused(tried: HostKeyRule, words: str) -> None:
    with pytest.raises(HostKeyChanged) as raised:
        tried.check("ssh-ed25519", BLOBS[0])
    assert words in str(raised.value)
    assert raised.value.fingerprint == fingerprint(BLOBS[0])


def test_the_known_kind_of_key_is_asked_for_first() -> None:
    rsa = KnownKey(algorithm="ssh-rsa", blob=b"rsa")
    assert rule().algorithms() == list(HOST_KEY_ALGORITHMS)
    assert rule("accept-new", None, rsa).algorithms()[:3] == ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]
    assert sorted(rule("accept-new", None, rsa).algorithms()) == sorted(HOST_KEY_ALGORITHMS)
    assert "rsa-sha2-512" not in rule().algorithms(without=["ssh-rsa"])
    assert rule().algorithms(without=["ssh-rsa", *HOST_KEY_ALGORITHMS]) == []
