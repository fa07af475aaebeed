"""The rule that every reader obeys, and the order in which the tools are asked."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events.causes import Cause
from service.events.event_types import Event, Output, Progress, StageComplete, StageStart
from service.events.lines import plain
from service.events.parser import ProgressParser
from service.events.tools import TOOLS, exit_status, tqdm
from service.events.tools.protocol import MORE, NOT_MINE, Context, Tool
from tests.events.golden import TRANSCRIPTS

CONTEXT = Context(title="Card", redact=str)


def events_of(raw: bytes, exit_code: int = 0) -> list[Event]:
    parser = ProgressParser(title="Card")
    return [new.event for new in parser.feed(raw) + parser.close(exit_code)]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_answer_is_one_of_three(tool: type[Tool]) -> None:
    """On each line of every transcript, whoever printed it."""
    reader = tool(CONTEXT)
    for path in TRANSCRIPTS:
        for raw in path.read_bytes().replace(b"\r", b"\n").split(b"\n"):
            text = plain(raw)
            for answer in (reader.at_bracket(bytearray(raw)), reader.bar(text), reader.line(text, Output(line=text))):
                assert answer is NOT_MINE or answer is MORE or (answer and all(isinstance(e, Event) for e in answer))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_reader_takes_only_lines_that_begin_and_end_as_it_says(tool: type[Tool]) -> None:
    """It is shown no others: on each line of every transcript, also from its middle on."""
    chance = random.Random(tool.name)
    reader = tool(CONTEXT)
    for path in TRANSCRIPTS:
        for raw in path.read_bytes().replace(b"\r", b"\n").split(b"\n"):
            whole = plain(raw)
            rest = whole[chance.randrange(len(whole) + 1) :].strip()
            for text in filter(str.isascii, filter(None, (whole, rest))):
                if reader.bar(text) is not NOT_MINE:
                    assert tool.bar_begins is None or text[0] in tool.bar_begins
                if reader.line(text, Output(line=text)) is not NOT_MINE:
                    assert tool.line_begins is None or text[0] in tool.line_begins
                    assert tool.line_ends is None or text[-1] in tool.line_ends
            end = raw.rfind(b"]") + 1
            if b"\x1b" not in raw and reader.at_bracket(raw[:end]) is not NOT_MINE:
                assert raw[raw.rfind(b"[", 0, end) + 1] in tool.bracket_begins


def test_the_short_way_of_a_bar_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random("bars")
    bars = [
        piece + b"]"
        for path in TRANSCRIPTS
        for line in path.read_bytes().replace(b"\r", b"\n").split(b"\n")
        for piece in line.split(b"]")
        if b"%|" in piece and len(piece) < 500
    ]
    bars += [re.sub(rb": *\d+%\|.*\| *([\d.]+\w*)/[\d.]+\w*", rb": \1", bar) for bar in bars]
    assert len(bars) > 50
    odd = [b"|", b"%", b"[", b" ", b"  ", b"\t", b"\x1b[1m", b"\xc2\x9b", b"\xff", b"7", b"9" * 12, b"images:", b"?"]
    for bar in bars * 20:
        at = chance.randrange(len(bar))
        bars.append(bar[:at] + chance.choice(odd) + bar[at:])
        bars.append(bar[:at] + bar[at + chance.randrange(4) :])
    short = [tqdm.bar_in(bar) for bar in bars]
    assert sum(tqdm._WHOLE.fullmatch(bar.decode("latin-1")) is not None for bar in bars) > len(bars) / 5
    assert sum(tqdm._WHOLE_NO_TOTAL.fullmatch(bar.decode("latin-1")) is not None for bar in bars) > len(bars) / 5
    monkeypatch.setattr(tqdm, "_WHOLE", re.compile("(?!)"))
    monkeypatch.setattr(tqdm, "_WHOLE_NO_TOTAL", re.compile("(?!)"))
    for bar, found in zip(bars, short, strict=True):
        long = tqdm.bar_in(bar)
        assert (found and found[:3]) == (long and long[:3]), bar


def test_a_fresh_reader_has_completed_nothing_and_failed_nothing() -> None:
    for tool in TOOLS:
        assert not tool(CONTEXT).completed()
        assert not tool(CONTEXT).failures()


@pytest.mark.parametrize("phrase", ["Saving to: ‘x’", "curl: (6) no", "*** Download Progress Summary as of x ***"])
def test_a_model_may_be_named_like_the_sentence_of_another_tool(phrase: str) -> None:
    assert events_of(f'Now downloading "{phrase}"...\n'.encode()) == [StageStart(name=phrase)]


def test_the_count_of_files_is_not_a_file_and_the_bar_beside_it_is() -> None:
    count = "Fetching 3 files:  33%|###3      | 1/3 [00:01<00:02,  1.01it/s]\r"
    file = "a.safetensors: 45%|####5  | 3.65G/8.12G [00:03<00:04, 60.9MB/s]\n"
    assert [event.type for event in events_of((count + file).encode())] == ["stage_start", "progress", "stage_complete"]


def test_what_follows_on_the_line_of_a_bar_is_evidence_too() -> None:
    parser = ProgressParser()
    parser.feed(b"  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n")
    row = b" 45 8312k   45 3808k    0     0  3114k      0  0:00:02  0:00:01  0:00:01 3114k"
    events = [new.event for new in parser.feed(row + b"curl: (18) transfer closed\n")]
    assert [type(event) for event in events] == [Progress, Output]
    assert parser.evidence.error_lines == ("curl: (18) transfer closed",)
    assert parser.evidence.tail[-1] == "curl: (18) transfer closed"


def test_exit_status_0_completes_what_no_sentence_does() -> None:
    bar = b"x.bin: 100%|##| 8.51M/8.51M [00:02<00:00, 3.0MiB/s]\n"
    assert events_of(bar)[-1] == StageComplete(name="x.bin")
    assert isinstance(events_of(bar, exit_code=1)[-1], Progress)


@pytest.mark.parametrize(
    ("tool", "exit_code", "cause"),
    [
        ("wget", 5, Cause.TLS),
        ("curl", 5, Cause.DNS),
        ("aria2c", 9, Cause.DISK_FULL),
        ("wget", 1, None),
        ("civitdl", 1, None),
        ("wget2", 4, Cause.NETWORK),
        ("tqdm", 5, None),
        (None, 5, None),
    ],
)
def test_what_an_exit_status_means_depends_on_the_tool(tool: str | None, exit_code: int, cause: Cause | None) -> None:
    found = exit_status(tool, exit_code)
    assert (found.cause if found is not None else None) is cause


def test_the_exit_status_belongs_to_the_last_command_and_not_to_whoever_drew_its_bar() -> None:
    parser = ProgressParser()
    parser.feed(b"wget: something\nx: 45%|####5  | 3.65G/8.12G [00:03<00:04, 60.9MB/s]\n")
    assert parser.evidence.tool == "wget"
    parser.feed(b"curl: (1) something\n")
    assert parser.evidence.tool == "curl"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_text_that_needs_no_cleaning_is_not_cleaned_otherwise(raw: bytes) -> None:
    """A tab at the end, which is stripped again, sends any text through all the steps."""
    assert plain(raw) == plain(raw + b"\t")
