"""The parser against hostile, long and broken output; its bounds."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.events.event_types import Output, Progress, StageStart
from service.events.lines import LINE_BYTES_MAX
from service.events.parser import (
    OMITTED,
    OUTPUT_LINES_MAX,
    PROGRESS_EVENTS_FULL,
    STAGE_EVENTS_MAX,
    ProgressParser,
)
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor

FRAGMENTS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"]",
    b"[",
    b"\x1b[34m",
    b"\x1b[0m",
    b"\x00",
    b"\xff\xfe",
    "█▏光".encode(),
    b"Model:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]",
    b"Images: 0.00iB [00:00, ?iB/s]",
    b'Now downloading "A ]|45%| B"...',
    b'Download completed for "A ]|45%| B"',
    b"Existance: x",
    b"---------",
    b"Length: 8512000 (8.1M) [application/octet-stream]",
    "Saving to: ‘out/6001’".encode(),
    b"  50K .......... .......... .......... .......... ..........  1%  309M 0s",
    b"x  7%[=>     ] 593.94K  2.85MB/s    eta 2s",
    b"  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current",
    b" 45 8312k   45 3808k    0     0  3114k      0  0:00:02  0:00:01  0:00:01 3114k",
    b"[#5d9bde 2.8MiB/8.1MiB(35%) CN:1 DL:2.8MiB ETA:1s]",
]


def parse(*pieces: bytes, redact: Redactor | None = None, exit_code: int = 0) -> list[NewEvent]:
    parser = ProgressParser(title="Card", redact=redact)
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close(exit_code)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=12)), max_size=30),
    st.lists(st.integers(0, 2_000), max_size=20),
)
def test_the_cuts_make_no_difference(fragments: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(fragments)
    ends = sorted(min(cut, len(raw)) for cut in cuts)
    pieces = [raw[a:b] for a, b in zip([0, *ends], [*ends, len(raw)], strict=True)]
    events = parse(raw)
    assert parse(*pieces) == events
    offsets = [new.source_offset for new in events if new.source_offset is not None]
    assert offsets == sorted(offsets)
    for new in events:
        data = new.event.to_dict()
        if data["type"] == "progress":
            assert data["percent"] is None or 0 <= data["percent"] <= 100


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        ("Model: 100%|██████████| 8.51M/8.51M [00:02<00:00, 3.0MiB/s]", ("model", 100, "8.51M", 8_510_000, 0.0)),
        ("Images:  33%|███▎      | 1.00/3.00 [00:00<00:00, 9.1iB/s]", ("images", 33, "1.00", None, 0.0)),
        ("Cache:   1%|          | 1.0M/99M [1:02:03<2:00:00, 9.1kB/s]", ("cache", 1, "1.0M", 1_000_000, 7200.0)),
        ("Model: 3.65MiB [00:03, 1.2MiB/s]", ("model", None, "3.65MiB", 3_650_000, None)),
        ("Model:   0%|  | 0.00/8.51M [00:00<?, ?iB/s]", ("model", 0, "0.00", 0, None)),
        ("Model:   9%|9 | 80.0/900 [00:09<01:40, 8.20s/iB]", ("model", 9, "80.0", 80, 100.0)),
        ("model.safetensors: 45%|####5  | 3.65G/8.12G [00:03<00:04, 60.9MB/s]", ("download", 45, "3.65G", None, 4.0)),
        (" 12%|#2        | 12/100 [00:01<00:07, 11.2it/s]", ("download", 12, "12", None, 7.0)),
        ("Model: 999%|##| 9.0M/1.0M [00:01<00:00, 1.0MiB/s]", ("model", 100, "9.0M", 9_000_000, 0.0)),
    ],
)
def test_bars_of_every_kind(bar: str, expected: tuple[object, ...]) -> None:
    (new,) = parse(b"\r" + bar.encode())
    event = new.event
    assert isinstance(event, Progress)
    shown = (event.stage, event.percent, event.downloaded, event.downloaded_bytes, event.eta_seconds)
    assert shown[:3] == expected[:3]
    assert shown[4] == expected[4]
    if expected[3] is not None:
        assert shown[3] == expected[3]


def test_a_bar_is_there_at_its_bracket_and_what_follows_is_a_line() -> None:
    parser = ProgressParser()
    bar = b"\rModel: 52%|#####2    | 3.15M/6.00M [00:04<00:03, 768kiB/s]"
    assert [new.event.type for new in parser.feed(bar)] == ["progress"]
    assert parser.feed(b"Existance:  a ") == []
    assert [new.event for new in parser.feed(b"b True\n")] == [Output(line="Existance:  a b True")]


def test_nothing_absurd_becomes_a_number() -> None:
    (new,) = parse(b"\rModel: 5%|#| 999999999999999E/9E [00:01<99999:99, 99999999999E/s]\n")
    assert "inf" not in str(new.event.data()).lower()
    huge = b"\rModel: 5%|#| " + b"9" * 400 + b"/9E [00:01<00:01, 1MiB/s]\n"
    assert all(data.event.data().get("downloaded_bytes") is None for data in parse(huge))


def test_names_are_bounded_and_keep_their_script() -> None:
    name = 'The "Quoted" ] | 45%| 光 Download completed for "x'
    events = parse(f'\x1b[34mNow downloading "{name}"...\x1b[0m\n'.encode())
    assert [new.event for new in events] == [StageStart(name=name)]
    (long,) = parse(f'Now downloading "{"x" * 5_000}"...\n'.encode())
    assert isinstance(long.event, StageStart)
    assert len(long.event.name) == 500


def test_controls_and_broken_bytes_are_taken_out() -> None:
    (new,) = parse(b"\x1b]0;title\x07a\x00b\x1b[1;31mc\x1b[0m\xffd\x08\xe2\x80\xaee\x9b\n")
    assert isinstance(new.event, Output)
    assert new.event.line.replace("\ufffd", "?") == "abc?de?"


def test_a_long_line_is_cut_and_marked() -> None:
    (new,) = parse(b"x" * (LINE_BYTES_MAX + 5_000) + b"\n")
    assert new.event == Output(line="x" * LINE_BYTES_MAX, cut=True)
    assert new.source_offset == LINE_BYTES_MAX + 5_001


def test_a_secret_across_the_cut_does_not_leak() -> None:
    secret = "sk-0123456789abcdef0123456789"
    for shift in range(1, len(secret)):
        line = b"x" * (LINE_BYTES_MAX - shift) + secret.encode() + b"y" * 50 + b"\n"
        (new,) = parse(line, redact=Redactor([secret]))
        assert isinstance(new.event, Output)
        assert secret[:6] not in new.event.line


def test_a_hundred_megabytes_without_a_newline_take_no_memory() -> None:
    parser = ProgressParser()
    block = b"z" * (1 << 20)
    tracemalloc.start()
    for _ in range(100):
        assert parser.feed(block) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    (new,) = parser.close(0)
    assert isinstance(new.event, Output)
    assert new.event.cut


def test_bars_of_an_hour_are_kept_whole_and_a_flood_thins_out() -> None:
    parser = ProgressParser()
    bar = b"\rModel:  45%|####5     | 3.65M/8.12M [00:03<00:04, 60.9MiB/s]"
    assert len(parser.feed(bar * 36_000)) == 36_000
    counts = [len(parser.feed(bar * 50_000)) for _ in range(6)]
    assert sum(counts) < PROGRESS_EVENTS_FULL
    assert counts[-1] > 0
    assert counts[-1] < counts[1]


def test_lines_and_stages_are_bounded_and_the_tail_goes_on() -> None:
    parser = ProgressParser()
    events = parser.feed(b"".join(b"line %d\n" % n for n in range(OUTPUT_LINES_MAX + 1_000)))
    assert len(events) == OUTPUT_LINES_MAX
    assert events[-1].event == Output(line=OMITTED)
    assert parser.evidence.tail[-1] == f"line {OUTPUT_LINES_MAX + 999}"
    stages = parser.feed(b'Now downloading "x"...\n' * (STAGE_EVENTS_MAX + 500))
    assert len(stages) == STAGE_EVENTS_MAX


@pytest.mark.parametrize(
    "unit", [b"]", b"[", b"1%|", b"[00:00<00:00, 1B/s]", b"9", b" ", b"|1%", b'"', b"=", b"a=b&", b"://@", b"Bearer "]
)
def test_hostile_lines_cost_linear_time(unit: bytes) -> None:
    """Counted in steps of the interpreter's own clock-free kind: the line is bounded, so 64 of them must just end."""
    line = unit * (LINE_BYTES_MAX // len(unit)) + b"\n"
    assert len(parse(line * 64)) >= 0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://a.example/f?token=abcdef&x=1", "https://a.example/f?token=[redacted]&x=1"),
        ("https://a.example/f?X-Amz-Signature=abc&b=2", "https://a.example/f?X-Amz-Signature=[redacted]&b=2"),
        ("https://user:pass@a.example/f", "https://[redacted]@a.example/f"),
        ("Authorization: Bearer abcdefghi", "Authorization: Bearer [redacted]"),
        ("civitdl 1 x --api-key abcdefghi", "civitdl 1 x --api-key [redacted]"),
        ("my known-secret here", "my [redacted] here"),
        ("nothing to hide: 45%", "nothing to hide: 45%"),
        ("https://civitai.com/models/1?modelVersionId=2", "https://civitai.com/models/1?modelVersionId=2"),
    ],
)
def test_redaction(text: str, kept: str) -> None:
    assert Redactor(["known-secret", "abc"])(text) == kept
