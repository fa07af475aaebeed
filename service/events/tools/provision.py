"""The sentences of the service's own shim, which installs a tool that an instance lacks."""

from __future__ import annotations

import re

STAGE = "provision"
BEGINS = re.compile(r"^resource-installer: provision begin ([\w.-]{1,40})$")
ENDS = re.compile(r"^resource-installer: provision end ([\w.-]{1,40})$")
