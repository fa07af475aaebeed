"""Removes secrets from text before it is stored: known ones wherever they are, and those in URLs, headers, options."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote

REDACTED = "[redacted]"
SECRET_CHARACTERS_MIN = 6
# Those that were learned last; each costs a search of every text.
LEARNED_MAX = 64

# What may stand between the characters of a secret without being seen: it would be found by who reads the text, and
# not by a search for the secret. Controls, marks of direction, joiners, fillers, selectors of variants, tags.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)

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
# Without one of these in small letters, the last three do not match.
_WORDS = ("cookie", "authorization", "bearer", "token", "api", "secret", "passw")


class Secrets:
    """Texts that never leave the service, in every form in which a tool prints them: as they are, with unseen
    characters in them, URL-encoded, in hexadecimal, in base64 at any place of a longer text. Short ones are ignored:
    they would redact everything."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._given = {secret for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN}
        # In the order in which they were learned.
        self._learned: dict[str, None] = {}
        self._forms: tuple[str, ...] = ()
        self._find_forms()

    def learn(self, secrets: Iterable[str]) -> None:
        """From now on these are secrets too. What a key was is one as long as the service runs: what was begun with it
        may still print it."""
        for secret in secrets:
            if len(secret) >= SECRET_CHARACTERS_MIN:
                self._learned.pop(secret, None)
                self._learned[secret] = None
        while len(self._learned) > LEARNED_MAX:
            del self._learned[next(iter(self._learned))]
        self._find_forms()

    def _find_forms(self) -> None:
        known = {*self._given, *self._learned}
        forms = sorted({form for secret in known for form in _forms(secret)}, key=len, reverse=True)
        # One `in` for each is cheaper than one pattern for all, which would stop at every second character.
        self._forms = tuple(forms)

    def redacted(self, text: str) -> str:
        """A text that hides a secret between unseen characters loses all of those."""
        text = self._replaced(text)
        if self._is_plain(text) or not self.stand_in(bare := _UNSEEN.sub("", text)):
            return text
        return self._replaced(bare)

    def are_in(self, text: str) -> bool:
        return self.stand_in(text) or (not self._is_plain(text) and self.stand_in(_UNSEEN.sub("", text)))

    def _is_plain(self, text: str) -> bool:
        """Nothing unseen is in most texts."""
        return not self._forms or (text.isascii() and text.isprintable())

    def stand_in(self, text: str) -> bool:
        """Whether one is there as it is: all there is to see in a text that is ASCII and printable."""
        # No generator: this runs for every event.
        for form in self._forms:  # noqa: SIM110
            if form in text:
                return True
        return False

    def _replaced(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        return text


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
    """``secrets``: texts that never leave the service; as `Secrets`, also those that are learned later."""

    def __init__(self, secrets: Secrets | Iterable[str] = ()) -> None:
        self._secrets = secrets if isinstance(secrets, Secrets) else Secrets(secrets)

    def __call__(self, text: str) -> str:
        return self.without_known(self._secrets.redacted(text))

    def has_known(self, text: str) -> bool:
        """Whether one of the secrets stands in this text as it is."""
        return self._secrets.stand_in(text)

    def has_unknown(self, text: str) -> bool:
        """Whether a text may hold a secret that only its place gives away."""
        if ("=" in text and ("?" in text or "&" in text or ";" in text)) or ("://" in text and "@" in text):
            return True
        lowered = text.lower()
        return any(word in lowered for word in _WORDS)

    def without_known(self, text: str) -> str:
        """For a text in which no known secret stands."""
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


def redactor_of(chunk: bytes, redact: Callable[[str], str]) -> Callable[[str], str]:
    """What redacts the texts of this chunk that stand in it as they are, and that are ASCII and printable: most lines.
    Where a look for all secrets in the whole chunk finds none, none is looked for in each line."""
    if not isinstance(redact, Redactor):
        return redact
    text = chunk.decode("latin-1")
    if redact.has_known(text):
        return redact
    return redact.without_known if redact.has_unknown(text) else str
