"""Finds tracked flows whose endpoint no longer serves them: pure.

The kernel chooses an endpoint for a flow's first packet and keeps it. A TCP connection to an
endpoint that goes ends by itself, and may end gracefully. A UDP or SCTP client may send for ever,
and every packet renews its flow: to an endpoint that is gone (k/k#139628), or to the Service's own
address, because the flow began before the Service had an endpoint (k/k#113250).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct

from proxy.desired.desired import Desired, Portals
from proxy.desired.portals import Frontend, Portal, forwards
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family, Key, Protocol, Target


class FlowPeer(NamedTuple):
    """An address and a port, as packets have them."""

    address: bytes
    port: int


class Flow(NamedTuple):
    """A tracked flow: the destination of its first packet, and the peer that answers it."""

    called: FlowPeer
    answering: FlowPeer
    handle: bytes  # attributes that identify it to the kernel


class SuspectFlows(Struct, frozen=True):
    """Destinations whose flows may be stale, of one family and protocol, with their allowed
    answering peers.

    ``ports`` are NodePorts, which count only at this node's own addresses.
    """

    peers: Mapping[FlowPeer, frozenset[FlowPeer]] = {}
    ports: Mapping[int, frozenset[FlowPeer]] = {}

    def stale(self, flows: Iterable[Flow], local: frozenset[bytes]) -> list[Flow]:
        """Return the flows that no eligible endpoint would answer.

        ``local`` are the node's addresses.
        """
        return [flow for flow in flows if self._is_stale(flow, local)]

    def _is_stale(self, flow: Flow, local: frozenset[bytes]) -> bool:
        allowed = self.peers.get(flow.called)
        if allowed is None and flow.called.address in local:
            allowed = self.ports.get(flow.called.port)
        return allowed is not None and flow.answering not in allowed


class _Served(Struct, frozen=True):
    """The endpoints of a frontend: those for new flows, and those that keep their flows."""

    pools: tuple[tuple[Target, ...], ...]
    lasting: tuple[Target, ...]

    @property
    def allowed(self) -> frozenset[Target]:
        return frozenset(self.lasting).union(*self.pools)


Allowed = tuple[Frontend, frozenset[FlowPeer]]  # a frontend with the peers that may answer for it


def suspects(
    before: Desired, after: Desired, settings: ProxySettings, orphans: Iterable[Frontend] = ()
) -> Mapping[tuple[Family, Protocol], SuspectFlows]:
    """Return the flows that the step from ``before`` to ``after`` may have made stale.

    If ``before`` is empty, any flow may be. ``orphans`` are frontends that only an earlier run
    served.
    """
    peers: dict[tuple[Family, Protocol], dict[FlowPeer, frozenset[FlowPeer]]] = {}
    ports: dict[tuple[Family, Protocol], dict[int, frozenset[FlowPeer]]] = {}
    for frontend, allowed in (*map(_orphaned, orphans), *_lost(before, after, settings)):
        kind = (frontend.family, frontend.protocol)
        if frontend.address is None:
            ports.setdefault(kind, {})[frontend.port] = allowed
        else:
            peers.setdefault(kind, {})[FlowPeer(frontend.address.packed, frontend.port)] = allowed
    kinds = peers.keys() | ports.keys()
    return {kind: SuspectFlows(peers.get(kind, {}), ports.get(kind, {})) for kind in kinds}


def served(state: Desired, settings: ProxySettings) -> frozenset[Frontend]:
    """Return every frontend of a watched protocol."""
    return frozenset(
        frontend
        for key in state
        if _is_watched(portals := state.portals_of(key))
        for frontend in _table(portals, settings)
    )


def coming(before: Desired, after: Desired, settings: ProxySettings) -> frozenset[Frontend]:
    """Return the watched frontends of the Services that changed."""
    return frozenset(
        frontend
        for key in _changed(before, after)
        for frontend in _table(after.portals_of(key), settings)
    )


def has_moved(before: Desired, after: Desired, settings: ProxySettings) -> bool:
    """Return True if the watched frontends are others than before.

    Most changes are of endpoints only.
    """
    return any(
        _table(before.portals_of(key), settings).keys()
        != _table(after.portals_of(key), settings).keys()
        for key in _changed(before, after)
    )


def _lost(before: Desired, after: Desired, settings: ProxySettings) -> Iterator[Allowed]:
    """Yield the frontends whose flows may have lost their endpoint, or may have got their first."""
    for key in _changed(before, after):
        old, new = (_table(state.portals_of(key), settings) for state in (before, after))
        for frontend in old.keys() | new.keys():
            if _loses(old.get(frontend), new.get(frontend)):
                yield frontend, _peers(new.get(frontend))


def _orphaned(frontend: Frontend) -> Allowed:
    """Allow flows to the frontend's own address, which now concern us no more."""
    if frontend.address is None:
        return frontend, frozenset()
    return frontend, frozenset({FlowPeer(frontend.address.packed, frontend.port)})


def packed(addresses: Iterable[Address]) -> frozenset[bytes]:
    """Return addresses as flows have them."""
    return frozenset(address.packed for address in addresses)


def _changed(before: Desired, after: Desired) -> Iterator[Key]:
    """Yield the Services with a different portal of a watched protocol."""
    for key in after.changed_since(before):
        if _is_watched(before.portals_of(key)) or _is_watched(after.portals_of(key)):
            yield key


def _is_watched(portals: Portals) -> bool:
    """Return True if one is of UDP or SCTP.

    A plain loop: a first load asks it three times about each Service.
    """
    for portal in portals:  # noqa: SIM110  # a generator would take twice as long
        if portal.protocol is not Protocol.TCP:
            return True
    return False


def _watched(portals: Portals) -> list[Portal]:
    """Return those of UDP and SCTP."""
    return [portal for portal in portals if portal.protocol is not Protocol.TCP]


def _table(portals: Portals, settings: ProxySettings) -> dict[Frontend, _Served]:
    return {
        frontend: _Served((forward.targets, forward.inside or ()), portal.lasting)
        for portal in _watched(portals)
        for frontend, forward in forwards(portal, settings)
    }


def _loses(old: _Served | None, new: _Served | None) -> bool:
    """Return True if flows may have lost their endpoint, or may have got their first."""
    if old is None or new is None:
        return True
    has_first = any(now and not was for was, now in zip(old.pools, new.pools, strict=True))
    return has_first or not old.allowed <= new.allowed


def _peers(served: _Served | None) -> frozenset[FlowPeer]:
    allowed = served.allowed if served else frozenset()
    return frozenset(FlowPeer(target.packed, target.port) for target in allowed)
