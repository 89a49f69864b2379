"""Who may have a port of the host; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, auto

from cni_plugin.plan.rules import Wanted
from cni_plugin.spec.errors import InvalidConfigurationError


class Standing(Enum):
    """Whose a rule is, from the point of view of an attachment that asks for its place."""

    GONE = auto()  # nobody's, its own of an earlier ADD, or of an attachment that is no more
    KIN = auto()  # of the same container's attachment to another network
    STRANGER = auto()


def past(
    holders: Mapping[str, str], wanted: Wanted, standing: Callable[[str], Standing]
) -> tuple[Wanted, frozenset[str]]:
    """What is left to claim beside the ``holders`` of claims, and whose rules have to go before.

    The ports of its kin become spares.
    Raises InvalidConfigurationError when a port is a stranger's.
    """
    free, spares, gone = [], [*wanted.spares], set()
    for port in wanted.ports:
        holder = holders.get(port.claim, "")
        how = standing(holder)
        if how is Standing.STRANGER:
            raise InvalidConfigurationError(f"{port} is mapped already", f"by {holder}")
        if how is Standing.KIN:
            spares.append(port)
        else:
            free.append(port)
            gone.add(holder)
    return replace(wanted, ports=tuple(free), spares=tuple(spares)), frozenset(gone)
