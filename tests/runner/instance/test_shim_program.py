"""The two sides of a tool, in Python and in shell, belong together: without an instance."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import service.runner.instance
from service.events.tools import COMMAND_TOOLS, TOOLS
from service.events.tools.protocol import Tool
from service.runner.instance.shims import commands, shim_parts, shim_program

SCRIPTS = Path(service.runner.instance.__file__).parent / "scripts"
PARTS = sorted((SCRIPTS / "tools").glob("*.sh"))


def bash(script: str, *arguments: str) -> str:
    done = subprocess.run(["bash", "-c", script, *arguments], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_command_has_its_shell_file_and_every_shell_file_its_tool() -> None:
    assert [path.stem for path in PARTS] == sorted(tool.name for tool in COMMAND_TOOLS)


def test_no_two_tools_share_a_name_or_a_command() -> None:
    names = [tool.name for tool in TOOLS]
    assert len(set(names)) == len(names)
    assert len(set(commands())) == len(commands())


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_a_shell_file_says_where_its_tool_writes_and_how_it_is_run(path: Path) -> None:
    """And it only defines functions: what it did beside them, each call of the tool would do."""
    assert set(bash(f'. "{path}"; compgen -A function').split()) >= {"destinations", "compose"}
    code = [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] not in " #}"]
    assert [line for line in code if not line.endswith("() {")] == []


@pytest.mark.parametrize("tool", COMMAND_TOOLS, ids=lambda tool: tool.name)
def test_the_program_takes_the_part_of_the_command_that_was_called(tool: type[Tool], tmp_path: Path) -> None:
    own = (SCRIPTS / "tools" / f"{tool.name}.sh").read_text(encoding="utf-8")
    program = shim_program().replace('\nmain "$@"\n', "\ndeclare -f compose; echo $package $version\n")
    package = f"{tool.package.name} {tool.package.version}" if tool.package is not None else ""
    (tmp_path / "bin").mkdir()
    (tmp_path / "parts").mkdir()
    for name, text in shim_parts().items():
        (tmp_path / "parts" / name).write_text(text, encoding="utf-8")
    for command in tool.commands:
        expected = bash(f"{own}\ndeclare -f compose; echo {package}")
        assert bash(program, f"{tmp_path}/bin/{command}") == expected
