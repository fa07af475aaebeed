"""The terminal client's pure parts, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from service.terminal.completion import complete_cards, complete_jobs
from service.terminal.ssh_line import SshTarget, parse_ssh_line
from service.terminal.tables import sparkline
from service.terminal.text import byte_count, duration, foreign, harmless
from tests.kit.ports import free_port
from tests.kit.running import running, write_card

SSH_LINES = json.loads((Path(__file__).parents[1] / "ssh_lines.json").read_text(encoding="utf-8"))
TOKEN = "a-token-of-32-characters-or-more!"
RUN_SECONDS_MAX = 60


async def run(*arguments: str, env: Mapping[str, str]) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of the command, with its output piped."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INSTALLER_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean | {"COLUMNS": "100"} | dict(env),
    )
    async with asyncio.timeout(RUN_SECONDS_MAX):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("case", SSH_LINES, ids=[case["line"] for case in SSH_LINES])
def test_a_pasted_line_is_split(case: Mapping[str, Any]) -> None:
    """The same lines are pasted into the dashboard."""
    expected = case["target"]
    assert parse_ssh_line(str(case["line"])) == (None if expected is None else SshTarget(**expected))


def test_a_line_with_an_open_quote_is_none() -> None:
    assert parse_ssh_line("ssh -i 'key root@host") is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07rest", "rest"),
        ("\x1b]8;;http://evil\x1b\\link", "link"),
        ("\x9b31mred", "red"),
        ("a\r\nb\x00c\x08", "abc"),
        ("left\u202egpj.exe", "leftgpj.exe"),
        ("\x1b\x1b[2J[2J", "[2J"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("x" * 5_000, "x" * 2_000 + "…"),
    ],
)
def test_foreign_text_is_harmless(text: str, shown: str) -> None:
    assert harmless(text) == shown
    assert foreign(text).plain == shown
    assert foreign(text).spans == []


def test_figures() -> None:
    assert [byte_count(n) for n in (0, 999, 1_000, 12_345, 999_499, 999_500, 6_940_000_000)] == [
        *("0 B", "999 B", "1 kB", "12.3 kB", "999 kB", "1 MB", "6.94 GB")
    ]
    assert [duration(s) for s in (0.05, 9.94, 59.6, 61, 3_700)] == [
        "0.1 s",
        "9.9 s",
        "1 min 00 s",
        "1 min 01 s",
        "1 h 01 min",
    ]
    assert sparkline([0, 1, 2, 4, 8]) == "▁▂▃▅█"
    assert len(sparkline([1.0] * 500)) == 60


async def test_a_service_that_is_not_there_is_said_and_how_to_name_another() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in (["jobs"], ["watch", "1" * 36], ["install", "ssh root@1.2.3.4", "a.md"], ["cards"]):
        status, out, err = await run(*command, env={"INSTALLER_URL": url})
        assert (status, out) == (2, "")
        assert f"no service answers at {url}" in err
        assert "--url" in err
        assert "Traceback" not in err
    status, _, err = await run("jobs", "--url", "nonsense", env={})
    assert status == 2
    assert "Traceback" not in err


async def test_wrong_usage_ends_with_2_and_the_way_out(tmp_path: Path) -> None:
    write_card(tmp_path, "loras/a.md")
    async with running(tmp_path) as service:
        env = {"INSTALLER_URL": service.url}
        wrong = {
            ("watch", "abcd"): "unknown job",
            ("watch", "0" * 36): "unknown job",
            ("pause", "0" * 36): "unknown job",
            ("install", "loras/a.md"): "is not an ssh line",
            (
                "install",
                "ssh",
                "-p",
                "44686",
                "root@1.2.3.4",
                "-L",
                "1:x:1",
                "loras/a.md",
            ): "put the ssh line in quotes",
            ("install", "ssh root@1.2.3.4"): "name at least one card",
            ("install", "ssh root@1.2.3.4", "loras/none.md"): "no such card",
            ("install", "ssh root@1.2.3.4", "loras/a.md", "--parallel", "99"): "parallel",
            ("install", "--host", "not a host", "loras/a.md"): "ssh_host",
            ("move", "0" * 36, "first"): "unknown job",
            ("nonsense",): "No such command",
        }
        for command, words in wrong.items():
            status, out, err = await run(*command, env=env)
            assert (status, out) == (2, ""), command
            assert words in err
            assert "Traceback" not in err
        assert await run("jobs", env=env) == (0, "", "")


async def test_the_token_is_asked_for_and_taken(tmp_path: Path) -> None:
    async with running(tmp_path, api_token=TOKEN) as service:
        env = {"INSTALLER_URL": service.url}
        status, _, err = await run("jobs", env=env)
        assert status == 2
        assert "INSTALLER_TOKEN" in err
        assert (await run("jobs", env={**env, "INSTALLER_TOKEN": TOKEN}))[0] == 0
        assert (await run("jobs", "--token", TOKEN, env=env))[0] == 0


async def test_cards_are_found_by_their_words(tmp_path: Path) -> None:
    write_card(tmp_path, "loras/a.md", front="type: lora\nsize: 317000000\n")
    write_card(tmp_path, "vae/b.md", front="type: vae\n")
    (tmp_path / "resources/broken.md").write_text("none", encoding="utf-8")
    async with running(tmp_path) as service:
        env = {"INSTALLER_URL": service.url}
        status, out, err = await run("cards", env=env)
        assert (status, out) == (0, "loras/a.md\tCard loras/a.md\tlora\t\t317 MB\nvae/b.md\tCard vae/b.md\tvae\t\t\n")
        assert "broken.md cannot be read" in err
        assert (await run("cards", "VAE", env=env))[1].startswith("vae/b.md")
        listed = json.loads((await run("cards", "lora", "--json", env=env))[1])
        assert [card["path"] for card in listed] == ["loras/a.md"]


async def test_the_shell_completes_cards_and_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_card(tmp_path, "loras/a.md")
    write_card(tmp_path, "vae/b.md")
    async with running(tmp_path) as service:
        env = {"INSTALLER_URL": service.url}
        _, made, _ = await run(
            "install", "ssh root@127.0.0.1 -p 9", "vae/b.md", "--no-watch", "--ui-home", "/ui", env=env
        )
        monkeypatch.setenv("INSTALLER_URL", service.url)
        assert await asyncio.to_thread(lambda: list(complete_cards("lo"))) == ["loras/a.md"]
        assert [job for job, _ in await asyncio.to_thread(lambda: list(complete_jobs(made[:4])))] == [made.strip()]
    monkeypatch.setenv("INSTALLER_URL", f"http://127.0.0.1:{free_port()}")
    assert list(complete_cards("lo")) == []
    monkeypatch.setenv("INSTALLER_URL", "file:///etc/passwd")
    assert list(complete_jobs("")) == []


async def test_the_version_is_told() -> None:
    assert await run("--version", env={}) == (0, version("resource-installer") + "\n", "")


COMMANDS = (
    "install jobs watch pause resume cancel retry move events report failures replicas cards serve rebuild copy demo"
)


@pytest.mark.parametrize("command", COMMANDS.split())
async def test_every_command_explains_itself(command: str) -> None:
    status, out, err = await run(command, "--help", env={})
    assert (status, err) == (0, "")
    assert "Usage:" in out
