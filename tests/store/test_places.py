"""Places in a queue: there is always room between two, and text order is their order."""

from __future__ import annotations

import random

from service.store.places import PLACE_DIGITS, nth_place, ordinal, place_between


def test_places_are_in_the_order_of_the_jobs() -> None:
    numbers = [1, 2, 9, 10, 99, 100, 10**11]
    assert sorted(map(nth_place, numbers)) == [nth_place(n) for n in numbers]
    assert [ordinal(nth_place(n)) for n in numbers] == numbers


def test_there_is_always_room() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    places = [nth_place(n) for n in range(1, 6)]
    for _ in range(500):
        index = chance.randrange(len(places))
        before = places[index - 1] if index else ""
        place = place_between(before, places[index])
        assert before < place < places[index]
        places.insert(index, place)
    assert places == sorted(set(places))


def test_places_stay_short() -> None:
    first = nth_place(1)
    for _ in range(1_000):
        first = place_between("", first)
    assert len(first) <= PLACE_DIGITS + 400
    assert ordinal(first) == 0
