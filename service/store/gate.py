"""The gate that every event passes on its way to the log: what a machine of somebody else's said is bounded, without
escapes, and holds none of our secrets, whatever type of event it is in.

The places where events are made bound and redact their texts too, and better, since they know what a text is. The gate
makes sure that none was forgotten. Nearly every event passes unchanged: the look is a few searches of its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import orjson

from service.errors import UnstorableEvent
from service.events.event_types import Event, decode
from service.events.redaction import Secrets

TEXT_CHARACTERS_MAX = 64 * 1024
EVENT_CHARACTERS_MAX = 4 << 20

# DEL and C1 controls, marks that turn the direction of text around, line separators: what JSON does not escape.
_UNESCAPED = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f]|" + _UNESCAPED.pattern)


class Gate:
    """``secrets``: texts that never leave the service; as `Secrets`, also those that are learned later."""

    def __init__(self, secrets: Secrets | Iterable[str] = ()) -> None:
        self._secrets = secrets if isinstance(secrets, Secrets) else Secrets(secrets)

    def __call__(self, event: Event) -> tuple[Event, str]:
        """The event as it may be stored, and its fields as JSON. Raises UnstorableEvent.

        Numbers are at most 2^53: all that JavaScript clients read exactly, and that a column of any database can hold.
        """
        try:
            # As `event.data()`, at less than half of its cost.
            fields_json = orjson.dumps(event, option=orjson.OPT_STRICT_INTEGER).decode()
        except TypeError as error:
            raise UnstorableEvent(f"an event {event.type} cannot be stored: {error}") from error
        if self._may_pass(fields_json):
            return event, fields_json
        fields = self._cleaned(orjson.loads(fields_json))
        fields_json = orjson.dumps(fields).decode()
        if len(fields_json) > EVENT_CHARACTERS_MAX:
            raise UnstorableEvent(f"an event {event.type} cannot be stored: it has {len(fields_json)} characters")
        return cast(Event, decode(event.type, event.version, fields)), fields_json

    def _may_pass(self, fields_json: str) -> bool:
        return (
            len(fields_json) <= TEXT_CHARACTERS_MAX
            # A control character, or only a quote: it is looked at more closely.
            and "\\" not in fields_json
            and ("\x7f" not in fields_json if fields_json.isascii() else _UNESCAPED.search(fields_json) is None)
            and not self._secrets.are_in(fields_json)
        )

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return _UNWANTED.sub("", self._secrets.redacted(value[:TEXT_CHARACTERS_MAX]))
        if isinstance(value, list):
            return [self._cleaned(item) for item in value]
        if isinstance(value, dict):
            return {self._cleaned(key): self._cleaned(item) for key, item in value.items()}
        return value
