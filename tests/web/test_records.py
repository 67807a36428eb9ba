"""Parsing piece by piece says exactly what Python's own parser says, of anything."""

import json
import random

from sidecar.web.records import _Pieces

CHARACTERS = '{}[]:,"a1 \n\\tnulltrue-.'


def a_value(chance: random.Random, depth: int) -> object:
    match chance.randrange(6 if depth else 4):
        case 4:
            return [a_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case 5:
            return {f"k{number}": a_value(chance, depth - 1) for number in range(chance.randrange(4))}
        case plain:
            return (None, True, chance.random(), 'x{[,:"]')[plain]


def a_text(chance: random.Random) -> str:
    """A document, one with a character changed, or nonsense."""
    if chance.random() < 0.3:
        return "".join(chance.choice(CHARACTERS) for _ in range(chance.randrange(12)))
    text = json.dumps(a_value(chance, 4), indent=chance.choice((None, 1)))
    if chance.random() < 0.5:
        return text
    place = chance.randrange(len(text))
    return text[:place] + chance.choice(CHARACTERS) + text[place + chance.randrange(2) :]


def test_it_agrees_with_pythons_own_parser() -> None:
    chance, understood = random.Random(7), 0
    for _ in range(5_000):
        text = a_text(chance)
        try:
            expected = repr(json.loads(text))
        except ValueError:
            expected = "refused"
        try:
            found = repr(_Pieces(text).whole())
        except ValueError:
            found = "refused"
        assert found == expected, text
        understood += found != "refused"
    assert 1_000 < understood < 4_500
