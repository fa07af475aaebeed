"""What is wrong with a file, in words for a person: each word that the verification may print, and its sentence."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence

QUOTE_CHARACTERS_MAX = 200
DIGITS_MAX = 15

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"[a-z0-9]{1,12}")
_DECIMAL = re.compile(rf"[0-9]{{1,{DIGITS_MAX}}}")

_ANSWERS = {
    "html": "it is an HTML page, not a model (a login page, or an error)",
    "json": "it is a message in JSON, not a model",
    "xml": "it is a message in XML, not a model",
}
_LENGTHS = {
    "short": "it is {0} short: by its own header it must have {1}",
    "long": "it is {0} longer than its own header says: that adds up to {1}",
    "short_header": "it is at least {0} short: its header alone says that it takes {1}",
}
_BEGINNINGS = {
    "gguf": "a GGUF file",
    "zip": "a zip archive",
    "pickle": "a pickle of Python",
    "tar": "a tar archive",
    "png": "a picture",
}
_PLAIN = {
    "missing": "the card names it, but it is not there",
    "no_file": "it is not a file",
    "empty": "it is empty",
    "pointer": "it is a Git LFS pointer, not the file itself: git lfs was not installed when it was cloned",
    "header": "it does not begin with the header of a safetensors file",
    "header_claim": "the length that it gives for its header is more than a safetensors file can have",
    "unreadable": "it cannot be read",
    "vanished": "it vanished while it was verified",
    "changed": "it changed while it was verified",
}


def problem_in_words(word: str, values: Sequence[str], text: Callable[[bytes, int], str]) -> str | None:
    """The sentence for this finding, or None for what the program never prints. ``text`` makes the bytes of a stranger
    fit for display, within a bound."""
    if word in _ANSWERS and len(values) == 1:
        quote = text(decoded(values[0]) or b"", QUOTE_CHARACTERS_MAX)
        return _ANSWERS[word] + (f': "{quote}"' if quote else "")
    if word == "text" and len(values) == 2 and is_decimal(values[0]):
        quote = " ".join(text(decoded(values[1]) or b"", QUOTE_CHARACTERS_MAX).split())
        return f"it is {_bytes(values[0])} of text: {quote}"
    if word == "magic" and len(values) == 2 and _SUFFIX.fullmatch(values[0]):
        found = _BEGINNINGS.get(values[1])
        return f"it does not begin as a .{values[0]} file does" + (f": it is {found}" if found else "")
    if word == "sha256" and len(values) == 3 and all(map(is_sha256, values[:2])):
        return f"its SHA-256 is {values[0]}, but {_source(values[2])} says {values[1]}"
    if word == "size" and len(values) == 3 and all(map(is_decimal, values[:2])):
        return f"it has {_bytes(values[0])}, but {_source(values[2])} says {_bytes(values[1])}"
    if word in _LENGTHS and len(values) == 2 and all(map(is_decimal, values)):
        return _LENGTHS[word].format(*map(_bytes, values))
    return _PLAIN.get(word) if not values else None


def decoded(text: str) -> bytes | None:
    """The bytes of a base64 word, or None."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def is_decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def _source(word: str) -> str:
    return "the list that civitdl wrote beside it" if word == "civitdl" else "the card"


def _bytes(digits: str) -> str:
    return f"{int(digits):,} bytes"
