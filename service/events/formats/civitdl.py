"""The sentences of civitdl 2.2.0, read from its source and its output.

A name may hold quotes, brackets and any script, so it reaches to the last quote of its line.
"""

from __future__ import annotations

import re

STARTED = re.compile(r'Now downloading "(.*)"\.\.\.$')
COMPLETED = re.compile(r'Download completed for "(.*)"$')
MODEL_ID = re.compile(r"- Model ID: (\S{1,64})$")
VERSION_ID = re.compile(r"- Version ID: (\S{1,64})$")
RETRYING = "Retrying to download the current model..."
GAVE_UP = re.compile(r"Max retry of \d+ reached\. Skipping the current model\.\.\.$")
RULE = "---------"
# What stands between two rules when civitdl failed before its first sentence.
FAILURE = re.compile(r"\w+Exception \(|Error\b|\[Errno \d+\]|ConnectionPool\(|Connection (?:aborted|broken)")
