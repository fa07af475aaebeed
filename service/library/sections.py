"""Finds what counts in the body of a card: its description, the blocks under Download, and a heading for its title.

A heading says Download if that is its only word, whatever its level and decoration: "### 📥 Download", "Downloads:".
Only where no such heading has a block do headings count that begin with the word: "Download commands". A section
reaches to the next heading of its level or a higher one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.library.markdown import Block, Element, Heading

HEADING_CHARACTERS_MAX = 500
DOWNLOAD = "download"
DESCRIPTION = "description"

_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
_MARKUP = re.compile(r"<[^<>]*>|\{[^{}]*\}|\*\*|`")
_WORD = re.compile(r"[^\W\d_]+")
_NAMES = {"download": DOWNLOAD, "downloads": DOWNLOAD, "description": DESCRIPTION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """``title``: the first heading that names the card, or None. ``has_download``: whether a heading says Download.
    ``unclosed``: the block that swallows the end of the card, wherever it begins."""

    title: str | None
    description: str
    blocks: tuple[Block, ...]
    has_download: bool
    unclosed: Block | None


def find_sections(elements: Sequence[Element]) -> Sections:
    """``blocks``: those under Download, in order."""
    headings = [element for element in elements if isinstance(element, Heading)]
    name = _only_word
    if not any(isinstance(element, Block) for element in _under(DOWNLOAD, elements, name)):
        name = _first_word
    download = _under(DOWNLOAD, elements, name)
    description = _under(DESCRIPTION, elements, _only_word)
    return Sections(
        title=next((title for heading in headings if (title := _title(heading))), None),
        description="\n".join(element.raw for element in description).strip(),
        blocks=tuple(element for element in download if isinstance(element, Block)),
        has_download=any(name(heading) == DOWNLOAD for heading in headings),
        unclosed=next((e for e in elements[-1:] if isinstance(e, Block) and not e.is_closed), None),
    )


def _under(section: str, elements: Sequence[Element], name: Callable[[Heading], str | None]) -> list[Element]:
    found: list[Element] = []
    current: str | None = None
    level = 0
    for element in elements:
        if isinstance(element, Heading) and (name(element) is not None or element.level <= level):
            current, level = name(element), element.level
        elif current == section:
            found.append(element)
    return found


def _plain(heading: Heading) -> str:
    """Without its markup; empty for one that is too long to name anything."""
    if len(heading.title) > HEADING_CHARACTERS_MAX:
        return ""
    return _MARKUP.sub("", _LINK.sub(r"\1", heading.title))


def _words(heading: Heading) -> list[str]:
    """Of a heading that may name a section; none of the others, which are most."""
    written = heading.title.lower()
    return _WORD.findall(_plain(heading).lower()) if DOWNLOAD in written or DESCRIPTION in written else []


def _only_word(heading: Heading) -> str | None:
    words = _words(heading)
    return _NAMES.get(words[0]) if len(words) == 1 else None


def _first_word(heading: Heading) -> str | None:
    words = _words(heading)
    return DOWNLOAD if words and _NAMES.get(words[0]) == DOWNLOAD else _only_word(heading)


def _title(heading: Heading) -> str:
    """One line; empty for a heading that names a section."""
    if _first_word(heading) is not None:
        return ""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in _plain(heading)).split())
