"""What a measurement says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure beside its peer's, from the same run. `ratio` is ours over the peer's; `target` is in words."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    ratio: float
    target: str
