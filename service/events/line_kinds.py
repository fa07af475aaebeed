"""The kinds of an output's lines, where it takes the lines before to tell: a help text, a traceback and a warning reach
over several. Pure; what one line says of itself is in ``error_lines.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.events.error_lines import Kind, is_warning, kind_of, may_be_more

# curl breaks a long warning into lines, each with its own "Warning: "; the reason comes in the last.
_CURL_WARNING = "Warning: "
_CURL_WARNING_EXPLAINS = "Warning: Failed to open the file"
_CURL_WARNING_CHARACTERS = 79
_HELP = re.compile(r"usage:? ", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last):"
_IN_TRACEBACK = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w+(?:: |$)")


class LineKinds:
    """Tells the lines of one output apart, in their order: a help text, a traceback and a warning that ends with a
    colon reach over several lines."""

    def __init__(self) -> None:
        self._in_help = False
        self._in_traceback = False
        self._warning_goes_on = False
        self._curl_explains = False

    def is_ordinary(self, text: str) -> bool:
        """Whether the line is plain or harmless and changes nothing for the lines after it: for most lines this costs
        a third of ``kind``. Where it is True, ``kind_of`` tells which of the two the line is, when that is needed."""
        return not (
            self._in_help or self._in_traceback or self._warning_goes_on or self._curl_explains or may_be_more(text)
        )

    def kind(self, text: str) -> Kind:
        if self._warning_goes_on:
            self._warning_goes_on = False
            return Kind.HARMLESS
        if text.startswith(_CURL_WARNING):
            self._curl_explains = self._curl_explains or text.startswith(_CURL_WARNING_EXPLAINS)
            if self._curl_explains:
                return Kind.EXPLAINS
        else:
            self._curl_explains = False
        if self._in_traceback and _IN_TRACEBACK.match(text):
            self._in_traceback = False
            return Kind.ERROR
        kind = kind_of(text)
        if text == _TRACEBACK:
            self._in_traceback = True
        elif text[:1] in "uU" and _HELP.match(text):
            self._in_help = True
        elif kind is Kind.ERROR:
            self._in_help = self._in_traceback = False
        elif kind is Kind.HARMLESS and text.endswith(":"):
            self._warning_goes_on = is_warning(text)
        return Kind.HARMLESS if kind is Kind.PLAIN and (self._in_help or self._in_traceback) else kind


def unwrapped(lines: Sequence[str]) -> list[str]:
    """Error lines, with the pieces of curl's long warning as one line."""
    joined: list[str] = []
    last = ""
    for line in lines:
        if joined and joined[-1].startswith(_CURL_WARNING_EXPLAINS) and line.startswith(_CURL_WARNING):
            # Where there is no blank to break at, it breaks at its width.
            glue = "" if len(last) >= _CURL_WARNING_CHARACTERS else " "
            joined[-1] += glue + line.removeprefix(_CURL_WARNING)
        else:
            joined.append(line)
        last = line
    return joined
