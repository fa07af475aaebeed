"""What lies in a models folder: of a real sshd, and of one that lies."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from service.errors import RemoteProtocolError
from service.runner.instance.connector import Connector
from service.runner.instance.inventory import FILES_MAX, read_inventory
from service.runner.instance.remote import Remote
from service.runner.instance.ssh import Connection
from service.runner.instance.targets import Instance
from tests.kit.sshd import USER, Sshd

MODEL = b"\x08\0\0\0\0\0\0\0{}      " + bytes(64)


def put(folder: Path, path: str | bytes, content: bytes = MODEL) -> None:
    file = os.path.join(os.fsencode(folder), os.fsencode(path))
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as opened:
        opened.write(content)


async def test_each_file_is_what_it_is(connection: Connection, tmp_path: Path) -> None:
    models = tmp_path / "ui/models"
    put(models, "loras/whole.safetensors")
    put(models, "loras/page.safetensors", b"<!doctype html><title>Sign in</title>" * 9)
    put(models, "loras/half.safetensors.part")
    put(models, "loras/aria.safetensors")
    put(models, "loras/aria.safetensors.aria2")
    put(models, "loras/empty.ckpt", b"")
    put(models, "loras/Light/Light-mid_1-vid_2.csv", b"SHA256,aa\n")
    put(models, "loras/.cache/huggingface/x.safetensors")
    put(tmp_path / "volume", "shared.gguf")
    (models / "diffusion_models").symlink_to(tmp_path / "volume")
    (models / "vae").symlink_to("/nowhere/at/all")
    # A folder that contains itself.
    (models / "loras/again").symlink_to(models / "loras")
    hostile = 'loras/\x1b[31m it\'s "odd"\n$(touch owned) `id` <b>.safetensors'
    put(models, hostile)
    put(models, b"loras/latin-\xe9.safetensors")
    put(models, "loras/-rf.safetensors")
    found = await Remote(connection).inventory(f"{tmp_path}/ui")
    kinds = {file.path: file.kind for file in found.files}
    assert {path: kinds[path] for path in kinds if "again" not in path} == {
        "loras/whole.safetensors": "model",
        "loras/page.safetensors": "text",
        "loras/half.safetensors.part": "half",
        "loras/aria.safetensors": "half",
        "loras/aria.safetensors.aria2": "half",
        "loras/empty.ckpt": "empty",
        "loras/Light/Light-mid_1-vid_2.csv": "other",
        "diffusion_models/shared.gguf": "model",
        "vae": "broken_link",
        hostile: "model",
        "loras/latin-\ufffd.safetensors": "model",
        "loras/-rf.safetensors": "model",
    }
    (latin,) = [file for file in found.files if "latin" in file.path]
    assert not latin.has_plain_name
    (whole,) = [file for file in found.files if file.path == "loras/whole.safetensors"]
    assert (whole.size, abs(whole.modified - time.time()) < 600) == (len(MODEL), True)
    assert found.disk is not None
    assert 0 < found.disk.free <= found.disk.total
    assert not found.is_cut
    assert not (Path.cwd() / "owned").exists()


async def test_a_folder_that_is_not_there(connection: Connection, tmp_path: Path) -> None:
    found = await Remote(connection).inventory(f"{tmp_path}/it's not $(there)")
    assert (found.is_missing, found.files) == (True, ())


async def test_ten_thousand_files_of_two_terabytes_in_two_seconds(connection: Connection, tmp_path: Path) -> None:
    models = tmp_path / "ui/models"
    for number in range(10_000):
        folder = models / f"loras/style_{number % 100:02}"
        if number < 100:
            folder.mkdir(parents=True)
        with open(folder / f"a_model_with_a_long_name_{number:05}.safetensors", "wb") as file:
            file.truncate(200_000_000)
    begin = time.monotonic()
    found = await Remote(connection).inventory(f"{tmp_path}/ui")
    seconds = time.monotonic() - begin
    assert (len(found.files), sum(file.size for file in found.files)) == (10_000, 2_000_000_000_000)
    assert {file.kind for file in found.files} == {"model"}
    assert seconds <= 2, f"{seconds:.2f} s"


async def test_files_without_end_are_cut(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.runner.instance.inventory.FILES_MAX", 50)
    for number in range(60):
        put(tmp_path / "ui/models", f"loras/{number}.safetensors", b"text")
    found = await Remote(connection).inventory(f"{tmp_path}/ui")
    assert (len(found.files), found.is_cut) == (50, True)


async def test_files_are_removed_and_nothing_else(connection: Connection, tmp_path: Path) -> None:
    models = tmp_path / "ui/models"
    names = ["loras/a.safetensors", "loras/-rf", "loras/it's\n$(id).safetensors\n", "link.safetensors", "gone/x.pt"]
    for name in names[:3]:
        put(models, name)
    put(tmp_path, "outside.safetensors")
    (models / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    remote = Remote(connection)
    found = await remote.remove_files(str(uuid4()), 1, f"{tmp_path}/ui", [*names, "loras"])
    assert [each.problem for each in found] == [None] * 5 + ["it is a folder"]
    assert [each.size for each in found] == [len(MODEL)] * 4 + [None, None]
    assert (tmp_path / "outside.safetensors").exists()
    assert [path.name for path in models.rglob("*")] == ["loras"]
    again = await remote.remove_files(str(uuid4()), 1, f"{tmp_path}/ui", names)
    assert [(each.size, each.problem) for each in again] == [(None, None)] * 5
    nowhere = await remote.remove_files(str(uuid4()), 1, f"{tmp_path}/nowhere", ["x.pt"])
    assert [(each.size, each.problem) for each in nowhere] == [(None, None)]


def said(*records: bytes, head: bytes = b"disk 10 5\nmodels\n") -> bytes:
    return head + b"\0" + b"".join(record + b"\0" for record in records)


def test_an_instance_that_lies_is_read_all_the_same() -> None:
    found = read_inventory(
        said(b"f\t5\t7.25\ta.pt", b"nonsense", b"f\tx\t7\tb.pt", b"", b"f\t1\t-5\t" + b"z" * 9_000), "/ui"
    )
    assert [(file.path, file.size, file.modified) for file in found.files] == [("a.pt", 5, 7)]
    name = "0" * 32
    card = base64.b64encode(b"/ui/models/a.pt")
    head = b"card ./%s %s 5\ncard nonsense\nmodels\n" % (name.encode(), card)
    assert read_inventory(said(b"f\t5\t7\ta.pt", head=head), "/ui").files[0].card == name
    # Another file lies there by now.
    assert read_inventory(said(b"f\t6\t7\ta.pt", head=head), "/ui").files[0].card is None
    for nothing in (b"", b"models", b"x\n" * 100_000, b"disk 1 2\n"):
        with pytest.raises(RemoteProtocolError):
            read_inventory(nothing, "/ui")
    with pytest.raises(RemoteProtocolError, match="findutils"):
        read_inventory(b"models untold\n", "/ui")


def test_an_endless_answer_costs_no_more_than_its_bytes() -> None:
    begin = time.process_time()
    found = read_inventory(said(*[b"f\t5\t7\ta"] * 200_000), "/ui")
    assert (len(found.files), found.is_cut) == (FILES_MAX, True)
    for long in (
        said(b"\0" * 4_000_000),
        said(b"f\t" + b"9" * 4_000_000),
        b"card ./" + b"a" * 4_000_000 + b"\nmodels\n",
    ):
        read_inventory(long, "/ui")
    assert time.process_time() - begin < 3


async def test_an_instance_without_end_is_left(make_connector: Callable[..., Connector], tmp_path: Path) -> None:
    """Its find prints without end: the answer has a bound."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "find").write_text(
        "#!/bin/sh\n[ \"$2\" != -maxdepth ] || { printf d; exit; }\nyes 'f\t1\t1\taaaaaaaaaa'\n"
    )
    (tools / "find").chmod(0o755)
    (tmp_path / "ui/models").mkdir(parents=True)
    server = Sshd(tmp_path, env={"PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin"})
    await server.start()
    try:
        connection = await make_connector(server).connect(Instance(host="127.0.0.1", port=server.port, user=USER))
        begin = time.monotonic()
        with pytest.raises(Exception, match=r"bytes|did not say|did not end"):
            await Remote(connection).inventory(f"{tmp_path}/ui")
        assert time.monotonic() - begin < 25
        await connection.close()
    finally:
        await server.close()
