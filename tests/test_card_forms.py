"""Cards as people write them: what counts as Download, which blocks run and how, what the values of the keys mean."""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from service.errors import CardError, InvalidRequest, UnknownResource
from service.library import BrokenCard, Library, Resource, parse_card

BLOCK = "```bash\none\n```\n"


def read(text: str, path: str = "loras/some_lora.md") -> Resource:
    return parse_card(path, text.encode())


def front(lines: str, body: str = f"# Download\n{BLOCK}") -> Resource:
    return read(f"---\ntitle: A\n{lines}\n---\n{body}")


# --- cards of real libraries: what they have in common, in words of our own ---

FLAT = """---
title: Lightning for Wan
type: lora
ecosystem: wan
basemodel: Wan 2.2
size: 57200000000
tags: video, speed
AIR: urn:air:wan:lora:civitai:2001@3001
image: https://example.com/clip.mp4
---

# Description
Four steps instead of twenty.

### 📥 Download

#### High noise
```bash
wget -O "$UI_HOME/models/loras/high.safetensors" https://example.com/high
```

#### Low noise
```bash
wget -O "$UI_HOME/models/loras/low.safetensors" https://example.com/low
```
"""
SHEBANG = """---
title: Every upscaler
size: 6.5GB
tags: [2024, 4x]
---
## Downloads

```sh
#!/bin/bash
f() { if [[ -z $1 ]]; then return 1; fi; }
f
wget -qnc -P "$UI_HOME/models/upscale_models" https://example.com/4x.pth
```
"""
BARE = """# 🎨 **Pony** by [somebody](https://example.com)

Some words.

## Download:
~~~
civitdl 1 "$UI_HOME/models/checkpoints"
~~~

## Usage
```bash
python main.py
```
"""
LIST = """---
title: Numbered steps
aliases: steps
dependencies:
- urn:air:wan:lora:civitai:2001@3001
---
Download
========

1. Get it

   ```console
   $ wget -P "$UI_HOME/models/vae" \\
   >   https://example.com/vae
   Saving to: vae
   $ ls
   ```
<!--
```bash
rm -rf old
```
-->
"""
BUNDLE = """---
title: All of Wan
dependencies: loras/lightning.md, steps
---
# Description
Both at once.
"""
PIP = """---
title: A custom node
installs: nothing
background: true
---
# Download
``` bash
cd "$UI_HOME" && pip install somenode && nohup python main.py &
```
"""


def test_cards_of_a_real_library(tmp_path: Path) -> None:
    cards = {
        "loras/lightning.md": FLAT,
        "upscalers/all.md": SHEBANG,
        "checkpoints/pony.md": BARE,
        "vae/steps.md": LIST,
        "wan.md": BUNDLE,
        "nodes/some.md": PIP,
        "README.md": "# My library\n",
        "loras/Readme.md": "# LoRAs\n",
    }
    for path, text in cards.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8", newline="\r\n" if "pony" in path else "\n")
    library = Library(tmp_path)
    found = {card.path: card for card in library.all() if isinstance(card, Resource)}
    assert set(found) == {path for path in cards if "readme" not in path.lower()}
    json.dumps([card.to_dict() for card in found.values()], allow_nan=False)
    assert found["loras/lightning.md"].script == (
        'wget -O "$UI_HOME/models/loras/high.safetensors" https://example.com/high\n'
        'wget -O "$UI_HOME/models/loras/low.safetensors" https://example.com/low\n'
    )
    assert found["loras/lightning.md"].front.tags == ["video", "speed"]
    assert found["upscalers/all.md"].script.startswith("#!/bin/bash\nf() {")
    assert (found["upscalers/all.md"].size_bytes, found["upscalers/all.md"].front.tags) == (
        6_500_000_000,
        ["2024", "4x"],
    )
    assert found["checkpoints/pony.md"].title == "🎨 Pony by somebody"
    assert found["checkpoints/pony.md"].script == 'civitdl 1 "$UI_HOME/models/checkpoints"\n'
    assert found["vae/steps.md"].script == 'wget -P "$UI_HOME/models/vae" \\\n  https://example.com/vae\nls\n'
    assert (found["nodes/some.md"].front.installs, found["nodes/some.md"].front.background) == ("nothing", True)
    assert found["nodes/some.md"].installs_nothing
    bundle = found["wan.md"]
    assert (bundle.script, bundle.is_bundle, bundle.installs_nothing) == ("", True, True)
    resolved = library.resolve(["wan.md"])
    assert [(card.path, card.dependencies) for card in resolved] == [
        ("loras/lightning.md", ()),
        ("vae/steps.md", ("loras/lightning.md",)),
        ("wan.md", ("loras/lightning.md", "vae/steps.md")),
    ]


# --- where the commands are ---


@pytest.mark.parametrize(
    "heading",
    [
        "# Download",
        "###### download",
        "### 📥 Download",
        "## ⬇️ **Downloads** ⬇️",
        "# Download:",
        "## 1. Download",
        "## Download ##",
        "#\tDownload",
        "# *Download*",
        "# `Download`",
        "# [Download](https://example.com/download)",
        "# <a name='get'></a>Download",
        "# Download {#get}",
        "  ## DOWNLOADS!",
        "Download\n--------",
        "Downloads\n=",
        "## Download commands",
        "# Download (6.5 GB)",
        "# 2️⃣ Download — from CivitAI",
    ],
)
def test_what_says_download(heading: str) -> None:
    assert read(f"# A\n\n{heading}\n{BLOCK}").script == "one\n"


@pytest.mark.parametrize(
    "heading", ["# How to download", "#Download", "# Predownload", "    # Download", "**Download**"]
)
def test_what_does_not_say_download(heading: str) -> None:
    with pytest.raises(CardError, match='has no "# Download" heading'):
        read(f"# A\n\n{heading}\n{BLOCK}")


def test_the_exact_heading_counts_before_one_that_begins_with_the_word() -> None:
    assert read(f"# Download size\n```\nno\n```\n# Download\n{BLOCK}").script == "one\n"


def test_all_download_headings_count_and_each_ends_where_an_equal_one_begins() -> None:
    body = "## Download\n```\na\n```\n### fp8\n```\nb\n```\n## Usage\n```\nno\n```\n# Download\n```\nc\n```\n"
    assert read(body).script == "a\nb\nc\n"


@pytest.mark.parametrize(
    "fence",
    [
        "```bash",
        "```sh",
        "```shell",
        "```zsh",
        "```",
        "~~~",
        "~~~~ bash",
        "``` bash",
        "```BASH",
        "```bash title=x",
        "```{.bash .numbers}",
        "```{bash}",
        "```bash:install.sh",
        "   ```bash",
        "\t```bash",
        "      ```",
        "````sh",
    ],
)
def test_the_fences_of_a_shell(fence: str) -> None:
    marks = fence.strip()[0] * (len(fence.strip()) - len(fence.strip().lstrip("`~")))
    indent = fence[: len(fence) - len(fence.lstrip())]
    assert read(f"# Download\n{fence}\n{indent}a\n{indent}  b\n{indent}{marks}\n").script == "a\n  b\n"


def test_blocks_that_do_not_run_are_named() -> None:
    card = read(f"# Download\n```text\nwhat it prints\n```\n{BLOCK}```python\nprint()\n```\n")
    assert card.script == "one\n"
    assert [warning.partition(" does not run")[0] for warning in card.warnings] == [
        "the ```text block in line 2",
        "the ```python block in line 8",
    ]


def test_what_is_commented_out_does_not_run() -> None:
    assert read(f"# Download\n<!-- old:\n```\nno\n```\n-->\n{BLOCK}<!-- one line -->\n{BLOCK}").script == "one\none\n"


def test_blocks_in_a_list() -> None:
    body = "- ```\n  a\n  ```\n1. first:\n   ```sh\n   b\n   ```\n2. ~~~\n   c\n     d\n   ~~~\n"
    assert read(f"# Download\n{body}").script == "a\nb\nc\n  d\n"


def test_a_heading_within_a_block_does_not_count() -> None:
    assert read("# Download\n```\na\n# Usage\nb\n```\n```\nc\n```\n").script == "a\n# Usage\nb\nc\n"


def test_a_block_does_not_continue_the_last_command_of_the_one_before() -> None:
    assert run(read("# Download\n```\necho a \\\n```\n```\necho b\n```\n").script) == "a\nb\n"


@pytest.mark.parametrize(
    ("block", "script"),
    [
        ("```console\n$ a\nprinted\n$ b\n```", "a\nb\n"),
        ("```console\nroot@C.123:/workspace# a\nprinted\n(main) root@C.123:~$ b\n```", "a\nb\n"),
        ("```shell-session\n[me@box ~]$ a \\\n> b\nprinted\n```", "a \\\nb\n"),
        ("```console\na\nb\n```", "a\nb\n"),
        ("```bash\n$ a\nb\n```", "a\nb\n"),
        ("```bash\na\n$ b\n```", "a\n$ b\n"),
    ],
)
def test_prompts(block: str, script: str) -> None:
    assert read(f"# Download\n{block}\n").script == script


# --- programs ---


def run(script: str) -> str:
    """As the instance runs it."""
    shell = ["bash", "-e", "-o", "pipefail", "-c", script]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout + (f"exit {done.returncode}" if done.returncode else "")


def test_a_single_program_is_the_script() -> None:
    card = read("# Download\n```python\n\n#!/usr/bin/env python3\nprint(1)\n```\n")
    assert card.script == "#!/usr/bin/env python3\nprint(1)\n"
    assert card.warnings == ()


def test_programs_among_blocks_run_at_their_place_and_apart() -> None:
    card = read(
        "# Download\n```bash\nexport said='it'\"'\"'s $HOME'; own=1\n```\n"
        "```python\n#!/usr/bin/env python3\nimport os\nprint(os.environ['said'])\n```\n"
        "```bash\n#!/bin/bash\nfalse\necho \"${own:-none}\"; own=2; cat <<'EOF'\n$x\nEOF\n```\n"
        '```bash\necho "$own"\n```\n'
    )
    assert not card.script.startswith("#!")
    assert run(card.script) == "it's $HOME\nnone\n$x\n1\n"


def test_a_program_that_fails_ends_the_card() -> None:
    card = read("# Download\n```\n#!/bin/sh\nexit 7\n```\n```\necho not reached\n```\n")
    assert run(card.script) == "exit 7"


def test_a_program_may_hold_any_text() -> None:
    first = read("# Download\n```\n#!/bin/cat\nx\n```\n```\ntrue\n```\n").script
    card = read(f"# Download\n````\n#!/bin/cat\n{first}````\n```\necho end\n```\n")
    assert run(card.script) == f"#!/bin/cat\n{first}end\n"


# --- the text of the file ---


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\n\n"])
def test_line_ends_and_what_stands_before(end: str, mark: str) -> None:
    text = f"---\ntitle: A\n---\n# Download\n{BLOCK}"
    card = read(mark + text.replace("\n", end))
    assert (card.title, card.script) == ("A", "one\n")


def test_lines_are_those_of_the_file() -> None:
    with pytest.raises(CardError, match="not YAML in line 4"):
        read(f"\n---\ntitle: A\nx: a: b\n---\n# Download\n{BLOCK}")
    with pytest.raises(CardError, match="begins in line 6 does"):
        read("\n---\ntitle: A\n---\n# Download\n```\nx\n")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (f"# Download\n{BLOCK}", "some_lora"),
        (f"---\n---\n# Description\nx\n## Download\n{BLOCK}", "some_lora"),
        (f"---\ntitle:\n---\n# Download\n{BLOCK}\n# Wan *2.1*: `fp8` #\n", "Wan *2.1*: fp8"),
        (f"---\ntitle: '  '\n---\n## Wan\n# Download\n{BLOCK}", "Wan"),
        (f"---\ntitle: 1.10\n---\n# Download\n{BLOCK}", "1.10"),
        (f"---\nTitle: no\n---\n# Download\n{BLOCK}", "no"),
        (f"---\ntitle: [A, B]\n---\n# Download\n{BLOCK}", "A, B"),
        (f"---\ntitle: >\n  long\n  title\n---\n# Download\n{BLOCK}", "long title"),
        (f"---\ntitle: 2024-01-01\n...\n# Download\n{BLOCK}", "2024-01-01"),
        (f'---\ntitle: "\\e[2J"\n---\n# Download\n{BLOCK}', "some_lora"),
        (f"---\ntitle: {'x' * 501}\n---\n# Download\n{BLOCK}", "some_lora"),
        (f"C#\n==\n# Download\n{BLOCK}", "C#"),
        (f"# C#\n# Download\n{BLOCK}", "C#"),
    ],
)
def test_the_title(text: str, title: str) -> None:
    assert read(text).title == title


# --- values ---


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("57200000000", 57_200_000_000),
        ('"6900000000"', 6_900_000_000),
        ("0", 0),
        ("12 bytes", 12),
        ("6.5GB", 6_500_000_000),
        ("6.5 gb", 6_500_000_000),
        ("6,5 GB", 6_500_000_000),
        ("6.5G", 6_500_000_000),
        ("~6.5GB (fp8)", 6_500_000_000),
        ("6.5 GiB", 6_979_321_856),
        ("300MB", 300_000_000),
        ("1,234.5 MB", 1_234_500_000),
        ("6,900,000,000", 6_900_000_000),
        ("6_900_000_000", 6_900_000_000),
        ("[6.5GB]", 6_500_000_000),
        (str(10**15 - 1), 10**15 - 1),
    ],
)
def test_sizes(written: str, size: int) -> None:
    card = front(f"size: {written}")
    assert (card.size_bytes, card.to_dict()["size"], card.warnings) == (size, size, ())


@pytest.mark.parametrize(
    "written",
    [
        "1:59:59",
        "6.5",
        "-1",
        "large",
        "6-7 GB",
        "99999999 TB",
        str(10**15),
        str(1 << 63),
        "9" * 5000,
        "true",
        "{a: 1}",
        "[1, 2]",
        ".inf",
        "2024-01-01",
        "٣GB",
    ],
)
def test_a_size_that_cannot_be_read_is_left_out(written: str) -> None:
    card = front(f"size: {written}")
    assert card.size_bytes is None
    (warning,) = card.warnings
    assert warning.startswith("size: must be")


def test_a_sum_of_sizes_has_a_bound_too() -> None:
    largest = 10**15 - 1
    assert front(f"files: [{{path: a, size: {largest}}}, {{path: b, size: 1}}]").size_bytes is None


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        ("tags: a, b", "tags", ["a", "b"]),
        ("tags: fast", "tags", ["fast"]),
        ("tags: [2024, 1.10, on, true, null, [x]]", "tags", ["2024", "1.10", "on", "true", "x"]),
        ("tags:", "tags", []),
        ("tags: {a: b}", "tags", []),
        ("type: [lora]", "type", "lora"),
        ("type: {a: b}", "type", None),
        ("basemodel: [SDXL, Pony]", "basemodel", "SDXL, Pony"),
        ("BaseModel: 1.5", "basemodel", "1.5"),
        ("ecosystem: no", "ecosystem", "no"),
        ("version: 1.0", "version", 1.0),
        ("version: 1.10", "version", "1.10"),
        ("version: [1, 2]", "version", "1, 2"),
        ("license: 2024-01-01", "license", "2024-01-01"),
        ("url: [https://a, https://b]", "url", "https://a"),
        ("image: []", "image", None),
        ("aliases: foo", "aliases", ["foo"]),
        ("air: [a, b]", "AIR", "a, b"),
        ("dependencies: x.md", "dependencies", ["x.md"]),
        ("sha256: SHA256:" + "AB" * 32, "front_sha256", "ab" * 32),
        ("files: $UI_HOME/models/a.pth", "files", [{"path": "models/a.pth", "sha256": None, "size": None}]),
        ("files: {path: a, size: '7', sha256: }", "files", [{"path": "a", "sha256": None, "size": 7}]),
        ("installs: Nothing", "installs", "nothing"),
        ("installs: none", "installs", "nothing"),
        ("installs: models/a.pth", "installs", None),
        ("installs:", "installs", None),
        ("background: yes", "background", True),
        ("background: True", "background", True),
        ("background: off", "background", False),
        ("background: maybe", "background", False),
        (
            "mine: {day: 2024-01-01, at: 1:59:59, 1: [yes, ~, .nan]}",
            "mine",
            {"day": "2024-01-01", "at": "1:59:59", "1": ["yes", None, ".nan"]},
        ),
        ("big: " + "9" * 5000, "big", "9" * 5000),
        ("bits: 0b" + "1" * 20_000, "bits", "0b" + "1" * 20_000),
    ],
)
def test_values(lines: str, key: str, value: Any) -> None:
    card = front(lines)
    shown = {**card.to_dict(), "front_sha256": card.front.sha256}
    assert (shown[key], type(shown[key])) == (value, type(value))
    json.dumps(card.to_dict(), allow_nan=False)


def test_what_is_left_out_is_said() -> None:
    card = front("tags: {a: b}\ninstalls: models/a.pth\nbackground: maybe")
    assert card.to_dict()["warnings"] == [
        "tags: must be a list of texts; it is left out",
        'installs: must be "nothing", or left out; it is left out',
        "background: must be true or false; it is left out",
    ]


# --- names ---


def library(folder: Path, **cards: str) -> Library:
    for name, lines in cards.items():
        (folder / f"{name}.md").write_text(f"---\n{lines}\n---\n# Download\n{BLOCK}")
    return Library(folder)


@pytest.mark.parametrize(
    "name",
    [
        "wan.md",
        "wan",
        "Wan 2.1",
        "wan 2.1",
        "WAN-LORA",
        "urn:air:wan:lora:civitai:2001@3001",
        "URN:AIR:wan:lora:civitai:2001@3001",
        "wan:lora:civitai:2001@3001",
        "civitai:2001@3001",
    ],
)
def test_a_card_is_named_by_path_alias_or_air(tmp_path: Path, name: str) -> None:
    cards = library(
        tmp_path,
        wan="aliases: [Wan 2.1, wan-lora]\nAIR: urn:air:wan:lora:civitai:2001@3001",
        other=f"dependencies: ['{name}']",
    )
    assert [card.path for card in cards.resolve([name])] == ["wan.md"]
    assert [(card.path, card.dependencies) for card in cards.resolve(["other"])] == [
        ("wan.md", ()),
        ("other.md", ("wan.md",)),
    ]


def test_a_path_comes_before_a_name(tmp_path: Path) -> None:
    cards = library(tmp_path, a="title: A", b="aliases: [a.md, c]", c="title: C")
    assert [card.path for card in cards.resolve(["a.md"])] == ["a.md"]
    assert [card.path for card in cards.resolve(["c"])] == ["b.md"]


def test_names_that_name_no_card_or_several(tmp_path: Path) -> None:
    cards = library(
        tmp_path,
        a="aliases: same",
        b="aliases: [Same, own]",
        c="dependencies: same",
        d="dependencies: [nothing of the kind]",
        e="dependencies: own\naliases: circle",
    )
    with pytest.raises(InvalidRequest, match='"same" is the name of several cards: give the path of one: a'):
        cards.resolve(["same"])
    with pytest.raises(InvalidRequest, match="several cards") as refused:
        cards.resolve(["a.md", "c.md"])
    assert refused.value.errors[0].field == "resources[1]"
    with pytest.raises(InvalidRequest, match='on "nothing of the kind": no card has this path, alias or AIR'):
        cards.resolve(["d.md"])
    with pytest.raises(InvalidRequest, match="no card has this alias or AIR"):
        cards.resolve(["nothing"])
    with pytest.raises(UnknownResource, match="no such card"):
        cards.resolve(["nothing.md"])
    with pytest.raises(InvalidRequest, match=r'"own" \(it is b.md\) is named twice'):
        cards.resolve(["b.md", "own"])
    (tmp_path / "b.md").write_text("---\naliases: own\ndependencies: circle\n---\n")
    with pytest.raises(InvalidRequest, match=r"in a circle: e.md -> b.md -> e.md"):
        cards.resolve(["circle"])
    (tmp_path / "b.md").write_text("nothing")
    with pytest.raises(InvalidRequest, match=r"no card has this path, alias or AIR \(1 broken cards have no names\)"):
        cards.resolve(["e.md"])


def test_a_bundle_has_no_block_and_an_empty_block_is_not_a_bundle(tmp_path: Path) -> None:
    assert read("---\ndependencies: [a.md]\n---\n").is_bundle
    assert read("---\ndependencies: [a.md]\n---\n# Download\nSee above.\n").is_bundle
    for body in ("# Download\n```\n```\n", "# Download\n```\nx\n", "# Download\n```python\nx\n```\n"):
        with pytest.raises(CardError):
            read(f"---\ndependencies: [a.md]\n---\n{body}")
    with pytest.raises(CardError, match='has no "# Download" heading'):
        read("---\ndependencies: []\n---\n")


def test_a_readme_is_not_a_card(tmp_path: Path) -> None:
    for name in ("README.md", "ReadMe.md"):
        (tmp_path / name).write_text(f"# Download\n{BLOCK}")
    assert Library(tmp_path).all() == []
    with pytest.raises(InvalidRequest, match="a README is about the folder"):
        Library(tmp_path).get("README.md")


def test_a_broken_card_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("nothing")
    cards = Library(tmp_path)
    (first,), (again,) = cards.all(), cards.all()
    assert isinstance(first, BrokenCard)
    assert first == again
    (tmp_path / "a.md").write_text(f"# Download\n{BLOCK}")
    assert isinstance(cards.all()[0], Resource)


# --- time ---

UNITS = {
    "~": "~",
    "[": "[",
    "#": "#",
    "- ": "- ",
    "`": "`",
    "{": "{",
    "'": "'",
    '"': '"',
    "<": "<",
    "](": "](",
    "* ": "* ",
    "a: ": "a: ",
    "&a ": "&a ",
    "!a ": "!a ",
    "# ": "# ",
    "spaces": " ",
    "tabs": "\t",
    "CR": "\r",
    "<!--": "<!-- ",
    "lines of #": "# a\n",
    "fences": "```\n",
    "closed": "```\nx\n```\n",
    "underlined": "a\n---\n",
    "indent": " \n",
    "prompts": "a@a:$ x\n",
    "programs": "```\n#!x\n```\n",
    "keys": "a: b\n",
    "digits": "9",
    "words": "download ",
}
PLACES = {
    "the file": "{}`",
    "the front matter": "---\nx: {}\n---\n",
    "a value": "---\nsize: {}\ntags: {}\n---\n",
    "a heading": "# {}x\n# Download\n```\na\n```\n",
    "the body": "# Download\n{}`\n```\na\n```\n",
    "a block": "# Download\n```console\n{}\n```\n",
}


def seconds_to_read(text: str) -> float:
    raw = text.encode()
    # The garbage collector walks what other tests left in this process, the more often the longer the text is.
    gc.disable()
    try:
        begin = time.process_time()
        with contextlib.suppress(CardError):
            parse_card("a.md", raw)
        return time.process_time() - begin
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("unit", UNITS)
def test_the_time_to_read_a_card_grows_with_its_length(unit: str, place: str) -> None:
    """Eight times the length may take eight times as long, and not 64 times; what takes no time is not compared."""

    def of(characters: int) -> str:
        return PLACES[place].replace("{}", UNITS[unit] * (characters // len(UNITS[unit])))

    # Below the bound of the front matter, where it is the front matter that is read.
    longest = 30_000 if "---" in PLACES[place] else 400_000
    short = min(seconds_to_read(of(longest // 8)) for _ in range(3))
    long = min(seconds_to_read(of(longest)) for _ in range(3))
    assert long < 0.02 or long < short * 24
