"""The base64 that the scripts make and read without a process, and how the programs of an attempt share it."""

from __future__ import annotations

import base64
import random
import subprocess
from pathlib import Path

import service.runner.instance

PLACES = Path(service.runner.instance.__file__).parent / "scripts/places.sh"
TEXTS = (
    b"/workspace/ComfyUI/models/loras/a.safetensors",
    b"/a",
    b"ab",
    b"x",
    b" begins and ends with blanks  ",
    b"two\nlines",
    b"ends with a line\n",
    "/models/模型/ülk.safetensors".encode(),
    b"\xff\xfe not UTF-8 \x01",
    b"*?[a] $HOME `id` \"'\\ @ -n =",
    b"@",
    b"*",
    b"-",
)


def bash(script: str, *arguments: bytes) -> bytes:
    done = subprocess.run(
        ["bash", "-p", "-c", f". {PLACES}\n{script}", "test", *arguments], capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_it_is_the_usual_base64_also_when_it_is_asked_for_again() -> None:
    twice = bash('for one in "$@" "$@"; do encode "$one"; printf "%s\\n" "$encoded"; done', *TEXTS)
    assert twice.split() == [base64.b64encode(text) for text in TEXTS] * 2
    assert bash('encode ""; printf %s "$encoded"') == b"-"


def test_a_text_that_begins_as_the_one_before_is_not_worked_out_again() -> None:
    """A folder, what lies in it, and the folder again, of any length, in any order."""
    chance = random.Random(7)
    path = "/w/ComfyUI/models/ü/m1.safetensors".encode()
    texts = [path[: chance.randrange(len(path))] + chance.choice((b"", b"x", b"/yz")) for _ in range(200)]
    once = bash('for one in "$@"; do encode "$one"; printf "%s\\n" "$encoded"; done', *texts)
    assert once.decode().split() == [base64.b64encode(text).decode() or "-" for text in texts]
    parts = bash('encode /models/loras; encode_from() { printf %s "$1"; }; encode /models/loras/a', b"")
    assert parts == b"12"


def test_it_is_read_as_it_was_written() -> None:
    words = [base64.b64encode(text) for text in TEXTS]
    back = bash('for one in "$@" "$@"; do decode "$one"; printf "%s\\0" "$decoded"; done', *words)
    assert back.split(b"\0")[:-1] == [*TEXTS] * 2


def test_the_next_program_knows_what_this_one_encoded(tmp_path: Path) -> None:
    """What it would have to work out again is made impossible: it knows these texts, or fails."""
    names = tmp_path / "names"
    bash(f'known_names={names}; for one in "$@" "$@"; do encode "$one"; done', *TEXTS)
    lines = [text for text in TEXTS if b"\n" not in text]
    assert names.read_bytes().count(b"\n") == len(lines)
    again = (
        f"read_known_names {names}; encode_from() {{ exit 7; }}; decode_anew() {{ exit 8; }}\n"
        'for one in "$@"; do encode "$one"; decode "$encoded"; printf "%s\\0" "$decoded"; done'
    )
    assert bash(again, *lines).split(b"\0")[:-1] == lines


def test_without_the_others_file_all_of_it_is_worked_out(tmp_path: Path) -> None:
    assert bash(f'read_known_names {tmp_path}/none; encode "$1"; printf %s "$encoded"', b"ab") == b"YWI="
