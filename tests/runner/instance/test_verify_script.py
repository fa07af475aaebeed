"""What the verification finds on an instance: the program run by bash over real files, and over the real sshd."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from service.demo.civitai import StandInCivitai, StandInModel, sha256
from service.events.event_types import Event, Output, Progress, ResourceVerified, ResourceWarned
from service.events.redaction import Redactor
from service.runner.instance.attempt_program import AttemptSpec, civitdl_config
from service.runner.instance.ended import Ended
from service.runner.instance.findings import VerificationParser
from service.runner.instance.remote import Remote
from service.runner.instance.ssh import Connection
from service.runner.instance.verification import ExpectedFile, verify_program
from service.runner.outcome import Outcome
from service.runner.phases import judge_verification
from tests.kit.sshd import Sshd

TOOLS = "/usr/local/bin:/usr/bin:/bin"


def safetensors(data: bytes = b"\1" * 1_000, **changes: Any) -> bytes:
    header = json.dumps({"a": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}, **changes})
    return struct.pack("<Q", len(header)) + header.encode() + data


WHOLE = safetensors()
ZIP = b"PK\3\4" + bytes(range(100))
PICKLE = b"\x80\2" + bytes(range(100))
GGUF = b"GGUF" + bytes(range(100))
TAR = bytes(257) + b"ustar" + bytes(250)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(100))
ONNX = b"\x08\x08\x12\x05tests" + bytes(range(100))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Place:
    """An instance's folders after a download: what it made comes after ``begin``."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "Comfy UI"
        self.attempt = folder / "state/job/1-1"
        self.loras = self.home / "models/loras"
        self.loras.mkdir(parents=True)
        self.attempt.mkdir(parents=True)
        Path(f"{self.attempt}-verify").mkdir()
        (self.attempt / "log").touch()

    def begin(self) -> None:
        # More than what a clock of the kernel's ticks may be off.
        time.sleep(0.05)
        (self.attempt / "boot").write_text("boot\n")

    def wrote(self, kind: str, path: Path | bytes, attempt: Path | None = None) -> None:
        encoded = base64.b64encode(os.fsencode(path)).decode()
        with ((attempt or self.attempt) / "wrote").open("a") as file:
            file.write(f"{kind}\t{encoded}\n")

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": TOOLS, "UI_HOME": str(self.home), "RESOURCE_INSTALLER_ATTEMPT": f"{self.attempt}-verify"}

    def verify(self, *files: ExpectedFile, sha256: str | None = None, **env: str) -> Found:
        program = self.attempt / "card"
        program.write_text(verify_program(files=files, sha256=sha256))
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", program], capture_output=True, env=self.env | env, check=False, timeout=240
        )
        assert done.stderr == b""
        return Found(done.stdout, done.returncode)


class Found:
    def __init__(self, output: bytes, exit_code: int) -> None:
        parser = VerificationParser("loras/x.md", 1, Redactor())
        recorded = parser.feed(output) + parser.close(exit_code)
        self.raw = output
        self.events: list[Event] = [new.event for new in recorded]
        self.outcome: Outcome = judge_verification(parser.findings, parser.evidence, Ended(exit_code=exit_code))

    @property
    def error(self) -> str:
        assert not self.outcome.installed, self.raw
        assert self.outcome.cause == "verification_failed"
        return self.outcome.error or ""

    @property
    def verified(self) -> list[ResourceVerified]:
        assert self.outcome.installed, self.outcome
        return [event for event in self.events if isinstance(event, ResourceVerified)]

    @property
    def lines(self) -> list[str]:
        return [event.line for event in self.events if isinstance(event, Output)]

    def names(self) -> list[str]:
        return sorted(event.file for event in self.verified)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.begin()
    return place


def test_the_right_file_by_the_cards_files(place: Place) -> None:
    content = safetensors()
    (place.loras / "a.safetensors").write_bytes(content)
    path = "models/loras/a.safetensors"
    found = place.verify(ExpectedFile(path=path, sha256=digest(content).upper(), size_bytes=len(content)))
    assert found.verified == [
        ResourceVerified(
            file=path,
            bytes=len(content),
            sha256=digest(content),
            held_against="card",
            result="verified",
            checked=["not_html", "safetensors_header", "size", "sha256"],
        )
    ]
    assert [event.type for event in found.events] == [
        "progress",
        "progress",
        "resource_verified",
    ]
    total = len(content)
    assert found.events[0] == Progress(stage="verify", percent=0, downloaded_bytes=0, total_bytes=total)


def test_a_wrong_hash_is_told_with_both_digests(place: Place) -> None:
    content = safetensors()
    (place.loras / "a.safetensors").write_bytes(content)
    error = place.verify(ExpectedFile(path="models/loras/a.safetensors", sha256="0" * 64)).error
    assert digest(content) in error
    assert "0" * 64 in error
    assert error.startswith("models/loras/a.safetensors: ")


def test_a_wrong_size_and_a_missing_file(place: Place) -> None:
    (place.loras / "a.safetensors").write_bytes(safetensors())
    found = place.verify(
        ExpectedFile(path="models/loras/a.safetensors", size_bytes=5_000_000),
        ExpectedFile(path="models/gone.safetensors"),
        ExpectedFile(path="models/loras"),
    )
    assert "but the card says 5,000,000 bytes" in found.error
    assert found.error.endswith("(and 2 more)")
    assert "models/gone.safetensors: the card names it, but it is not there" in found.lines
    assert "models/loras: it is not a file" in found.lines


BROKEN = {
    "truncated": (WHOLE[:-400], "it is 400 bytes short: by its own header it must have 1,0"),
    "in its header": (WHOLE[:40], "its header alone says"),
    "in its first bytes": (WHOLE[:5], "it is 3 bytes short"),
    "longer than it says": (WHOLE + b"x", "it is 1 bytes longer than its own header says"),
    "a lying length": (struct.pack("<Q", 40) + WHOLE[8:], "it does not begin with the header"),
    "a length beyond the format": (struct.pack("<Q", 1 << 63) + WHOLE[8:], "the length that it gives for its header"),
    "no JSON": (struct.pack("<Q", 40) + b"\1" * 200, "it does not begin with the header"),
    "empty": (b"", "it is empty"),
    "a login page": (
        b"\xef\xbb\xbf \r\n<!DOCTYPE HTML><html><head>\n<Title lang=en>Log in\n&mdash; CivitAI</title>",
        'it is an HTML page, not a model (a login page, or an error): "Log in &mdash; CivitAI"',
    ),
    "another page": (b"<HTML>no title", "it is an HTML page"),
    "JSON": (
        b'{"error":{"code":401,"message":"The \\"creator\\" requires you to be logged in"}}',
        r'it is a message in JSON, not a model: "The \"creator\" requires you to be logged in"',
    ),
    "JSON with an error": (b'\n{ "error" : "Unauthorized" }', 'it is a message in JSON, not a model: "Unauthorized"'),
    "XML": (b'<?xml version="1.0"?><Error><Message>Access Denied</Message>', 'message in XML, not a model: "Access'),
    "a text": (b"Entry not found", "it is 15 bytes of text: Entry not found"),
    "a text of several lines": (b"Invalid username\r\n\tor password.\n", "of text: Invalid username or password."),
    "a text longer than a message": (b"x y " * 100_000, "it is 400,000 bytes of text: x y x y"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_model(place: Place, name: str) -> None:
    content, reason = BROKEN[name]
    (place.loras / "a.safetensors").write_bytes(content)
    place.wrote("file", place.loras / "a.safetensors")
    assert reason in place.verify().error


@pytest.mark.parametrize(("name", "reason"), [("a.gguf", "HTML"), ("a.ckpt", "HTML"), ("b", "HTML"), ("c.pt", "empty")])
def test_what_is_no_model_of_another_kind(place: Place, name: str, reason: str) -> None:
    (place.loras / name).write_bytes(b"<html><title>Sign in</title>" if reason == "HTML" else b"")
    place.wrote("dir", place.loras)
    assert reason in place.verify().error


@pytest.mark.parametrize(
    "name",
    [
        *(f"4x.{suffix}" for suffix in ("pt", "pth", "ckpt", "bin", "onnx", "gguf", "zip", "sft", "PTH", "7z")),
        *("4x", "181248", "128713?type=Model&format=SafeTensor", "m.safetensors?download=true", "m.pth.1", "sdxl-v1.0"),
    ],
)
@pytest.mark.parametrize("content", [b"Entry not found", b'{"error":"Unauthorized"}', "Datei fehlt: ä".encode()])
def test_text_is_not_a_model_and_makes_way(place: Place, name: str, content: bytes) -> None:
    (place.loras / name).write_bytes(content)
    place.wrote("file", place.loras / name)
    assert place.verify().error.startswith(f"models/loras/{name}: it is")
    assert not (place.loras / name).exists()


@pytest.mark.parametrize(
    "name", ["a.json", "a.txt", "a.yaml", "a.py", "a.md", "a.csv", "LICENSE", "LICENSE-MIT", "Makefile", "USE_POLICY"]
)
def test_text_under_its_own_name_is_right(place: Place, name: str) -> None:
    (place.loras / name).write_bytes(b'{"error": "is a word like others"}')
    place.wrote("file", place.loras / name)
    assert place.verify().names() == [f"models/loras/{name}"]
    assert (place.loras / name).exists()


def test_an_answer_that_was_there_before_stays(place: Place) -> None:
    (place.loras / "a.pth").write_bytes(b"Entry not found")
    place.begin()
    (place.attempt / "log").write_text("File 'a.pth' already there; not retrieving.\n")
    place.wrote("file", place.loras / "a.pth")
    assert "of text" in place.verify().error
    assert (place.loras / "a.pth").exists()


@pytest.mark.parametrize("name", ["a.json", "a.bin", "tokenizer", "readme.md"])
def test_a_pointer_is_not_the_file_under_any_name(place: Place, name: str) -> None:
    (place.loras / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    place.wrote("file", place.loras / name)
    assert "it is a Git LFS pointer" in place.verify().error
    assert (place.loras / name).exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("a.pt", content) for content in (ZIP, PICKLE, TAR)),
        *(("a.PTH", content) for content in (ZIP, PICKLE)),
        *((f"a.{suffix}", PNG) for suffix in ("bin", "onnx", "ckpt")),
        ("a.onnx", ONNX),
        ("a.gguf", GGUF),
        ("a.zip", ZIP),
    ],
)
def test_formats_by_their_magic(place: Place, name: str, content: bytes) -> None:
    (place.loras / name).write_bytes(content)
    place.wrote("file", place.loras / name)
    (verified,) = place.verify().verified
    assert ("magic" in verified.checked) == (name.lower()[2:] in ("pt", "pth", "gguf", "zip"))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.gguf", ZIP, "a .gguf file does: it is a zip archive"),
        ("a.pt", ONNX, "a .pt file does"),
        ("a.pth", GGUF, "a .pth file does: it is a GGUF file"),
        ("a.zip", PNG, "a .zip file does: it is a picture"),
        ("a.pt.1", PNG, "a .pt file does: it is a picture"),
        ("a.pth?x=1", GGUF[:30], "a .pth file does: it is a GGUF file"),
    ],
)
def test_a_format_under_the_name_of_another(place: Place, name: str, content: bytes, what: str) -> None:
    (place.loras / name).write_bytes(content)
    place.wrote("file", place.loras / name)
    assert place.verify().error.endswith(f"it does not begin as {what}")
    assert (place.loras / name).exists()


@pytest.mark.parametrize(
    ("name", "content", "is_warned"),
    [
        ("128713?type=Model", WHOLE, True),
        ("m.safetensors?download=true", WHOLE, True),
        ("m.safetensors.1", WHOLE, True),
        ("4d7a21464d7a2146", ZIP, True),
        ("m.safetensor", WHOLE, True),
        ("m.fp16", GGUF, True),
        ("m.safetensors", WHOLE, False),
        ("m.GGUF", GGUF, False),
        ("m.zip", ZIP, False),
        ("preview.png", PNG, False),
        ("LICENSE", b"Apache", False),
        ("config.json", b"{}", False),
    ],
)
def test_a_model_that_comfyui_does_not_list(place: Place, name: str, content: bytes, is_warned: bool) -> None:
    (place.loras / name).write_bytes(content)
    place.wrote("file", place.loras / name)
    found = place.verify()
    assert found.names() == [f"models/loras/{name}"]
    warned = [event for event in found.events if isinstance(event, ResourceWarned)]
    assert [(event.code, event.paths) for event in warned] == [("not_listed", [f"models/loras/{name}"])] * is_warned


def test_what_the_page_says_is_bounded_and_plain(place: Place) -> None:
    (place.loras / "a.safetensors").write_bytes(b"<html><title>\x1b[31mred \x07" + b"x" * 5_000 + b"</title>")
    place.wrote("file", place.loras / "a.safetensors")
    error = place.verify().error
    assert '"red xxx' in error
    assert len(error) < 400


def test_headers_that_are_right(place: Place) -> None:
    tricky = {"note": 'a \\"data_offsets\\":[0,9] "data_offsets":[0,99999] {]}'}
    for number, content in enumerate(
        [
            safetensors(),
            safetensors(__metadata__=tricky),
            safetensors(b""),
            struct.pack("<Q", 2) + b"{}",
            struct.pack("<Q", 0x227B) + (b'{"x":{"data_offsets":[ 0 , 3 ]}}').ljust(0x227B) + b"abc",
            safetensors(data_offsets={"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}),
        ]
    ):
        (place.loras / f"{number}.safetensors").write_bytes(content)
    place.wrote("dir", place.loras)
    found = place.verify()
    assert len(found.verified) == 6
    assert {event.result for event in found.verified} == {"unverified"}
    assert {event.held_against for event in found.verified} == {None}
    assert all(event.checked == ["not_html", "safetensors_header"] and event.sha256 for event in found.verified)


@pytest.mark.timeout(300)
def test_a_hundred_megabytes_of_header_take_little_memory(place: Place) -> None:
    part = {f"layer.{n:07d}": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]} for n in range(300_000)}
    header = json.dumps(part).encode()
    header += b" " * (99_999_992 - len(header))
    (place.loras / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(300_000))
    place.wrote("dir", place.loras)
    before = os.times()
    program = place.attempt / "card"
    program.write_text(verify_program(files=[], sha256=None))
    limited = f"ulimit -v 300000; exec bash {str(program)!r}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, env=place.env, check=False, timeout=240)
    after = os.times()
    assert Found(done.stdout, done.returncode).verified[0].bytes == 100_300_000
    assert after.children_user - before.children_user < 60


HOSTILE = [
    b"new\nline.safetensors",
    b"verify good 0 x card x\nverify end 1 0 0.safetensors",
    b'it\'s "quoted".safetensors',
    b"\x1b[31mred.safetensors",
    b"*.safetensors",
    b"[a-z]?.safetensors",
    b"-rf.safetensors",
    b"$(touch pwned).safetensors",
    b"`touch pwned`;touch pwned.safetensors",
    b"\xff\xfe not utf-8 \\n.safetensors",
    b"  spaces  .safetensors",
    b"%s%n\\x41.safetensors",
    "光の魔法.safetensors".encode(),
    b"&& touch pwned |.SafeTensors",
]


@pytest.mark.parametrize("kind", ["dir", "file", "neither"])
def test_hostile_names(place: Place, kind: str) -> None:
    for name in HOSTILE:
        Path(os.fsdecode(bytes(place.loras) + b"/" + name)).write_bytes(safetensors())
        if kind == "file":
            place.wrote("file", bytes(place.loras) + b"/" + name)
    if kind == "dir":
        place.wrote("dir", place.loras)
    found = place.verify()
    assert len(found.verified) == len(HOSTILE)
    assert all(event.sha256 == digest(safetensors()) for event in found.verified)
    assert "models/loras/光の魔法.safetensors" in found.names()
    assert "models/loras/newline.safetensors" in found.names()
    assert not list(place.attempt.parent.parent.parent.rglob("pwned"))
    assert not found.lines


def test_hostile_names_on_the_card(place: Place) -> None:
    names = [name.decode() for name in HOSTILE if b"\xff" not in name]
    for name in names:
        (place.loras / name).write_bytes(safetensors())
    expected = [ExpectedFile(path=f"models/loras/{n}", sha256=digest(safetensors())) for n in names]
    assert {event.held_against for event in place.verify(*expected).verified} == {"card"}


def test_only_what_is_new_counts(place: Place) -> None:
    for name in ("old.safetensors", "listed.safetensors"):
        (place.loras / name).write_bytes(b"<html>broken long ago")
    place.begin()
    (place.loras / "deep/er").mkdir(parents=True)
    (place.loras / ".cache").mkdir()
    for name in ("new.safetensors", "deep/er/b.safetensors"):
        (place.loras / name).write_bytes(safetensors())
    for name in ("x.png", "x.json", "x.csv", "x.safetensors.part", "y.aria2", ".hidden.safetensors", "deep/x.md"):
        (place.loras / name).write_bytes(b"<html>")
    (place.loras / ".cache/c.safetensors").write_bytes(b"<html>")
    os.utime(place.loras / "new.safetensors", (1_000_000_000, 1_000_000_000))  # wget sets the server's time
    (place.attempt / "log").write_text("-rw-r--r-- 1 root root 5 listed.safetensors\n")
    place.wrote("dir", place.loras)
    assert place.verify().names() == ["models/loras/deep/er/b.safetensors", "models/loras/new.safetensors"]


def test_what_was_there_already_is_found_by_its_name(place: Place) -> None:
    for name in ("there.safetensors", "other.safetensors"):
        (place.loras / name).write_bytes(safetensors())
    place.begin()
    (place.attempt / "log").write_text("File ‘there.safetensors’ already there; not retrieving.\n")
    place.wrote("dir", place.loras)
    assert place.verify().names() == ["models/loras/there.safetensors"]


def test_a_file_that_is_still_written_by_another_is_left_alone(place: Place) -> None:
    (place.loras / "mine.safetensors").write_bytes(safetensors())
    with (place.loras / "theirs.safetensors").open("wb") as file:
        file.write(b"half")
        file.flush()
        with (place.loras / "mine.safetensors").open("rb"):
            place.wrote("dir", place.loras)
            assert place.verify().names() == ["models/loras/mine.safetensors"]
            (place.attempt / "wrote").unlink()
            assert place.verify().names() == ["models/loras/mine.safetensors"]


def test_a_folder_that_another_download_shares(place: Place) -> None:
    """By the log, or by what the other one was given, their files are told apart."""
    other = place.attempt.parent / "2-1"
    other.mkdir()
    for name in ("mine.safetensors", "theirs.safetensors", "named.safetensors"):
        (place.loras / name).write_bytes(safetensors())
    place.wrote("dir", place.loras)
    place.wrote("file", place.loras / "theirs.safetensors", other)
    assert place.verify().names() == ["models/loras/mine.safetensors", "models/loras/named.safetensors"]
    place.wrote("dir", place.loras, other)
    (place.attempt / "log").write_text("Saving to: ‘models/loras/named.safetensors’\n")
    assert place.verify().names() == ["models/loras/named.safetensors"]


def ledger_of(attempt: Path, *paths: Path) -> None:
    """The records of runs that finished these files."""
    lines = []
    for number, path in enumerate(paths):
        encoded = base64.b64encode(os.fsencode(path)).decode()
        lines += [f"begin {number}p1 wget 1 file {encoded} YQ== -", f"file {number}p1 {encoded} 1", f"end {number}p1 0"]
    (attempt / "ledger").write_text("\n".join(lines) + "\n")


def test_a_ledger_that_accounts_for_all_names_the_files(place: Place) -> None:
    other = place.attempt.parent / "2-1"
    other.mkdir()
    mine, theirs = place.loras / "mine.safetensors", place.loras / "theirs.safetensors"
    for path in (mine, theirs):
        path.write_bytes(safetensors())
    place.wrote("dir", place.loras)
    ledger_of(place.attempt, mine)
    ledger_of(other, theirs)
    assert place.verify().names() == ["models/loras/mine.safetensors"]


def test_what_a_script_unpacked_beside_the_files_of_its_runs_counts_as_well(place: Place) -> None:
    mine, unpacked = place.loras / "mine.safetensors", place.loras / "unpacked.safetensors"
    for path in (mine, unpacked):
        path.write_bytes(safetensors())
    place.wrote("dir", place.loras)
    ledger_of(place.attempt, mine)
    # As left.sh notes it at the attempt's end.
    (place.attempt / "left").write_bytes(bytes(unpacked) + b"\0")
    assert place.verify().names() == ["models/loras/mine.safetensors", "models/loras/unpacked.safetensors"]


def test_what_another_download_finished_before_this_one_began_is_not_asked(place: Place) -> None:
    other = place.attempt.parent / "2-1"
    other.mkdir()
    place.wrote("file", place.loras / "a.safetensors", other)
    (other / "exit").write_text("0 0 1")
    place.begin()
    (place.loras / "a.safetensors").write_bytes(safetensors())
    place.wrote("dir", place.loras)
    assert place.verify().names() == ["models/loras/a.safetensors"]


def test_without_any_word_new_models_below_ui_home_count(place: Place) -> None:
    outside = place.home.parent / "volume"
    outside.mkdir()
    (place.home / "models/checkpoints").symlink_to(outside)
    (outside / "a.safetensors").write_bytes(safetensors())
    (place.home / "comfyui.log").write_text("<html>")
    archive = place.home.parent / "a.zip"
    archive.write_bytes(ZIP)
    place.wrote("file", archive)
    assert place.verify().names() == [str(archive), "models/checkpoints/a.safetensors"]


def test_no_file_at_all_is_said(place: Place) -> None:
    found = place.verify()
    assert found.verified == [
        ResourceVerified(file="", bytes=0, sha256=None, held_against=None, result="unverified", checked=[])
    ]
    assert found.lines == ["verification: no file of this attempt was found, so none was verified"]


def test_the_cards_hash_holds_for_its_one_model(place: Place) -> None:
    content = safetensors()
    (place.loras / "a.safetensors").write_bytes(content)
    (place.loras / "notes.md").write_text("# notes")
    place.wrote("dir", place.loras)
    found = place.verify(sha256=digest(content))
    assert {(e.file, e.result) for e in found.verified} == {
        ("models/loras/a.safetensors", "verified"),
        ("models/loras/notes.md", "unverified"),
    }
    assert digest(content) in place.verify(sha256="1" * 64).error
    (place.loras / "b.safetensors").write_bytes(content)
    assert {e.result for e in place.verify(sha256="1" * 64).verified} == {"unverified"}


def test_twenty_files(place: Place) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    contents = [safetensors(source.randbytes(source.randrange(100_000))) for _ in range(20)]
    expected = []
    for number, content in enumerate(contents):
        (place.loras / f"{number}.safetensors").write_bytes(content)
        expected.append(ExpectedFile(path=f"models/loras/{number}.safetensors", sha256=digest(content)))
    found = place.verify(*expected)
    assert [event.sha256 for event in found.verified] == [digest(content) for content in contents]
    wrong = source.randrange(20)
    (place.loras / f"{wrong}.safetensors").write_bytes(contents[wrong][:-1] + b"\0")
    if contents[wrong][-1:] != b"\0":
        assert place.verify(*expected).error.startswith(f"models/loras/{wrong}.safetensors: its SHA-256 is ")


@pytest.mark.timeout(300)
def test_files_without_end_are_bounded(place: Place) -> None:
    for number in range(510):
        (place.loras / f"{number}.pt").write_bytes(ZIP)
    place.wrote("dir", place.loras)
    found = place.verify()
    assert len(found.verified) == 500
    assert found.lines == ["verification: 10 more files of this attempt were not examined"]


def slow_sha256sum(place: Place, script: str) -> str:
    """A hashing tool that takes as long as the test needs; everything else stays real."""
    folder = place.home.parent / "bin"
    folder.mkdir()
    (folder / "sha256sum").write_text(f"#!/bin/bash\n{script}\n")
    (folder / "sha256sum").chmod(0o755)
    return f"{folder}:{TOOLS}"


def test_progress_while_hashing(place: Place) -> None:
    content = safetensors(bytes(3_000_000))
    (place.loras / "a.safetensors").write_bytes(content)
    place.wrote("dir", place.loras)
    path = slow_sha256sum(place, "head -c 1000000 >/dev/null; sleep 2.2; exec /usr/bin/sha256sum /proc/self/fd/0")
    found = place.verify(PATH=path)
    progress = [event for event in found.events if isinstance(event, Progress)]
    # One a second, and one at the end.
    assert 3 <= len(progress) <= 60
    assert {event.stage for event in progress} == {"verify"}
    assert 33 in [event.percent for event in progress[:-1]]
    assert {event.percent for event in progress} <= {0, 33, 100}
    assert progress[0].total_bytes == len(content)
    assert (progress[-1].percent, progress[-1].downloaded_bytes) == (100, len(content))
    assert found.verified[0].sha256 == digest(content)


@pytest.mark.parametrize(
    ("then", "reason"),
    [("rm {}", "it vanished"), ("echo >>{}", "it changed"), ("rm {0}; cp /bin/true {0}", "it changed")],
)
def test_a_file_that_does_not_stay_while_it_is_hashed(place: Place, then: str, reason: str) -> None:
    file = place.loras / "a.safetensors"
    file.write_bytes(safetensors())
    place.wrote("dir", place.loras)
    path = slow_sha256sum(place, then.format(f"'{file}'") + "; exec /usr/bin/sha256sum")
    assert reason in place.verify(PATH=path).error


def test_hashing_that_fails(place: Place) -> None:
    (place.loras / "a.safetensors").write_bytes(safetensors())
    place.wrote("dir", place.loras)
    path = slow_sha256sum(place, "echo 'sha256sum: -: Input/output error' >&2; exit 1")
    found = place.verify(PATH=path)
    assert "it cannot be read" in found.error
    assert "sha256sum: -: Input/output error" in found.lines


def test_a_missing_tool_is_named(place: Place) -> None:
    tools = place.home.parent / "tools"
    tools.mkdir()
    for name in ("bash", "base64", "grep", "head", "od", "sed", "sha256sum", "sort", "stat", "tail", "tr"):
        (tools / name).symlink_to(str(shutil.which(name)))
    outcome = place.verify(PATH=str(tools)).outcome
    assert (outcome.cause, outcome.error) == (
        "tool_missing",
        "the verification needs find, which is not installed on the instance",
    )


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "de_DE.UTF-8", ""])
def test_any_locale(place: Place, locale: str) -> None:
    (place.loras / "光.safetensors").write_bytes(safetensors())
    place.wrote("dir", place.loras)
    assert place.verify(LANG=locale, LC_NUMERIC=locale).names() == ["models/loras/光.safetensors"]


def test_an_attempt_that_cannot_be_written_or_has_no_beginning(place: Place) -> None:
    (place.loras / "a.safetensors").write_bytes(safetensors())
    place.wrote("file", place.loras / "a.safetensors")
    (place.attempt / "boot").unlink()
    (place.attempt / "log").unlink()
    Path(f"{place.attempt}-verify").rmdir()
    assert place.verify().names() == ["models/loras/a.safetensors"]


# --- the real civitdl --------------------------------------------------------------------------------------------


@pytest.fixture
async def civitai(tmp_path: Path) -> AsyncIterator[StandInCivitai]:
    stand_in = StandInCivitai(tmp_path / "civitai")
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


async def download(
    sshd: Sshd, connection: Connection, civitai: StandInCivitai, place: Place, ids: Sequence[int]
) -> None:
    config = sshd.home / ".config/civitdl/config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(civitdl_config("", retry_count=0, pause_seconds=0.1))
    sources = " ".join(f"'https://civitai.com/models/{n}?modelVersionId={n + 5_000}'" for n in ids)
    exports = "".join(f"export {name}='{value}'\n" for name, value in civitai.env.items())
    script = f"{exports}civitdl {sources} '{place.loras}' >'{place.attempt}/log' 2>&1"
    answer = await connection.run("exec sh", script.encode())
    assert answer.exit_status == 0, answer


async def verify_there(connection: Connection, place: Place, **card: Any) -> Found:
    """The program over SSH, run as a card is run."""
    program = place.attempt / "card"
    program.write_text(verify_program(**({"files": [], "sha256": None} | card)))
    exports = "".join(f"export {name}='{value}'\n" for name, value in place.env.items())
    script = f"{exports}exec bash -e -o pipefail '{program}' </dev/null"
    answer = await connection.run("exec sh", script.encode())
    assert answer.exit_status is not None
    return Found(answer.stdout, answer.exit_status)


async def test_civitdls_list_of_hashes(
    sshd: Sshd, connection: Connection, civitai: StandInCivitai, place: Place
) -> None:
    model = StandInModel(id=7, name='The "Quoted" $(LoRA) — 光', size_bytes=300_000)
    civitai.add(model)
    civitai.add(StandInModel(id=8, name="Another", size_bytes=5_000))
    place.wrote("dir", place.loras)
    await download(sshd, connection, civitai, place, [7])
    found = await verify_there(connection, place)
    (verified,) = found.verified
    assert verified.file.startswith("models/loras/")
    assert verified.file.endswith("/model_7-mid_7-vid_5007.safetensors")
    assert (verified.sha256, verified.held_against, verified.result) == (sha256(model), "civitdl", "verified")
    assert verified.checked == ["not_html", "safetensors_header", "sha256"]
    # Once more: nothing is downloaded, the list is written again, and what another version brought is not ours.
    place.begin()
    await download(sshd, connection, civitai, place, [8])
    place.begin()
    await download(sshd, connection, civitai, place, [7])
    assert "already existed" in (place.attempt / "log").read_text()
    assert (await verify_there(connection, place)).verified == [verified]
    # And where nothing tells of civitdl's folder.
    (place.attempt / "wrote").unlink()
    assert (await verify_there(connection, place)).verified == [verified]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (StandInModel(id=7, name="Wrong", listed_sha256="ab" * 32), "ab" * 32),
        (StandInModel(id=7, name="Page", body="<!doctype html><title>Sign in</title>"), '"Sign in"'),
        (StandInModel(id=7, name="JSON", body='{"error": "no"}'), 'it is a message in JSON, not a model: "no"'),
    ],
)
async def test_what_civitdl_does_not_notice(
    sshd: Sshd, connection: Connection, civitai: StandInCivitai, place: Place, model: StandInModel, reason: str
) -> None:
    civitai.add(model)
    place.wrote("dir", place.loras)
    await download(sshd, connection, civitai, place, [7])
    error = (await verify_there(connection, place)).error
    assert reason in error
    if model.name == "Wrong":
        assert sha256(model) in error


# --- as the service runs it --------------------------------------------------------------------------------------


async def attached(connection: Connection, of: AttemptSpec) -> tuple[bytes, Ended]:
    output = b""
    async with Remote(connection).attach(of, 0) as attachment:
        async for chunk in attachment:
            output += chunk
        return output, attachment.ended()


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ('curl -so "$UI_HOME/models/loras/b c.safetensors" file://{0}', "models/loras/b c.safetensors"),
        ('cd "$UI_HOME/models"; curl -sO file://{0}', "models/a.safetensors"),
        ('cp {0} "$UI_HOME/models/loras"', "models/loras/a.safetensors"),
        ('curl -so /dev/stdout file://{0} >"$UI_HOME/models/x.safetensors"', "models/x.safetensors"),
        ('curl -so {0}.new file://{0}; mv {0}.new "$UI_HOME/models/y.safetensors"', "models/y.safetensors"),
        ("true", ""),
    ],
)
async def test_a_download_and_its_verification(
    connection: Connection, place: Place, tmp_path: Path, script: str, result: str
) -> None:
    (tmp_path / "a.safetensors").write_bytes(safetensors())
    spec = AttemptSpec(
        job_id=str(uuid4()),
        directory="1-1",
        script=script.format(tmp_path / "a.safetensors"),
        ui_home=str(place.home),
        timeout_seconds=60,
    )
    assert (await attached(connection, spec))[1] == Ended(exit_code=0)
    for sha, right in ((digest(safetensors()), True), ("0" * 64, not result)):
        program = verify_program(files=[], sha256=sha)
        spec = replace(spec, directory=f"{spec.directory}-verify", script=program)
        output, ended = await attached(connection, spec)
        parser = VerificationParser("loras/x.md", 1, Redactor())
        events = [new.event for new in parser.feed(output) + parser.close(ended.exit_code)]
        assert judge_verification(parser.findings, parser.evidence, ended).installed == right, output
        if right:
            assert [event.file for event in events if isinstance(event, ResourceVerified)] == [result]
        # Another attempt, so that the second verification is a new one.
        spec = replace(spec, directory="1-2", script=script.format(tmp_path / "a.safetensors"))
        if right:
            assert (await attached(connection, spec))[1] == Ended(exit_code=0)


@pytest.mark.long
def test_a_long_hashing_tells_how_far_it_is(place: Place) -> None:
    file = place.loras / "a.safetensors"
    header = safetensors(b"")[8:].replace(b"[0, 0]", b"[0, 1000000000]")
    with file.open("wb") as writer:
        writer.write(struct.pack("<Q", len(header)) + header)
        for _ in range(1_000):
            writer.write(bytes(1_000_000))
    listed = subprocess.run(["sha256sum", file], capture_output=True, check=True).stdout.split()[0].decode()
    begin = time.monotonic()
    found = place.verify(ExpectedFile(path="models/loras/a.safetensors", sha256=listed))
    seconds = time.monotonic() - begin
    percents = [event.percent for event in found.events if isinstance(event, Progress)]
    assert len(percents) >= int(seconds)
    assert percents[-1] == 100
    assert found.verified[0].result == "verified"
    print(f"{seconds:.2f} s, {len(percents)} progress events")
