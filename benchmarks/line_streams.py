"""The lines that scripts and tools print, each line of a stream another one, and the same at every call. A stream holds
no more lines than an attempt may have, so that each is an event."""

from __future__ import annotations

import random
from collections.abc import Callable

LINES = 4_000
_WORDS = (
    "checkpoint",
    "lora",
    "weights",
    "latent",
    "sampler",
    "folder",
    "model",
    "cache",
    "version",
    "archive",
    "layer",
    "tensor",
    "config",
    "node",
)


def _log(chance: random.Random) -> bytes:
    """What pip, git, apt and Python print around a download."""
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"Collecting {_word(chance)}-{_word(chance)}>={_version(chance)}",
        lambda: f"  Downloading {_word(chance)}-{_version(chance)}-py3-none-any.whl ({chance.randrange(9_999)} kB)",
        lambda: f"Requirement already satisfied: {_word(chance)}=={_version(chance)} in /venv/lib",
        lambda: (
            f"Get:{chance.randrange(99)} http://deb.example/debian main {_word(chance)} [{chance.randrange(999)} kB]"
        ),
        lambda: f"2026-11-23 12:34:{chance.randrange(60):02} INFO {_word(chance)}: {_sentence(chance)}",
        lambda: f"[{chance.randrange(99)}/99] Building {_word(chance)} object {_path(chance)}.o",
        lambda: f"WARNING: {_word(chance)} {_version(chance)} has no {_word(chance)}, {_sentence(chance)}",
        lambda: f"remote: Counting objects: {chance.randrange(100)}% ({chance.randrange(9_999)}/9999)",
        lambda: f"  - {_word(chance)}: {_sentence(chance)}",
        lambda: f"error: {_word(chance)}: {_sentence(chance)}" if chance.random() < 0.1 else _sentence(chance),
    )
    return _lines(lambda: chance.choice(forms)())


def _script(chance: random.Random) -> bytes:
    """A script that says what it does, with ``set -x`` and without a bar."""
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"+ mkdir -p {_path(chance)}",
        lambda: f"+ [[ -f {_path(chance)}/{_word(chance)}.safetensors ]]",
        lambda: f"==> {_sentence(chance)}",
        lambda: f"{_path(chance)}/{_word(chance)}.safetensors",
        lambda: f"-rw-r--r-- 1 root root {chance.randrange(10**10)} Nov 23 12:34 {_word(chance)}.safetensors",
        lambda: f"'{_path(chance)}' -> '{_path(chance)}'",
        lambda: f"{_word(chance)} done ({chance.randrange(1, 99)} of 99)",
    )
    return _lines(lambda: chance.choice(forms)())


def _coloured(chance: random.Random) -> bytes:
    return _lines(lambda: f"\x1b[3{chance.randrange(1, 7)}m{_word(chance)}\x1b[0m: \x1b[1m{_sentence(chance)}\x1b[0m")


def _other_scripts(chance: random.Random) -> bytes:
    words = (
        "模型",
        "已经",
        "下载",
        "完成",
        "модель",
        "загружена",
        "モデル",
        "を保存",
        "مجلد",
        "جديد",
        "größe",
        "文件夹",
    )
    return _lines(lambda: " ".join(chance.choice(words) for _ in range(12)) + f" {chance.randrange(10**6)}")


def _banner(chance: random.Random) -> bytes:
    """What a rented machine prints at a login."""
    forms: tuple[Callable[[], str], ...] = (
        lambda: "#" * 72,
        lambda: f"#{_sentence(chance):^70}#",
        lambda: f" _  _ | |__ \\ \\/ / / _ \\  __ {'_' * chance.randrange(9)}|_| ",
        lambda: f"  * {_word(chance).capitalize()}:  https://docs.host.example/{_word(chance)}/{chance.randrange(999)}",
        lambda: f"  System load:  0.{chance.randrange(99):02}      Processes:   {chance.randrange(999)}",
        lambda: f"Have fun! Welcome to {_word(chance)} {chance.randrange(9_999)}",
    )
    return _lines(lambda: chance.choice(forms)())


def _long_lines(chance: random.Random) -> bytes:
    def entry() -> str:
        return f'{{"name": "{_word(chance)}", "path": "{_path(chance)}", "size": {chance.randrange(10**10)}}}'

    return _lines(lambda: f"[{', '.join(entry() for _ in range(100))}]", LINES // 20)


def _civitdl_lines(chance: random.Random) -> bytes:
    forms = ("Model Directory Path", "Hashes Directory Path", "Metadata Directory Path", "Images Directory Path")
    return _lines(lambda: f"{' ' * 16}- {chance.choice(forms)}: out/a/{_sentence(chance).title()}/extra_data")


def _failures(chance: random.Random) -> bytes:
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"curl: ({chance.randrange(99)}) Could not resolve host: {_word(chance)}.example",
        lambda: f"mkdir: cannot create directory '{_path(chance)}': No space left on device",
        lambda: f'  File "{_path(chance)}.py", line {chance.randrange(999)}, in {_word(chance)}',
        lambda: f"requests.exceptions.ReadTimeout: {_sentence(chance)}",
        lambda: f"2026-11-23 12:34:{chance.randrange(60):02} ERROR {chance.randrange(400, 599)}: Forbidden.",
        lambda: f"WARNING: Retrying ({chance.randrange(9)}) after connection broken by '{_sentence(chance)}'",
    )
    return _lines(lambda: chance.choice(forms)())


def _same_line(_chance: random.Random) -> bytes:
    return b"                - Images Directory Path: out/a/Dramatic Lighting Slider/extra_data-vid_6001\n" * LINES


def _without_an_end(_chance: random.Random) -> bytes:
    return b"x" * (LINES * 100)


def _brackets(chance: random.Random) -> bytes:
    return _lines(
        lambda: f"[{_word(chance)}] [{chance.randrange(99)}] tensor[{chance.randrange(9)}][{_word(chance)}] = []"
    )


def _lines(line: Callable[[], str], count: int = LINES) -> bytes:
    return "".join(f"{line()}\n" for _ in range(count)).encode()


def _word(chance: random.Random) -> str:
    return chance.choice(_WORDS)


def _sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(_WORDS, k=chance.randrange(3, 9)))


def _path(chance: random.Random) -> str:
    return "/workspace/" + "/".join(chance.choices(_WORDS, k=3))


def _version(chance: random.Random) -> str:
    return f"{chance.randrange(9)}.{chance.randrange(20)}.{chance.randrange(20)}"


_KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "lines of civitdl": _civitdl_lines,
    "lines of logs": _log,
    "lines of a script": _script,
    "lines in colours": _coloured,
    "lines beyond ASCII": _other_scripts,
    "lines of errors": _failures,
    "lines with brackets": _brackets,
    "the same line": _same_line,
    "a banner": _banner,
    "long lines": _long_lines,
    "a line without an end": _without_an_end,
}


def line_streams() -> dict[str, bytes]:
    """By the kind of line."""
    return {name: make(random.Random(name)) for name, make in _KINDS.items()}
