"""The sentences of civitdl 2.2.0, read from its source and its output.

A name may hold quotes, brackets and any script, so it reaches to the last quote of its line.
"""

from __future__ import annotations

import re

STARTED = ('Now downloading "', '"...')
COMPLETED = ('Download completed for "', '"')
NAMING = (STARTED[0].encode(), COMPLETED[0].encode())
MODEL_ID = re.compile(r"- Model ID: (\S{1,64})$")
VERSION_ID = re.compile(r"- Version ID: (\S{1,64})$")
RETRYING = "Retrying to download the current model..."
GAVE_UP = re.compile(r"Max retry of \d+ reached\. Skipping the current model\.\.\.$")
RULE = "---------"
# What stands between two rules when civitdl failed before its first sentence.
FAILURE = re.compile(r"\wException \(|Error\b|\[Errno \d+\]|ConnectionPool\(|Connection (?:aborted|broken)")


def name_in(text: str, sentence: tuple[str, str]) -> str | None:
    """The name between the two halves of a sentence that ends its line; None for any other line."""
    before, after = sentence
    begin = text.find(before)
    begin, end = begin + len(before), len(text) - len(after)
    return text[begin:end] if len(before) <= begin <= end and text.endswith(after) else None
