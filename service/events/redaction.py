"""Removes secrets from text before it is stored: known ones wherever they are, and those in URLs, headers, options."""

from __future__ import annotations

import re
from collections.abc import Iterable

REDACTED = "[redacted]"
SECRET_CHARACTERS_MIN = 6

_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]{0,40}?(?:token|api[_-]?key|secret|signature|credential|password|security-token)|key|sig|auth|"
    r"x-(?:amz|goog)-[\w-]{1,40}|policy|key-pair-id|expires)=)(?!\[redacted\])[^&\s\"'<>\]]+",
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^/\s@\"'<>]{1,512}@", re.IGNORECASE)
_HEADER = re.compile(
    r"(authorization[\"']?\s*+[:=]\s*+[\"']?(?:(?:bearer|basic|token)\s++)?+|\bbearer\s++)[^\s\"',;]{6,}", re.IGNORECASE
)
_NAMES = r"(?:api[_-]?key|token|passw(?:or)?d|secret)"
_OPTION = re.compile(
    rf"(--[\w-]{{0,40}}?{_NAMES}(?:=|\s++)|(?:\b|_){_NAMES}[\"']?\s*+[:=]\s*+)[\"']?(?!\[redacted\])[^\s\"']{{6,}}",
    re.IGNORECASE,
)


class Redactor:
    """``secrets``: texts that never leave the service. Short ones are ignored: they would redact everything."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({s for s in secrets if len(s) >= SECRET_CHARACTERS_MIN}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        if "=" in text:
            text = _PARAMETER.sub(rf"\1{REDACTED}", text)
        if "://" in text and "@" in text:
            text = _USER_INFO.sub(rf"\1{REDACTED}@", text)
        lowered = text.lower()
        if "authorization" in lowered or "bearer" in lowered:
            text = _HEADER.sub(rf"\1{REDACTED}", text)
        if "token" in lowered or "api" in lowered or "secret" in lowered or "passw" in lowered:
            text = _OPTION.sub(rf"\1{REDACTED}", text)
        return text
