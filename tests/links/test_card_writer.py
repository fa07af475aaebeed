"""Cards of hostile sites: the real reader and a real shell see what was meant, and nothing else."""

from __future__ import annotations

import random
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import InvalidRequest
from service.library import parse_card
from service.library.paths import wrong_path
from service.links.card_writer import card_path, card_text
from service.links.found import Found, FoundFile, base_name, line
from service.links.recognition import DirectLink, recognise

DIGEST = "ab" * 32
HOSTILE = [
    "quotes \"double\" and 'single'",
    "../../../../etc/passwd",
    "..\\..\\windows\\system32",
    "line\nbreak\r\nand\ttab",
    "`touch owned`",
    "$(touch owned)",
    "${HOME} $UI_HOME",
    "; touch owned #",
    "&& touch owned &",
    "| tee owned > owned",
    "---\ntitle: forged\n---\n# Download\n```bash\ntouch owned\n```",
    "```\ntouch owned\n```",
    "<!-- # Download -->",
    "<script>alert(1)</script>",
    "-rf",
    "--output=owned",
    "!!python/object/apply:os.system ['touch owned']",
    "&anchor *anchor",
    "yes",
    "1.10",
    "null",
    "key: value # comment",
    "{a: [b",
    "\u202egnp.exe",
    "NUL\0byte",
    "\x1b[31mred",
    "光の魔法 😀",
    "~/x",
    "a" * 5_000,
    "%s %n {0}",
    "[x](javascript:alert(1))",
    "\u2028\u2029\x85",
    "\ud800lone",
    "#hash",
    "@file",
    "*?[a-z]{1,2}",
    "\\\\",
    "'",
    '"',
    "!history",
    " ",
    "...",
    ".hidden",
]


def found(source: str = "direct", **more: object) -> Found:
    page = "https://civitai.com/models/1?modelVersionId=2"
    base: dict[str, object] = {"title": "Title", "folder": "loras", "address": page, "url": page}
    return Found(source=source, **(base | more))  # type: ignore[arg-type]


def hostile(text: str, source: str, **more: object) -> tuple[Found, FoundFile]:
    """A site that says this text wherever it can. Every text passes the functions that read a site's answers."""
    said = line(text)
    words = (said,) if said is not None else ()
    values = {"version": said, "basemodel": said, "license": said, "creator": said, "image": said, "air": said}
    made = found(source, title=said or "fallback", trigger_words=words, tags=words, **values, **more)
    return made, FoundFile(name=base_name(f"{text}.safetensors") or "fallback.safetensors", size=7, sha256=DIGEST)


def run(script: str, folder: Path) -> list[list[str]]:
    """What a real bash calls: the words of each call of a download tool, and what it read."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("curl", "civitdl", "wget"):
        tool = tools / name
        # A here-document's text is the token's header.
        tool.write_text(
            '#!/bin/bash\n{ printf "%s\\0" "$0" "$@"; [ -t 0 ] || cat; printf "\\n\\0END\\0"; } >>"$CALLS"\n'
        )
        tool.chmod(0o755)
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=work,
        env={"PATH": f"{tools}:/usr/bin:/bin", "UI_HOME": "/ui home", "HF_TOKEN": "hf_secret", "CALLS": str(calls)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    assert list(work.iterdir()) == []
    parts = calls.read_bytes().decode().split("\0END\0")[:-1]
    return [part.rstrip("\n").split("\0") for part in parts]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("asks_for_token", [False, True])
def test_a_hostile_file_is_one_word_of_the_command(text: str, asks_for_token: bool, tmp_path: Path) -> None:
    made, file = hostile(text, "direct", asks_for_token=asks_for_token)
    card = parse_card("loras/x.md", card_text(made, file).encode())
    assert card.warnings == ()
    ((program, *words),) = run(card.script, tmp_path)
    assert program.endswith("/curl")
    given = words[: -1 if words[-1] == "" or asks_for_token else None]
    assert given[given.index("-o") + 1] == f"/ui home/models/loras/{file.name}"
    assert given[-1] == made.address
    assert (words[-1] == "Authorization: Bearer hf_secret") == asks_for_token
    assert "hf_secret" not in " ".join(given)
    assert [(entry.path, entry.size, entry.sha256) for entry in card.front.files] == [
        (f"models/loras/{file.name}", 7, DIGEST)
    ]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_site_says_stays_in_its_own_key(text: str, tmp_path: Path) -> None:
    made, file = hostile(text, "civitai")
    card = parse_card("loras/x.md", card_text(made, file).encode())
    assert (card.front.title, card.front.url) == (made.title, made.url)
    assert (card.front.size, card.front.sha256, card.front.files) == (7, DIGEST, [])
    for name, shown in (("basemodel", made.basemodel), ("license", made.license), ("image", made.image)):
        assert getattr(card.front, name) == shown, name
    ((program, *words),) = run(card.script, tmp_path)
    assert program.endswith("/civitdl")
    assert words[:2] == [made.address, "/ui home/models/loras"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_the_path_of_a_card_is_one(text: str) -> None:
    made, _ = hostile(text, "civitai")
    path = card_path(made)
    assert wrong_path(path) is None
    assert re.fullmatch(r"loras/[a-z0-9_]+\.md", path)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_an_address_is_one_word(text: str, tmp_path: Path) -> None:
    address = f"https://host.example/{text}/x.pth?q={text}"
    try:
        link = recognise("".join(mark for mark in address if mark.isprintable() and mark != " ")[:1_500])
    except InvalidRequest:
        # A key in it, or no address at all.
        return
    assert isinstance(link, DirectLink)
    url = str(link.url)
    made = found(address=url, url=url)
    card = parse_card("x.md", card_text(made, FoundFile(name="x.pth")).encode())
    ((_, *words),) = run(card.script, tmp_path)
    assert url in words


def test_names_made_of_all_marks(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    marks = [chr(code) for code in range(128)] + list("äß光😀\u202e\u2028\ufeff\x85")
    for _ in range(25):
        text = "".join(chance.choices(marks, k=chance.randrange(1, 40)))
        made, file = hostile(text, "direct")
        card = parse_card("loras/x.md", card_text(made, file).encode())
        ((_, *words),) = run(card.script, tmp_path)
        assert f"/ui home/models/loras/{file.name}" in words, repr(text)
        assert card.front.title == made.title, repr(text)


def test_a_whole_card_reads_well() -> None:
    made = found(
        "civitai",
        title='The "Quoted" LoRA — 光の魔法',
        version="v1.0",
        basemodel="SDXL 1.0",
        ecosystem="sdxl",
        trigger_words=("dramatic light", "<lora>"),
        air="urn:air:sdxl:lora:civitai:1@2",
    )
    assert card_path(made) == "loras/the_quoted_lora_v1_0.md"
    assert card_text(made, FoundFile(name="x.safetensors", size=7, sha256=DIGEST)) == (
        "---\n"
        'title: The "Quoted" LoRA — 光の魔法\n'
        "type: lora\n"
        "ecosystem: sdxl\n"
        "basemodel: SDXL 1.0\n"
        "version: v1.0\n"
        "trigger_words:\n"
        "- dramatic light\n"
        "- <lora>\n"
        "size: 7\n"
        f"sha256: {DIGEST}\n"
        "url: https://civitai.com/models/1?modelVersionId=2\n"
        "AIR: urn:air:sdxl:lora:civitai:1@2\n"
        "---\n"
        "# Description\n"
        "Model (lora) for SDXL 1.0, from CivitAI.\n"
        "Trigger words: dramatic light, lora.\n"
        "\n"
        "# Download\n"
        "```bash\n"
        'civitdl "https://civitai.com/models/1?modelVersionId=2" "$UI_HOME/models/loras"\n'
        "```\n"
    )


def test_cards_without_letters_have_a_path() -> None:
    assert card_path(found(title="光", air="civitai:1@2")) == "loras/model_1_2.md"
    assert card_path(found(title="光")) == "loras/model.md"
    assert card_path(found(title="README")) == "loras/readme_model.md"
    assert card_path(replace(found(), title="a" * 500)) == f"loras/{'a' * 80}.md"
