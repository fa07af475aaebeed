"""The program that lies on the instance under the name of each tool's command: one program for all of them, which looks
at the name that it was called by.

It is made of the scripts that every run needs (`SHARED`); what some need (`PARTS`) and the part of each tool,
`scripts/tools/<name>.sh`, lie beside it, and it reads them when it needs them. The names and what a missing tool is
installed from come from `service.events.tools`, so that a tool is added there.
"""

from __future__ import annotations

from functools import cache

from service.events.tools import COMMAND_TOOLS
from service.events.tools.protocol import Tool
from service.runner.instance.shell import script

SHARED = ("shim.sh", "argv.sh", "places.sh", "files.sh")
PARTS = ("halves", "aside", "named", "dead")


def commands() -> tuple[str, ...]:
    """The commands for which a shim is laid."""
    return tuple(command for tool in COMMAND_TOOLS for command in tool.commands)


@cache
def shim_program() -> str:
    """A bash program."""
    return "\n".join([*map(script, SHARED), "case $tool in", *map(_case, COMMAND_TOOLS), "esac", 'main "$@"', ""])


@cache
def shim_parts() -> dict[str, str]:
    """What that program reads when it needs it, by the name that it knows it by."""
    tools = {tool.name: script(f"tools/{tool.name}.sh") for tool in COMMAND_TOOLS}
    return {part: script(f"{part}.sh") for part in PARTS} | tools


def _case(tool: type[Tool]) -> str:
    package = f"package={tool.package.name} version={tool.package.version} && " if tool.package is not None else ""
    return f"{' | '.join(tool.commands)}) {package}needs {tool.name} ;;"
