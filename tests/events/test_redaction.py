"""Secrets never reach an event: known ones wherever they stand, and those that URLs, headers and options carry."""

from __future__ import annotations

import json

import pytest

from service.events.event_types import Output
from service.events.lines import LINE_BYTES_MAX
from service.events.parser import ProgressParser
from service.events.redaction import LEARNED_MAX, REDACTED, Redactor, Secrets

SECRET = "sk-0123456789abcdef0123456789"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://a.example/f?token=abcdef&x=1", "https://a.example/f?token=[redacted]&x=1"),
        ("https://a.example/f?x=1&api_key=abcdef", "https://a.example/f?x=1&api_key=[redacted]"),
        ("https://a.example/f?X-Amz-Signature=abc&b=2", "https://a.example/f?X-Amz-Signature=[redacted]&b=2"),
        ("https://a.example/f?sig=a%2Fb&se=2", "https://a.example/f?sig=[redacted]&se=2"),
        ("GET '/f?Key-Pair-Id=abc'", "GET '/f?Key-Pair-Id=[redacted]'"),
        ("https://user:pass@a.example/f", "https://[redacted]@a.example/f"),
        ("Authorization: Bearer abcdefghi", "Authorization: Bearer [redacted]"),
        ("{'Authorization': 'Basic abcdefghi'}", "{'Authorization': 'Basic [redacted]'}"),
        ("> authorization:abcdefghi", "> authorization:[redacted]"),
        ("bearer abcdefghi.jkl", "bearer [redacted]"),
        ("civitdl 1 x --api-key abcdefghi", "civitdl 1 x --api-key [redacted]"),
        ("wget --http-password=abcdefghi u", "wget --http-password=[redacted] u"),
        ("aria2c --http-passwd abcdefghi u", "aria2c --http-passwd [redacted] u"),
        ("HF_TOKEN=hf_abcdefghi", "HF_TOKEN=[redacted]"),
        ('{"token": "abcdefghi"}', '{"token": [redacted]"}'),
        ("my known-secret here", "my [redacted] here"),
    ],
)
def test_secrets_are_taken_out(text: str, kept: str) -> None:
    assert Redactor(["known-secret", "abc"])(text) == kept
    assert Redactor(["known-secret", "abc"])(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "nothing to hide: 45%",
        "https://civitai.com/models/1?modelVersionId=2",
        "Unable to download this model as it requires a valid API Key. Please head to CivitAI",
        "Username/Password Authentication Failed.",
        "the API token expired yesterday",
        "tokenizer/tokenizer_config.json",
    ],
)
def test_text_without_a_secret_stays(text: str) -> None:
    assert Redactor(["abc"])(text) == text


@pytest.mark.parametrize(
    "unseen", ["\u200b", "\u00ad", "\u034f", "\u115f", "\u180e", "\ufe0f", "\U000e0041", "\x01", "\r\n"]
)
def test_characters_that_nobody_sees_hide_no_secret(unseen: str) -> None:
    redact = Redactor([SECRET])
    for form in (SECRET, SECRET.encode().hex()):
        assert redact(f"a {unseen.join(form)} b") == f"a {REDACTED} b"
        assert redact(f"a {form[:7]}{unseen}{form[7:]} b") == f"a {REDACTED} b"
    assert redact(f"caf\u00e9{unseen}") == f"caf\u00e9{unseen}"


@pytest.mark.parametrize(
    "output",
    [
        f"key {SECRET} here\n",
        f"\x1b[31m{SECRET[:5]}\x1b[0m{SECRET[5:]}\n",
        f'Now downloading "{SECRET}"...\n  - Model ID: 1\nDownload completed for "{SECRET}"\n',
        f"before {SECRET} Model: 5%|#| 1M/9M [00:01<00:01, 1MiB/s]\n",
        f"{SECRET}  7%[=>     ] 593.94K  2.85MB/s    eta 2s\r",
        f"Saving to: ‘out/{SECRET}’\n",
        f"---------\nAPIException ({SECRET})\n---------\n",
        f"curl: (6) Could not resolve host: {SECRET}\n",
        f"% Total % Received % Xferd\r0 0 0 0 0 0 0 0 --:--:-- --:--:-- --:--:-- 0curl: (6) {SECRET}\n",
        f"unfinished {SECRET}",
    ],
)
def test_a_known_secret_reaches_no_event_and_no_evidence(output: str) -> None:
    parser = ProgressParser(redact=Redactor([SECRET]))
    events = parser.feed(output.encode()) + parser.close(1)
    assert events
    assert SECRET not in json.dumps([new.event.to_dict() for new in events])
    assert SECRET not in repr(parser.evidence)


def test_a_secret_across_the_cut_does_not_leak() -> None:
    for shift in range(1, len(SECRET)):
        parser = ProgressParser(redact=Redactor([SECRET]))
        (new,) = parser.feed(b"x" * (LINE_BYTES_MAX - shift) + SECRET.encode() + b"y" * 50 + b"\n")
        assert isinstance(new.event, Output)
        assert SECRET[:6] not in new.event.line
        assert SECRET[:6] not in repr(parser.evidence)


def test_the_longer_of_two_secrets_is_taken_out_whole() -> None:
    assert Redactor(["abcdef", "abcdef-ghi"])("abcdef-ghi abcdef") == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize("hidden", [SECRET, SECRET[:9] + "\x1b[0m" + SECRET[9:], SECRET[:9] + "\u200b" + SECRET[9:]])
def test_a_secret_is_found_wherever_a_chunk_ends_and_whatever_is_in_it(hidden: str) -> None:
    raw = f"a plain line\nbefore {hidden} after\nanother\n?token={'x' * 20}\nlast\n".encode()
    for size in (*range(1, 40), len(raw)):
        parser = ProgressParser(redact=Redactor([SECRET]))
        shown = "".join(str(new.event) for n in range(0, len(raw), size) for new in parser.feed(raw[n : n + size]))
        assert SECRET not in shown
        assert shown.count(REDACTED) == 2
        assert SECRET not in "".join(parser.evidence.tail)


def test_what_is_learned_later_is_redacted_too() -> None:
    secrets = Secrets(["the-first-secret"])
    redact = Redactor(secrets)
    assert redact("the-second-secret") == "the-second-secret"
    secrets.learn(["the-second-secret", "abc"])
    assert redact("the-first-secret the-second-secret abc") == f"{REDACTED} {REDACTED} abc"
    # A client that sets keys without end costs no more and more; what was given at the start stays.
    secrets.learn(f"another-secret-{number:05}" for number in range(LEARNED_MAX))
    assert redact("the-first-secret the-second-secret") == f"{REDACTED} the-second-secret"
