"""Reading a card takes time in proportion to its length, whatever it holds: texts that nobody thought of.

The thread's processor time of one length is compared with that of four times the length: where a pattern goes back over
what it has read, it is sixteen times as long. A busy machine may disturb one measurement, never all of them.
"""

from __future__ import annotations

import contextlib
import gc
import random
import time

import pytest

from service.errors import CardError
from service.library.card_reader import parse_card

GROWTH = 4
GROWTH_MAX = 8
NOISE_SECONDS = 0.02
TRIES = 6
CASES = 60
LONG_CHARACTERS = 240_000
# Below the bound of the front matter.
LONG_FRONT_CHARACTERS = 40_000
WORDS = [
    "~", "~~~", "`", "```", "```bash\n", "#", "# ", "# Download", "\n", "\n\n", "---\n", "...\n", " ", "    ",
    "\t", "- ", "> ",
    "[", "]", "](", "![", "<", ">", "<!--", "-->", "&", "*", "**", "_", "|", "\\", "\\\n", "'", '"', "$", "${",
    "$(", ")", ";",
    "&&", "||", "=", "==", "a", "a: ", "1:59", "0x", "&a ", "*a", "{", "}", "!", "%", "@", "wget ", "-O ",
    "curl ", "civitdl ",
    "https://a/b", "for i in ", "do\n", "done\n", "EOF\n", "<<EOF\n", "#!", "\u200b", "é", "🧨", "\x0b", "\x85",
    "\u2028", "\r",
]  # fmt: skip
PLACES = {
    "body": "{}",
    "after a heading": "# Download\n{}",
    "block": "# Download\n```bash\n{}\n```\n",
    "front": "---\n{}\n---\n# Download\n```bash\ntrue\n```\n",
    "value": "---\ntitle: {}\n---\n# Download\n```bash\ntrue\n```\n",
}


def seconds_to_read(text: str) -> float:
    raw = text.encode("utf-8", "replace")
    gc.disable()
    try:
        begin = time.thread_time()
        with contextlib.suppress(CardError):
            parse_card("a.md", raw)
        return time.thread_time() - begin
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_no_text_takes_more_than_its_length(place: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    long = LONG_FRONT_CHARACTERS if "---\n{}" in PLACES[place] or "title" in PLACES[place] else LONG_CHARACTERS
    for _ in range(CASES):
        unit = "".join(chance.choices(WORDS, k=chance.randint(1, 4)))
        prefix, suffix = ("".join(chance.choices(WORDS, k=chance.randint(0, 2))) for _ in range(2))

        def of(characters: int, unit: str = unit, prefix: str = prefix, suffix: str = suffix) -> str:
            return PLACES[place].replace("{}", prefix + unit * (characters // len(unit)) + suffix)

        for _ in range(TRIES):
            cost = seconds_to_read(of(long))
            if cost < NOISE_SECONDS or cost < GROWTH_MAX * seconds_to_read(of(long // GROWTH)):
                break
        else:
            pytest.fail(f"{prefix!r}, {unit!r} again and again, {suffix!r}: {cost:.3f} s for {long} characters")
