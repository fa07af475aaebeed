"""The sample cards, and cards that are wrong in ways that must not harm the list that they stand in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import CardError, FieldError, InvalidRequest, UnknownResource
from service.library import CARD_BYTES_MAX, RESOURCES_MAX, BrokenCard, Library, Resource, parse_card

SAMPLES = Path(__file__).parent.parent / "resources"
DOWNLOAD = "# Download\n```bash\ntrue\n```\n"


def card(front: str = "", body: str = DOWNLOAD) -> str:
    return f"---\ntitle: A card\n{front}---\n{body}"


def write(folder: Path, path: str, text: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "resources"
    folder.mkdir()
    return folder


def test_every_sample_card_is_sound() -> None:
    cards = Library(SAMPLES).all()
    assert len(cards) >= 10
    bash = shutil.which("bash")
    assert bash is not None
    for sample in cards:
        assert isinstance(sample, Resource), sample
        assert sample.description
        assert sample.front.url is not None
        assert sample.front.url.startswith("https://")
        checked = subprocess.run([bash, "-n"], input=sample.script, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, (sample.path, checked.stderr)


def test_the_dependencies_of_a_sample_come_before_it() -> None:
    resolved = Library(SAMPLES).resolve(["checkpoints/flux_schnell.md", "loras/wan21_fusionx.md"])
    assert [resource.path for resource in resolved] == [
        "checkpoints/flux_schnell.md",
        "vae/wan21_vae.md",
        "text_encoders/umt5_xxl_fp8.md",
        "loras/wan21_fusionx.md",
    ]


MISHAPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder with the name of a card": (lambda file: file.mkdir(), "is not a file"),
    "a pipe": (lambda file: os.mkfifo(file), "is not a file"),
    "a link to itself": (lambda file: file.symlink_to(file.name), "no such card"),
    "a link to nothing": (lambda file: file.symlink_to("nothing.md"), "no such card"),
    "a link that leads out": (lambda file: file.symlink_to("/etc/hostname"), "leads out of the resource folder"),
    "bytes that are no text": (lambda file: file.write_text(card("x: !!binary /w==\n")), "are not allowed"),
    "a lone surrogate": (lambda file: file.write_text(card('x: "\\ud800"\n')), "line 3"),
    "deep nesting": (lambda file: file.write_text(card(f"x: {'[' * 270}{']' * 270}\n")), "more than 20 levels"),
    "bottomless nesting": (lambda file: file.write_text(card(f"x: {'[' * 5000}{']' * 5000}\n")), "front matter"),
    "an alias": (lambda file: file.write_text(card("x: &a [1]\ny: *a\n")), "line 4: aliases are not allowed"),
    "a Python object": (lambda file: file.write_text(card("x: !!python/name:os.system\n")), "are not allowed"),
    "a key that is no text": (lambda file: file.write_text(card("x: {[1]: 2}\n")), "a key is not text"),
    "no UTF-8": (lambda file: file.write_bytes(card().encode() + b"\xff"), "is not UTF-8: byte"),
    "a NUL": (lambda file: file.write_text(card() + "\0"), "NUL"),
    "slow to read": (lambda file: file.write_text(card(f"x: [{'1,' * 20_000}]\n")), "longer than"),
    "too large": (lambda file: file.write_bytes(b"x" * (CARD_BYTES_MAX + 1)), "larger than"),
    "no end of the front matter": (lambda file: file.write_text("---\ntitle: x\n"), "does not end"),
    "an empty script": (lambda file: file.write_text(card(body="# Download\n```bash\n \n```\n")), "has no command"),
    "a block without an end": (
        lambda file: file.write_text(card(body="# Download\n```bash\nx\n")),
        "line 5 does not end",
    ),
    "a block elsewhere": (lambda file: file.write_text(card(body="# Usage\n```bash\nx\n```\n")), "Download"),
}


@pytest.mark.parametrize("mishap", MISHAPS)
def test_a_broken_card_is_named_and_harms_no_other(folder: Path, mishap: str) -> None:
    make, reason = MISHAPS[mishap]
    write(folder, "sound.md", card())
    make(folder / "broken.md")
    library = Library(folder)
    broken, sound = library.all()
    assert isinstance(broken, BrokenCard)
    assert isinstance(sound, Resource)
    assert broken.path == "broken.md"
    assert reason in broken.error
    json.dumps([broken.to_dict(), sound.to_dict()], allow_nan=False).encode("utf-8")
    assert [resource.path for resource in library.resolve(["sound.md"])] == ["sound.md"]
    with pytest.raises((InvalidRequest, UnknownResource)) as refused:
        library.resolve(["sound.md", "broken.md"])
    assert refused.value.errors[0].field == "resources[1]"


def test_a_file_name_that_is_no_text_is_reported(folder: Path) -> None:
    write(folder, "sound.md", card())
    with open(os.path.join(os.fsencode(folder), b"\xff.md"), "w", encoding="utf-8") as file:
        file.write(card())
    kinds = {type(found) for found in Library(folder).all()}
    assert kinds == {Resource, BrokenCard}


def test_what_a_card_says_of_itself(folder: Path) -> None:
    front = (
        "size: 12\ntags: [a]\nversion: 2\nlicense:\ndependencies:\nmine: {a: [1, null]}\nday: 2024-01-01\npath: no\n"
    )
    write(folder, "loras/x.md", card(front, "# Description\nWords.\n## More\nand more.\n" + DOWNLOAD))
    resource = Library(folder).get("loras/x.md")
    form = resource.to_dict()
    assert form["path"] == "loras/x.md"
    assert (form["title"], form["size"], form["tags"], form["version"]) == ("A card", 12, ["a"], 2)
    assert (form["license"], form["dependencies"]) == (None, [])
    assert (form["mine"], form["day"]) == ({"a": [1, None]}, "2024-01-01")
    assert form["description"] == "Words.\n## More\nand more."


@pytest.mark.parametrize(
    ("body", "script"),
    [
        ("# Download\n```bash\none\n```\n```bash\ntwo\n```\n", "one\ntwo\n"),
        ("# Download\n#### High noise\n```bash\none\n```\n", "one\n"),
        ("## Download ##\n```bash title=x\none\n```\n", "one\n"),
        ("# download\n~~~bash\none\n```\n~~~\n", "one\n```\n"),
        ("# Download\n````bash\none\n```\n````\n", "one\n```\n"),
        ("# Download\n```python\nno\n```\n```bash\none\n```\n", "one\n"),
        ("# Usage\n```\n# Download\n```bash\nno\n```\n# Download\n```bash\none\n# two\n```\n", "one\n# two\n"),
        ("# Download\r\n```bash\r\none\r\ntwo\r\n```\r\n", "one\ntwo\n"),
    ],
)
def test_the_script_is_what_the_blocks_under_download_hold(body: str, script: str) -> None:
    assert parse_card("x.md", card(body=body).encode()).script == script


def test_front_matter_with_spaces_and_windows_lines() -> None:
    raw = b"\xef\xbb\xbf--- \r\ntitle: x\r\n---\t\r\n# Download\r\n```bash\r\ntrue\r\n```\r\n"
    assert parse_card("x.md", raw).title == "x"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/x.md",
        "../x.md",
        "a/../x.md",
        "./x.md",
        "a//x.md",
        "a\\x.md",
        "x.txt",
        ".x.md",
        ".git/x.md",
        "x\0.md",
        "x\n.md",
        "x\ud800.md",
        "x" * 253 + ".md",
    ],
)
def test_paths_that_are_no_card(folder: Path, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Library(folder).get(path)
    assert "is not the path of a card" in refused.value.message
    refused.value.message.encode("utf-8")


def test_an_unknown_card(folder: Path) -> None:
    library = Library(folder)
    with pytest.raises(UnknownResource) as unknown:
        library.resolve(["loras/x.md"])
    message = 'unknown resource "loras/x.md": no such card under resources/'
    assert unknown.value.message == message
    assert unknown.value.errors == (FieldError("resources[0]", message),)


def test_dependencies_once_each_and_before_their_dependents(folder: Path) -> None:
    for path, dependencies in {"a.md": "[c.md, b.md]", "b.md": "[c.md]", "c.md": "[]", "d.md": "[b.md, b.md]"}.items():
        write(folder, path, card(f"dependencies: {dependencies}\n"))
    resolved = Library(folder).resolve(["d.md", "a.md", "c.md"])
    assert [resource.path for resource in resolved] == ["c.md", "b.md", "d.md", "a.md"]


@pytest.mark.parametrize(
    ("dependencies", "wanted", "field", "words"),
    [
        ({"a.md": "[]"}, ["a.md", "a.md"], "resources[1]", "named twice"),
        ({"a.md": "[a.md]"}, ["a.md"], "resources[0]", "in a circle: a.md -> a.md"),
        ({"a.md": "[b.md]", "b.md": "[c.md]", "c.md": "[b.md]"}, ["a.md"], "resources[0]", "b.md -> c.md -> b.md"),
        ({"a.md": "[x.md]"}, ["a.md"], "resources[0]", '"a.md" depends on "x.md": no such card'),
        ({"a.md": "[../x.md]"}, ["a.md"], "resources[0]", "is not the path of a card"),
    ],
)
def test_dependencies_that_cannot_be(
    folder: Path, dependencies: dict[str, str], wanted: list[str], field: str, words: str
) -> None:
    for path, needed in dependencies.items():
        write(folder, path, card(f"dependencies: {needed}\n"))
    with pytest.raises(InvalidRequest) as refused:
        Library(folder).resolve(wanted)
    assert refused.value.status == 400
    assert refused.value.errors[0].field == field
    assert words in refused.value.errors[0].message


@pytest.mark.parametrize("deep", [True, False])
def test_more_dependencies_than_a_job_may_have(folder: Path, deep: bool) -> None:
    names = [f"{number}.md" for number in range(RESOURCES_MAX + 1)]
    for number, name in enumerate(names):
        needed = names[number + 1 : number + 2] if deep else names[1:] if number == 0 else []
        write(folder, name, card(f"dependencies: [{', '.join(needed)}]\n"))
    with pytest.raises(InvalidRequest, match=f"more than {RESOURCES_MAX}"):
        Library(folder).resolve(names[:1])
    assert len(Library(folder).resolve(names[1:])) == RESOURCES_MAX


def test_an_edited_card_counts_at_once(folder: Path) -> None:
    write(folder, "x.md", card())
    library = Library(folder)
    first = library.get("x.md")
    assert library.get("x.md") is first
    write(folder, "x.md", card(body="# Download\n```bash\nfalse\n```\n"))
    assert library.get("x.md").script == "false\n"
    (folder / "x.md").unlink()
    with pytest.raises(UnknownResource):
        library.get("x.md")
    write(folder, "x.md", "nothing")
    with pytest.raises(CardError):
        library.get("x.md")


def test_five_hundred_cards_are_listed_without_reading_them_again(folder: Path) -> None:
    for number in range(500):
        write(folder, f"many/{number:03}.md", card(f"tags: [a, b, c]\nsize: {number}\n"))
    library = Library(folder)
    first = library.all()
    begin = time.process_time()
    again = library.all()
    seconds = time.process_time() - begin
    assert [found.path for found in first] == [f"many/{number:03}.md" for number in range(500)]
    assert all(before is after for before, after in zip(first, again, strict=True))
    # Of this process alone: what else the machine does is left out.
    assert seconds < 2
