"""A download that announces more than is free, as far as the output alone can tell."""

from __future__ import annotations

import pytest

from service.events.event_types import ResourceWarned
from service.events.parser import ProgressParser

MARK = "0123456789abcdef" * 2
GB = 1_000_000_000


def parser_after(*lines: str, estimate_bytes: int | None = None) -> tuple[ProgressParser, list[object]]:
    parser = ProgressParser(mark=MARK, estimate_bytes=estimate_bytes)
    new = parser.feed("".join(line + "\n" for line in lines).encode())
    return parser, [one.event for one in new]


def room(free: int) -> str:
    return f"\r{MARK} room {free}"


WGET = ("Length: 9000000000000 (8.2T)", "m.safetensors   0%[                    ] 195.39K  --.-KB/s    eta 2d 3h")
ARIA2C = ("[#2089b0 195KiB/8.1TiB(0%) CN:1 DL:195KiB ETA:2d3h]",)
CURL = (
    "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current",
    "  0 8185G    0  195k    0     0   100k      0  2:00:00  0:00:01  2:00:00  100k",
)


@pytest.mark.parametrize("lines", [WGET, ARIA2C, CURL])
def test_more_than_is_free(lines: tuple[str, ...]) -> None:
    assert (parser_after(room(100 * GB), *lines)[0].announced_too_much or 0) > 8_000 * GB
    assert parser_after(room(10_000 * GB), *lines)[0].announced_too_much is None
    assert parser_after(*lines)[0].announced_too_much is None


def test_only_what_is_missing_counts_and_each_length_once() -> None:
    begun = "[#2089b0 9GiB/10GiB(90%) CN:1 DL:195KiB ETA:2d3h]"
    assert parser_after(room(2 * GB), begun)[0].announced_too_much is None
    parser, _ = parser_after(room(2 * GB), "[#2089b0 5GiB/10GiB(50%) CN:1 DL:1KiB ETA:2d3h]")
    first = parser.announced_too_much
    parser.feed(b"[#2089b0 6GiB/10GiB(60%) CN:1 DL:1KiB ETA:2d3h]\n")
    assert parser.announced_too_much == first == 5 * 1024**3


def test_the_size_on_a_card_is_only_a_warning() -> None:
    parser, events = parser_after(room(2 * GB), estimate_bytes=3 * GB)
    assert events == [
        ResourceWarned(
            code="little_room",
            text="the card says about 3,000,000,000 bytes, and 2,000,000,000 are free on the instance",
        )
    ]
    assert parser.announced_too_much is None
    assert parser_after(room(3 * GB), estimate_bytes=3 * GB)[1] == []


@pytest.mark.parametrize("record", ["room", "room -1", "room many", "room 1 2", "room " + "9" * 30])
def test_a_line_that_is_not_a_record_of_the_room(record: str) -> None:
    parser, _ = parser_after(f"\r{MARK} {record}", *ARIA2C)
    assert parser.announced_too_much is None
