"""The bars of the tools that cards run, each bar of a stream another one. A stream begins as its tool does, so that the
reader of the tool knows its bars, and holds no more bars than an attempt may have, so that each is an event."""

from __future__ import annotations

from collections.abc import Callable

UNITS = 4_000
BAR_SECONDS = 0.1
_GIGABYTES = 8.12
_BLOCKS = " ▏▎▍▌▋▊▉█"


def tqdm_bar(number: int, *, label: str = "Model", width: int = 10, units: int = UNITS) -> str:
    """A bar of a download of 8.12 GB, of which this is bar ``number`` of ``units``."""
    done = number / units
    eighths = int(done * width * 8)
    middle = "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
    rate = f"{40 + number % 97 / 10:.1f}MiB/s"
    clock, left = _clock(number * BAR_SECONDS), _clock((units - number) * BAR_SECONDS)
    return f"{label}: {done:4.0%}|{middle:<{width}}| {done * _GIGABYTES:.2f}G/8.12G [{clock}<{left}, {rate}]"


def _civitdl() -> bytes:
    return _bars('Now downloading "A Model"...\n', tqdm_bar)


def _civitdl_on_a_terminal() -> bytes:
    return _bars('Now downloading "A Model"...\n', lambda number: tqdm_bar(number, width=74))


def _tqdm_of_a_file() -> bytes:
    return _bars("", lambda number: tqdm_bar(number, label="model-00001-of-00002.safetensors"))


def _tqdm_without_a_total() -> bytes:
    def bar(number: int) -> str:
        return f"Model: {number * 2.03:.1f}MiB [{_clock(number * BAR_SECONDS)}, {20 + number % 97 / 10:.1f}MiB/s]"

    return _bars('Now downloading "A Model"...\n', bar)


def _tqdm_of_steps() -> bytes:
    def bar(number: int) -> str:
        share = number / UNITS
        middle = "#" * int(share * 10)
        rate = f"{9 + number % 31 / 10:.2f}it/s"
        return f"Steps: {share:4.0%}|{middle:<10}| {number}/{UNITS} [{_clock(number / 10)}<06:40, {rate}]"

    return _bars("", bar)


def _drawer() -> bytes:
    """What the latency's jobs draw: each a count that never came before, as the clock has it."""
    return _bars(
        "",
        lambda number: f"Model:  45%|####5     | {1.8e9 + number / 10:.6f}/9999999999.0 [00:03<00:04, 60.9MiB/s]",
    )


def _wget_bar() -> bytes:
    def bar(number: int) -> str:
        left = (UNITS - number) // 10
        return f"{_wget_part(number)}    eta {left // 60}m {left % 60}s  "

    return _bars(_WGET_BEGINS, bar)


def _wget_quiet() -> bytes:
    return _bars("", lambda number: f"{_wget_part(number)}               ")


def _wget_part(number: int) -> str:
    share, rate = number / UNITS, 30 + number % 97 / 10
    return f"model.safetensors   {share:4.0%}[{'=' * int(share * 18) + '>':<19}] {share * 7.56:6.2f}G  {rate:.1f}MB/s"


def _wget_dots() -> bytes:
    def row(number: int) -> str:
        dots = " ".join([".........."] * 5)
        return f"{number * 50:6}K {dots} {number * 100 // UNITS:2}% {100 + number % 397}M {(UNITS - number) // 100}s"

    return (_WGET_BEGINS + "".join(row(number) + "\n" for number in range(UNITS))).encode()


def _curl() -> bytes:
    begins = (
        "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
        "                                 Dload  Upload   Total   Spent    Left  Speed\n"
    )

    def row(number: int) -> str:
        share = number * 100 // UNITS
        done, speed = f"{number * 2.0:.0f}M", f"{18 + number % 97 / 10:4.1f}M"
        left = f"{(UNITS - number) // 3600}:{(UNITS - number) // 60 % 60:02}:{(UNITS - number) % 60:02}"
        spent = f"{number // 3600}:{number // 60 % 60:02}:{number % 60:02}"
        return f"{share:3} 7998M {share:3} {done:>5}    0     0  19.2M      0  0:06:56  {spent}  {left} {speed}"

    return _bars(begins, row)


def _curl_hashes() -> bytes:
    def bar(number: int) -> str:
        share = number / UNITS
        return f"{'#' * int(share * 72):<72} {share:6.1%}"

    return _bars("", bar)


def _aria2c() -> bytes:
    def readout(number: int) -> str:
        share, left = number * 100 // UNITS, (UNITS - number) // 10
        speed = f"{18 + number % 97 / 10:.1f}MiB"
        return f"[#1c6d1e {number * 0.0019:.1f}GiB/7.5GiB({share}%) CN:5 DL:{speed} ETA:{left // 60}m{left % 60}s]"

    return _bars("", readout)


def _hf() -> bytes:
    def bar(number: int) -> str:
        share = number / UNITS
        middle = "█" * int(share * 10)
        return f"Reconstructing: {share:4.0%}|{middle:<10}| {share * 8.12:.2f}GB / 8.12GB            \x1b[A"

    return _bars("Fetching 2 files:   0%|          | 0/2 [00:00<?, ?it/s]", bar)


_WGET_BEGINS = (
    "--2026-11-23 12:34:55--  https://host.example/model.safetensors\n"
    "HTTP request sent, awaiting response... 200 OK\n"
    "Length: 8120000000 (7.6G) [application/octet-stream]\nSaving to: ‘model.safetensors’\n\n"
)


def _bars(begins: str, bar: Callable[[int], str]) -> bytes:
    return (begins + "".join("\r" + bar(number) for number in range(UNITS)) + "\n").encode()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


_KINDS: dict[str, Callable[[], bytes]] = {
    "bars of civitdl": _civitdl,
    "bars of civitdl, wide": _civitdl_on_a_terminal,
    "bars of tqdm, a file": _tqdm_of_a_file,
    "bars of tqdm, no total": _tqdm_without_a_total,
    "bars of tqdm, steps": _tqdm_of_steps,
    "bars of the drawer": _drawer,
    "bars of wget": _wget_bar,
    "bars of wget -q": _wget_quiet,
    "dots of wget": _wget_dots,
    "columns of curl": _curl,
    "hashes of curl": _curl_hashes,
    "readouts of aria2c": _aria2c,
    "bars of hf": _hf,
}


def bar_streams() -> dict[str, bytes]:
    """By the kind of bar."""
    return {name: make() for name, make in _KINDS.items()}
