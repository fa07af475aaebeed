"""Asks a key's own site whether it lets the key in: by the guarded fetcher, which sends each key to its site alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from service.errors import OutboundError
from service.keys.names import KEYS
from service.outbound import Outbound

ANSWER_BYTES_MAX = 4 << 20
_SHOWN_CHARACTERS_MAX = 80

Verdict = Literal["accepted", "refused", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    """``unknown``: the site did not say."""

    verdict: Verdict
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """``path``: of the site, which answers only those that it lets in. ``told``: what its answer says of the key."""

    path: str
    told: Callable[[Mapping[str, Any]], str]


def _account(answer: Mapping[str, Any]) -> str:
    name = answer.get("username") or answer.get("name")
    return f"it is of the account {_shown(name)}" if isinstance(name, str) and name else "the site knows it"


def _instances(answer: Mapping[str, Any]) -> str:
    found = answer.get("instances")
    count = len(found) if isinstance(found, list) else 0
    return f"its account has {count} instance{'' if count == 1 else 's'}"


_QUESTIONS = {
    "civitai": _Question(path="/api/v1/me", told=_account),
    "huggingface": _Question(path="/api/whoami-v2", told=_account),
    "vast": _Question(path="/api/v1/instances/", told=_instances),
}


async def check_key(outbound: Outbound, name: str, site: str) -> KeyCheck:
    """``site``: where the API of its site is, to which the fetcher sends the key. Never raises."""
    question, title = _QUESTIONS[name], KEYS[name].title
    try:
        answer = await outbound.fetch(
            site + question.path, bytes_max=ANSWER_BYTES_MAX, headers={"Accept": "application/json"}, follows=False
        )
    except OutboundError as error:
        return KeyCheck(verdict="unknown", message=f"the {title} could not be checked: {error}")
    if answer.status in (401, 403):
        message = f"the site refuses this {title}: make another at {KEYS[name].page}"
        return KeyCheck(verdict="refused", message=message)
    if answer.status != 200:
        message = f"the {title} could not be checked: the site answered with the status {answer.status}"
        return KeyCheck(verdict="unknown", message=message)
    try:
        found = await asyncio.to_thread(orjson.loads, answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        message = f"the {title} could not be checked: the site answered with something else than was asked for"
        return KeyCheck(verdict="unknown", message=message)
    return KeyCheck(verdict="accepted", message=f"the site accepts this {title}: {question.told(found)}")


def _shown(text: str) -> str:
    return "".join(mark if mark.isprintable() else "?" for mark in text[:_SHOWN_CHARACTERS_MAX])
