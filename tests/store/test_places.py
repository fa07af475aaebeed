"""Places in a queue: there is always room between two, and text order is their order."""

from __future__ import annotations

import random

from service.store.places import PLACE_DIGITS, number_of, place_between, whole_place


def test_whole_places_are_in_order() -> None:
    numbers = [1, 2, 9, 10, 99, 100, 10**11]
    assert sorted(map(whole_place, numbers)) == [whole_place(n) for n in numbers]
    assert [number_of(whole_place(n)) for n in numbers] == numbers


def test_there_is_always_room() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    places = [whole_place(n) for n in range(1, 6)]
    for _ in range(500):
        index = chance.randrange(len(places))
        before = places[index - 1] if index else ""
        place = place_between(before, places[index])
        assert before < place < places[index]
        places.insert(index, place)
    assert places == sorted(set(places))


def test_places_stay_short() -> None:
    first = whole_place(1)
    for _ in range(1_000):
        first = place_between("", first)
    assert len(first) <= PLACE_DIGITS + 400
    assert number_of(first) == 0
