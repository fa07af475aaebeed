"""A case as data: the cards, what is there before, and everything that must be true afterwards.

In a script ``@/`` is the site (see server.py), ``$L`` the folder of LoRAs, ``{cards}/`` the folder of the case's cards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.demo.civitai import StandInModel
from tests.realwork.contents import Body

LORAS = "$UI_HOME/models/loras"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card: a script and the front matter beside the title, or its whole text."""

    script: str = "true"
    front: str = ""
    path: str = "loras/card.md"
    text: str | None = None

    def whole_text(self) -> str:
        if self.text is not None:
            return self.text
        return f"---\ntitle: Card {self.path}\n{self.front}---\n# Download\n```bash\n{self.script}\n```\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What must hold when the case is over; None: not asked.

    ``files``: below ``$UI_HOME/models``, exactly these, each whole (a file of the site, or its bytes); ``also``:
    patterns of names that may lie beside them. ``causes``: of the resources, in their order; a set: one of them.
    ``error``, ``hint``: each text is in it, in any case of letters. ``events``: each is part of some event;
    ``no_events``: of none. ``attempts``: of the first resource. ``fetched``, ``fetched_min``: how many times the files'
    bytes the site sent at most and at least, over all jobs. ``names``: those of the stages. ``seconds``: how long all
    jobs may take.
    """

    state: str = "completed"
    files: Mapping[str, Body | str | bytes] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    causes: tuple[str | frozenset[str] | None, ...] | None = None
    error: tuple[str, ...] = ()
    not_error: tuple[str, ...] = ()
    hint: tuple[str, ...] = ()
    not_hint: tuple[str, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    no_events: tuple[Mapping[str, Any], ...] = ()
    attempts: int | None = None
    fetched: float | None = None
    fetched_min: float | None = None
    names: tuple[str, ...] | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``id``: the section, a dot, a name; ``own``: another input of the same kind, beside the one that was reported.

    ``there``: what lies below ``$UI_HOME`` before; ``home``: files in the home of the instance. ``jobs``: how each job
    is begun: ``post``, ``retry`` of the one before, or ``reinstall``; the expectations are of the last. ``tools``: what
    other names the instance has for programs, as wget for BusyBox; ``env``: of its sessions; ``hf``: whether it has hf.
    ``models``: what the stand-in CivitAI has. ``seconds``: how long a job may take. ``long``: not in the quick part, as
    all other inputs of the same kind.
    """

    id: str
    expect: Expect
    cards: tuple[Card, ...] = ()
    script: str = ""
    front: str = ""
    own: bool = False
    long: bool = False
    request: Mapping[str, Any] = field(default_factory=dict)
    there: Mapping[str, bytes] = field(default_factory=dict)
    home: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[str, ...] = ("post",)
    tools: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    hf: bool = False
    models: tuple[StandInModel, ...] = ()
    seconds: float = 40

    def all_cards(self) -> tuple[Card, ...]:
        return self.cards or (Card(script=self.script, front=self.front),)

    @property
    def is_long(self) -> bool:
        return self.long or self.own


def filled(text: str, *, site: str, cards: str = "", tls: str = "") -> str:
    """The text of a card with the addresses and folders of this run."""
    text = text.replace("@tls/", tls + "/").replace("@/", site + "/").replace("{cards}/", cards + "/")
    return re.sub(r"\$L\b", LORAS, text)


def part(body: Body, share: float = 0.5) -> bytes:
    """The first bytes of a file, as a broken download leaves them."""
    return body.content()[: int(body.size_bytes * share)]
