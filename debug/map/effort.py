"""How much is sent to measure one way."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """How many echoes are sent, and how many seconds each is waited for at the most."""

    count: int = 3
    patience: float = 0.3
