"""The sentences of the service's own shim, which installs a tool that an instance lacks."""

from __future__ import annotations

import re

from service.events.event_types import Output, Progress, StageComplete, StageStart
from service.events.tools.protocol import NOT_MINE, Answer, Context, Tool

_STAGE = "provision"
_BEGINS = re.compile(r"^resource-installer: provision begin ([\w.-]{1,40})$")
_ENDS = re.compile(r"^resource-installer: provision end ([\w.-]{1,40})$")


class Provision(Tool):
    """An installation is a stage of its own, named after the tool."""

    name = "provision"
    line_begins = "r"

    def __init__(self, context: Context) -> None:
        pass

    def line(self, text: str, output: Output) -> Answer:
        if (found := _BEGINS.match(text)) is not None:
            return [StageStart(name=found[1]), Progress(stage=_STAGE)]
        if (found := _ENDS.match(text)) is not None:
            return [Progress(stage=_STAGE, percent=100), StageComplete(name=found[1])]
        return NOT_MINE
