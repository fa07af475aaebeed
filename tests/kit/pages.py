"""The pages of prose, taken apart: sections, tables, examples, links, and the names that stand in code spans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)(?P=fence)$", re.DOTALL | re.MULTILINE
)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def page(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def all_pages() -> dict[str, str]:
    """Every page of prose that a reader of the project meets, by its path."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(paths)}


def section(text: str, title: str) -> str:
    """What stands below this heading of the second level, as far as the next."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of every table whose head begins like this."""
    found = []
    for table in re.findall(rf"^\| {re.escape(head)}.*?(?=\n\n|\n[^|]|\Z)", text, re.DOTALL | re.MULTILINE):
        # A cell may hold a path, but no bar.
        found += [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert found, head
    return found


def examples(text: str, command: str) -> list[str]:
    """Every command of the console blocks that begins like this, with the lines that its quotes hold together."""
    found = []
    for block in BLOCK.finditer(text):
        if block["language"] == "console":
            prompts = re.split(r"^\$ ", block["text"], flags=re.MULTILINE)
            found += [prompt for prompt in prompts if prompt.startswith(command)]
    return found


def prose(text: str) -> str:
    """The page without its blocks."""
    return BLOCK.sub("", text)


def anchors(text: str) -> Iterator[str]:
    """What a link to a heading of this page can name."""
    for title in _HEADING.findall(prose(text)):
        yield re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
