"""Where a packet that is explained begins, and with which addresses."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from debug.explain.result import Branch
from debug.explain.space import Space, Spaces
from debug.explain.walk import Walk
from debug.places import Ground
from debug.ruleset.packet import ICMP6, NUMBERS, Address, State, make
from debug.trace.ends import STRANGERS, EndError, Target, switch

_DISCARD = 9  # the port of a packet that is given none


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for: the target, the protocol's name, and the command's options."""

    target: Target
    protocol: str
    options: dict[str, Any]

    @property
    def source_address(self) -> Address | None:
        """The address that a packet from outside has, if it was given."""
        given = self.options["source_address"]
        return ip_address(given) if given else None

    @property
    def shown(self) -> str:
        """The target in words."""
        port = "" if self.target.port is None else f":{self.target.port}"
        return f"{self.target.shown}{port}/{self.protocol}"

    @property
    def called(self) -> Address:
        """The target's address, of the family that the source is of. Raises EndError."""
        given = self.source_address
        for one in map(ip_address, self.target.addresses):
            if given is None or one.version == given.version:
                return one
        raise EndError(f"{self.target.shown} has no address of the family of {given}")

    def state(self, source: Address, to: Address) -> State:
        """Return the packet where it begins."""
        number = NUMBERS[self.protocol]
        if self.protocol == "icmp" and to.version == 6:
            number = ICMP6
        ports = self.options["source_port"], self.target.port or _DISCARD
        return State(make(str(source), str(to), number, *ports), mark=self.options["mark"])


def starting(space: Space, call: Call) -> State:
    """Return the packet of a namespace, with the source address that the kernel chooses."""
    to = ip_address(call.target.addresses[0])
    return call.state(_source(space, to), to)


def _source(space: Space, to: Address) -> Address:
    route = space.fib.route(to)
    if route.source:
        return ip_address(route.source)
    usable = [
        one
        for _, one, *_ in space.fib.addresses
        if one.version == to.version and not one.is_loopback and not one.is_link_local
    ]
    if not usable:
        raise EndError(f"{space.name} has no address of IPv{to.version}, as {to} is")
    return usable[0]


def from_outside(walk: Walk, spaces: Spaces, ground: Ground, call: Call) -> tuple[State, Branch]:
    """Send a packet from outside: from a lab's switch, or in by a node's default route's link.

    Raises EndError if a node's link to the outside is not known.
    """
    to, place = call.called, switch(ground)
    if place is not None:
        space = spaces.of(place)
        state = call.state(call.source_address or _source(space, to), to)
        return state, walk.begin(space, state)
    space = spaces.of(ground.nodes()[0])
    source = next(_sources(call, to))
    route = space.fib.route(source)
    if route.kind != "unicast":
        raise EndError(
            f"{space.name} has no route to {source}, so that nothing shows by which link packets "
            "from outside come: give --source-address one that it has a route to"
        )
    state = call.state(source, to)
    return state, walk.arrive(space, space.fib.links[route.device].device, state)


def _sources(call: Call, to: Address) -> Iterator[Address]:
    if call.source_address is not None:
        yield call.source_address
    yield from (one for one in map(ip_address, STRANGERS) if one.version == to.version)
