"""Which tracked flows lead where nothing serves them any more: pure.

The kernel chooses an endpoint for a flow's first packet and keeps to it. A TCP connection to an
endpoint that goes ends by itself, and may end gracefully. A UDP or SCTP sender may go on for ever,
every packet renewing a flow that leads nowhere: to an endpoint that is gone (k/k#139628), or to the
Service's own address, since the flow began before the Service had an endpoint (k/k#113250).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.desired.desired import Desired, Portals
from proxy.desired.portals import Frontend, Portal, forwards
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family, Key, Protocol, Target

WATCHED = (Protocol.UDP, Protocol.SCTP)


class FlowPeer(NamedTuple):
    """An address and a port as packets have them."""

    address: bytes
    port: int


class Flow(NamedTuple):
    """A tracked flow: whom its first packet was sent to, and who really answers it."""

    called: FlowPeer
    answering: FlowPeer
    handle: bytes  # what names it to the kernel


@dataclass(frozen=True, slots=True)
class SuspectFlows:
    """Flows to look at, of one family and protocol: whom they called, and who may answer them.

    ``ports`` are NodePorts: they count only at this node's own addresses.
    """

    peers: Mapping[FlowPeer, frozenset[FlowPeer]] = field(default_factory=dict)
    ports: Mapping[int, frozenset[FlowPeer]] = field(default_factory=dict)

    def stale(self, flows: Iterable[Flow], local: frozenset[bytes]) -> list[Flow]:
        """The flows that nobody who may will ever answer."""
        return [flow for flow in flows if self._is_stale(flow, local)]

    def _is_stale(self, flow: Flow, local: frozenset[bytes]) -> bool:
        allowed = self.peers.get(flow.called)
        if allowed is None and flow.called.address in local:
            allowed = self.ports.get(flow.called.port)
        return allowed is not None and flow.answering not in allowed


@dataclass(frozen=True, slots=True)
class _Served:
    """Who answers for a frontend: where new flows are sent to, and who keeps those it has."""

    pools: tuple[tuple[Target, ...], ...]
    lasting: tuple[Target, ...]

    @property
    def allowed(self) -> frozenset[Target]:
        return frozenset(self.lasting).union(*self.pools)


Allowed = tuple[Frontend, frozenset[FlowPeer]]  # who may answer for a frontend


def suspects(
    before: Desired, after: Desired, settings: ProxySettings, orphans: Iterable[Frontend] = ()
) -> Mapping[tuple[Family, Protocol], SuspectFlows]:
    """What the step from ``before`` to ``after`` can have made stale. From nothing: anything.

    ``orphans`` are frontends that only an earlier run served.
    """
    peers: dict[tuple[Family, Protocol], dict[FlowPeer, frozenset[FlowPeer]]] = {}
    ports: dict[tuple[Family, Protocol], dict[int, frozenset[FlowPeer]]] = {}
    for frontend, allowed in (*map(_orphaned, orphans), *_lost(before, after, settings)):
        sort = (frontend.family, frontend.protocol)
        if frontend.address is None:
            ports.setdefault(sort, {})[frontend.port] = allowed
        else:
            peers.setdefault(sort, {})[FlowPeer(frontend.address.packed, frontend.port)] = allowed
    sorts = peers.keys() | ports.keys()
    return {sort: SuspectFlows(peers.get(sort, {}), ports.get(sort, {})) for sort in sorts}


def served(state: Desired, settings: ProxySettings) -> frozenset[Frontend]:
    """Every frontend with a protocol that is watched."""
    return frozenset(one for key in state for one in _table(state.portals_of(key), settings))


def comes(before: Desired, after: Desired, settings: ProxySettings) -> frozenset[Frontend]:
    """Every such frontend of the Services that changed."""
    return frozenset(
        one for key in _changed(before, after) for one in _table(after.portals_of(key), settings)
    )


def moves(before: Desired, after: Desired, settings: ProxySettings) -> bool:
    """Whether there are other such frontends than before: most changes are of endpoints alone."""
    return any(
        _table(before.portals_of(key), settings).keys()
        != _table(after.portals_of(key), settings).keys()
        for key in _changed(before, after)
    )


def _lost(before: Desired, after: Desired, settings: ProxySettings) -> Iterator[Allowed]:
    """The frontends whose flows may have lost their endpoint, or been given their first."""
    for key in _changed(before, after):
        old, new = (_table(state.portals_of(key), settings) for state in (before, after))
        for frontend in old.keys() | new.keys():
            if _loses(old.get(frontend), new.get(frontend)):
                yield frontend, _peers(new.get(frontend))


def _orphaned(frontend: Frontend) -> Allowed:
    """What goes to such an address itself, not to an endpoint, is none of our business any more."""
    if frontend.address is None:
        return frontend, frozenset()
    return frontend, frozenset({FlowPeer(frontend.address.packed, frontend.port)})


def packed(addresses: Iterable[Address]) -> frozenset[bytes]:
    """Addresses as flows have them."""
    return frozenset(address.packed for address in addresses)


def _changed(before: Desired, after: Desired) -> Iterator[Key]:
    """Services with a different portal for a protocol that is watched."""
    for key in after.changed_since(before):
        if _watched(before.portals_of(key)) or _watched(after.portals_of(key)):
            yield key


def _watched(portals: Portals) -> list[Portal]:
    return [portal for portal in portals if portal.protocol in WATCHED]


def _table(portals: Portals, settings: ProxySettings) -> dict[Frontend, _Served]:
    return {
        frontend: _Served((forward.targets, forward.inside or ()), portal.lasting)
        for portal in _watched(portals)
        for frontend, forward in forwards(portal, settings)
    }


def _loses(old: _Served | None, new: _Served | None) -> bool:
    """Whether flows may have lost their endpoint, or been given their first."""
    if old is None or new is None:
        return True
    first = any(now and not was for was, now in zip(old.pools, new.pools, strict=True))
    return first or not old.allowed <= new.allowed


def _peers(served: _Served | None) -> frozenset[FlowPeer]:
    allowed = served.allowed if served else frozenset()
    return frozenset(FlowPeer(one.address.packed, one.port) for one in allowed)
