"""What an attempt leaves without a run of a tool, over a real sshd: whose it is, what is half, what is recalled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from service.runner.instance.attempt_program import AttemptSpec
from service.runner.instance.ended import Ended
from service.runner.instance.ssh import Connection
from tests.kit.sshd import Sshd
from tests.runner.file_server import FileServer
from tests.runner.instance.test_ledger import records, text
from tests.runner.instance.test_remote import directory, run, spec

MODELS = "$UI_HOME/models"


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    server = await FileServer().start()
    yield server
    await server.stop()


@pytest.fixture
def home(sshd: Sshd) -> Path:
    home = sshd.home / "Comfy UI"
    (home / "models").mkdir(parents=True)
    return home


def card(script: str, home: Path, **changes: Any) -> AttemptSpec:
    return spec(script, ui_home=str(home), **changes)


def left(sshd: Sshd, of: AttemptSpec) -> list[str]:
    """The models without a run, as a verification gets them."""
    found = (directory(sshd, of) / "left").read_bytes().split(b"\0")
    return sorted(Path(os.fsdecode(path)).name for path in found if path)


def paths(ended: Ended, verb: str) -> list[str]:
    return sorted(Path(text(record[2])).name for record in records(ended, verb))


def names(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "models").rglob("*") if path.is_file())


async def test_what_a_failed_script_wrote_last_is_set_aside_until_it_is_whole(
    connection: Connection, home: Path
) -> None:
    _, ended = await run(connection, card(f'printf half >"{MODELS}/a model.pth"; exit 1', home))
    assert names(home) == ["a model.pth.part"]
    assert paths(ended, "part") == ["a model.pth.part"]
    guard = f'F="{MODELS}/a model.pth"; [ -f "$F" ] || printf whole >"$F"'
    _, ended = await run(connection, card(guard, home))
    assert names(home) == ["a model.pth"]
    assert paths(ended, "file") == ["a model.pth"]
    # The same card once more writes nothing: what it left is known.
    _, ended = await run(connection, card(guard, home))
    assert (paths(ended, "file"), paths(ended, "kept")) == ([], ["a model.pth"])


async def test_a_tool_deletes_the_half_of_a_script(connection: Connection, home: Path, files: FileServer) -> None:
    await run(connection, card(f'printf half >"{MODELS}/5.pth"; exit 1', home))
    _, ended = await run(connection, card(f'wget -q -O "{MODELS}/5.pth" http://127.0.0.1:{files.port}/5/x', home))
    assert ended.exit_code == 0
    assert names(home) == ["5.pth"]


@pytest.mark.parametrize("first", ['printf half >"$F"; exit 1', 'wget -q -t 1 -T 1 -O "$F" "{}/100000/x?hangs"'])
async def test_the_half_of_a_script_takes_the_place_of_an_older_one_of_ours(
    connection: Connection, home: Path, files: FileServer, first: str
) -> None:
    file = f'F="{MODELS}/a.pth"\n'
    await run(connection, card(file + first.format(f"http://127.0.0.1:{files.port}"), home))
    assert names(home) == ["a.pth.part"]
    await run(connection, card(f'{file}printf later >"$F"; exit 1', home))
    assert [(path.name, path.read_text()) for path in (home / "models").iterdir()] == [("a.pth.part", "later")]
    await run(connection, card(f'{file}printf whole >"$F"', home))
    assert names(home) == ["a.pth"]


@pytest.mark.parametrize(
    ("script", "stays"),
    [
        # Several threads write at once.
        (f'echo a >"{MODELS}/a.pth"; echo b >"{MODELS}/b.pth"; exit 1', []),
        (f'echo a >"{MODELS}/a.pth"; touch -d "-2 min" "{MODELS}/a.pth"; echo b >"{MODELS}/b.pth"; exit 1', ["a.pth"]),
        (f'mkdir -p "{MODELS}/n/.git"; echo a >"{MODELS}/n/a.pth"; exit 1', ["a.pth"]),
        (f'echo a >"{MODELS}/a.txt"; exit 1', ["a.txt"]),
        (f': >"{MODELS}/a.pth"; exit 1', []),
        (f'echo a >"{MODELS}/a.pth.part"; echo b >"{MODELS}/a.pth"; exit 1', ["a.pth.part"]),
        (f'mv "{MODELS}/old.pth" "{MODELS}/new.pth"; exit 1', ["new.pth"]),
    ],
)
async def test_only_what_may_be_half_is_set_aside(
    connection: Connection, home: Path, script: str, stays: list[str]
) -> None:
    if "old.pth" in script:
        (home / "models/old.pth").write_bytes(b"of somebody")
        os.utime(home / "models/old.pth", (1, 1))
    await run(connection, card(script, home))
    found = [name for name in names(home) if name not in ("a.pth.part", "b.pth.part") or name in stays]
    assert found == stays
    if "a.pth.part" in stays:
        assert (home / "models/a.pth.part").read_text() == "a\n"


async def test_a_model_that_was_there_before_stays(connection: Connection, home: Path) -> None:
    (home / "models/mine.pth").write_bytes(b"of somebody")
    await asyncio.sleep(0.1)
    _, ended = await run(connection, card("exit 1", home))
    assert (names(home), records(ended, "part")) == (["mine.pth"], [])


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("custom_nodes/node/__init__.py", True),
        ("models/vae/a.safetensors", True),
        ("user/default/workflows/w.json", True),
        ("comfyui.log", False),
        ("user/comfyui.db", False),
        ("temp/preview.png", False),
        ("output/ComfyUI_00001_.png", False),
        ("custom_nodes/node/__pycache__/x.pyc", False),
    ],
)
async def test_what_comfyui_writes_while_it_runs_is_not_the_cards(
    connection: Connection, home: Path, path: str, counts: bool
) -> None:
    script = f'mkdir -p "$(dirname "$UI_HOME/{path}")"; echo x >"$UI_HOME/{path}"'
    _, ended = await run(connection, card(script, home))
    assert paths(ended, "file") == ([Path(path).name] if counts else [])


async def side_by_side(connection: Connection, home: Path, *scripts: str) -> tuple[list[AttemptSpec], list[Ended]]:
    job = str(uuid4())
    cards = [card(s, home, job_id=job, directory=f"{n}-1") for n, s in enumerate(scripts, start=1)]
    results = await asyncio.gather(*(run(connection, one) for one in cards))
    return cards, [ended for _, ended in results]


IDLE = "sleep 1.5; echo done"


@pytest.mark.parametrize(
    "other",
    [
        'wget -q -P "$UI_HOME/models" {}/5/x.pth',
        'curl -s -o "$UI_HOME/models/x.pth" {}/5/x',
        'aria2c -q -d "$UI_HOME/models" -o x.pth {}/5/x',
        # The recorder sees it while it is written.
        'for n in 1 2 3 4 5 6 7; do echo $n; sleep 0.2; done >"$UI_HOME/models/x.pth"',
    ],
)
async def test_a_file_belongs_to_the_attempt_that_wrote_it(
    connection: Connection, sshd: Sshd, home: Path, files: FileServer, other: str
) -> None:
    idle = "sleep 2.2" if "for n" in other else IDLE
    cards, ended = await side_by_side(connection, home, idle, other.format(f"http://127.0.0.1:{files.port}"))
    assert (left(sshd, cards[0]), records(ended[0], "file")) == ([], [])
    assert paths(ended[1], "file") == ["x.pth"]


async def test_a_failed_script_leaves_the_files_of_another_alone(
    connection: Connection, home: Path, files: FileServer
) -> None:
    url = f"http://127.0.0.1:{files.port}"
    one = f'echo half >"{MODELS}/a.pth"; sleep 1; exit 1'
    await side_by_side(connection, home, one, f'wget -q -P "{MODELS}" {url}/5/b.pth; sleep 1.5')
    assert names(home) == ["a.pth.part", "b.pth"]


async def test_whole_files_are_loaded_anew_once_in_a_job(connection: Connection, home: Path, files: FileServer) -> None:
    url = f"http://127.0.0.1:{files.port}"
    for command in (f'wget -q -P "{MODELS}" {url}/5/x', f'wget -q --content-disposition -P "{MODELS}" {url}/5/y'):
        await run(connection, card(command, home))
        assert paths((await run(connection, card(command, home)))[1], "file") == []
        anew = card(command, home, reinstall=True)
        name = command[-1]
        assert paths((await run(connection, anew))[1], "file") == [name]
        again = card(command, home, reinstall=True, job_id=anew.job_id, directory="1-2")
        assert paths((await run(connection, again))[1], "kept") == [name]
    assert names(home) == ["x", "y"]


async def test_an_attempt_that_ended_before_claims_nothing(connection: Connection, home: Path) -> None:
    write = f'mkdir -p "{MODELS}/%s"; for n in 1 2 3 4 5 6; do echo $n; sleep 0.2; done >"{MODELS}/%s/x.pth"'
    first = card(write.replace("%s", "a"), home)
    await run(connection, first)
    later = card(write.replace("%s", "b").replace("0.2", "0"), home, job_id=first.job_id, directory="2-1")
    assert paths((await run(connection, later))[1], "file") == ["x.pth"]


async def test_names_that_several_write_say_nothing(connection: Connection, home: Path) -> None:
    write = f'mkdir -p "{MODELS}/%s"; for n in 1 2 3 4 5 6 7; do echo $n; sleep 0.2; done >"{MODELS}/%s/x.pth"'
    quick = f'sleep 1.6; mkdir -p "{MODELS}/b"; echo x >"{MODELS}/b/x.pth"'
    _, ended = await side_by_side(connection, home, write.replace("%s", "a"), quick)
    assert "x.pth" in paths(ended[1], "file")
