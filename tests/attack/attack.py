"""What an attack is, and the list of all. A module of a kind registers its attacks; ``test_attacks.py`` runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.attack.arena import Arena

KINDS = {
    1: "one bad append",
    2: "running out of something",
    3: "time in the event loop",
    4: "waiting for ever",
    5: "who may ask",
    6: "what is stored and shown",
    7: "clocks",
    8: "damage",
}
Run = Callable[["Arena"], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """``before``: what was seen before the rule existed; empty for an attack of our own. ``run`` returns what it saw,
    and fails with AssertionError where somebody is harmed. ``still_open``: why it may still succeed. ``is_long``: it
    takes more than some seconds, so that only ``make attack`` runs it. ``harms_own``: it damages its own service and
    nobody else has a job there, so no honest install runs beside it."""

    kind: int
    name: str
    run: Run
    before: str = ""
    still_open: str | None = None
    is_long: bool = False
    harms_own: bool = False

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.run.__name__}"


ATTACKS: list[Attack] = []


def attack(
    kind: int,
    name: str,
    *,
    before: str = "",
    still_open: str | None = None,
    is_long: bool = False,
    harms_own: bool = False,
) -> Callable[[Run], Run]:
    """Register the function as an attack of this kind."""

    def registered(run: Run) -> Run:
        ATTACKS.append(
            Attack(
                kind=kind,
                name=name,
                run=run,
                before=before,
                still_open=still_open,
                is_long=is_long,
                harms_own=harms_own,
            )
        )
        return run

    return registered
