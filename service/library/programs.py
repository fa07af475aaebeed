"""Makes one script of the blocks under Download.

Shell blocks run in their order as one script: what one sets, the next one sees. A block that begins with ``#!`` is a
program of its own, in any language. Alone it is the script, and the instance starts it by that line; among others the
script writes it to a file beside the attempt's and starts it at its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from service.library.markdown import Block

SHELLS = frozenset({"", "bash", "sh", "shell", "zsh", "ksh", "dash", "ash", "shellscript", "bash-script"})
# They show a terminal: commands after a prompt, and what these printed.
TERMINALS = frozenset({"console", "terminal", "shell-session", "shellsession", "sh-session", "bash-session"})

_PROMPT = re.compile(r"(?:\([\w.-]{1,40}\) ?)?(?:\[?[\w.-]{1,40}@[\w.-]{1,80}[: ][^\s$#]{0,200}[#$]|\$) ")


def runs(block: Block) -> bool:
    """Whether a block under Download is part of what the card runs."""
    return block.language in SHELLS | TERMINALS or is_program(block)


def is_program(block: Block) -> bool:
    return block.text.lstrip().startswith("#!")


def has_commands(block: Block) -> bool:
    lines = (line.strip() for line in block.text.split("\n"))
    return is_program(block) or any(line and not line.startswith("#") for line in lines)


def script_of(blocks: Sequence[Block]) -> str:
    """The script of these blocks: it begins with ``#!`` only if it is one program."""
    if len(blocks) == 1 and is_program(blocks[0]):
        return _program(blocks[0])
    return "".join(
        _started(number, _program(block)) if is_program(block) else _commands(block)
        for number, block in enumerate(blocks, 1)
    )


def _program(block: Block) -> str:
    return block.text.lstrip()


def _started(number: int, program: str) -> str:
    # A line that no program holds by chance.
    end = f"END_OF_BLOCK_{number}_{hashlib.sha256(program.encode()).hexdigest()[:16]}"
    return (
        f'resource_block="${{RESOURCE_INSTALLER_ATTEMPT:-$(mktemp -d)}}/block-{number}"\n'
        f"cat >\"$resource_block\" <<'{end}'\n{program}{end}\n"
        'chmod 700 "$resource_block"\n"$resource_block"\n'
    )


def _commands(block: Block) -> str:
    lines = block.text.split("\n")[:-1]
    commands = [bare for line in lines if (bare := line.strip()) and not bare.startswith("#")]
    is_terminal = block.language in TERMINALS
    if any(_PROMPT.match(command) for command in (commands if is_terminal else commands[:1])):
        lines = _typed(lines, keep_others=not is_terminal)
    text = "".join(line + "\n" for line in lines)
    # The next block must not become a part of the last command.
    return text + "\n" if text.endswith("\\\n") else text


def _typed(lines: Sequence[str], *, keep_others: bool) -> list[str]:
    """The commands without their prompts. ``keep_others``: in a shell's block every line is a command; in a terminal's
    a line without a prompt was printed, unless it continues a command."""
    typed: list[str] = []
    is_continued = False
    for line in lines:
        bare = line.lstrip()
        prompt = _PROMPT.match(bare)
        if prompt is not None:
            typed.append(bare[prompt.end() :])
        elif is_continued:
            typed.append(line.removeprefix("> "))
        elif keep_others:
            typed.append(line)
        else:
            continue
        is_continued = typed[-1].endswith("\\")
    return typed
