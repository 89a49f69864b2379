"""Choose the attachment that gets a port of the host; pure.

A claim is the name of a host port (see ``MappedPort.claim``). Its holder is the owner of the rules
that serve it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, auto

from cni_plugin.plan.rules import WantedRules
from cni_plugin.spec.errors import InvalidConfigurationError


class OwnerRelation(Enum):
    """The relation of a rule's owner to the attachment that asks for the rule's place."""

    # no owner, the attachment itself after an earlier ADD, or an attachment that no longer exists
    GONE = auto()
    SAME_CONTAINER = auto()  # the container's attachment to another network
    OTHER_CONTAINER = auto()


def resolve_ports(
    holders: Mapping[str, str], wanted: WantedRules, relation: Callable[[str], OwnerRelation]
) -> tuple[WantedRules, frozenset[str]]:
    """Return the rules that can be added, and the owners whose rules must be removed before.

    ``holders`` has the holder of each claim. A port that another attachment of the container holds
    becomes a spare.
    Raises InvalidConfigurationError when another container holds a port.
    """
    free, spares, gone = [], [*wanted.spares], set()
    for port in wanted.ports:
        holder = holders.get(port.claim, "")
        found = relation(holder)
        if found is OwnerRelation.OTHER_CONTAINER:
            raise InvalidConfigurationError(f"{port} is mapped already", f"by {holder}")
        if found is OwnerRelation.SAME_CONTAINER:
            spares.append(port)
        else:
            free.append(port)
            gone.add(holder)
    return replace(wanted, ports=tuple(free), spares=tuple(spares)), frozenset(gone)
