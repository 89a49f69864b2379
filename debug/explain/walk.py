"""Leads a packet through the kernels: namespace by namespace, hook by hook, and back.

Source: ip_output.c, ip_input.c, ip_forward.c; the order of a packet's way is that of
https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

import msgspec

from debug.cluster import Names
from debug.explain.balance import begins
from debug.explain.bridges import Bridges
from debug.explain.choices import Choices
from debug.explain.here import Here, Then, answer, prefixed
from debug.explain.naming import closed_text, entry_text, packet_text, rule_lines
from debug.explain.programs import Programs
from debug.explain.refusal import refusal
from debug.explain.result import DELIVERED, DROPPED, LEFT, LOST, UNKNOWN, Branch, Hop, RuleLine
from debug.explain.space import Space, Spaces
from debug.explain.steps import Steps
from debug.explain.wires import Aim, Post, Wires
from debug.places import Place
from debug.ruleset.packet import UDP, Address, Device, Packet, State, Tuple, make
from debug.ruleset.read.fib import LinkFact, RouteFact
from debug.ruleset.registers import UnknownError
from debug.ruleset.traverse import Way, through_hook
from debug.ruleset.values import Hook

_DEEPEST = 32  # namespaces; a packet that turns in circles ends by its TTL
_LOOPBACK = 772  # ARPHRD_LOOPBACK
_TUNNELED = 40_000  # the source port of a tunnel's packets, which the kernel draws from a hash


@dataclass(frozen=True, slots=True)
class Outside:
    """The world outside: a namespace that stands for it, and addresses that nobody here has."""

    place: Place | None = None
    addresses: frozenset[Address] = frozenset()


class Walk:
    """Walks among namespaces. ``most`` branches of one choice are followed, the likeliest."""

    def __init__(
        self,
        spaces: Spaces,
        names: Names,
        most: int = 16,
        outside: Outside | None = None,
        programs: Programs | None = None,
        *,
        calls: bool = True,
    ) -> None:
        self._spaces, self._names = spaces, names
        self._outside = outside or Outside()
        self._wires, self._programs = Wires(spaces), programs or Programs(spaces.places)
        self._steps = Steps(
            self._hook,
            self._receive,
            self._routed,
            self.send,
            self._known,
            self._hop,
            self._end,
            most,
        )
        self._bridges = Bridges(self._programs, self._steps)
        self._choices = Choices(self._steps)
        self._calls = calls  # a process calls, which sends a packet; else there is only a packet

    def begin(self, space: Space, state: State) -> Branch:
        """Send a packet, and its answer back."""
        here = Here(space, state, called=state.packet.flow_tuple)
        call = self._programs.called(space, state.packet) if self._calls else None
        then = self.send if call is None else lambda one: self._choices.called(one, call)
        return self._known(here, then)

    def arrive(self, space: Space, device: Device, state: State) -> Branch:
        """Receive a packet that comes from outside, and send its answer back."""
        here = Here(space, state, called=state.packet.flow_tuple)
        return self._known(here, lambda one: self._receive(one, space, device))

    def _known(self, here: Here, then: Then) -> Branch:
        """Go on by ``then``, as far as what decides is known."""
        try:
            return then(here)
        except UnknownError as err:
            return self._end(here, UNKNOWN, str(err))

    def send(self, here: Here) -> Branch:
        """Send a packet from a socket of a namespace."""
        route = self._route_out(here)
        if (ended := self._no_route(here, route)) is not None:
            return ended
        sent = self._onto(here, route).with_state(local=True)
        hop = self._hop(sent, "route", self._route_text(sent, route))
        return prefixed([hop], self._hook(sent, Hook.OUTPUT, lambda one: self._sent(sent, one)))

    def _route_out(self, here: Here) -> RouteFact:
        packet = here.state.packet
        return here.space.fib.route(
            packet.destination,
            source=None if self._is_outside(here.space, packet.source) else packet.source,
            mark=here.state.mark,
            ports=(packet.protocol, *packet.ports),
        )

    def _sent(self, before: Here, here: Here) -> Branch:
        """Go on after the hook output: what it changed may lead elsewhere."""
        old, new = before.state, here.state
        if (old.packet.destination, old.mark) != (new.packet.destination, new.mark):
            route = self._route_out(here)
            if (ended := self._no_route(here, route)) is not None:
                return ended
            here = self._onto(here, route)
            hop = self._hop(here, "route", self._route_text(here, route))
            return prefixed([hop], self._hook(here, Hook.POSTROUTING, self._leave))
        return self._hook(here, Hook.POSTROUTING, self._leave)

    def _onto(self, here: Here, route: RouteFact) -> Here:
        """Return the packet with the device to which its route leads."""
        link = here.space.fib.links[route.device]
        if route.kind == "local":
            link = next(
                one for one in here.space.fib.links.values() if one.device.hardware == _LOOPBACK
            )
        return here.with_state(oif=link.device).at(via=route.gateway)

    def _no_route(self, here: Here, route: RouteFact) -> Branch | None:
        if route.kind in ("unicast", "local"):
            return None
        why = route.refused or f"the route is {route.kind}"
        return self._end(here, DROPPED, f"routing: {why}")

    def _route_text(self, here: Here, route: RouteFact) -> str:
        device = here.state.oif.name if here.state.oif else ""
        if route.kind == "local":
            return "to this namespace itself"
        gateway = f"via {self._names.shown(route.gateway)} " if route.gateway else ""
        return f"{gateway}through {device}"

    def _receive(
        self, here: Here, space: Space, device: Device, port: LinkFact | None = None
    ) -> Branch:
        """Receive a packet by a device; in another namespace nothing of its past is known."""
        if here.depth > _DEEPEST:
            return self._end(here, DROPPED, "it turns in circles until its TTL is 0")
        state = here.state
        if space is not here.space:
            state = State(state.packet, open_port=state.open_port)
        state = msgspec.structs.replace(
            state,
            iif=device,
            oif=None,
            local=False,
            bridged=False,
            port_in=None,
            port_out=None,
        )
        came = here.at(space=space, state=state, depth=here.depth + 1, port=port)
        if self._is_outside(space, state.packet.destination):
            return self._arrived_outside(came, self.send)
        called = state.packet.destination
        back: Then = lambda one: self._unless_back(one, called)  # noqa: E731
        then: Then = lambda one: self._hook(one, Hook.PREROUTING, back)  # noqa: E731
        found = self._programs.received(space, state.packet)
        if found and begins(came):
            return self._choices.balanced(came, found, then)
        return then(came)

    def _unless_back(self, here: Here, called: Address) -> Branch:
        """Route a packet, unless a bridge would have to send it back to where it came from.

        A bridge that shows frames to rules sends what they translated by itself, if its new
        address is behind the bridge: by no port that it came from, without hairpin mode
        (br_nf_pre_routing_finish(), should_deliver()).
        """
        bridge, port, packet = here.state.iif, here.port, here.state.packet
        if bridge is None or port is None or port.hairpin or packet.destination == called:
            return self._routed(here)
        mac = here.space.hardware_address(bridge, str(packet.destination))
        behind = self._wires.receiver(here.space, port, Aim(packet.destination, mac))
        if behind is None or not here.space.calls_rules(bridge, packet.version):
            return self._routed(here)
        why = f"{bridge.name} sends nothing back by {port.device.name}, by which it came"
        return self._end(here, DROPPED, f"{why} (hairpin_mode is off)")

    def _routed(self, here: Here) -> Branch:
        """Route a packet that came in: to a socket here, or onward."""
        packet, iif = here.state.packet, here.state.iif
        assert iif is not None  # noqa: S101  # set where it was received
        if iif.hardware == _LOOPBACK:
            return self._hook(here, Hook.INPUT, self._arrived)
        route = here.space.fib.route(
            packet.destination, source=packet.source, iif=iif.index, mark=here.state.mark
        )
        if route.kind == "local":
            return self._hook(here, Hook.INPUT, self._arrived)
        if route.refused:
            return self._end(here, DROPPED, refusal(here, route, iif))
        if (ended := self._no_route(here, route)) is not None:
            return ended
        on = self._onto(here.with_state(packet=_aged(packet)), route)
        hop = self._hop(on, "route", self._route_text(on, route))
        post = lambda one: self._hook(one, Hook.POSTROUTING, self._leave)  # noqa: E731
        return prefixed([hop], self._hook(on, Hook.FORWARD, post))

    def _arrived(self, here: Here) -> Branch:
        """A socket's namespace has the packet; its answer goes back."""
        if here.arrive is not None:
            return here.arrive(here.remembering())
        if here.awaited is not None:
            return self._answered(here, here.awaited)
        return self._delivered(here.remembering(), self.send)

    def _delivered(self, here: Here, then: Then) -> Branch:
        """End where the packet is wanted; ``then`` sends its answer."""
        branch = self._end(here, DELIVERED, "")
        is_open = here.state.open_port == "source"
        state = State(answer(here.state.packet), open_port="destination" if is_open else "")
        back = Here(here.space, state, flows=here.flows, awaited=here.called.turned())
        return msgspec.structs.replace(branch, reply=then(back))

    def _is_outside(self, space: Space, address: Address) -> bool:
        """Return True if a namespace stands for the world where such an address is."""
        return space.place == self._outside.place and address in self._outside.addresses

    def _arrived_outside(self, here: Here, then: Then) -> Branch:
        """Somebody in the world has the packet."""
        if here.awaited is not None:
            branch = self._answered(here, here.awaited)
        else:
            branch = self._delivered(here, then)
        return msgspec.structs.replace(branch, at="outside")

    def _answered(self, here: Here, awaited: Tuple) -> Branch:
        """The reply is back: who called must know it."""
        packet = here.state.packet
        if packet.flow_tuple == awaited:
            return self._end(here, DELIVERED, "")
        known = self._names.shown(str(packet.source))
        wanted = self._names.shown(str(ip_address(awaited.source)))
        if packet.destination_bytes != awaited.destination:
            return self._end(here, LOST, f"the reply is for {packet.destination}, who did not call")
        return self._end(here, DROPPED, f"the reply comes from {known}, but {wanted} was called")

    def _leave(self, here: Here) -> Branch:
        """Leave by a device, once all rules have let the packet."""
        here = here.remembering()
        oif = here.state.oif
        assert oif is not None  # noqa: S101  # set where it was routed
        if oif.hardware == _LOOPBACK:
            return self._receive(here, here.space, oif)
        link = here.space.link(oif)
        if not link.up:
            return self._end(here, DROPPED, f"{oif.name} is down")
        address = ip_address(here.via) if here.via else here.state.packet.destination
        mac = here.space.hardware_address(oif, str(address))
        if oif.kind == "vxlan":
            return self._tunneled(here, oif, mac)
        post = self._wires.receiver(here.space, link, Aim(address, mac))
        if post is None:
            return self._astray(here, oif, str(address))
        return self._carried(here, post, oif)

    def _astray(self, here: Here, oif: Device, address: str) -> Branch:
        shown = self._names.shown(address)
        if self._wires.leaves(here.space, here.space.link(oif)) and self._is_for_outside(here):
            return self._arrived_outside(here, lambda one: self._receive(one, here.space, oif))
        if self._wires.leaves(here.space, here.space.link(oif)):
            return self._end(here, LEFT, f"by {oif.name} toward {shown}: what follows is not seen")
        return self._end(here, LOST, f"nobody has {shown} on the network behind {oif.name}")

    def _is_for_outside(self, here: Here) -> bool:
        """Return True for the answer to a caller outside, and for who was called there."""
        return here.state.packet.destination in self._outside.addresses

    def _carried(self, here: Here, post: Post, oif: Device) -> Branch:
        """Go over cables and bridges; a bridge may show the frame to rules."""
        device, port = post.link.device, post.port
        if master := post.space.fib.links.get(post.link.master):
            device, port = master.device, post.link
        by = "".join(
            f", over bridge {link.device.name}" for link in (one.link for one in post.bridges)
        )
        hop = self._hop(here, "wire", f"{oif.name} to {post.space.name} {device.name}{by}")
        arrive: Then = lambda one: self._receive(one, post.space, device, port)  # noqa: E731
        for bridge in reversed(post.bridges):
            arrive = self._bridges.over(bridge, arrive)
        return prefixed([hop], arrive(here))

    def _tunneled(self, here: Here, oif: Device, mac: bytes | None) -> Branch:
        """Go through a VXLAN device: the other node gets a packet that holds this one."""
        tunnel = here.space.tunnel(oif)
        end = here.space.tunnel_end(oif, mac or bytes(6))
        if end is None:
            return self._end(here, LOST, f"{oif.name} knows no node for {here.via}")
        local = tunnel.local or here.space.fib.route(ip_address(end)).source
        outer = make(local, end, UDP, _TUNNELED, tunnel.port, df=False)
        sent = State(outer, open_port="source")
        unwrap = lambda there: self._unwrapped(here, there, tunnel.vni)  # noqa: E731
        around = here.at(state=sent, via="", depth=here.depth + 1, arrive=unwrap)
        hop = self._hop(here, "tunnel", f"{oif.name} to {self._names.shown(end)}")
        return prefixed([hop], self.send(around))

    def _unwrapped(self, inner: Here, outer: Here, vni: int) -> Branch:
        for link in outer.space.fib.links.values():
            if link.device.kind == "vxlan" and outer.space.tunnel(link.device).vni == vni:
                inner = inner.at(weight=outer.weight, flows=outer.flows, depth=outer.depth)
                return self._receive(inner, outer.space, link.device)
        return self._end(outer, LOST, f"no device of VXLAN {vni} is there")

    def _hook(self, here: Here, hook: Hook, then: Then) -> Branch:
        """Go through a hook; each of its ways goes on by ``then``."""
        track = here.tracked if hook in (Hook.PREROUTING, Hook.OUTPUT) else None
        asked = here.space.rules, here.space.fib, hook, here.state
        ways = through_hook(*asked, track, here.is_taken)
        ways.sort(key=lambda way: -way.weight)
        return self._steps.parted(
            here,
            [(way.weight * here.weight, partial(self._way, here, hook, way, then)) for way in ways],
        )

    def _way(self, here: Here, hook: Hook, way: Way, then: Then) -> Branch:
        on = here.at(state=way.state, weight=here.weight * way.weight)
        hop = self._hop(on, hook.value, "", rule_lines(way.trail, self._names))
        hops = [*self._entry(here, on), hop]
        verdict = way.verdict
        if verdict.code == "accept":
            branch = self._known(on, then)
        elif verdict.code == "drop":
            branch = self._end(on, DROPPED, _reason(way))
        else:
            why = verdict.chain or f"verdict {verdict.code}"
            branch = self._end(on, UNKNOWN, f"{hook.value}: {why}")
        return prefixed(hops, branch, way.conditions)

    def _entry(self, before: Here, on: Here) -> Iterator[Hop]:
        """Yield what conntrack's table says of a packet that has just met it."""
        flow = on.state.flow
        if before.state.flow is not None or flow is None or before.remembers(flow):
            return
        if flow.entry:
            yield self._hop(before, "conntrack", entry_text(flow, before.state.packet, self._names))
        if flow.closed:
            yield self._hop(before, "conntrack", closed_text(flow.closed))

    def _hop(self, here: Here, stage: str, text: str, rules: tuple[RuleLine, ...] = ()) -> Hop:
        return Hop(here.space.name, stage, packet_text(here.state, self._names), text, rules)

    def _end(self, here: Here, end: str, why: str) -> Branch:
        return Branch(float(here.weight), end=end, why=why, at=here.space.name)


def _aged(packet: Packet) -> Packet:
    """Return a packet with its TTL one less."""
    at = 8 if packet.version == 4 else 7
    head = packet.network
    network = head[:at] + bytes([max(head[at] - 1, 0)]) + head[at + 1 :]
    return msgspec.structs.replace(packet, network=network)


def _reason(way: Way) -> str:
    """Say which rule dropped a packet."""
    if not way.trail:
        return "by a rule"
    last = way.trail[-1]
    rejected = next((note for note in last.notes if note.startswith("rejected")), "")
    comment = f" ({last.comment})" if last.comment else ""
    where = f"{last.table.family} {last.table.name} {last.chain}"
    place = f"handle {last.handle}" if last.handle else "policy"
    return f"{rejected or 'dropped'} by {where} {place}{comment}"
