"""The reader of a verification's lines: events, verdict, bounds, and hostile lines."""

from __future__ import annotations

import base64
import os
import random
from typing import Any

import pytest

from service.errors import CardError
from service.events.causes import Cause
from service.events.event_types import Output, Progress, ResourceVerified
from service.events.recorded_event import NewEvent
from service.events.redaction import Redactor
from service.runner.instance.ended import Ended
from service.runner.instance.findings import OUTPUT_LINES_MAX, PROGRESS_EVENTS_MAX, VerificationParser
from service.runner.instance.verification import ExpectedFile, verify_program
from service.runner.outcome import Outcome
from service.runner.phases import judge_verification

DIGEST, OTHER = "ab" * 32, "cd" * 32


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def parse(output: bytes, exit_code: int | None = 0, **ended: Any) -> tuple[list[NewEvent], Outcome, VerificationParser]:
    parser = VerificationParser("loras/x.md", 2, Redactor(["secret-key"]))
    events = parser.feed(output) + parser.close(exit_code)
    return events, verdict(parser, Ended(exit_code=exit_code, **ended)), parser


def verdict(parser: VerificationParser, ended: Ended) -> Outcome:
    return judge_verification(parser.findings, parser.evidence, ended)


def finding(*lines: str) -> bytes:
    return "".join(f"verify {line}\n" for line in lines).encode()


GOOD = finding(
    f"name 0 {b64('models/loras/a b.safetensors')}",
    "begin 0 400",
    "at 0 100",
    "at 0 400",
    f"good 0 {DIGEST} civitdl not_html,safetensors_header,sha256",
    "end 1 0 0",
)
BAD = finding(
    f"name 0 {b64('models/a.pt')}",
    f"bad 0 html {b64('Log in')}",
    f"name 1 {b64('models/b.pt')}",
    f"bad 1 sha256 {DIGEST} {OTHER} card",
    f"said {b64('grep: it is a directory')}",
    "end 2 0 2",
)


def test_a_good_file() -> None:
    events, outcome, _ = parse(GOOD)
    assert outcome == Outcome(installed=True, exit_code=0)
    assert [new.event for new in events] == [
        Progress(stage="verify", percent=0, downloaded_bytes=0, total_bytes=400),
        Progress(stage="verify", percent=25, downloaded_bytes=100, total_bytes=400),
        Progress(stage="verify", percent=100, downloaded_bytes=400, total_bytes=400),
        ResourceVerified(
            file="models/loras/a b.safetensors",
            bytes=400,
            sha256=DIGEST,
            held_against="civitdl",
            result="verified",
            checked=["not_html", "safetensors_header", "sha256"],
        ),
    ]
    assert {(new.resource, new.attempt) for new in events} == {("loras/x.md", 2)}
    offsets = [new.source_offset for new in events]
    assert offsets == sorted(offsets, key=lambda offset: offset or 0)
    assert offsets[-1] == len(GOOD) - len(finding("end 1 0 0"))


def test_a_file_without_anything_to_hold_it_against() -> None:
    events, outcome, _ = parse(finding(f"name 0 {b64('a')}", "begin 0 9", "good 0 - - not_html", "end 1 0 0"))
    assert outcome.installed
    assert events[1].event == ResourceVerified(
        file="a", bytes=9, sha256=None, held_against=None, result="unverified", checked=["not_html"]
    )


def test_bad_files_are_named_with_their_reason() -> None:
    events, outcome, parser = parse(BAD, 1)
    assert outcome.cause is Cause.VERIFICATION_FAILED
    assert outcome.error == (
        'models/a.pt: it is an HTML page, not a model (a login page, or an error): "Log in" (and 1 more)'
    )
    assert outcome.hint
    lines = [new.event.line for new in events if isinstance(new.event, Output)]
    assert lines[1] == f"models/b.pt: its SHA-256 is {DIGEST}, but the card says {OTHER}"
    assert lines[2] == "grep: it is a directory"
    assert parser.evidence.tail == tuple(lines)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (f"sha256 {DIGEST} {OTHER} civitdl", f"SHA-256 is {DIGEST}, but the list that civitdl wrote beside it says"),
        ("size 1000 2000 card", "it has 1,000 bytes, but the card says 2,000 bytes"),
        ("short 17 2000", "it is 17 bytes short: by its own header it must have 2,000 bytes"),
        ("short_header 5 99", "it is at least 5 bytes short: its header alone says that it takes 99 bytes"),
        ("long 17 2000", "it is 17 bytes longer than its own header says"),
        (f"json {b64('')}", "a.pt: it is a message in JSON, not a model"),
        (f"xml {b64('no')}", 'XML, not a model: "no"'),
        (f"text 15 {b64('Entry not found')}", "a.pt: it is 15 bytes of text: Entry not found"),
        ("magic gguf zip", "it does not begin as a .gguf file does: it is a zip archive"),
        ("magic pth other", "it does not begin as a .pth file does"),
        *[(word, "it") for word in ("missing", "no_file", "empty", "pointer", "header", "header_claim")],
        *[(word, "it") for word in ("unreadable", "vanished", "changed")],
    ],
)
def test_every_reason(words: str, error: str) -> None:
    _, outcome, _ = parse(finding(f"name 0 {b64('a.pt')}", f"bad 0 {words}", "end 1 0 1"), 1)
    assert outcome.cause is Cause.VERIFICATION_FAILED
    assert error in (outcome.error or "")


def test_what_a_page_says_is_redacted_plain_and_bounded() -> None:
    said = b64("\x1b[31mtoken=secret-key\nx\u202e" + "y" * 1_000)
    _, outcome, _ = parse(finding(f"name 0 {b64('a.pt')}", f"bad 0 html {said}", "end 1 0 1"), 1)
    assert outcome.error is not None
    assert "secret-key" not in outcome.error
    assert "\x1b" not in outcome.error
    assert len(outcome.error) < 400


@pytest.mark.parametrize(
    ("output", "ended", "cause"),
    [
        (b"", {"exit_code": 0}, Cause.VERIFICATION_FAILED),
        (GOOD[: GOOD.index(b"verify end")], {"exit_code": 0}, Cause.VERIFICATION_FAILED),
        (GOOD, {"exit_code": 1}, Cause.UNKNOWN),
        (GOOD, {"exit_code": None}, Cause.KILLED),
        (GOOD[:50], {"exit_code": 137}, Cause.KILLED),
        (GOOD[:50], {"exit_code": 143, "timed_out": True}, Cause.TIMEOUT),
        (GOOD[:50], {"exit_code": None, "instance_lost": True}, Cause.INSTANCE_LOST),
        (b"", {"exit_code": None, "disk_full": True}, Cause.DISK_FULL),
        (b"", {"exit_code": None, "tool_missing": "bash"}, Cause.TOOL_MISSING),
        (finding("missing find"), {"exit_code": 127}, Cause.TOOL_MISSING),
        (finding("end 1 0 1"), {"exit_code": 1}, Cause.VERIFICATION_FAILED),
    ],
)
def test_how_a_verification_ends(output: bytes, ended: dict[str, Any], cause: Cause) -> None:
    _, outcome, _ = parse(output, **ended)
    assert not outcome.installed
    assert outcome.cause is cause
    assert outcome.error


def test_a_verification_that_was_broken_off_says_how_even_if_it_had_found_something() -> None:
    _, outcome, _ = parse(BAD[: BAD.index(b"verify end")], None, instance_lost=True)
    assert outcome.cause is Cause.INSTANCE_LOST


@pytest.mark.parametrize("output", [GOOD, BAD, GOOD + b"bash: stray\r\n" + BAD + b"no newline"])
def test_the_same_bytes_give_the_same_events_however_they_are_cut(output: bytes) -> None:
    whole, outcome, _ = parse(output)
    parser = VerificationParser("loras/x.md", 2, Redactor(["secret-key"]))
    events = [new for byte in output for new in parser.feed(bytes([byte]))] + parser.close(0)
    assert events == whole
    assert verdict(parser, Ended(exit_code=0)) == outcome
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    parser, events, begin = VerificationParser("loras/x.md", 2, Redactor(["secret-key"])), [], 0
    while begin < len(output):
        end = begin + source.randrange(1, 60)
        events += parser.feed(output[begin:end])
        begin = end
    assert events + parser.close(0) == whole


HOSTILE = [
    "verify",
    "verify ",
    "verify name",
    "verify name 0 ***",
    "verify name -1 YQ==",
    "verify name 99999999999999999999999 YQ==",
    "verify name 1000 YQ==",
    "verify begin 5 10",
    "verify at 0 ten",
    "verify good 7 x y z",
    "verify bad 0",
    "verify bad 0 nonsense",
    "verify bad 0 sha256 x y card",
    "verify bad 0 size 1",
    "verify bad 0 text many bytes",
    "verify bad 0 magic ../x zip",
    "verify unlisted 3",
    "verify unlisted 0 1",
    "verify end 1 0",
    "verify end 1 0 many",
    "verify end 1 0 \u0661",
    "verify unknown 0 1",
    "something else",
]


@pytest.mark.parametrize("line", HOSTILE)
def test_what_the_program_never_writes_is_mere_output(line: str) -> None:
    output = finding(f"name 0 {b64('a')}") + line.encode() + b"\n"
    events, outcome, _ = parse(output)
    assert [new.event for new in events] == [Output(line=line.strip())]
    assert not outcome.installed


def test_random_bytes_break_nothing() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    for _ in range(200):
        output = bytearray(GOOD + BAD)
        for _ in range(source.randrange(1, 20)):
            output[source.randrange(len(output))] = source.randrange(256)
        for new in parse(bytes(output), 1)[0]:
            assert new.event.to_dict()


def test_hostile_names() -> None:
    for name in (b"new\nline", b"\x1b]0;title\x07x", b"\xff\xfe", os.urandom(200), b"x" * 4_000, b"https://u:pw@h/a"):
        events, outcome, _ = parse(
            finding(f"name 0 {b64(name)}", "begin 0 9", f"good 0 {DIGEST} card size", "end 1 0 0")
        )
        assert outcome.installed
        verified = events[1].event
        assert isinstance(verified, ResourceVerified)
        assert len(verified.file) <= 1_000
        assert not any(ord(character) < 32 for character in verified.file)
        assert "pw@" not in verified.file


def test_everything_is_bounded() -> None:
    name = finding(f"name 0 {b64('a')}", "begin 0 1000000")
    events, _, parser = parse(name + finding(*[f"at 0 {n}" for n in range(PROGRESS_EVENTS_MAX + 500)]))
    assert len(events) == PROGRESS_EVENTS_MAX
    events, _, parser = parse(b"".join(b"line %d\n" % n for n in range(OUTPUT_LINES_MAX * 3)))
    assert len(events) == OUTPUT_LINES_MAX
    assert len(parser.evidence.tail) == 40
    events, _, _ = parse(b"x" * 5_000_000)
    assert len(events) == 1
    assert len(events[0].event.to_dict()["line"]) <= 16 * 1024


def test_a_position_beyond_the_end_and_an_empty_file() -> None:
    at = [
        new.event
        for size in ("0", "100")
        for new in parse(finding(f"name 0 {b64('a')}", f"begin 0 {size}", "at 0 150"))[0]
        if isinstance(new.event, Progress)
    ]
    assert [(progress.percent, progress.downloaded_bytes) for progress in at] == [
        (100, 0),
        (100, 0),
        (0, 0),
        (100, 100),
    ]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\0b"])
def test_a_path_that_leaves_ui_home_is_refused(path: str) -> None:
    with pytest.raises(CardError, match="below"):
        ExpectedFile(path=path)


def test_the_program_quotes_what_it_carries() -> None:
    files = [ExpectedFile(path="it's; $(touch x)\n*", sha256="AB" * 32, size_bytes=0), ExpectedFile(path="b")]
    program = verify_program(files=files, sha256=None)
    assert program.startswith("card_files=('it'\"'\"'s; $(touch x)\n*' b)\n")
    assert f"card_sha256s=({DIGEST} '')\ncard_sizes=(0 '')\ncard_sha256=''\n" in program
