"""The shims before the tools, over a real sshd with the real tools: what they add, what they note, who waits."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.demo.civitai import StandInCivitai, StandInModel, content
from service.events.event_types import Progress
from service.events.parser import ProgressParser
from service.runner.instance.attempt_program import AttemptSpec, civitdl_config
from service.runner.instance.connector import Connector
from service.runner.instance.ended import Ended
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from service.runner.outcome import judge
from tests.kit.sshd import USER, Sshd
from tests.runner.file_server import FileServer
from tests.runner.instance.test_remote import directory, run, spec, until
from tests.runner.instance.test_signals import running


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    server = await FileServer().start()
    yield server
    await server.stop()


@pytest.fixture
async def civitai(tmp_path: Path) -> AsyncIterator[StandInCivitai]:
    stand_in = StandInCivitai(tmp_path / "civitai")
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def instance(tmp_path: Path, civitai: StandInCivitai) -> AsyncIterator[Sshd]:
    """One whose tools reach the stand-in."""
    folder = tmp_path / "instance"
    folder.mkdir()
    server = Sshd(folder, env=civitai.env)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def link(instance: Sshd, make_connector: Callable[..., Connector]) -> AsyncIterator[Connection]:
    opened = await make_connector(instance).connect(Instance(host="127.0.0.1", port=instance.port, user=USER))
    yield opened
    await opened.close()


def wrote(sshd: Sshd, of: AttemptSpec) -> list[tuple[str, str]]:
    """What the shims noted, with paths below the home."""
    lines = (directory(sshd, of) / "wrote").read_bytes().splitlines()
    pairs = [line.split(b"\t") for line in lines]
    home = os.fsencode(sshd.home) + b"/"
    return [(kind.decode(), os.fsdecode(base64.b64decode(path).removeprefix(home))) for kind, path in pairs]


def percents(output: bytes) -> list[int | None]:
    parser = ProgressParser(resource="x.md", attempt=1, title="X", redact=str)
    events = [*parser.feed(output), *parser.close(0)]
    return [new.event.percent for new in events if isinstance(new.event, Progress)]


def source(model: StandInModel) -> str:
    return f"https://civitai.com/models/{model.id}?modelVersionId={model.version_id}"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("wget -O a.bin {}/5/x", [("file", "a.bin")]),
        ("wget -qO a.bin {}/5/x", [("file", "a.bin")]),
        ("wget -nc -qO a.bin {}/5/x -P d", [("file", "a.bin")]),
        ("wget {}/5/x --output-document=a.bin", [("file", "a.bin")]),
        ("wget -q -P d {}/5/x?y=1#z", [("file", "d/x"), ("dir", "d")]),
        ("wget -nv --directory-prefix d {}/5/x", [("file", "d/x"), ("dir", "d")]),
        ("wget -q {}/5/x", [("file", "./x"), ("dir", ".")]),
        ("wget -qO - {}/5/x >/dev/null; wget -O /dev/null {}/5/x", []),
        ("curl -sSLo a.bin {}/5/x", [("file", "a.bin")]),
        ("curl -sL {}/5/x -o a.bin --create-dirs", [("file", "a.bin")]),
        ("curl -s -oa.bin {}/5/x -o b.bin {}/6/x", [("file", "a.bin"), ("file", "b.bin")]),
        ("mkdir d; curl -s --output-dir d --output a.bin {}/5/x", [("file", "d/a.bin")]),
        ("mkdir d; curl -sLO --output-dir d {}/5/x", [("file", "d/x"), ("dir", "d")]),
        ("curl -sOJ {}/5/x?disposition", [("file", "./x"), ("dir", ".")]),
        ("curl -s -H 'A: b' -X GET {}/5/x >/dev/null", []),
        ("curl -s -o /dev/null {}/5/x", []),
        ("aria2c -q -d d -o a.bin {}/5/x", [("file", "d/a.bin")]),
        ("aria2c -q -x4 -s 4 -c -k 1M --out=a.bin --dir=d {}/5/x", [("file", "d/a.bin")]),
        ("aria2c -q {}/5/x", [("file", "./x"), ("dir", ".")]),
    ],
)
async def test_where_a_tool_writes_is_noted(
    connection: Connection, sshd: Sshd, files: FileServer, command: str, expected: list[tuple[str, str]]
) -> None:
    of = spec(command.replace("{}", f"http://127.0.0.1:{files.port}"))
    output, ended = await run(connection, of)
    assert ended == Ended(exit_code=0), output
    noted = directory(sshd, of) / "wrote"
    assert (wrote(sshd, of) if noted.exists() else []) == expected
    # Without a name that the server gives, the noted file is there.
    if expected and "disposition" not in command and "y=1" not in command:
        assert all((sshd.home / path).is_file() for kind, path in expected if kind == "file")


async def test_hostile_names_are_noted_byte_by_byte(connection: Connection, sshd: Sshd, files: FileServer) -> None:
    name = "a\t'b\" $(touch c)\n`d`\\ \udcff\x1b[31m"
    of = spec(f'name=$(cat "$HOME/name"; printf x); wget -qO "${{name%x}}" {files.url(5, "x")}')
    (sshd.home / "name").write_bytes(os.fsencode(name))
    output, ended = await run(connection, of)
    assert ended == Ended(exit_code=0), output
    assert wrote(sshd, of) == [("file", name)]
    assert (sshd.home / name).is_file()
    assert not (sshd.home / "c").exists()


async def test_scripts_and_xargs_use_the_shims_too(connection: Connection, sshd: Sshd, files: FileServer) -> None:
    of = spec(f"cd /tmp; cd $HOME; printf '%s\\n' {files.url(5, 'x')} | xargs -n 1 sh -c 'curl -so a.bin \"$1\"' sh")
    assert (await run(connection, of))[1] == Ended(exit_code=0)
    assert wrote(sshd, of) == [("file", "a.bin")]


async def test_wget_as_provisioning_scripts_call_it_shows_a_bar(
    connection: Connection, sshd: Sshd, files: FileServer
) -> None:
    options = "-e dotbytes=4M -qnc --content-disposition --show-progress"
    url = files.url(200_000, "x?disposition&bytes_per_second=80000")
    output, ended = await run(connection, spec(f'wget {options} -P d "{url}"'))
    assert ended == Ended(exit_code=0)
    assert percents(output)[-1] == 100
    assert any(0 < (percent or 0) < 100 for percent in percents(output)), output
    assert (sshd.home / "d/named.bin").stat().st_size == 200_000


@pytest.mark.parametrize("tool", ["wget -O", "curl -o", "aria2c --allow-overwrite=true -d / -o"])
async def test_a_tool_shows_how_far_it_is(connection: Connection, sshd: Sshd, files: FileServer, tool: str) -> None:
    url = files.url(300_000, "f?bytes_per_second=60000")
    output, ended = await run(connection, spec(f'{tool} "$HOME/f" "{url}"'))
    assert ended == Ended(exit_code=0)
    assert any(0 < (percent or 0) < 100 for percent in percents(output)), output


async def test_a_silent_curl_stays_silent(connection: Connection, sshd: Sshd, files: FileServer) -> None:
    assert await run(connection, spec(f"curl -sS -o a {files.url(5, 'x')}")) == (b"", Ended(exit_code=0))


# curl 7.88 (Debian 12) keeps its limit in bursts of up to 10 MB with silence after them: it is true over a long time.
async def test_civitdls_shared_lists_are_never_read_half_written(
    link: Connection, instance: Sshd, civitai: StandInCivitai
) -> None:
    """civitdl fails for good on the empty list that another one left, killed while it wrote."""
    lists = instance.home / ".cache/civitdl/hashes/0"
    lists.mkdir(parents=True)
    (lists / "50.csv").write_text("")
    kept = f"5199,{instance.home}/a b.safetensors,{'a' * 64},"
    (lists / "51.csv").write_text(f"volume_id,model_filepath,SHA256,BLAKE3\r\n{kept}\r\n5198,/half of a ro")
    models = [StandInModel(id=number, name=f"M{number}", images=0) for number in (1, 2, 150)]
    for model in models:
        civitai.add(model)
    card = "".join(f'civitdl "{source(model)}" "$HOME/models" & ' for model in models) + "wait"
    output, ended = await run(link, spec(card))
    assert (ended.exit_code, output.count(b"Download completed")) == (0, 3), output
    assert b"Unable to access cache" not in output
    rows = [row for name in ("50.csv", "51.csv") for row in (lists / name).read_text().splitlines()[1:]]
    assert sorted(row.partition(",")[0] for row in rows) == ["5001", "5002", "5150", "5199"]
    assert kept in rows
    output, ended = await run(link, spec('rm -r "$HOME/models"/*; ' + card))
    assert (ended.exit_code, output.count(b"Download completed")) == (0, 3), output


async def test_civitdl_keeps_what_it_has_loaded_of_a_version(
    link: Connection, instance: Sshd, civitai: StandInCivitai
) -> None:
    """A later job asks the site for nothing, as long as the file is as it was loaded."""
    model = StandInModel(id=1, name="M, \u00e9", size_bytes=400_000)
    civitai.add(model)
    card = f'civitdl "{source(model)}" "$HOME/models"'
    for expected in (True, False, False):
        before = len(civitai.requests)
        _, ended = await run(link, spec(card))
        assert (ended.exit_code, len(civitai.requests) > before) == (0, expected)
    (file,) = (instance.home / "models").rglob("model_1-*.safetensors")
    # Changed, removed, of another version, asked for with an option: civitdl decides.
    file.write_bytes(b"x" * 400_000)
    _, ended = await run(link, spec(card))
    assert len(civitai.downloads(1)) == 2
    file.unlink()
    before = len(civitai.requests)
    await run(link, spec(card))
    assert len(civitai.requests) > before
    await run(link, spec(f'civitdl -i 1 "{source(model)}" "$HOME/models"; civitdl 1 "$HOME/models"'))
    assert len(civitai.downloads(1)) == 5
    # Anew, though it is whole.
    await run(link, spec(card, reinstall=True))
    assert len(civitai.downloads(1)) == 6
    assert file.read_bytes() == b"".join(content(model))
    # A download that fails leaves nothing that would be kept.
    file.unlink()
    model.status = 404
    await run(link, spec(card))
    model.status = 200
    await run(link, spec(card))
    assert file.stat().st_size == 400_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("tool", "size", "limit"),
    [
        ("wget -qO", 4_000_000, 1_000_000),
        ("curl -so", 120_000_000, 10_000_000),
        ("aria2c -q -d / -o", 4_000_000, 1_000_000),
        ("civitdl", 4_000_000, 1_000_000),
    ],
)
async def test_a_share_of_the_bandwidth_is_kept(
    link: Connection, instance: Sshd, files: FileServer, civitai: StandInCivitai, tool: str, size: int, limit: int
) -> None:
    """A run that downloads nearly nothing measures how long the tool takes to start."""
    seconds = []
    for number, size_bytes in enumerate((1_000, size), start=1):
        model = StandInModel(id=100 + number, name=f"Model {number}", size_bytes=size_bytes, images=0)
        civitai.add(model)
        card = f'{tool} "$HOME/f{number}" "{files.url(size_bytes, "f")}"'
        if tool == "civitdl":
            card = f'civitdl "{source(model)}" "$HOME/models"'
        timed = f'begin=${{EPOCHREALTIME/./}}; {card} >&2; echo; echo "took $((${{EPOCHREALTIME/./}} - begin))"'
        output, ended = await run(link, spec(timed, bandwidth_bytes_per_second=limit))
        assert ended == Ended(exit_code=0), output
        seconds.append(int(output.split()[-1]) / 1e6)
    assert 0.9 < (seconds[1] - seconds[0]) / (size / limit) < 1.1


@pytest.mark.parametrize("tool", ["wget --limit-rate=5000000 -qO", "curl --limit-rate 5000000 -so"])
async def test_what_the_caller_asks_for_counts(
    connection: Connection, sshd: Sshd, files: FileServer, tool: str
) -> None:
    begin = time.monotonic()
    of = spec(f'{tool} "$HOME/f" {files.url(30_000_000, "f")}', bandwidth_bytes_per_second=500_000_000)
    assert (await run(connection, of))[1] == Ended(exit_code=0)
    assert time.monotonic() - begin > 2


async def test_curl_without_its_file_of_options(connection: Connection, sshd: Sshd, files: FileServer) -> None:
    (sshd.home / ".curlrc").write_text("output = from-the-file\n")
    of = spec(f"curl -q -s {files.url(5, 'x')}; curl -s {files.url(6, 'x')}", bandwidth_bytes_per_second=1_000_000)
    assert await run(connection, of) == (b"xxxxx", Ended(exit_code=0))
    assert (sshd.home / "from-the-file").stat().st_size == 6


async def test_civitdl_does_not_retry_and_does_not_pause(
    link: Connection, instance: Sshd, civitai: StandInCivitai
) -> None:
    model = StandInModel(id=1, name="Model", status=500, fails=2)
    civitai.add(model)
    begin = time.monotonic()
    output, ended = await run(link, spec(f'civitdl "{source(model)}" "$HOME/models"'))
    # With civitdl's own three retries and pauses it would be half a minute.
    assert time.monotonic() - begin < 20
    assert len(civitai.downloads(1)) == 1
    assert b"Retrying" not in output
    assert b"Max retry of 0 reached" in output
    parser = ProgressParser(resource="x.md", attempt=1, title="X", redact=str)
    parser.feed(output)
    parser.close(ended.exit_code)
    assert not judge(parser.evidence, ended).installed


@pytest.mark.parametrize("of_the_service", [None, "service-key"])
async def test_whose_key_civitdl_uses(
    link: Connection, instance: Sshd, civitai: StandInCivitai, of_the_service: str | None
) -> None:
    config = instance.home / ".config/civitdl/config.json"
    config.parent.mkdir(parents=True)
    # As civitdl itself writes it: with other settings, and over several lines.
    config.write_text(json.dumps(json.loads(civitdl_config("own-key_1", retry_count=3, pause_seconds=3)), indent=2))
    model = StandInModel(id=1, name="Model", requires_key=of_the_service or "own-key_1")
    civitai.add(model)
    of = spec(f'civitdl "{source(model)}" "$HOME/models"', civitai_api_key=of_the_service)
    output, _ = await run(link, of)
    assert b"Download completed" in output
    assert wrote(instance, of) == [("dir", "models")]
    assert json.loads(config.read_text())["default"]["retry_count"] == 3


async def two_runs(
    link: Connection, instance: Sshd, civitai: StandInCivitai, sources: tuple[str, str], **changes: int
) -> tuple[bytes, bool]:
    """The first is held in the middle of its download, the second begins. The second's output, and whether it had ended
    before the first continued."""
    first, second = (spec(f'civitdl {text} "$HOME/models"', **changes) for text in sources)
    async with running(link, first) as early:
        await until(lambda: b"Model:" in log_of(instance, first))
        later = asyncio.create_task(run(link, second))
        await until(lambda: later.done() or (directory(instance, second) / "waiting").exists())
        ended_first = later.done()
        if not ended_first:
            assert (directory(instance, second) / "waiting").exists()
        civitai.release()
        (output, ended), (output_later, ended_later) = await early, await later
    assert (ended, ended_later) == (Ended(exit_code=0), Ended(exit_code=0))
    assert b"Download completed" in output
    assert not (directory(instance, second) / "waiting").exists()
    return output_later, ended_first


def log_of(sshd: Sshd, of: AttemptSpec) -> bytes:
    log = directory(sshd, of) / "log"
    return log.read_bytes() if log.exists() else b""


@pytest.fixture
def held(civitai: StandInCivitai) -> StandInModel:
    model = StandInModel(id=1, name="Held", size_bytes=3_000_000, hold_after_bytes=1_500_000)
    civitai.add(model, StandInModel(id=2, name="Other"))
    return model


async def test_two_runs_for_one_model_take_turns(
    link: Connection, instance: Sshd, civitai: StandInCivitai, held: StandInModel
) -> None:
    output, ended_first = await two_runs(link, instance, civitai, (f'"{source(held)}"', "1"))
    assert not ended_first
    assert output.startswith(b"resource-installer: waiting for another download of model 1\n")
    assert b"already existed" in output
    assert len(civitai.downloads(1)) == 1 + 1  # the second asks, and finds the file before it reads the answer


async def test_runs_for_two_models_run_at_the_same_time(
    link: Connection, instance: Sshd, civitai: StandInCivitai, held: StandInModel
) -> None:
    output, ended_first = await two_runs(link, instance, civitai, (f'"{source(held)}"', "2"))
    assert ended_first
    assert b"waiting" not in output


async def test_a_run_whose_models_are_unknown_waits_for_the_whole_folder(
    link: Connection, instance: Sshd, civitai: StandInCivitai, held: StandInModel
) -> None:
    (instance.home / "batch").write_text("2")
    output, ended_first = await two_runs(link, instance, civitai, ("1", '"$HOME/batch"'), stall_seconds=0)
    assert not ended_first
    assert b"waiting for another download into " in output


async def test_a_killed_run_gives_its_turn_back(
    link: Connection, instance: Sshd, civitai: StandInCivitai, held: StandInModel
) -> None:
    first, second = spec('civitdl 1 "$HOME/models"'), spec('civitdl 1 "$HOME/models"', stall_seconds=2)
    async with running(link, first):
        await until(lambda: b"Model:" in log_of(instance, first))
        later = asyncio.create_task(run(link, second))
        await until((directory(instance, second) / "waiting").exists)
        # Longer than the stall watch allows, if the second were not waiting.
        await asyncio.sleep(4)
        held.hold_after_bytes = None
        instance.kill_marked(job_id=first.job_id)
        output, ended = await asyncio.wait_for(later, 30)
    assert ended == Ended(exit_code=0)
    assert b"Download completed" in output


async def test_what_outlives_civitdl_does_not_keep_its_turn(connection: Connection, sshd: Sshd) -> None:
    tools = sshd.home / "tools"
    tools.mkdir()
    (tools / "civitdl").write_text("#!/bin/sh\nsetsid sleep 20 & echo done\n")
    (tools / "civitdl").chmod(0o755)
    card = f'RESOURCE_INSTALLER_PATH={tools}:$RESOURCE_INSTALLER_PATH civitdl 1 "$HOME/models"'
    assert await run(connection, spec(card)) == (b"done\n", Ended(exit_code=0))
    assert await run(connection, spec(card)) == (b"done\n", Ended(exit_code=0))


async def test_a_signal_in_the_moment_in_which_a_tool_ends_is_its_end(connection: Connection, sshd: Sshd) -> None:
    tools = sshd.home / "moment"
    tools.mkdir()
    (tools / "civitdl").write_text('#!/bin/sh\nkill -TERM "$PPID"\nexit 7\n')
    (tools / "civitdl").chmod(0o755)
    script = (
        f"export RESOURCE_INSTALLER_PATH={tools}:$RESOURCE_INSTALLER_PATH\n"
        'for n in $(seq 30); do civitdl 1 "$HOME/models" >/dev/null 2>&1; echo $?; done'
    )
    output, _ended = await run(connection, spec(f"set +e; {script}"))
    said = [line for line in output.split() if line != b"Terminated"]
    assert len(said) == 30
    assert set(said) <= {b"7", b"143"}
