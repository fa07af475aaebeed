"""The estimates from what tools really print: their own drawing, or their form as the transcripts have it, read by the
parser, at a rate that is known."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tqdm import tqdm  # type: ignore[import-untyped]

from service.events.event_types import Progress
from service.events.parser import ProgressParser
from service.runner.eta import Eta

MEGABYTE = 1_000_000
GIGABYTE = 1000 * MEGABYTE
SETTLED_SECONDS = 15.0


@dataclass(slots=True)
class File:
    """A file that a tool downloads at a rate of its own; ``first`` of it was there before."""

    name: str
    total: int
    bytes_per_second: float
    first: float = 0.0
    begins_at: float = 0.0
    done: float = 0.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        self.done = self.first

    def go_on(self, seconds: float, chance: random.Random) -> None:
        """In bursts; ``mean`` is what tqdm makes of them."""
        came = self.bytes_per_second * seconds * (0.7 + 0.6 * chance.random())
        self.done = min(float(self.total), self.done + came)
        self.mean = 0.3 * came / seconds + 0.7 * (self.mean or came / seconds)

    def bar(self, now: float) -> bytes:
        """As hf of huggingface_hub 0.36 and civitdl have it drawn; the several bars of one screen go up and down."""
        drawn = tqdm.format_meter(
            int(self.done),
            self.total,
            now - self.begins_at,
            prefix=self.name,
            unit="B",
            unit_scale=True,
            rate=self.mean or None,
            initial=int(self.first),
        )
        return f"\n\r{drawn}\x1b[A".encode()


class Watch:
    """One resource, whose tool's output is parsed; every estimate is held against the truth."""

    def __init__(self, eta: Eta, resource: str) -> None:
        self.eta = eta
        self.told: list[tuple[float, float, float]] = []
        self._resource = resource
        self._parser = ProgressParser(resource=resource, attempt=1)

    def hear(self, now: float, printed: bytes, truth: float) -> None:
        for new in self._parser.feed(printed):
            if isinstance(new.event, Progress):
                bar = new.event
                self.eta.observe(self._resource, now, bar.downloaded_bytes, bar.total_bytes, bar.bytes_per_second)
                told = self.eta.job_eta_seconds(now)
                if told is not None:
                    self.told.append((now, told, truth))

    def errors(self, begin: float, end: float = float("inf")) -> list[float]:
        """|estimate / truth - 1|"""
        return [abs(told / truth - 1) for now, told, truth in self.told if begin <= now < end]

    def worst_jump(self, begin: float) -> float:
        """The greatest factor between an estimate and the one before it."""
        told = [told for now, told, _ in self.told if now >= begin]
        return max(max(a / b, b / a) for a, b in itertools.pairwise(told))


def ticks(begin: float, end: float, every: float, chance: random.Random) -> Iterator[tuple[float, float]]:
    """(now, seconds since the last)"""
    now = begin
    while now < end:
        step = every * (0.8 + 0.4 * chance.random())
        now += step
        yield now, step


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.parametrize("every", [0.1, 1.0])
@pytest.mark.parametrize(
    "files",
    [
        [File("a.safetensors", 40 * GIGABYTE, 3e6), File("b.safetensors", 25 * GIGABYTE, 2e6)],
        [File("a.safetensors", 10 * GIGABYTE, 30e6), File("b.safetensors", 300 * MEGABYTE, 2e6)],
        # Shards have the same size: no figure says of which file it is.
        [File(f"{n}.safetensors", 4 * GIGABYTE, 5e6 * n, begins_at=2 * n) for n in range(1, 4)],
        [File("slow.safetensors", GIGABYTE, 3e6, 0.10e9), File("fast.safetensors", GIGABYTE, 6e6, 0.01e9)],
    ],
    ids=["large", "unlike", "shards", "overtaken"],
)
def test_bars_of_several_files_by_turns(files: list[File], every: float, chance: random.Random) -> None:
    files = [File(f.name, f.total, f.bytes_per_second, f.first, f.begins_at) for f in files]
    eta = Eta({"a": sum(file.total for file in files)})
    eta.start("a")
    watch = Watch(eta, "a")
    rate = sum(file.bytes_per_second for file in files)
    for now, step in ticks(0, 100, every, chance):
        for file in files:
            if now >= file.begins_at:
                file.go_on(step, chance)
                watch.hear(now, file.bar(now), sum(f.total - f.done for f in files) / rate)
    assert statistics.median(watch.errors(SETTLED_SECONDS)) <= 0.2
    assert watch.worst_jump(SETTLED_SECONDS) <= 2


def test_an_idle_time_between_two_resources(chance: random.Random) -> None:
    rate, size = 4e6, 200 * MEGABYTE
    eta = Eta({"a": size, "b": size})
    watches = []
    begin = 0.0
    for resource in ("a", "b"):
        eta.start(resource)
        file = File("Model", size, rate, begins_at=begin)
        watches.append(Watch(eta, resource))
        for now, step in ticks(begin, begin + 45, 0.1, chance):
            file.go_on(step, chance)
            to_come = size if resource == "a" else 0
            watches[-1].hear(now, file.bar(now), (size - file.done + to_come) / rate)
        eta.finish(resource)
        begin += 45 + 120
    assert watches[1].told[0][0] < 166
    assert max(watches[1].errors(0, 180)) <= 0.5
    assert watches[1].worst_jump(0) <= 1.5


@pytest.mark.parametrize("every", [0.1, 1.0])
@pytest.mark.parametrize("is_second", [False, True])
def test_a_file_continued_in_its_middle(is_second: bool, every: float, chance: random.Random) -> None:
    before = File("config", 300 * MEGABYTE, 30e6)
    file = File("model", 40 * GIGABYTE, 30e6, first=20e9, begins_at=15)
    eta = Eta({"a": before.total + file.total})
    eta.start("a")
    watch = Watch(eta, "a")
    for now, step in ticks(0, 80, every, chance):
        if is_second and before.done < before.total:
            before.go_on(step, chance)
            watch.hear(now, before.bar(now), (before.total - before.done + file.total) / file.bytes_per_second)
        elif now >= file.begins_at:
            to_come = before.total if not is_second else 0
            watch.hear(now, file.bar(now), (file.total - file.done + to_come) / file.bytes_per_second)
            file.go_on(step, chance)
    assert statistics.median(watch.errors(30)) <= 0.2
    assert max(watch.errors(file.begins_at)) <= 0.7
    assert watch.worst_jump(file.begins_at) <= 2


def several(done: float, total: float, is_known: bool) -> bytes:
    """As hf of huggingface_hub 2.4 prints it for several files: no speed, three digits."""
    shown = [size(done), size(total)]
    label = "Reconstructing" if is_known else "Reconstructing (incomplete total...)"
    files = f"\n\r{label}: {done / total:4.0%}|     | {shown[0]} / {shown[1]}            \x1b[A"
    return f"{files}\n\rDownloading bytes:      | {shown[0]}            \x1b[A".encode()


def size(count: float) -> str:
    return f"{tqdm.format_sizeof(count, divisor=1000)}B"


@pytest.mark.parametrize(("rate", "total", "chunk"), [(4e6, 2e9, 10.5e6), (40e6, 40e9, 10.5e6), (40e6, 400e9, 1e6)])
def test_several_files_in_one_line_without_a_speed(
    rate: float, total: float, chunk: float, chance: random.Random
) -> None:
    eta = Eta({"a": None})
    eta.start("a")
    watch = Watch(eta, "a")
    first, done, shown = total * 0.3, total * 0.3, b""
    for now, step in ticks(0, 240, 0.5, chance):
        done += rate * step * (0.7 + 0.6 * chance.random())
        # The first files are known seconds before all are.
        known = total if now > 3 else total / 2
        printed = several(first + (done - first) // chunk * chunk, known, now > 3)
        if printed != shown:
            watch.hear(now, printed, (total - done) / rate)
            shown = printed
    begin = 3 * SETTLED_SECONDS if chunk > 5e6 else 120
    assert statistics.median(watch.errors(begin)) <= 0.2
    assert max(watch.errors(begin)) <= 1
    assert watch.worst_jump(begin) <= 2
