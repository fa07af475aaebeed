"""The tools whose output is understood, one file a tool; recognised from the output, never from the command.

**The rule that every reader obeys.** A reader is shown one line, or the line so far at a closing bracket, and gives one
of three answers:

- *events*: the line is this tool's, and this is what it says. A reader that only takes note of a line answers with
  the line itself, as the ``Output`` that it was given.
- ``MORE``: the line is this tool's and yields nothing yet (a header, a frame, a bar that counts no bytes).
- ``NOT_MINE``: the next tool is asked. A line that no tool takes is an ``Output``.

Nearly every line is a bar that looks like the one before it. A tool may say what its next one will look like
(``again``); its answer to such a bar (``redrawn``) is the one that it would give line by line.

What a reader answers depends on the bytes of the stream alone, up to and including this line: it has no clock, and it
cannot see how the bytes were cut into chunks. It bounds all that it keeps. `protocol.py` says what a tool may offer
beside its readers: what it overhears, what exit status 0 completes, what failed by its own account, its exit statuses.
"""

from __future__ import annotations

from collections.abc import Mapping

from service.events.tools.aria2c import Aria2c
from service.events.tools.civitdl import Civitdl
from service.events.tools.curl import Curl
from service.events.tools.hf import Hf
from service.events.tools.protocol import ExitStatus, Tool
from service.events.tools.provision import Provision
from service.events.tools.tqdm import Tqdm
from service.events.tools.wget import Wget

# The order of recognition; the first tool that takes a line has it. Whole sentences come before patterns that match
# anywhere in a line: civitdl prints names that may hold any other tool's phrase. hf comes before tqdm because it draws
# with tqdm a count of files that is not a download; tqdm before aria2c because tqdm's is the commonest bar, and in an
# ASCII locale it is made of the "#" for which aria2c has to look more closely.
TOOLS: tuple[type[Tool], ...] = (Civitdl, Provision, Wget, Curl, Hf, Tqdm, Aria2c)

# Those that people call by name: the instance gets a shim for each of their commands.
COMMAND_TOOLS: tuple[type[Tool], ...] = tuple(tool for tool in TOOLS if tool.commands)


# git and unzip have no reader and no shim: they are named by what they print.
_OTHER_STATUSES: Mapping[str, Mapping[int, ExitStatus]] = {
    "wget2": Wget.exit_statuses,
}


def exit_status(tool_name: str | None, exit_code: int) -> ExitStatus | None:
    """What this exit status means for this tool; None where it is not known."""
    statuses = next((tool.exit_statuses for tool in TOOLS if tool.name == tool_name), None)
    if statuses is None:
        statuses = _OTHER_STATUSES.get(tool_name or "", {})
    return statuses.get(exit_code)
