"""The library: what a card holds, what is wrong with a broken one, and no way out of its folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from service.errors import CardError, InvalidRequest, UnknownResource
from service.library import CARD_BYTES_MAX, RESOURCES_MAX, BrokenCard, Library, Resource, parse_card

WHOLE = """---
title: "FLUX: schnell — 光"
type: checkpoint
ecosystem: flux
basemodel: flux1-schnell
version: 1.0
tags: [fast, apache]
size: 23800000000
url: https://example.com/flux
license: apache-2.0
image: flux.png
dependencies: [vae/ae.md]
released: 2024-08-01
trained_by: {name: somebody}
---
# Description
A model.

It has *two* paragraphs.

# Download
Some words first.

```bash
civitdl "https://civitai.com/models/1" "$UI_HOME/models/checkpoints"
# Download
echo done
```

```bash
echo last
```
"""


def card(front: str = "title: A\n", body: str = "# Download\n```bash\ntrue\n```\n") -> bytes:
    return f"---\n{front}---\n{body}".encode()


def write(folder: Path, path: str, raw: bytes = b"", *, dependencies: tuple[str, ...] = ()) -> str:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw or card(f"title: {path}\ndependencies: [{', '.join(dependencies)}]\n"))
    return path


def test_all_that_a_card_says() -> None:
    resource = parse_card("checkpoints/flux.md", WHOLE.encode())
    assert resource.title == "FLUX: schnell — 光"
    assert resource.dependencies == ("vae/ae.md",)
    assert resource.description == "A model.\n\nIt has *two* paragraphs."
    assert resource.script == (
        'civitdl "https://civitai.com/models/1" "$UI_HOME/models/checkpoints"\n# Download\necho done\necho last\n'
    )
    assert resource.sha256 == hashlib.sha256(WHOLE.encode()).hexdigest()
    shown = resource.to_dict()
    assert (shown["path"], shown["size"], shown["version"]) == ("checkpoints/flux.md", 23_800_000_000, 1.0)
    assert (shown["released"], shown["trained_by"]) == ("2024-08-01", {"name": "somebody"})
    assert "script" not in shown


def test_a_title_and_a_block_are_enough() -> None:
    resource = parse_card("a.md", card())
    assert (resource.title, resource.script, resource.description, resource.dependencies) == ("A", "true\n", "", ())


@pytest.mark.parametrize(
    ("body", "script"),
    [
        ("# Download\n```bash\na\n```\n", "a\n"),
        ("## download ##\n```bash\na\n```\n", "a\n"),
        ("# Download\n~~~bash\na\n```\nb\n~~~\n", "a\n```\nb\n"),
        ("# Download\n````bash\n```\na\n```\n````\n", "```\na\n```\n"),
        ("# Download\n```bash title=x\na\n```\n", "a\n"),
        ("# Download\n```Bash\na\n```\n", "a\n"),
        ("# Download\n```text\nno\n```\n```bash\na\n```\n", "a\n"),
        ("```bash\nno\n```\n# Download\n```bash\na\n```\n", "a\n"),
        ("# Notes\n```bash\n# Download\nno\n```\n# Download\n```bash\na\n```\n", "a\n"),
        ("# Download\n```bash\n\n  indented\n```\n", "\n  indented\n"),
    ],
)
def test_where_the_commands_stand(body: str, script: str) -> None:
    assert parse_card("a.md", card(body=body)).script == script


def test_a_card_from_windows() -> None:
    raw = b"\xef\xbb\xbf" + card(body="# Download\n```bash\na\nb\n```\n").replace(b"\n", b"\r\n")
    assert parse_card("a.md", raw).script == "a\nb\n"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", 'has no "# Download" heading'),
        (b"---\ntitle: A\n", "does not end with ---"),
        (card(front="title: A\nfiles: [{path: /etc/passwd}]\n"), "files.0.path: must be a path below $UI_HOME"),
        (card(front="title: A\nfiles: [{path: a, size: 6.5GB}]\n"), "files.0.size: input should be a valid integer"),
        (card(front=f"title: A\nfiles: [{{path: a, size: {1 << 63}}}]\n"), "files.0.size"),
        (card(front="title: A\nfiles: [{path: a, sha265: b}]\n"), "files.0.sha265: extra inputs are not permitted"),
        (card(front="title: A\nsha256: abc\n"), "sha256: must be 64 hexadecimal digits; leave it out"),
        (card(front="title: A\ndependencies: {a: b}\n"), "dependencies: must be a list of texts"),
        (card(front="title: [\n"), "is not YAML in line"),
        (card(front="title: A: B\n"), "is not YAML in line 2"),
        (card(front="title: A: B\n"), "must stand in quotes"),
        (card(front="- title\n"), 'must be a list of "key: value" lines'),
        (card(front="? {a: b}\n: A\n"), "a key is not text"),
        (card(front="title: A\nx: !!python/object/apply:os.system [true]\n"), "are not allowed"),
        (card(front="a: &a [x]\ntitle: A\nb: *a\n"), "aliases are not allowed"),
        (card(front="title: A\nx: " + "[" * 5_000 + "]" * 5_000 + "\n"), "front matter"),
        (card(body="# Download\n"), "has no ```bash block"),
        (card(body="```bash\ntrue\n```\n"), 'has no "# Download" heading'),
        (card(body="# Download\n```bash\n\n```\n"), "has no command in the block under"),
        (card(body="# Download\n```bash\n# later\n```\n"), "has no command in the block under"),
        (card(body="# Download\n```bash\nrm -rf x\n"), "the block that begins in line 5 does not end: close it"),
        (card(body="# Notes\n~~~~\nx\n~~~\n# Download\n```\nx\n```\n"), "the block that begins in line 5"),
        (card(body="# Download\n```python\nprint()\n```\n"), "the ```python block in line 5 does not run"),
        (card(body="# Download\n```bash\na\0b\n```\n"), "NUL"),
        (b"\xff" + card(), "is not UTF-8: byte 0"),
    ],
)
def test_what_is_wrong_with_a_broken_card(raw: bytes, words: str) -> None:
    with pytest.raises(CardError) as raised:
        parse_card("loras/x.md", raw)
    assert str(raised.value).startswith('card "loras/x.md"')
    assert words in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "front",
    [
        "title: A\nwhen: 2024-08-01 10:00:00\n",
        "title: A\nx: .nan\n",
        "title: A\nx: .inf\n",
        "title: A\nx: !!binary aGVsbG8=\n",
        "title: A\nx: !!set {a, b}\n",
        "title: A\nx: {1: a}\n",
        'title: "\\ud800"\n',
        'title: A\nx: "\\ud800"\n',
    ],
)
def test_a_card_is_shown_as_json_or_reported_as_broken(tmp_path: Path, front: str) -> None:
    write(tmp_path, "odd.md", card(front=front))
    (found,) = Library(tmp_path).all()
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text.encode("utf-8"))["path"] == "odd.md"


def test_a_broken_card_harms_no_other(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    write(tmp_path, "b/broken.md", b"nothing")
    write(tmp_path, "b/large.md", card() + b"x" * CARD_BYTES_MAX)
    write(tmp_path, "c.md")
    write(tmp_path, ".git/hidden.md")
    write(tmp_path, "readme.txt")
    (tmp_path / "folder.md").mkdir()
    found = Library(tmp_path).all()
    assert [entry.path for entry in found if isinstance(entry, Resource)] == ["a.md", "c.md"]
    broken = {entry.path: entry.error for entry in found if isinstance(entry, BrokenCard)}
    assert "Download" in broken["b/broken.md"]
    assert f"larger than {CARD_BYTES_MAX} bytes" in broken["b/large.md"]
    assert set(broken) - {"folder.md"} == {"b/broken.md", "b/large.md"}


def test_a_folder_that_is_not_there_has_no_cards(tmp_path: Path) -> None:
    assert Library(tmp_path / "none").all() == []
    with pytest.raises(UnknownResource, match="no such card under none/"):
        Library(tmp_path / "none").get("a.md")


def test_an_edited_card_counts_at_once(tmp_path: Path) -> None:
    library = Library(tmp_path)
    write(tmp_path, "a.md", card(body="# Download\n```bash\none\n```\n"))
    assert library.get("a.md").script == "one\n"
    assert library.get("a.md") is library.get("a.md")
    write(tmp_path, "a.md", card(body="# Download\n```bash\nother\n```\n"))
    assert library.get("a.md").script == "other\n"
    (tmp_path / "a.md").unlink()
    with pytest.raises(UnknownResource):
        library.get("a.md")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "1 to 255 characters"),
        ("x" * 253 + ".md", "1 to 255 characters"),
        ("../../etc/passwd", "must not hold empty parts, . or .."),
        ("loras/../a.md", "must not hold empty parts, . or .."),
        ("./a.md", "must not hold empty parts, . or .."),
        ("loras//a.md", "must not hold empty parts, . or .."),
        ("/etc/passwd", "must be relative"),
        ("loras\\a.md", "must be relative"),
        ("a.md\0", "characters that no path of a card may hold"),
        ("a\n.md", "characters that no path of a card may hold"),
        ("\ud800.md", "characters that no path of a card may hold"),
        ("a\x7f.md", "characters that no path of a card may hold"),
        (".hidden.md", "hidden"),
        (".git/a.md", "hidden"),
        ("a.txt", "a card is a .md file"),
        ("loras", "a card is a .md file"),
    ],
)
def test_what_is_no_path_of_a_card(tmp_path: Path, path: str, words: str) -> None:
    write(tmp_path, "a.md")
    for call in (Library(tmp_path).get, lambda p: Library(tmp_path).resolve([p])):
        with pytest.raises(InvalidRequest) as raised:
            call(path)
        assert words in str(raised.value)
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize("path", ["none.md", "loras/none.md", "a.md/b.md", "x" * 200 + ".md"])
def test_an_unknown_card(tmp_path: Path, path: str) -> None:
    write(tmp_path, "a.md")
    with pytest.raises(UnknownResource, match="no such card under"):
        Library(tmp_path).get(path)


def test_a_link_may_not_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, "secret.md")
    folder = tmp_path / "resources"
    write(folder, "real.md")
    (folder / "out.md").symlink_to(outside / "secret.md")
    (folder / "loop.md").symlink_to("loop.md")
    (folder / "up").symlink_to(outside, target_is_directory=True)
    (folder / "within.md").symlink_to("real.md")
    library = Library(folder)
    for path in ("out.md", "up/secret.md"):
        with pytest.raises(InvalidRequest, match="leads out of the resource folder"):
            library.get(path)
    with pytest.raises((InvalidRequest, UnknownResource)):
        library.get("loop.md")
    assert library.get("within.md").title == "real.md"
    assert [entry.path for entry in library.all() if isinstance(entry, Resource)] == ["real.md", "within.md"]


def test_a_pipe_is_no_card(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (found,) = Library(tmp_path).all()
    assert isinstance(found, BrokenCard)


def test_dependencies_come_once_and_first(tmp_path: Path) -> None:
    write(tmp_path, "vae.md")
    write(tmp_path, "clip.md", dependencies=("vae.md",))
    write(tmp_path, "flux.md", dependencies=("clip.md", "vae.md"))
    write(tmp_path, "lora.md", dependencies=("flux.md",))
    library = Library(tmp_path)
    assert [r.path for r in library.resolve(["lora.md"])] == ["vae.md", "clip.md", "flux.md", "lora.md"]
    assert [r.path for r in library.resolve(["flux.md", "vae.md"])] == ["vae.md", "clip.md", "flux.md"]


def refusal(library: Library, *paths: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        library.resolve(paths)
    return raised.value


def test_what_cannot_be_resolved(tmp_path: Path) -> None:
    write(tmp_path, "a.md", dependencies=("b.md",))
    write(tmp_path, "b.md", dependencies=("c.md",))
    write(tmp_path, "c.md", dependencies=("b.md",))
    write(tmp_path, "self.md", dependencies=("self.md",))
    write(tmp_path, "orphan.md", dependencies=("none.md",))
    write(tmp_path, "out.md", dependencies=("'../../etc/passwd'",))
    write(tmp_path, "broken.md", b"x")
    write(tmp_path, "uses_broken.md", dependencies=("broken.md",))
    write(tmp_path, "good.md")
    library = Library(tmp_path)
    assert str(refusal(library, "a.md")) == "the dependencies go in a circle: b.md -> c.md -> b.md"
    assert str(refusal(library, "self.md")) == "the dependencies go in a circle: self.md -> self.md"
    assert str(refusal(library, "orphan.md")) == '"orphan.md" depends on "none.md": no such card'
    assert "../../etc/passwd" in str(refusal(library, "out.md"))
    assert 'card "broken.md" has no "# Download" heading' in str(refusal(library, "uses_broken.md"))
    doubled = refusal(library, "good.md", "a.md", "good.md")
    assert str(doubled) == '"good.md" is named twice: name it once'
    assert [error.field for error in doubled.errors] == ["resources[2]"]
    assert [error.field for error in refusal(library, "good.md", "orphan.md").errors] == ["resources[1]"]
    with pytest.raises(UnknownResource) as raised:
        library.resolve(["good.md", "none.md"])
    assert [error.field for error in raised.value.errors] == ["resources[1]"]


def test_at_most_so_many_resources_a_job(tmp_path: Path) -> None:
    for number in range(RESOURCES_MAX + 1):
        write(tmp_path, f"wide/{number}.md")
    write(tmp_path, "all.md", dependencies=tuple(f"wide/{number}.md" for number in range(RESOURCES_MAX)))
    library = Library(tmp_path)
    exact = [f"wide/{number}.md" for number in range(RESOURCES_MAX)]
    assert len(library.resolve(exact)) == RESOURCES_MAX
    assert f"more than {RESOURCES_MAX} resources with their dependencies" in str(refusal(library, "all.md"))


def test_a_long_chain_of_dependencies_ends(tmp_path: Path) -> None:
    for number in range(RESOURCES_MAX * 12):
        write(tmp_path, f"{number}.md", dependencies=(f"{number + 1}.md",))
    assert str(RESOURCES_MAX) in str(refusal(Library(tmp_path), "0.md"))


def test_many_wide_layers_are_refused_quickly(tmp_path: Path) -> None:
    """Every card of a layer names all of the next one: walked path by path this would take 10 to the 60."""
    for layer in range(60):
        following = tuple(f"l{layer + 1}_{n}.md" for n in range(10)) if layer < 59 else ()
        for number in range(10):
            write(tmp_path, f"l{layer}_{number}.md", dependencies=following)
    assert f"more than {RESOURCES_MAX}" in str(refusal(Library(tmp_path), "l0_0.md"))
