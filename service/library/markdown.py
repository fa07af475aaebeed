"""Splits the Markdown of a card into headings, fenced blocks and lines of text.

It reads line by line and looks at each character a bounded number of times, so that no text makes it slow: regular
expressions that back up over a run of marks took minutes for 60,000 tildes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

FENCE_MARKS_MIN = 3
HEADING_LEVEL_MAX = 6
# CommonMark: the end of a block may be indented by so much more than its beginning.
CLOSING_INDENT_MAX = 3

# A block may begin right after the mark of a list's item.
_ITEM = re.compile(r"[ \t]{0,8}(?:[-*+]|[0-9]{1,9}[.)])[ \t]{1,8}")
_NOT_A_PARAGRAPH = ("- ", "* ", "+ ", ">", "|", "#", "<")
# ```bash, ``` Bash title=x, ~~~{.bash .numbers}, ```{bash}, ```bash:install.sh
_LANGUAGE = re.compile(r"[\s{.]*([\w+#-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One line."""

    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """``level``: 1 to 6. ``title``: with its markup."""

    level: int
    title: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block. ``language``: in small letters, empty if it names none. ``line``: of the file, where it begins.
    ``text``: what it holds, without the indentation of its fence."""

    language: str
    text: str
    line: int
    is_closed: bool
    raw: str


Element = Text | Heading | Block


def read_elements(body: str, *, first_line: int = 1) -> list[Element]:
    """``first_line``: the number of the body's first line in its file."""
    lines = enumerate(body.split("\n"), first_line)
    elements: list[Element] = []
    for number, line in lines:
        bare = line.strip()
        item = _ITEM.match(line)
        if (fence := _opening(line[item.end() :].strip() if item is not None else bare)) is not None:
            elements.append(_block(fence, line, number, lines))
        elif bare.startswith("<!--"):
            elements.append(Text(raw=_comment(line, lines)))
        elif (heading := _heading(line)) is not None:
            elements.append(heading)
        elif elements and (level := _underline(bare)) and _is_paragraph(elements[-1]):
            above = elements.pop().raw
            elements.append(Heading(level=level, title=above.strip(), raw=f"{above}\n{line}"))
        else:
            elements.append(Text(raw=line))
    return elements


def _opening(bare: str) -> str | None:
    """The marks of the fence that begins in this line, or None."""
    if not bare.startswith(("```", "~~~")):
        return None
    info = bare.lstrip(bare[0])
    marks = bare[: len(bare) - len(info)]
    # CommonMark: ```x``` is code within a line.
    return None if marks[0] == "`" and "`" in info else marks


def _block(marks: str, line: str, number: int, lines: Iterator[tuple[int, str]]) -> Block:
    indent = line.index(marks)
    language = _LANGUAGE.match(line, indent + len(marks))
    text: list[str] = []
    raw = [line]
    is_closed = False
    for _, inner in lines:
        raw.append(inner)
        if _closes(inner, marks, indent):
            is_closed = True
            break
        text.append(inner[min(indent, _indent(inner)) :] + "\n")
    return Block(
        language=language[1].lower() if language is not None else "",
        text="".join(text),
        line=number,
        is_closed=is_closed,
        raw="\n".join(raw),
    )


def _closes(line: str, marks: str, indent: int) -> bool:
    bare = line.strip()
    return bare.startswith(marks) and not bare.strip(marks[0]) and _indent(line) <= indent + CLOSING_INDENT_MAX


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _comment(line: str, lines: Iterator[tuple[int, str]]) -> str:
    """A comment counts as text up to the line in which it ends: what somebody commented out does not run."""
    raw = [line]
    while "-->" not in raw[-1]:
        _, following = next(lines, (0, "-->"))
        raw.append(following)
    return "\n".join(raw)


def _heading(line: str) -> Heading | None:
    bare = line.strip()
    title = bare.lstrip("#")
    level = len(bare) - len(title)
    if not 1 <= level <= HEADING_LEVEL_MAX or (title and not title[0].isspace()):
        return None
    if _indent(line) > CLOSING_INDENT_MAX:
        return None
    without_marks = title.rstrip("#")
    # "# C#" keeps its mark: those at the end count as decoration only after a space.
    if without_marks and without_marks[-1].isspace():
        title = without_marks
    return Heading(level=level, title=title.strip(), raw=line)


def _underline(bare: str) -> int:
    """The level of the heading that this line makes of the line above it, 0 for any other line."""
    if bare and not bare.strip("="):
        return 1
    return 2 if len(bare) > 1 and not bare.strip("-") else 0


def _is_paragraph(element: Element) -> bool:
    bare = element.raw.strip() if isinstance(element, Text) else ""
    return bool(bare) and not bare.startswith(_NOT_A_PARAGRAPH) and not bare[0].isdigit()
