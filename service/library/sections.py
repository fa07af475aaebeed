"""Finds the two sections of a card that count: its description, and the commands under the Download heading."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_HEADING = re.compile(r"^ {0,3}(?P<level>#{1,6})[ \t]+(?P<title>.*?)[ \t#]*$")
_SECTIONS = ("download", "description")


class Sections:
    """``description``: the text under the Description heading. ``script``: the first bash block under Download, empty
    if there is none or it does not end.

    A heading inside a block does not count, and a smaller heading belongs to the section that contains it.
    """

    def __init__(self, body: str) -> None:
        self.description = ""
        self.script = ""
        self._section = ""
        self._level = 0
        self._fence = ""
        self._in_script = False
        self._has_script = False
        for line in body.split("\n"):
            self._read(line)
        if self._in_script:
            self.script = ""

    def _read(self, line: str) -> None:
        marks = _FENCE.match(line)
        if self._fence:
            if marks is not None and marks["fence"].startswith(self._fence) and not marks["info"].strip():
                self._close()
            elif self._in_script:
                self.script += line + "\n"
                return
        elif marks is not None:
            self._open(marks["fence"], marks["info"])
        elif (heading := _HEADING.match(line)) is not None and self._begins_section(heading):
            return
        if self._section == "description":
            self.description += line + "\n"

    def _open(self, fence: str, info: str) -> None:
        self._fence = fence
        is_bash = info.split()[:1] and info.split()[0].lower() == "bash"
        self._in_script = self._section == "download" and not self._has_script and bool(is_bash)

    def _close(self) -> None:
        self._fence = ""
        self._has_script = self._has_script or self._in_script
        self._in_script = False

    def _begins_section(self, heading: re.Match[str]) -> bool:
        title, level = heading["title"].strip().lower(), len(heading["level"])
        if title not in _SECTIONS and level > self._level:
            return False
        self._section, self._level = title, level
        return True
