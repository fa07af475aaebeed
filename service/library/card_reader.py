"""Reads a card file: its front matter, its sections, its commands. Each error names the card, what is wrong with it,
and the way out."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from service.errors import CardError
from service.library.cards import FrontMatter, Resource
from service.library.fields import make_front
from service.library.front_matter import read_front, split_front
from service.library.markdown import read_elements
from service.library.programs import has_commands, runs, script_of
from service.library.sections import Sections, find_sections

# Windows ends lines with CR LF, old editors with CR, some tools that convert twice with CR CR LF.
_LINE_END = re.compile(r"\r+\n?")


def parse_card(path: str, raw: bytes) -> Resource:
    """Raises CardError."""
    text = _text(path, raw)
    blank = len(text) - len(text.lstrip("\n"))
    front_text, body = split_front(path, text[blank:])
    data = read_front(path, front_text, first_line=blank + 2)
    sections = find_sections(read_elements(body, first_line=text.count("\n") - body.count("\n") + 1))
    title = sections.title or PurePosixPath(path).stem
    front, warnings = make_front(path, data, title=title)
    return Resource(
        path=path,
        front=front,
        description=sections.description,
        script=_script(path, front, sections),
        sha256=hashlib.sha256(raw).hexdigest(),
        warnings=(*warnings, *_skipped(sections)),
    )


def _text(path: str, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CardError(f'card "{path}" is not UTF-8: byte {error.start}; save it as UTF-8') from error
    if "\0" in text:
        raise CardError(f'card "{path}" holds a NUL character: remove it')
    return _LINE_END.sub("\n", text)


def _script(path: str, front: FrontMatter, sections: Sections) -> str:
    """Empty for a bundle."""
    lost = sections.unclosed
    if lost is not None and (lost in sections.blocks or not sections.blocks):
        raise CardError(f'card "{path}": the block that begins in line {lost.line} does not end: close it with ```')
    running = [block for block in sections.blocks if runs(block)]
    if any(has_commands(block) for block in running):
        return script_of(running)
    if not sections.blocks and front.dependencies:
        return ""
    raise CardError(f'card "{path}" {_what_is_missing(sections)}')


def _what_is_missing(sections: Sections) -> str:
    if not sections.has_download:
        return 'has no "# Download" heading: put its commands into a ```bash block under one'
    if not sections.blocks:
        return "has no ```bash block under its Download heading: put its commands into one"
    if any(runs(block) for block in sections.blocks):
        return "has no command in the block under its Download heading"
    return f"has nothing to run: {_skipped(sections)[0]}"


def _skipped(sections: Sections) -> list[str]:
    return [
        f"the ```{block.language} block in line {block.line} does not run: only shell blocks do, and blocks that begin "
        "with #! and the program that runs them"
        for block in sections.blocks
        if not runs(block)
    ]
