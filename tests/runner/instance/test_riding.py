"""The verification that runs with the end of its download, over a real sshd: when it does, what it says, and that a
service that asks for it later finds the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.runner.instance.attempt_program import AttemptSpec
from service.runner.instance.ended import Ended, ridden_of
from service.runner.instance.ssh import Connection
from service.runner.instance.verification import ExpectedFile, expectations, verify_program
from tests.kit.sshd import Sshd
from tests.runner.file_server import FileServer
from tests.runner.instance.test_remote import directory, run, spec

FEW_BYTES = 1000
# More than is hashed with the end of a download.
MANY_BYTES = 17 << 20


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


def card(script: str, home: Path, *expected: ExpectedFile) -> AttemptSpec:
    return replace(spec(script, ui_home=str(home)), riding=expectations(files=expected, sha256=None))


def verification_of(download: AttemptSpec) -> AttemptSpec:
    program = verify_program(files=[], sha256=None)
    return replace(
        download, directory=f"{download.directory}-verify", script=program, riding="", is_card=False, mark=""
    )


async def test_little_is_verified_with_the_end_of_the_download(
    connection: Connection, sshd: Sshd, home: Path, files: FileServer
) -> None:
    download = card(f"wget -P '{home}/models' {files.url(FEW_BYTES, 'a.cfg')}", home)
    _, ended = await run(connection, download)
    assert ended.ridden is not None
    assert ended.ridden.ended == Ended(exit_code=0)
    lines = ended.ridden.log.decode().splitlines()
    assert [line.split()[1] for line in lines] == ["name", "begin", "at", "good", "end"]
    # A service that was killed before it read this asks for the verification itself.
    later = verification_of(download)
    assert not (directory(sshd, later) / "group").exists()
    assert await run(connection, later) == (ended.ridden.log, ended.ridden.ended)
    assert not (directory(sshd, later) / "group").exists()


async def test_a_wrong_file_is_found_with_the_end_of_the_download(
    connection: Connection, home: Path, files: FileServer
) -> None:
    """The server's text is not a model, and does not stay under a model's name."""
    _, ended = await run(connection, card(f"wget -P '{home}/models' {files.url(FEW_BYTES, 'a.safetensors')}", home))
    assert ended.exit_code == 0
    assert ended.ridden is not None
    assert ended.ridden.ended == Ended(exit_code=1)
    assert b"verify bad 0 text" in ended.ridden.log
    assert not (home / "models/a.safetensors").exists()


@pytest.mark.parametrize(
    ("script", "size"),
    [
        ("wget -P '{home}/models' {url}", MANY_BYTES),
        # Nothing says what this script has written: it is searched for, beside the next download.
        ("wget -P '{home}/models' {url}; printf x >'{home}/models/b.pth'", FEW_BYTES),
        ("cp /bin/sh '{home}/models/b.pth'", FEW_BYTES),
        # The file is not any more what its run has finished.
        ("wget -P '{home}/models' {url}; printf x >>'{home}/models/a.cfg'", FEW_BYTES),
    ],
    ids=["much", "a run and a script", "a script", "a run that is written over"],
)
async def test_what_takes_long_is_a_program_of_its_own(
    connection: Connection, sshd: Sshd, home: Path, files: FileServer, script: str, size: int
) -> None:
    download = card(script.format(home=home, url=files.url(size, "a.cfg")), home)
    _, ended = await run(connection, download)
    assert (ended.exit_code, ended.ridden) == (0, None)
    log, _ = await run(connection, verification_of(download))
    assert log.count(b"verify name") == len(list((home / "models").iterdir()))
    assert (directory(sshd, verification_of(download)) / "group").exists()


async def test_a_failed_download_is_not_verified(connection: Connection, home: Path, files: FileServer) -> None:
    _, ended = await run(connection, card(f"wget -P '{home}/models' {files.url(FEW_BYTES, 'a.cfg')}; exit 3", home))
    assert (ended.exit_code, ended.ridden) == (3, None)


async def test_the_files_of_a_card_are_verified_where_they_are_few(
    connection: Connection, home: Path, files: FileServer
) -> None:
    named = ExpectedFile(path="models/a.cfg", size_bytes=FEW_BYTES + 1)
    _, ended = await run(connection, card(f"wget -P '{home}/models' {files.url(FEW_BYTES, 'a.cfg')}", home, named))
    assert ended.ridden is not None
    assert b"verify bad 0 size 1000 1001 card" in ended.ridden.log


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"verified verify end 0 0 0"],
        [b"ridden 17 exit 0 0 -"],
        [b"verified verify end 0 0 0", b"ridden 18 exit 0 0 -"],
        [b"verified verify end 0 0 0", b"ridden 17 "],
    ],
)
def test_a_report_of_which_a_part_is_lost_is_none(lines: list[bytes]) -> None:
    assert ridden_of(lines) is None


def test_a_report_keeps_each_byte_of_the_log() -> None:
    ridden = ridden_of([b"ledger", b"verified verify end 0 0 0 ", b"verified ", b"ridden 19 exit 1 0 -"])
    assert ridden is not None
    assert ridden.log == b"verify end 0 0 0 \n\n"
    assert ridden.ended == Ended(exit_code=1)
