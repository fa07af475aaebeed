"""Removes secrets from text before it is stored: known ones wherever they are, and those in URLs, headers, options."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

REDACTED = "[redacted]"
SECRET_CHARACTERS_MIN = 6

# What may stand between the characters of a secret without being seen: it would be found by who reads the text, and
# not by a search for the secret.
_UNSEEN = "[\\x00-\\x1f\\x7f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2064\\ufeff]"

_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]{0,40}?(?:token|api[_-]?key|secret|signature|credential|password|security-token)|key|sig|auth|"
    r"x-(?:amz|goog)-[\w-]{1,40}|policy|key-pair-id|expires)=)(?!\[redacted\])[^&\s\"'<>\]]+",
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@\"'<>]{1,512}@", re.IGNORECASE)
_HEADER = re.compile(
    r"(authorization[\"']?\s*+[:=]\s*+[\"']?(?:(?:bearer|basic|token)\s++)?+|\bbearer\s++)[^\s\"',;]{6,}", re.IGNORECASE
)
_COOKIE = re.compile(
    r"(\b(?:set-)?cookie[\"']?\s*+[:=]\s*+[\"']?)(?!\[redacted\])[^\s;\"']{1,4096}(?:; ?[^\s;\"']{1,4096})*+",
    re.IGNORECASE,
)
_NAMES = r"(?:api[_-]?key|token|passw(?:or)?d|secret)"
_OPTION = re.compile(
    rf"(--[\w-]{{0,40}}?{_NAMES}(?:=|\s++)|(?:\b|_){_NAMES}[\"']?\s*+[:=]\s*+)[\"']?(?!\[redacted\])[^\s\"']{{6,}}",
    re.IGNORECASE,
)


class Secrets:
    """Texts that never leave the service, in every form in which a tool prints them: as they are, with unseen
    characters in them, URL-encoded, in hexadecimal, in base64 at any place of a longer text. Short ones are ignored:
    they would redact everything."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN}
        forms = sorted({form for secret in known for form in _forms(secret)}, key=len, reverse=True)
        # One `in` for each is cheaper than one pattern for all, which would stop at every second character.
        self._forms = tuple(forms)
        spelled = (f"{_UNSEEN}*".join(map(re.escape, secret)) for secret in sorted(known, key=len, reverse=True))
        self._spelled = re.compile("|".join(spelled)) if known else None

    def redacted(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        if self._spelled is not None and not text.isprintable():
            text = self._spelled.sub(REDACTED, text)
        return text

    def are_in(self, text: str) -> bool:
        for form in self._forms:
            if form in text:
                return True
        return self._spelled is not None and not text.isprintable() and self._spelled.search(text) is not None


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode()
    yield from {secret, quote(secret, safe=""), quote(secret, safe="").lower(), raw.hex(), raw.hex().upper()}
    for before in range(3):
        # Of a longer text in base64, what stands for this secret alone: without the characters that it shares with
        # its neighbours.
        shared = (0, 2, 3)[before]
        encoded = base64.b64encode(bytes(before) + raw).decode()
        whole = len(encoded) - (4 if (before + len(raw)) % 3 else 0)
        for form in (encoded[shared:whole], encoded[shared:whole].translate(str.maketrans("+/", "-_"))):
            if len(form) >= SECRET_CHARACTERS_MIN:
                yield form


class Redactor:
    """``secrets``: texts that never leave the service."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = Secrets(secrets)

    def __call__(self, text: str) -> str:
        text = self._secrets.redacted(text)
        if "=" in text:
            text = _PARAMETER.sub(rf"\1{REDACTED}", text)
        if "://" in text and "@" in text:
            text = _USER_INFO.sub(rf"\1{REDACTED}@", text)
        lowered = text.lower()
        if "cookie" in lowered:
            text = _COOKIE.sub(rf"\1{REDACTED}", text)
        if "authorization" in lowered or "bearer" in lowered:
            text = _HEADER.sub(rf"\1{REDACTED}", text)
        if "token" in lowered or "api" in lowered or "secret" in lowered or "passw" in lowered:
            text = _OPTION.sub(rf"\1{REDACTED}", text)
        return text
