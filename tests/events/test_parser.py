"""The parser against hostile and broken output: every event is sound, and the cuts make no difference."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.events.event_types import Output, Progress, StageComplete, StageStart
from service.events.lines import LINE_BYTES_MAX
from service.events.parser import ProgressParser
from service.events.recorded_event import NewEvent
from service.events.tools.protocol import NAME_CHARACTERS_MAX

FRAGMENTS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"]",
    b"[",
    b"\x1b[34m",
    b"\x1b[0m",
    b"\x1b]",
    b"\x00",
    b"\xff\xfe",
    b"\t",
    "█▏光".encode(),
    b"Model:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]",
    b"Model:  45%|####5     | 3.65M/8.12M [00:03<00:04, \xff60.9MiB/s]",
    b"Model:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9\xe2\x96/s]",
    b"Images: 0.00iB [00:00, ?iB/s]",
    b'Now downloading "A ]|45%| B"...',
    b'Download completed for "A ]|45%| B"',
    b"  - Model ID: 1",
    b"Existance: x",
    b"---------",
    b"Length: 8512000 (8.1M) [application/octet-stream]",
    "Saving to: ‘out/6001’".encode(),
    "2026-11-23 12:34:58 (2.86 MB/s) - ‘out/6001’ saved [8512000/8512000]".encode(),
    b"  50K .......... .......... .......... .......... ..........  1%  309M 0s",
    b"x  7%[=>     ] 593.94K  2.85MB/s    eta 2s",
    b"x100%[======>] 593.94K  2.85MB/s    in 2s",
    b"  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current",
    b" 45 8312k   45 3808k    0     0  3114k      0  0:00:02  0:00:01  0:00:01 3114k",
    b"curl: (6) Could not resolve host: x",
    b"########                     12.5%",
    b"  # #-=O#-  #",
    b"[#5d9bde 2.8MiB/8.1MiB(35%) CN:1 DL:2.8MiB ETA:1s]",
    b"\x1b[35m[\x1b[0m#5d9bde 2.8MiB/8.1MiB\x1b[36m(35%)\x1b[0m\x1b[35m]\x1b[0m",
    b"11/23 12:35:15 [NOTICE] Download complete: out/x",
]
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def parse(*pieces: bytes, exit_code: int = 0) -> list[NewEvent]:
    parser = ProgressParser(title="Card")
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close(exit_code)


# How long it takes to make up an example says nothing about the parser.
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=12)), max_size=30),
    st.lists(st.integers(0, 2_000), max_size=20),
)
def test_the_cuts_make_no_difference_and_every_event_is_sound(fragments: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(fragments)
    ends = sorted(min(cut, len(raw)) for cut in cuts)
    pieces = [raw[a:b] for a, b in zip([0, *ends], [*ends, len(raw)], strict=True)]
    events = parse(raw)
    assert parse(*pieces) == events
    offsets = [new.source_offset for new in events if new.source_offset is not None]
    assert offsets == sorted(offsets)
    assert all(0 < offset <= len(raw) for offset in offsets)
    for new in events:
        data = new.event.to_dict()
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        assert not [text for text in data.values() if isinstance(text, str) and CONTROL.search(text)]
        if isinstance(new.event, Progress):
            assert new.event.percent is None or 0 <= new.event.percent <= 100


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        ("Model: 100%|██████████| 8.51M/8.51M [00:02<00:00, 3.0MiB/s]", ("model", 100, "8.51M", 8_510_000, 0.0)),
        ("Images:  33%|███▎      | 1.00/3.00 [00:00<00:00, 9.1iB/s]", ("images", 33, "1.00", None, 0.0)),
        ("Cache:   1%|          | 1.0M/99M [1:02:03<2:00:00, 9.1kB/s]", ("cache", 1, "1.0M", 1_000_000, 7200.0)),
        ("Model: 3.65MiB [00:03, 1.2MiB/s]", ("model", None, "3.65MiB", 3_650_000, None)),
        ("Model:   0%|  | 0.00/8.51M [00:00<?, ?iB/s]", ("model", 0, "0.00", 0, None)),
        ("Model:   9%|9 | 80.0/900 [00:09<01:40, 8.20s/iB]", ("model", 9, "80.0", 80, 100.0)),
        (
            "x.safetensors: 45%|####5  | 3.65G/8.12G [00:03<00:04, 60.9MB/s]",
            ("download", 45, "3.65G", 3_650_000_000, 4),
        ),
        (" 12%|#2        | 12/100 [00:01<00:07, 11.2it/s]", ("download", 12, "12", None, 7.0)),
        (" 12%|#2        | 12/100 [00:01<00:07, 11.2it/s, loss=3]", ("download", 12, "12", None, 7.0)),
        ("Model: 999%|##| 9.0M/1.0M [00:01<00:00, 1.0MiB/s]", ("model", 100, "9.0M", 9_000_000, 0.0)),
        ("x  7%[>    ] 2.00K  2.85MB/s    eta 5m 3s", ("download", 7, "2.00K", 2_048, 303.0)),
        ("x    [ <=> ] 2.00K  2.85MB/s", ("download", None, "2.00K", 2_048, None)),
        ("x   33%[++  ] 2.00K  --.-KB/s", ("download", 33, "2.00K", 2_048, None)),
        (f"  100K {'.' * 50}  1%  309M 1m2s", ("download", 1, "100K", 102_400, 62.0)),
        (f"  100K {'.' * 50}   309M", ("download", None, "100K", 102_400, None)),
        ("#######                     12.5%", ("download", 12, None, None, None)),
        ("                             0.4%", ("download", 0, None, None, None)),
        ("[#5d9bde 2.0MiB/8.0MiB(25%) CN:1 DL:2.8MiB ETA:1m1s]", ("download", 25, "2.0MiB", 2_097_152, 61.0)),
        ("[#5d9bde 2.0MiB/0B CN:1 DL:2.8MiB]", ("download", None, "2.0MiB", 2_097_152, None)),
    ],
)
def test_bars_of_every_kind(bar: str, expected: tuple[object, ...]) -> None:
    (event,) = [new.event for new in parse(b"\r" + bar.encode()) if isinstance(new.event, Progress)]
    assert (event.stage, event.percent, event.downloaded, event.downloaded_bytes, event.eta_seconds) == expected


@pytest.mark.parametrize(
    "line",
    [
        "0.0.0 [ok]",
        "loaded 3/4 [00:01]",
        "50K",
        "200K 5% 3M",
        "45 8312k 45 3808k 0 0 3114k 0 0:00:02 0:00:01 0:00:01 3114k",
        "# heading 100%",
        "# ======",
        "#=======#",
        "---------",
        "[#notes]",
        "Download 45% done",
    ],
)
def test_what_only_resembles_a_bar_is_a_line(line: str) -> None:
    assert [new.event for new in parse(line.encode() + b"\n")] == [Output(line=line)]


def test_a_bar_is_there_at_its_bracket_and_what_follows_is_a_line() -> None:
    parser = ProgressParser()
    bar = b"\rModel: 52%|#####2    | 3.15M/6.00M [00:04<00:03, 768kiB/s]"
    assert [new.event.type for new in parser.feed(bar)] == ["progress"]
    assert parser.feed(b"Existance:  a ") == []
    assert [new.event for new in parser.feed(b"b True\n")] == [Output(line="Existance:  a b True")]


def test_what_stands_before_a_bar_is_a_line() -> None:
    events = [new.event for new in parse(b"\x1b[36mready. \x1b[0mModel: 52%|#| 3.15M/6.00M [00:04<00:03, 768kiB/s]\n")]
    assert events[0] == Output(line="ready.")
    assert [event.type for event in events] == ["output", "progress"]


def test_nothing_absurd_becomes_a_number() -> None:
    (new,) = parse(b"\rModel: 5%|#| 999999999999999E/9E [00:01<99999:99, 99999999999E/s]\n")
    assert {new.event.data()[name] for name in ("downloaded_bytes", "bytes_per_second")} == {None}
    huge = parse(b"\rModel: 5%|#| " + b"9" * 400 + b"/9E [00:01<00:01, 1MiB/s]\n")
    assert all(data.event.data().get("downloaded_bytes") is None for data in huge)


@pytest.mark.parametrize(
    "name",
    [
        'The "Quoted" ] | 45%| 光',
        'Download completed for "x',
        'Now downloading "x',
        "100%|##| 1/1 [00:00<00:00, 1B/s] x",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "---------",
        "",
    ],
)
def test_a_name_may_hold_anything(name: str) -> None:
    events = parse(f'\x1b[34mNow downloading "{name}"...\x1b[0m\nDownload completed for "{name}"\n'.encode())
    assert [new.event for new in events] == [StageStart(name=name), StageComplete(name=name)]


def test_a_name_is_bounded() -> None:
    (long,) = parse(f'Now downloading "{"x" * 5_000}"...\n'.encode())
    assert long.event == StageStart(name="x" * NAME_CHARACTERS_MAX)


def test_controls_and_broken_bytes_are_taken_out() -> None:
    (new,) = parse(b"\x1b]0;title\x07a\x00b\x1b[1;31mc\x1b[0m\xffd\x08\xe2\x80\xaee\x9b\n")
    assert isinstance(new.event, Output)
    assert new.event.line.replace("\ufffd", "?") == "abc?de?"


def test_a_long_line_is_cut_and_marked() -> None:
    (new,) = parse(b"x" * (LINE_BYTES_MAX + 5_000) + b"\n")
    assert new.event == Output(line="x" * LINE_BYTES_MAX, cut=True)
    assert new.source_offset == LINE_BYTES_MAX + 5_001


@pytest.mark.parametrize("unit", [b"\xff", b"a\t"])
def test_a_line_that_grows_when_it_is_made_readable_is_cut_too(unit: bytes) -> None:
    (new,) = parse(unit * 8_000 + b"x\n")
    assert isinstance(new.event, Output)
    assert new.event.cut
    assert len(new.event.line.encode()) <= LINE_BYTES_MAX


def test_the_quiet_wget_has_a_beginning_and_an_end_of_each_file() -> None:
    bars = ["x  50%[==>  ] 1.00K  1KB/s", "x 100%[====>] 2.00K  1KB/s    in 2s"]
    events = [new.event.type for new in parse("\r".join([*bars, *bars]).encode())]
    assert events == ["stage_start", "progress", "progress", "stage_complete"] * 2
    loud = "Saving to: ‘y’\n{0}\n2026-11-23 12:34:58 (2.86 MB/s) - ‘y’ saved [2/2]\n{0}\n".format("\r".join(bars))
    assert [new.event.type for new in parse(loud.encode())] == events
    broken = parse(b"x  50%[==>  ] 1.00K  1KB/s    in 1s\n")
    assert [new.event.type for new in broken] == ["stage_start", "progress"]


def test_curl_is_complete_only_with_exit_status_0() -> None:
    meter = FRAGMENTS[27] + b"\n" + FRAGMENTS[28]
    assert [new.event.type for new in parse(meter)] == ["stage_start", "progress", "stage_complete"]
    assert [new.event.type for new in parse(meter, exit_code=18)] == ["stage_start", "progress"]
