"""What a guard of the suite is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard: `line` of `file` is replaced by `instead`, and `test` must fail.

    `quick` ones run in every check, the others in the soak: those need a PostgreSQL or minutes.
    """

    name: str
    file: str
    line: str
    instead: str
    test: str
    quick: bool = False
