"""No event reaches the log with a secret, a control character or without a bound, whatever its type is."""

from __future__ import annotations

import base64
import dataclasses
import random
import typing
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from service.events.event_types import Event, Output, class_of, registered
from service.events.redaction import Redactor
from service.store.gate import TEXT_CHARACTERS_MAX, Gate

SECRET = "sk-9f2c/Xy+7_Qz-aB1c2D3e4F5g6H7"
NASTY = "\x1b[31mred\x9b2J \u202e back \x00\x07\x7f"


def every_type() -> list[type[Event]]:
    found = [cls for key in registered() if (cls := class_of(*key)) is not None]
    return sorted(found, key=lambda kind: kind.__name__)


def value_of(hint: Any, text: str) -> Any:
    """A value of this type that holds the text wherever a text may be."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple) or str(origin).endswith("Sequence'>"):
        return [value_of(parts[0], text)]
    if origin is dict or str(origin).endswith("Mapping'>"):
        return {"key": value_of(parts[1], text)}
    if parts and origin is not typing.Literal:
        chosen = next((part for part in parts if "str" in str(part)), parts[0])
        return value_of(chosen, text)
    if hint in (bool, int, float):
        return hint(1)
    return text


def filled(kind: type[Event], text: str) -> Event:
    hints = typing.get_type_hints(kind)
    return kind(**{field.name: value_of(hints[field.name], text) for field in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", every_type(), ids=lambda kind: kind.__name__)
def test_no_type_of_event_can_forget_it(kind: type[Event]) -> None:
    event, fields_json = Gate([SECRET])(filled(kind, f"a {SECRET} {NASTY} b"))
    assert SECRET not in fields_json
    assert not set("\x1b\x9b\u202e\x00\x07\x7f") & set(str(orjson.loads(fields_json)))
    assert orjson.dumps(event).decode() == fields_json
    if "red" in fields_json:
        assert "a [redacted] [31mred2J  back  b" in fields_json


def forms() -> list[tuple[str, str]]:
    raw = SECRET.encode()
    spelled = {
        "as it is": SECRET,
        "in a URL": quote(SECRET, safe=""),
        "in a URL, small letters": quote(SECRET, safe="").lower(),
        "hexadecimal": raw.hex(),
        "hexadecimal, capitals": raw.hex().upper(),
        "over two lines": f"{SECRET[:9]}\r\n{SECRET[9:]}",
        "with a carriage return": f"{SECRET[:9]}\r{SECRET[9:]}",
        "with a zero-width space": f"{SECRET[:4]}\u200b{SECRET[4:20]}\u200d{SECRET[20:]}",
        "with one at each place": "\u2060".join(SECRET),
    }
    for before in range(4):
        for after in range(4):
            text = b"user:x"[: 3 + before] + raw + b"tail"[:after]
            spelled[f"base64 of {before} and {after}"] = base64.b64encode(text).decode()
            spelled[f"base64 for URLs of {before} and {after}"] = base64.urlsafe_b64encode(text).decode()
    return list(spelled.items())


@pytest.mark.parametrize(("name", "text"), forms(), ids=[name for name, _ in forms()])
def test_a_secret_is_found_in_every_form(name: str, text: str) -> None:
    for shown in (Gate([SECRET])(Output(line=f"before {text} after"))[1], Redactor([SECRET])(f"before {text} after")):
        assert "[redacted]" in shown
        assert text not in shown
        assert "before" in shown
        assert "after" in shown
        # Nothing is left of it that would tell much.
        left = shown.replace("[redacted]", "")
        assert not any(SECRET[at : at + 8] in left for at in range(len(SECRET) - 8))


@pytest.mark.parametrize(
    "text",
    ["Set-Cookie: session=abcdef123456; Path=/; HttpOnly", "cookie: a=1; b=secretvalue", '"Cookie": "sid=zzz99"'],
)
def test_cookies_are_secrets(text: str) -> None:
    shown = Redactor()(text)
    assert "[redacted]" in shown
    assert not any(value in shown for value in ("abcdef123456", "secretvalue", "zzz99"))


def test_texts_have_a_bound() -> None:
    event, fields_json = Gate()(Output(line="x" * 10_000_000))
    assert len(fields_json) < TEXT_CHARACTERS_MAX + 100
    assert isinstance(event, Output)
    assert len(event.line) == TEXT_CHARACTERS_MAX


def test_what_is_harmless_passes_as_it_is() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    gate = Gate([SECRET])
    texts = ["日本語 LoRA", "emoji 👩‍🚀 family", "a\tb\nc", r"literal \u001b", "ünïcödé", '"quoted" \\ back']
    for _ in range(500):
        event = Output(line=" ".join(chance.sample(texts, 3)))
        assert gate(event)[0] is event or gate(event)[0] == event
        assert orjson.loads(gate(event)[1])["line"] == event.line
